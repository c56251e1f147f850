"""Where translation pairs come from: WikiMatrix, published JSON lines, and what sources share.

Each source is a function that gives a `PairSource`: blocks of pairs as they stand, read as they are
asked for, with a count of what the source itself dropped. Tatoeba, Wikidata and tables with two
columns of text have modules of their own. `twhin_hf.data.translation.pairs` cleans and writes them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.data.language_codes import LanguagePair, code_of_name, language_code
from twhin_hf.data.posts import UNKNOWN_LANGUAGE
from twhin_hf.data.translation.tab_columns import numbers_of, split_columns
from twhin_hf.engines import json_errors
from twhin_hf.errors import InputError
from twhin_hf.files import list_files
from twhin_hf.lines import NumberedLines, first_line, read_lines

PUBLISHED_COLUMN = "unique_label_desc"
# Codes at the end of a name, such as those of WikiMatrix.ar-en.tsv.gz.
_PAIR_NAME = re.compile(r"(?:^|[^A-Za-z])([a-z]{2,3})-([a-z]{2,3})\.(?:tsv|txt)(?:\.gz|\.bz2)?$")
# As Tatoeba names an export: Sentence pairs in English-Arabic - 2024-01-01.tsv.
_TATOEBA_NAME = re.compile(r"^Sentence pairs in (.+)-(.+) - [\d-]+(?: \(\d+\))?\.(?:tsv|txt)")
# As Anki's decks of Tatoeba are named and written: fra.txt, lines of English, French, attribution.
_ANKI_NAME = re.compile(r"([a-z]{3})\.(?:tsv|txt)$")
_ANKI_LINE = re.compile(r"[^\t]*\t[^\t]*\tCC-BY [^\t]*$")
_PACKED = ("", ".gz", ".bz2")


@dataclass(frozen=True)
class PairSource:
    """Pairs of texts that are still to be cleaned.

    Args:
        name: Goes into the column `source`.
        batches: Blocks with string columns `text_a`, `text_b`, `lang_a` and `lang_b`.
        dropped: What the source left out and why, in pairs; complete when the batches are drawn.
    """

    name: str
    batches: Iterator[pa.Table]
    dropped: Counter[str] = field(default_factory=Counter)


class PairFile(NamedTuple):
    """A file of two languages, and whether its columns stand the other way round."""

    path: Path
    languages: LanguagePair
    swapped: bool


def wikimatrix_pairs(
    path: str | Path,
    languages: Sequence[LanguagePair] = (),
    *,
    min_score: float = 1.05,
    progress: bool = True,
) -> PairSource:
    """Mined pairs of WikiMatrix (arXiv 1907.05791), lines of score, text, text.

    Args:
        path: A file or a folder of files named as WikiMatrix.ar-en.tsv.gz is.
        languages: Pairs of languages; all that the names tell where there is none.
        min_score: Pairs whose margin score is not above are dropped (TPP paper: 1.05).
        progress: Shows progress bars.

    Raises:
        FileNotFoundError: The source is missing.
        InputError: No file is of the languages asked for; or, as the batches are drawn, a file is
            not gzip though its name ends so, is not UTF-8, or a line lacks a column.
    """
    files, dropped = find_pair_files(path, languages), Counter[str]()

    def batches() -> Iterator[pa.Table]:
        for file in files:
            for whole in read_lines(file.path, progress=progress):
                names = "margin score, text, text"
                block, (scores, *texts) = split_columns(whole, 3, names, dropped)
                kept = pc.greater(numbers_of(block, scores, pa.float64(), "score"), min_score)
                dropped[f"score not above {min_score:g}"] += kept.false_count
                yield side_by_side(texts, file).filter(kept)

    return PairSource("wikimatrix", batches(), dropped)


def published_pairs(
    path: str | Path,
    languages: Sequence[LanguagePair] = (),
    *,
    max_texts: int = 5,
    progress: bool = True,
) -> PairSource:
    """The TPP paper's exchange format: lines `{"id": …, "unique_label_desc": [text, text, …]}`.

    All combinations of an item's first texts are pairs (paper: up to 5). The format does not tell
    languages. With a pair of languages, the first text of an item is taken to be of the first and
    the others of the second, as `write_published_json_lines` writes them, so that the combinations
    of the others are of one language and dropped; without, all are "und" and kept.

    Args:
        path: The file, or a folder of them (`.jsonl`, `.json`, packed or not).
        languages: None, or one pair of languages.
        max_texts: Further texts of an item are left out.
        progress: Shows progress bars.

    Raises:
        FileNotFoundError: The source is missing.
        InputError: Several pairs of languages, fewer than 2 texts; or, as the batches are drawn, a
            line is not JSON or holds no such list.
    """
    if max_texts < 2:
        raise InputError(f"max_texts is {max_texts}; a pair needs at least 2 texts of an item.")
    lang_a, lang_b = one_pair(languages, "the published JSON lines do not tell languages")
    files = find_files(path, (".jsonl", ".json", ".ndjson"))
    dropped: Counter[str] = Counter()

    def batches() -> Iterator[pa.Table]:
        for block in (block for file in files for block in read_lines(file, progress=progress)):
            (lists,) = json_values(block, [f"$.{PUBLISHED_COLUMN}[*]"])
            sizes = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
            dropped["items without texts"] += _count_empty(block, sizes == 0)
            first, second, at_start = _combinations(sizes, max_texts)
            dropped["items of one text"] += int((sizes == 1).sum())
            beyond = int((sizes * (sizes - 1) // 2).sum()) - len(first)
            dropped[f"texts beyond the first {max_texts} of an item"] += beyond
            if languages:
                dropped[f"pairs of {lang_b} alone"] += int((~at_start).sum())
                first, second = first[at_start], second[at_start]
            texts = lists.combine_chunks().flatten()
            sides = [texts.take(pa.array(places)) for places in (first, second)]
            yield add_languages(pa.table(sides, names=["text_a", "text_b"]), (lang_a, lang_b))

    return PairSource("published", batches(), dropped)


def find_files(path: str | Path, endings: Sequence[str]) -> list[Path]:
    """A file, or the files of a folder whose names end so, hidden ones left out.

    Args:
        path: File or folder.
        endings: Of a folder's files, such as `.tsv`; packed ones (`.tsv.gz`, `.tsv.bz2`) too.

    Raises:
        FileNotFoundError: There is none.
    """
    found = list_files(path)
    if Path(path).is_dir():
        packed = tuple(ending + packing for ending in endings for packing in _PACKED)
        found = [file for file in found if file.name.endswith(packed)]
    if not found:
        raise FileNotFoundError(
            f"{path} holds no file that can be read. Needed is a name that ends in "
            f"{', '.join(endings)} (packed as .gz or .bz2 too)."
        )
    return found


def find_pair_files(path: str | Path, languages: Sequence[LanguagePair]) -> list[PairFile]:
    """The files of the languages asked for, by their names.

    Names are such as `en-ar.tsv`, `eng-ara.tsv.bz2` and those of Tatoeba's own exports, `Sentence
    pairs in English-Arabic - 2024-01-01.tsv`. Decks for Anki, `fra.txt`, have English first.

    One file whose name tells nothing holds the one pair asked for, in this order.

    Raises:
        FileNotFoundError: Nothing is there.
        InputError: No file of a pair of languages; those found are listed.
    """
    paths = find_files(path, (".tsv", ".txt"))
    named: dict[LanguagePair, list[Path]] = {}
    for file in paths:
        if pair := _languages_of_name(file.name) or _languages_of_deck(file):
            named.setdefault(pair, []).append(file)
    if len(paths) == 1 and not named:
        if len(languages) != 1:
            raise InputError(
                f"The name of {paths[0]} does not tell its languages, as en-ar.tsv would. Name the "
                "one pair it holds, in the order of its columns, with `--languages en-ar`.",
                faq="languages",
            )
        return [PairFile(paths[0], languages[0], False)]
    found = []
    for pair in languages or list(named):
        own = [PairFile(file, pair, False) for file in named.get(pair, ())]
        other_way = [PairFile(file, pair, True) for file in named.get(pair[::-1], ())]
        if not own + other_way:
            there = ", ".join("-".join(pair) for pair in sorted(named)) or "none"
            raise InputError(
                f"{path} has no pair file of {'-'.join(pair)}; found by their names are: {there}."
            )
        found += own + (other_way if languages else [])
    if not found:
        raise InputError(f"No name of a file in {path} tells two languages, as en-ar.tsv would.")
    return found


def side_by_side(texts: Sequence[pa.Array], file: PairFile) -> pa.Table:
    """Two columns of a file, in the order of its languages."""
    text_a, text_b = reversed(texts) if file.swapped else texts
    return add_languages(pa.table({"text_a": text_a, "text_b": text_b}), file.languages)


def check_languages(languages: Sequence[LanguagePair], found: Counter[str], where: str) -> None:
    """Checks that languages are there.

    Raises:
        InputError: One is not; the languages found are listed, the most frequent first.
    """
    missing = sorted({code for pair in languages for code in pair} - set(found))
    if missing:
        most = [code for code, _ in found.most_common(40)]
        more = f" and {len(found) - len(most)} more" if len(found) > len(most) else ""
        raise InputError(
            f"{where} has no text in {', '.join(missing)}; found are {', '.join(most)}{more}."
        )


def one_pair(languages: Sequence[LanguagePair], why: str) -> LanguagePair:
    """The one pair of languages that a source without languages may be given, or "und" twice.

    Raises:
        InputError: There are several.
    """
    if len(languages) > 1:
        given = " ".join("-".join(pair) for pair in languages)
        raise InputError(f"languages names {given}, but {why}. Give one pair, or one run for each.")
    return languages[0] if languages else (UNKNOWN_LANGUAGE, UNKNOWN_LANGUAGE)


def add_languages(table: pa.Table, languages: LanguagePair) -> pa.Table:
    """Columns `lang_a` and `lang_b` of one pair of languages."""
    for side, lang in zip(("lang_a", "lang_b"), languages, strict=True):
        table = table.append_column(side, pa.repeat(pa.scalar(lang), len(table)))
    return table


def json_values(block: NumberedLines, paths: Sequence[str]) -> list[pa.ChunkedArray]:
    """What JSON paths (RFC 9535) find in each line: strings, or lists of one path with `[*]`.

    Raises:
        InputError: A line is not JSON.
    """
    import duckdb

    with duckdb.connect() as connection:
        connection.register("block", pa.table({"line": block.lines}))
        # A list of paths, which may hold no [*], has a line parsed once.
        many, found = len(paths) > 1, "json_extract_string(line, $paths)"
        columns = ", ".join(f"found[{i + 1}] AS c{i}" for i in range(len(paths)))
        rows = f"SELECT {found if many else f'[{found}]'} AS found FROM block"
        query, values = f"SELECT {columns} FROM ({rows})", {"paths": paths if many else paths[0]}
        try:
            table = connection.sql(query, params=values).to_arrow_table()
        except json_errors():
            valid = connection.sql("SELECT json_valid(line) AS valid FROM block").to_arrow_table()
            row = valid["valid"].to_pylist().index(False)
            raise block.error(row, "this is not JSON.") from None
    return table.columns


def _languages_of_name(name: str) -> LanguagePair | None:
    """The languages that a file's name tells, if it does."""
    if codes := _PAIR_NAME.search(name):
        return language_code(codes[1]), language_code(codes[2])
    names = _TATOEBA_NAME.match(name)
    first, second = (code_of_name(part) for part in names.groups()) if names else (None, None)
    return (first, second) if first and second else None


def is_deck(file: Path) -> bool:
    """Whether a file is a deck for Anki: two texts and who wrote them (`CC-BY 2.0 (France) …`)."""
    return _ANKI_LINE.match(first_line(file)) is not None


def _languages_of_deck(file: Path) -> LanguagePair | None:
    name = _ANKI_NAME.fullmatch(file.name)
    return ("en", language_code(name[1])) if name and is_deck(file) else None


def _count_empty(block: NumberedLines, empty: np.ndarray) -> int:
    """How many items hold an empty list.

    Raises:
        InputError: One holds no list.
    """
    lines = block.lines.filter(pa.array(empty))
    (values,) = json_values(block._replace(lines=lines), [f"$.{PUBLISHED_COLUMN}"])
    is_list = pc.fill_null(pc.starts_with(values, "["), False).to_numpy()
    if not is_list.all():
        row = int(np.flatnonzero(empty)[np.argmin(is_list)])
        raise block.error(row, f'no list "{PUBLISHED_COLUMN}" of texts is there.')
    return len(lines)


def _combinations(sizes: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of both texts of all pairs within the lists, in order, and whether a is the first."""
    starts = np.cumsum(sizes) - sizes
    rows, firsts, seconds = [], [], []
    for first, second in combinations(range(most), 2):
        row = np.flatnonzero(sizes > second)
        rows.append(row)
        firsts.append(starts[row] + first)
        seconds.append(starts[row] + second)
    order = np.argsort(np.concatenate(rows), kind="stable")
    chosen = np.concatenate(firsts)[order]
    return chosen, np.concatenate(seconds)[order], chosen == starts[np.concatenate(rows)[order]]
