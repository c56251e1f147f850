"""Translation pairs of any table with two columns of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.data.language_codes import LanguagePair, language_codes
from twhin_hf.data.posts import UNKNOWN_LANGUAGE
from twhin_hf.data.translation.sources import PairSource, add_languages, check_languages, one_pair
from twhin_hf.errors import InputError
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import (
    TableSource,
    describe,
    has_text,
    is_source,
    open_engine,
    read_errors,
    read_table,
    table_batches,
)

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_SIDES = ("text_a", "text_b", "lang_a", "lang_b")
_ROWS_PER_BATCH = 50_000


def column_pairs(
    source: TableSource | Dataset | IterableDataset,
    languages: Sequence[LanguagePair] = (),
    *,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    name: str = "columns",
    memory_limit: str = "1GB",
) -> PairSource:
    """Any table with two columns of text: Parquet, CSV, JSON lines or a data set of `datasets`.

    A data set of the `translation` feature has such columns after `dataset.flatten()`:
    `{"text_a": "translation.en", "text_b": "translation.ar"}`.

    Args:
        source: A file, a folder of files, an Ibis table on DuckDB, or a data set, also one that
            streams.
        languages: Without language columns none ("und") or one pair, that of the two columns. With
            them the pairs to keep, in which order of sides; all as they stand where there is none.
        columns: What the source calls `text_a`, `text_b` and, optionally, `lang_a` and `lang_b`.
        table_format: How text tables are written.
        name: Goes into the column `source`.
        memory_limit: Most memory of the engine that reads files.

    Raises:
        FileNotFoundError: The source is missing.
        InputError: A column or, as the batches are drawn, a language is missing.
    """
    dropped: Counter[str] = Counter()
    found: Counter[str] = Counter()

    def batches() -> Iterator[pa.Table]:
        tables = (
            _read_files(source, columns, table_format, memory_limit)
            if is_source(source)
            else _read_dataset(source, columns)
        )
        for table in tables:
            if {"lang_a", "lang_b"} & set(table.column_names):
                yield from _of_languages(_fill(table), languages, found, dropped)
            else:
                why = f"{describe(source)} has no columns of languages"
                yield add_languages(table, one_pair(languages, why))
        if found:
            check_languages(languages, found, describe(source))

    return PairSource(name, batches(), dropped)


def _read_files(
    source: TableSource,
    columns: Mapping[str, str] | None,
    table_format: TableFormat | None,
    memory_limit: str,
) -> Iterator[pa.Table]:
    with open_engine(memory_limit) as engine, read_errors(source):
        table = read_table(
            source,
            _SIDES[:2],
            _SIDES[2:],
            connection=engine,
            columns=columns,
            table_format=table_format,
        )
        yield from table_batches(table, _ROWS_PER_BATCH)


def _read_dataset(
    dataset: Dataset | IterableDataset, columns: Mapping[str, str] | None
) -> Iterator[pa.Table]:
    names = dict(zip(_SIDES, _SIDES, strict=True)) | dict(columns or {})
    needed = {*_SIDES[:2], *(columns or {})}
    for table in dataset.with_format("arrow").iter(batch_size=_ROWS_PER_BATCH):
        there = [side for side in _SIDES if names[side] in table.column_names]
        if missing := [names[side] for side in _SIDES if side in needed - set(there)]:
            raise InputError(
                f"The data set has no column {missing[0]!r}; found are "
                f"{', '.join(table.column_names)}. Say which they are with "
                'columns={"text_a": "...", "text_b": "..."}.'
            )
        table = table.select([names[side] for side in there]).rename_columns(there)
        yield pa.table([column.cast(pa.string()) for column in table.columns], names=there)


def _fill(table: pa.Table) -> pa.Table:
    """The languages, "und" where one is blank; three-letter codes become two-letter ones.

    Raises:
        InputError: There is only one column of languages.
    """
    for found, missing in (("lang_a", "lang_b"), ("lang_b", "lang_a")):
        if missing not in table.column_names:
            raise InputError(
                f"There is a column {found} but none {missing}; needed are both or none."
            )
    langs = []
    for side in _SIDES[2:]:
        filled = pc.if_else(has_text(table[side]), table[side], UNKNOWN_LANGUAGE)
        langs.append(language_codes(filled.combine_chunks()))
    return pa.table([table["text_a"], table["text_b"], *langs], names=_SIDES)


def _of_languages(
    table: pa.Table, languages: Sequence[LanguagePair], found: Counter[str], dropped: Counter[str]
) -> Iterator[pa.Table]:
    """The rows of the languages asked for, their sides in this order."""
    for side in _SIDES[2:]:
        for entry in table[side].value_counts().to_pylist():
            found[entry["values"]] += entry["counts"]
    if not languages:
        yield table
        return
    kept = 0
    for pair in languages:
        for first, second in (_SIDES[2:], _SIDES[:1:-1]):
            mask = pc.and_(pc.equal(table[first], pair[0]), pc.equal(table[second], pair[1]))
            own = table.filter(mask)
            kept += len(own)
            if first == "lang_b":
                own = own.select(["text_b", "text_a", "lang_b", "lang_a"]).rename_columns(_SIDES)
            yield own
    dropped["other languages"] += len(table) - kept
