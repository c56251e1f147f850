"""Socially enriched, multilingual language models of short posts."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"
__all__ = [
    "TwhinBertForPreTraining",
    "TwhinBertModel",
    "TwhinModernBertForPreTraining",
    "TwhinModernBertModel",
    "TwhinRobertaForPreTraining",
    "TwhinRobertaModel",
    "TwhinXLMRobertaForPreTraining",
    "TwhinXLMRobertaModel",
    "__version__",
]

if TYPE_CHECKING:
    from twhin_hf.modeling import (
        TwhinBertForPreTraining,
        TwhinBertModel,
        TwhinModernBertForPreTraining,
        TwhinModernBertModel,
        TwhinRobertaForPreTraining,
        TwhinRobertaModel,
        TwhinXLMRobertaForPreTraining,
        TwhinXLMRobertaModel,
    )


def __getattr__(name: str):
    # Late, so that `import twhin_hf` and the commands' --help do not wait for torch.
    if name in __all__:
        import twhin_hf.modeling

        return getattr(twhin_hf.modeling, name)
    raise AttributeError(f"module 'twhin_hf' has no attribute {name!r}")
