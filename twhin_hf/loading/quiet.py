"""Loading without transformers' own reports, which name what is expected as if it were an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging as transformers_logging


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Holds back transformers' load reports and progress bars; errors still come out."""
    level = transformers_logging.get_verbosity()
    showed_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if showed_bars:
            transformers_logging.enable_progress_bar()


def loading_in_words(name: str, model: Any, info: Mapping[str, Any]) -> str:
    """What was loaded, what is new, and what was not used, in one sentence.

    Args:
        name: Checkpoint.
        model: What was loaded.
        info: What `from_pretrained(…, output_loading_info=True)` gives beside the model.
    """
    weights = len(model.state_dict())
    new, unused = (_modules(info[key]) for key in ("missing_keys", "unexpected_keys"))
    parts = [f"{weights - len(info['missing_keys']):,} of {weights:,} weights are from {name}"]
    if new:
        parts.append(f"new, with random weights: {', '.join(new)}")
    if unused:
        parts.append(f"not used: {', '.join(unused)}")
    return "; ".join(parts)


def _modules(keys: Any) -> list[str]:
    """The modules that weights belong to, `social_head` for `social_head.layers.0.weight`."""
    return sorted({key.split(".")[0] for key in keys})
