"""The files of an engagement benchmark: found by their paths, told apart by their columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow.compute as pc

from twhin_hf.benchmarks.archives import list_files
from twhin_hf.benchmarks.layout import files_of, find_layout
from twhin_hf.data.splits import SPLITS
from twhin_hf.errors import InputError
from twhin_hf.tables import column_names, is_blank, open_engine, read_errors, read_table

if TYPE_CHECKING:
    import ibis.expr.types as ir

_NAMES = {
    "id": ("id", "post_id", "tweet_id"),
    "text": ("text",),
    "user": ("user", "user_vector", "user_embedding", "user_emb", "embedding"),
}
_NEEDED = {"records": ("user", "id"), "posts": ("id", "text")}


class TableFile(NamedTuple):
    """A file of posts or records, and what it calls our columns."""

    path: Path
    columns: dict[str, str]


def find_files(folder: Path, language: str) -> dict[str, dict[str, list[TableFile]]]:
    """Files of `posts` and of `records` of a language, by split.

    Raises:
        FileNotFoundError: There is no such folder.
        InputError: The language or a split is not there, or no file has the columns of a part;
            the message lists the files and their columns.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. Give the unpacked benchmark.")
    found: dict[str, dict[str, list[TableFile]]] = {"posts": {}, "records": {}}
    columns: dict[str, list[str]] = {}
    for split, names in files_of(find_layout(list_files(folder)), language, folder).items():
        for name in names:
            columns[name] = column_names(folder / name)
            named = _match(columns[name])
            for part in ("records", "posts"):
                if all(column in named for column in _NEEDED[part]):
                    own = {column: named[column] for column in _NEEDED[part]}
                    found[part].setdefault(split, []).append(TableFile(folder / name, own))
                    break
    missing = [
        f"{part} of {split}" for part in found for split in SPLITS if split not in found[part]
    ]
    if missing:
        told = "; ".join(f"{name} ({', '.join(names)})" for name, names in columns.items())
        raise InputError(
            f"{folder} has no {', no '.join(missing)} for the language {language!r}. Needed are, "
            "in each split, posts with columns id and text, and records with user (a vector) and "
            f"id. Found are {told}."
        )
    return found


def _match(names: list[str]) -> dict[str, str]:
    """Our columns, and what they are called here."""
    return {
        column: there
        for column, known in _NAMES.items()
        for there in names
        if there.lower() in known
    }


@contextmanager
def open_table(file: TableFile) -> Iterator[ir.Table]:
    """A file as a table of our columns: `id` and `text` are strings, `user` a float32 list."""
    with open_engine() as engine, read_errors(file.path, has_memory_limit=False):
        if file.path.name.lower().endswith(".parquet"):
            table = engine.read_parquet(file.path)
            table = table.select(**{name: table[there] for name, there in file.columns.items()})
        else:
            table = read_table(
                file.path, list(file.columns), connection=engine, columns=file.columns, option=""
            )
        kinds = {name: "array<float32>" if name == "user" else "string" for name in file.columns}
        yield table.select(**{name: table[name].cast(kind) for name, kind in kinds.items()})


def check_ids(table: ir.Table, file: TableFile) -> int:
    """The number of rows.

    Raises:
        InputError: A row has no id.
    """
    found = table.aggregate(rows=table.count(), blank=table.count(where=is_blank(table.id)))
    counts = found.to_pyarrow().to_pylist()[0]
    if counts["blank"]:
        raise InputError(f"{file.path}: {counts['blank']:,} of {counts['rows']:,} rows have no id.")
    return counts["rows"]


def vector_lengths(table: ir.Table, file: TableFile) -> dict[int, Path]:
    """Lengths of the user vectors, and the file.

    Raises:
        InputError: A record has no vector, or one that holds a null, NaN or infinity.
    """
    counted = table.group_by(length=table.user.length()).agg(rows=table.count()).to_pyarrow()
    lengths = counted["length"].to_pylist()
    if None in lengths or 0 in lengths:
        raise InputError(f"{file.path} has records without a user vector; each needs one.")
    number = table.select(value=table.user.unnest()).value
    is_bad = number.isnull() | number.isnan() | number.isinf()
    num_bad = is_bad.sum().to_pyarrow().as_py()
    if num_bad:
        raise InputError(
            f"{file.path}: {num_bad:,} numbers of user vectors are null, NaN or infinite. Check "
            "the network that they are from."
        )
    return dict.fromkeys(lengths, file.path)


def check_posts(table: ir.Table, file: TableFile, split: str, split_of: dict[str, str]) -> None:
    """Checks posts against those before, whose splits `split_of` holds, and adds them to it.

    Raises:
        InputError: A post has no text, or comes twice.
    """
    rows = table.mutate(blank=is_blank(table.text)).select("id", "blank").to_pyarrow()
    blank = pc.sum(rows["blank"]).as_py() or 0
    if blank:
        raise InputError(
            f"{file.path}: {blank:,} of {len(rows):,} posts have no text. Hydrate them, or take "
            "them and their records out."
        )
    for post_id in rows["id"].to_pylist():
        if post_id in split_of:
            raise InputError(
                f"{file.path}: the post {post_id!r} is there already, in {split_of[post_id]}. Each "
                "post may come once, in one split: take the other rows out."
            )
        split_of[post_id] = split
