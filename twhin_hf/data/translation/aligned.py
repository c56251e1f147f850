"""Translation pairs of two files with a text a line, as Moses, OPUS and LASER have them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.data.language_codes import LanguagePair, is_known_code, language_code
from twhin_hf.data.translation.sources import PairSource, add_languages
from twhin_hf.errors import InputError
from twhin_hf.files import list_files
from twhin_hf.lines import read_blocks

logger = logging.getLogger(__name__)

_NAME = re.compile(r"(.+?)\.([A-Za-z]{2,3}(?:[-_][A-Za-z]+)*)(?:\.gz|\.bz2|\.xz|\.zst)?")
_PAIR = re.compile(r"(?:^|[^A-Za-z])([a-z]{2,3}(?:_[A-Za-z]+)*)-([a-z]{2,3}(?:_[A-Za-z]+)*)$")
# What of a set is in a file: opus.ar-en-test.ar (OPUS-100), valid.de-en.de.
_PART = re.compile(r"(?:^|[._-])(train|dev|devtest|valid|validation|val|test)(?=[._-]|$)")
_ROWS_PER_BATCH = 50_000


class AlignedFiles(NamedTuple):
    """Two files whose lines translate each other."""

    languages: LanguagePair
    first: Path
    second: Path


def moses_pairs(
    path: str | Path, languages: Sequence[LanguagePair] = (), *, progress: bool = True
) -> PairSource:
    """Aligned files: line n of `corpus.ar-en.en` translates line n of `corpus.ar-en.ar`.

    Args:
        path: A folder, or one of the files; packed (`.gz`, `.bz2`, `.xz`, `.zst`) or not. Files of
            one name that end in their languages belong together: `Tatoeba.ar-en.ar` (OPUS),
            `tatoeba.ara-eng.ara` (LASER), `train.en` (Moses). Of a set that has a part to train on
            (`opus.ar-en-train.ar`), the held-out parts beside it are left out, with a warning; a
            file of them is read where it is the path.
        languages: Pairs of languages; those that the names tell where there is none.
        progress: Shows progress bars.

    Raises:
        FileNotFoundError: The path is missing, or has no two such files.
        InputError: No files of a pair of languages; or, as the batches are drawn, files of unequal
            numbers of lines, or one that is not UTF-8.
    """
    found = find_aligned_files(path, languages)
    if not found:
        raise FileNotFoundError(
            f"{path} holds no two files of one name that end in their languages, as corpus.en and "
            "corpus.ar do. Rename them, or take another --source."
        )
    return PairSource("moses", read_aligned_files(found, progress))


def find_aligned_files(
    path: str | Path, languages: Sequence[LanguagePair] = ()
) -> list[AlignedFiles]:
    """Aligned files of the languages asked for, or of all that the names tell; none without any.

    Raises:
        FileNotFoundError: The path is missing.
        InputError: There are aligned files, but of other languages, or of three languages where
            none are asked for.
    """
    asked = {code for pair in languages for code in pair}
    named: dict[tuple[Path, str], dict[str, Path]] = {}
    own_name = _NAME.fullmatch(Path(path).name) if Path(path).is_file() else None
    files = list_files(path) if own_name is None else list_files(Path(path).parent)
    for file in files:
        name = _NAME.fullmatch(file.name)
        if name is None or (own_name and name[1] != own_name[1]):
            continue
        told, code = _PAIR.search(name[1]), language_code(name[2])
        if is_known_code(code) or code in asked or (told and name[2] in told.groups()):
            named.setdefault((file.parent, name[1]), {})[code] = file
    groups = _leave_held_out({name: own for name, own in named.items() if len(own) > 1})
    found: list[AlignedFiles] = []
    for (_, stem), own in groups.items():
        if len(own) > 2 and not languages:
            raise InputError(
                f"{path}: {stem} is there in {', '.join(sorted(own))}; name the pairs "
                "(`--languages en-ar`)."
            )
        found += [
            AlignedFiles(pair, own[pair[0]], own[pair[1]])
            for pair in languages or [_order(stem, own)]
            if set(pair) <= own.keys()
        ]
    missing = [pair for pair in languages if not any(pair == own.languages for own in found)]
    if groups and missing:
        there = "; ".join(
            f"{stem} in {', '.join(sorted(own))}" for (_, stem), own in groups.items()
        )
        raise InputError(f"{path} has no aligned files of {'-'.join(missing[0])}; found: {there}.")
    return found


def read_aligned_files(files: Sequence[AlignedFiles], progress: bool) -> Iterator[pa.Table]:
    """The pairs of all files, a text on both sides or blank on one as the lines are.

    Raises:
        InputError: Two files have unequal numbers of lines, which are told.
    """
    from rich.progress import Progress

    with Progress(disable=not progress) as bar:
        for pair in files:
            task = bar.add_task(f"Reading {pair.first.name}", total=pair.first.stat().st_size)
            sides = [_batches(pair.first), _batches(pair.second)]
            counts = [0, 0]
            for blocks in zip_longest(*sides):
                for side, block in enumerate(blocks):
                    counts[side] += 0 if block is None else len(block)
                if counts[0] == counts[1]:
                    yield add_languages(
                        pa.table(blocks, names=["text_a", "text_b"]), pair.languages
                    )
            bar.update(task, completed=pair.first.stat().st_size)
            if counts[0] != counts[1]:
                raise InputError(
                    f"{pair.first} has {counts[0]:,} lines and {pair.second} {counts[1]:,}; needed "
                    "are two files whose lines translate each other. Get both again."
                )


def _batches(path: Path) -> Iterator[pa.ChunkedArray]:
    """The lines of a file, blank ones too, `_ROWS_PER_BATCH` at a time."""
    held = pa.chunked_array([], pa.string())
    for block in read_blocks(path):
        lines = pc.utf8_rtrim(block.lines, "\r\n")
        held = pa.chunked_array([*held.chunks, *lines.chunks], pa.string())
        while len(held) >= _ROWS_PER_BATCH:
            yield held.slice(0, _ROWS_PER_BATCH)
            held = held.slice(_ROWS_PER_BATCH)
    if len(held):
        yield held


def _leave_held_out(
    groups: dict[tuple[Path, str], dict[str, Path]],
) -> dict[tuple[Path, str], dict[str, Path]]:
    """Without the held-out parts of sets whose part to train on is there too."""
    parts = {name: part[1] for name in groups if (part := _PART.search(name[1]))}
    sets = {name: (name[0], _PART.sub("", name[1], count=1)) for name in parts}
    trained = {sets[name] for name, part in parts.items() if part == "train"}
    held_out = {n for n, part in parts.items() if part != "train" and sets[n] in trained}
    if held_out:
        logger.warning(
            "Left out as parts to test on, beside those to train on: %s. To read one of them, give "
            "its file.",
            ", ".join(sorted(stem for _, stem in held_out)),
        )
    return {name: own for name, own in groups.items() if name not in held_out}


def _order(stem: str, found: dict[str, Path]) -> LanguagePair:
    """The two languages in the order of the name, or of the alphabet."""
    told = _PAIR.search(stem)
    pair = tuple(map(language_code, told.groups())) if told else ()
    first, second = pair if set(pair) == found.keys() else sorted(found)
    return first, second
