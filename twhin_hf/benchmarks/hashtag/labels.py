"""The label tables of a hashtag benchmark: ids, labels and, where they are there, texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twhin_hf.errors import InputError
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import column_names, has_text, open_engine, read_errors, read_table

_NAMES = {
    "id": ("id", "post_id", "tweet_id"),
    "label": ("label", "hashtag"),
    "text": ("text",),
}


def read_labels(
    splits: Mapping[str, Sequence[Path]],
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
) -> dict[str, pa.Table]:
    """Reads the tables of one language and checks that they make a benchmark.

    An id that comes again with the same label is dropped from where it comes later, in the order
    of the splits.

    Args:
        splits: Files of each split: TSV, CSV, JSON lines or Parquet, with columns `ID` (or `id`,
            `post_id`), `label` and, where all files have it, `text`. The label may be a
            `ClassLabel` of `datasets`.
        columns: What the files call `id`, `label` or `text`, where the name is unusual.
        table_format: How text tables are written.

    Returns:
        String columns `id`, `label` (without `#`) and perhaps `text`, a table per split.

    Raises:
        InputError: A file lacks a column or its header, an id or label is blank, an id has two
            labels, a split is empty, a label has no example in train, or some files have texts
            and others none.
    """
    if unknown := sorted(set(columns or {}) - set(_NAMES)):
        raise InputError(
            f"columns names {', '.join(unknown)}, which is not read here; known are "
            f"{', '.join(_NAMES)}."
        )
    tables = {
        split: pa.concat_tables([_read(file, columns or {}, table_format) for file in files])
        for split, files in splits.items()
    }
    kept = _drop_repeats(_merge(tables))
    found = {
        split: kept.filter(pc.equal(kept["split"], split)).drop_columns("split") for split in tables
    }
    for split, table in found.items():
        if not len(table):
            raise InputError(
                f"The split {split} is empty ({_names(splits[split])}), or all of it stands in "
                "an earlier split. Needed is at least one post in train, development and test."
            )
    unseen = set(kept["label"].to_pylist()) - set(found["train"]["label"].to_pylist())
    if unseen:
        raise InputError(
            f"{len(unseen):,} labels have no example in train ({_names(splits['train'])}): "
            f"{', '.join(sorted(unseen)[:5])}. A model cannot learn them: take these posts out, or "
            "move some to train."
        )
    return found


def _read(file: Path, theirs: Mapping[str, str], table_format: TableFormat | None) -> pa.Table:
    """`id`, `label` and perhaps `text` of a file, as strings without nulls."""
    found = column_names(file, table_format)
    names = {
        name: next((there for there in found if there.lower() in known), None)
        for name, known in _NAMES.items()
    } | dict(theirs)
    missing = [name for name in ("id", "label") if names[name] is None]
    if missing:
        raise InputError(
            f"{file} has no column {' and none '.join(missing)}; its first line or schema has "
            f"{', '.join(map(repr, found[:10])) or 'nothing'}. Needed is a header with ID and "
            "label (and text, where posts are hydrated), or columns that say which they are "
            "(`--columns id=... label=...`)."
        )
    columns = {name: there for name, there in names.items() if there is not None}
    with open_engine() as engine, read_errors(file, has_memory_limit=False):
        table = read_table(
            file,
            ["id", "label"],
            ["text"],
            connection=engine,
            columns=columns,
            table_format=table_format,
        ).to_pyarrow()
    for name in ("id", "label"):
        blank = len(table) - (pc.sum(has_text(table[name])).as_py() or 0)
        if blank:
            raise InputError(f"{file}: {blank:,} of {len(table):,} rows have a blank {name}.")
    label = pc.utf8_trim_whitespace(_label_names(file, columns["label"], table["label"]))
    table = table.set_column(1, "label", pc.replace_substring_regex(label, "^[#＃]", ""))
    if "text" in columns:
        table = table.set_column(2, "text", pc.fill_null(table["text"], ""))
    return table.select(list(columns))


def _merge(tables: Mapping[str, pa.Table]) -> pa.Table:
    """All splits in one table, with a column `split`."""
    with_text = {name: "text" in table.column_names for name, table in tables.items()}
    if len(set(with_text.values())) > 1:
        raise InputError(
            f"Some splits have texts ({', '.join(k for k, v in with_text.items() if v)}), others "
            f"none ({', '.join(k for k, v in with_text.items() if not v)}). Needed are texts in "
            "all files, or in none with a hydration source."
        )
    return pa.concat_tables(
        table.append_column("split", pa.repeat(name, len(table))) for name, table in tables.items()
    )


def _label_names(file: Path, column: str, labels: pa.ChunkedArray) -> pa.ChunkedArray:
    """Names for the numbers of a `ClassLabel`, which a Parquet file of `datasets` tells."""
    from datasets import ClassLabel, Features

    if not file.name.lower().endswith(".parquet"):
        return labels
    feature = Features.from_arrow_schema(pq.read_schema(file)).get(column)
    if not isinstance(feature, ClassLabel):
        return labels
    return pa.chunked_array([pa.array(feature.names)]).take(labels.cast(pa.int64()))


def _drop_repeats(rows: pa.Table) -> pa.Table:
    """The first row of each id."""
    groups = rows.select(["id", "label"]).group_by("id", use_threads=False)
    labels = groups.aggregate([("label", "count_distinct")])
    twice = labels.filter(pc.greater(labels["label_count_distinct"], 1))["id"]
    if len(twice):
        example = twice[0].as_py()
        given = rows.filter(pc.equal(rows["id"], example))
        places = [f"{row['label']!r} in {row['split']}" for row in given.to_pylist()]
        raise InputError(
            f"{len(twice):,} ids have different labels; {example!r} has {', '.join(places)}. "
            "A post must have one label: take these rows out."
        )
    numbered = rows.append_column("row", pa.array(np.arange(len(rows))))
    first = numbered.group_by("id", use_threads=False).aggregate([("row", "min")])["row_min"]
    return rows.take(np.sort(first.to_numpy()))


def _names(files: Sequence[Path]) -> str:
    return ", ".join(file.name for file in files)
