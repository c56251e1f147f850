"""Shakti Standard Format (SSF) with named entities, as the IJCNLP-08 shared task published it.

Bharati, Sangal and Sharma, "SSF: Shakti Standard Format Guide" (2007). A line is an address, a
word or `((`, a category and features, separated by tabs; `((` opens a chunk, `))` closes it, and a
chunk with the feature `ne` is an entity:

    <Sentence id="1">
    0	((	SSF
    1	((	NP	<ne=NEP>
    1.1	((	NP	<ne=NETP>
    1.1.1	Emperor
        ))
    1.2	Akbar
        ))
    2	won
        ))
    </Sentence>
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from twhin_hf.errors import InputError

_MARKUP = re.compile(r"</?\s*(story|sentence|document|head|text|body|p)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"<(/?)\s*sentence\b", re.IGNORECASE)
_ENTITY = re.compile(r"\bne\s*=\s*['\"]?\s*([^'\"\s/>]+)", re.IGNORECASE)
_ADDRESS = re.compile(r"\d+(\.\d+)*$")


def is_shakti(lines: Iterable[str]) -> bool:
    """Whether the first lines are those of an SSF file: markup, or a chunk that opens."""
    first = islice((line for line in lines if line.strip()), 1)
    return any(_MARKUP.match(line) or line.split()[1:2] == ["(("] for line in first)


def parse_shakti(
    file: Path, lines: Iterable[tuple[int, str]]
) -> Iterator[tuple[list[str], list[str]]]:
    """Words and BIO tags of each sentence; of nested entities the outermost one counts.

    Args:
        file: Named in errors.
        lines: Numbered lines.

    Yields:
        Words and tags of a sentence that has words.

    Raises:
        InputError: A line that is not SSF, or chunks that do not close, with the line's number.
    """
    tokens: list[str] = []
    tags: list[str] = []
    chunks: list[str | None] = []
    begins = False
    for number, line in lines:
        if not line.strip():
            continue
        if _MARKUP.match(line):
            if chunks:
                raise InputError(
                    f"{file}, line {number}: {line.strip()!r} comes while {len(chunks)} chunks are "
                    "open; close each '((' with a '))'"
                )
            if _SENTENCE.match(line):
                if tokens:
                    yield tokens, tags
                tokens, tags = [], []
            continue
        columns = [column.strip() for column in line.split("\t")]
        if "))" in columns[:2]:
            if not chunks:
                raise InputError(f"{file}, line {number}: '))' closes a chunk that nothing opened")
            chunks.pop()
        elif len(columns) < 2 or not _ADDRESS.match(columns[0]) or not columns[1]:
            raise InputError(
                f"{file}, line {number} is {line[:80]!r}; needed are an address and a word or "
                "'((', separated by a tab"
            )
        elif columns[1] == "((":
            found = _ENTITY.search("\t".join(columns[2:]))
            begins = begins or not any(chunks)
            chunks.append(found.group(1).upper() if found else None)
        else:
            entity = next((chunk for chunk in chunks if chunk), None)
            tokens.append(columns[1])
            tags.append("O" if entity is None else f"{'B' if begins else 'I'}-{entity}")
            begins = False
    if chunks:
        raise InputError(f"{file} ends while {len(chunks)} chunks are open; it is cut off")
    if tokens:
        yield tokens, tags
