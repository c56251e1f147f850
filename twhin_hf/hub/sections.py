"""Cards whose made parts are renewed and whose hand-written parts stay.

A made part stands between `<!-- twhin_hf:begin NAME -->` and `<!-- twhin_hf:end NAME -->`. All else
belongs to whoever wrote it; so does a part whose marks were taken away.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_PART = re.compile(
    r"<!-- twhin_hf:begin (?P<name>[\w-]+) -->\n.*?<!-- twhin_hf:end (?P=name) -->", re.DOTALL
)
_HEADER = re.compile(r"\A\s*---\r?\n(.*?)^---[ \t]*$\n?", re.DOTALL | re.MULTILINE)
_RENEWED = ("base_model", "model-index", "configs", "dataset_info")


def split_card(text: str) -> tuple[dict[str, Any], str]:
    """Metadata and body of a card.

    Raises:
        ValueError: metadata that are no YAML mapping.

    Example:
        >>> split_card("---\\nlicense: mit\\n---\\n# Title\\n")
        ({'license': 'mit'}, '# Title\\n')
    """
    header = _HEADER.match(text)
    if not header:
        return {}, text
    try:
        metadata = yaml.safe_load(header.group(1)) or {}
    except yaml.YAMLError as error:
        raise ValueError(
            f"the card's metadata are no YAML: {error}; mend the lines between ---"
        ) from error
    if not isinstance(metadata, dict):
        raise ValueError("the card's metadata must be `key: value` lines between ---")
    return metadata, text[header.end() :]


def join_card(metadata: dict[str, Any], body: str) -> str:
    """The card of metadata and body."""
    header = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{header}---\n\n{body.lstrip()}"


def merge_cards(existing: str, new: str) -> str:
    """A new card's made parts in an existing card.

    Metadata: what a person has set stays; what follows from the model and its results
    (`base_model`, `model-index`) is new, and tags and data sets are those of both.

    Args:
        existing: the card that is there, perhaps edited.
        new: the card as it would be made today.

    Example:
        >>> mark = "<!-- twhin_hf:begin x -->\\n{}\\n<!-- twhin_hf:end x -->\\n"
        >>> print(merge_cards(mark.format("old") + "By hand.", mark.format("new")))
        <!-- twhin_hf:begin x -->
        new
        <!-- twhin_hf:end x -->
        By hand.
    """
    there, body = split_card(existing)
    made, made_body = split_card(new)
    parts = {part["name"]: part.group() for part in _PART.finditer(made_body)}
    body = _PART.sub(lambda part: parts.get(part["name"], part.group()), body)
    metadata = made | there
    metadata |= {key: made[key] for key in _RENEWED if key in made}
    for key in ("tags", "datasets"):
        both = [*_list(there.get(key)), *_list(made.get(key))]
        if both:
            metadata[key] = list(dict.fromkeys(both))
    return join_card(metadata, body) if metadata else body


def _list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]
