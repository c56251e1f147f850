"""Cards whose made parts are renewed and whose hand-written parts stay.

A made part stands between `<!-- twhin_hf:begin NAME -->` and `<!-- twhin_hf:end NAME -->`. All else
belongs to whoever wrote it; so does a part whose marks were deleted.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import CardData, RepoCard

from twhin_hf.errors import WRONG_CONTENT, InputError
from twhin_hf.files import read_text

_PART = re.compile(
    r"<!-- twhin_hf:begin (?P<name>[\w-]+) -->\n.*?<!-- twhin_hf:end (?P=name) -->", re.DOTALL
)
_RENEWED = ("base_model", "model-index", "configs", "dataset_info")


def read_card(text: str) -> RepoCard:
    """A card whose metadata are `.data` and whose body is `.text`.

    Raises:
        InputError: Metadata that are no YAML mapping.

    Example:
        >>> card = read_card("---\\nlicense: mit\\n---\\n# Title\\n")
        >>> card.data.to_dict(), card.text
        ({'license': 'mit'}, '# Title\\n')
    """
    try:
        return RepoCard(text)
    except yaml.YAMLError as error:
        raise InputError(
            f"the card's metadata are no YAML: {error}; mend the lines between ---"
        ) from error
    except WRONG_CONTENT as error:
        raise InputError("the card's metadata must be `key: value` lines between ---") from error


def license_of_folder(folder: Path) -> str | None:
    """The licence that the card of a folder states; None where it has no card or no licence."""
    path = folder / "README.md"
    if not path.is_file():
        return None
    try:
        stated = read_card(read_text(path)).data.get("license")
    except ValueError:
        return None
    return stated if isinstance(stated, str) else None


def merge_cards(existing: str, new: str) -> str:
    """A new card's made parts in an existing card.

    Metadata: what a person has set stays; what follows from the model and its results
    (`base_model`, `model-index`) is new, and tags and data sets are those of both.

    Args:
        existing: The card that is there, perhaps edited.
        new: The card as it would be made today.

    Raises:
        InputError: Metadata that are no YAML mapping of names, or tags that are no words.

    Example:
        >>> mark = "<!-- twhin_hf:begin x -->\\n{}\\n<!-- twhin_hf:end x -->\\n"
        >>> print(merge_cards(mark.format("old") + "By hand.", mark.format("new")))
        <!-- twhin_hf:begin x -->
        new
        <!-- twhin_hf:end x -->
        By hand.
    """
    card, new_card = read_card(existing), read_card(new)
    parts = {part["name"]: part.group() for part in _PART.finditer(new_card.text)}
    card.text = _PART.sub(lambda part: parts.get(part["name"], part.group()), card.text)
    there, made = card.data.to_dict(), new_card.data.to_dict()
    metadata = made | there
    metadata |= {key: made[key] for key in _RENEWED if key in made}
    for key in ("tags", "datasets"):
        both = [*_list(there.get(key)), *_list(made.get(key))]
        if not all(isinstance(word, str) for word in both):
            raise InputError(f"the card's {key} are {both}; needed are words")
        if both:
            metadata[key] = list(dict.fromkeys(both))
    if not all(isinstance(key, str) for key in metadata):
        raise InputError("the card's metadata must be `key: value` lines between ---")
    card.data = CardData(**metadata)
    return str(card) if metadata else card.text


def _list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]
