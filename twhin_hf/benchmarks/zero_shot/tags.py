"""Tags of named entities, whatever the scheme, as BIO."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from twhin_hf.errors import InputError

OUTSIDE = "O"
_BIO_PREFIX = {"B": "B", "I": "I", "E": "I", "L": "I", "M": "I", "S": "B", "U": "B"}


def to_bio(tags: Sequence[str]) -> list[str]:
    """BIO tags from BIO, IOB1, BIOES or BILOU tags of one sentence.

    Raises:
        InputError: A tag that is neither `O` nor a prefix and a type, such as `B-PER`.

    >>> to_bio(["I-PER", "I-PER", "B-PER", "O", "S-LOC", "B-ORG", "E-ORG", "I-LOC"])
    ['B-PER', 'I-PER', 'B-PER', 'O', 'B-LOC', 'B-ORG', 'I-ORG', 'B-LOC']
    """
    converted, before = [], OUTSIDE
    for tag in tags:
        prefix, kind = _prefix_and_type(tag)
        if prefix == OUTSIDE:
            converted.append(OUTSIDE)
        else:
            inside = _BIO_PREFIX[prefix] == "I" and before == kind
            converted.append(f"{'I' if inside else 'B'}-{kind}")
        # An entity that ends here is not gone on with by an I- that follows.
        before = OUTSIDE if prefix in "OELSU" else kind
    return converted


def rename_types(tags: list[str], label_map: Mapping[str, str]) -> list[str]:
    """BIO tags with other names of types; a type whose name is "O" is no entity any more."""
    if not label_map:
        return tags
    renamed = []
    for tag in tags:
        prefix, kind = _prefix_and_type(tag)
        kind = label_map.get(kind, kind)
        renamed.append(OUTSIDE if OUTSIDE in (tag, kind) else f"{prefix}-{kind}")
    return renamed


def is_tag(text: str) -> bool:
    """Whether a text is `O`, or a prefix and a type."""
    try:
        _prefix_and_type(text)
    except ValueError:
        return False
    return True


def check_tag(file: Path, number: int, line: str, tag: str, advice: str = "") -> str:
    """The tag, if it is one.

    Args:
        file: Named in the error.
        number: Of the line.
        line: Shown in the error.
        tag: To check.
        advice: What to do where it is none.

    Raises:
        InputError: It is none; tells the file and the line.
    """
    try:
        _prefix_and_type(tag)
    except ValueError as error:
        raise InputError(f"{file}, line {number} ({line[:60]!r}): {error}{advice}") from error
    return tag


@functools.cache
def _prefix_and_type(tag: str) -> tuple[str, str]:
    prefix, _, kind = tag.partition("-")
    if tag != OUTSIDE and not (prefix in _BIO_PREFIX and kind):
        raise InputError(f"{tag!r} is no tag; needed is 'O', or a prefix and a type as 'B-PER'")
    return prefix, kind
