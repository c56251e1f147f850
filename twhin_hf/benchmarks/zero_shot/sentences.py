"""What readers of tagged words share: files, numbered lines, sentences between blank lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from twhin_hf.errors import InputError
from twhin_hf.lines import iterate_lines

if TYPE_CHECKING:
    from datasets import Dataset

Line: TypeAlias = tuple[int, str]
Sentence: TypeAlias = tuple[list[str], list[str]]


def find_files(path: str | Path) -> list[Path]:
    """A file, or the visible files of a folder by name.

    Raises:
        FileNotFoundError: There is none.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}; check the path of the file or folder.")
    files = (
        [file for file in sorted(path.rglob("*")) if file.is_file()] if path.is_dir() else [path]
    )
    files = [file for file in files if not file.name.startswith(".")]
    if not files:
        raise FileNotFoundError(f"The folder {path} holds no file.")
    return files


def numbered_lines(file: Path, encoding: str = "utf-8") -> Iterator[Line]:
    """Lines with their numbers from 1 on."""
    return enumerate(iterate_lines(file, encoding), start=1)


def sentence_lines(file: Path, encoding: str = "utf-8") -> Iterator[Iterator[Line]]:
    """The numbered lines of a file, parted by blank ones; each part is read before the next."""
    for is_blank, lines in groupby(
        numbered_lines(file, encoding), lambda line: not line[1].strip()
    ):
        if not is_blank:
            yield lines


def is_span_or_empty_node(word_id: str) -> bool:
    """Whether an id of CoNLL-U is that of a multi-word token (`1-2`) or an empty node (`1.1`)."""
    return any(
        len(parts := word_id.split(sign)) == 2 and all(part.isdecimal() for part in parts)
        for sign in "-."
    )


def odd_line(file: Path, number: int, line: str, needed: str) -> NoReturn:
    """Refuses a line.

    Raises:
        InputError: Always; it names the file, the line and what is needed.
    """
    raise InputError(f"{file}, line {number} is {line[:80]!r}; needed is {needed}")


def sentence_dataset(path: str | Path, sentences: Sequence[Sentence]) -> Dataset:
    """`tokens` and `tags`, a row a sentence.

    Raises:
        InputError: No sentence.
    """
    from datasets import Dataset

    if not sentences:
        raise InputError(f"{path} holds no sentence.")
    return Dataset.from_dict(
        {"tokens": [tokens for tokens, _ in sentences], "tags": [tags for _, tags in sentences]}
    )
