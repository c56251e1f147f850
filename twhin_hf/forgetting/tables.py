"""Rows taken out of Parquet, CSV and JSON lines: a block at a time, all else as it was.

Each format gives its rows in blocks: the ids in them, and what is written again where a row stays.
Of text formats that is the row's own text, with its quotes and order of keys.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twhin_hf.errors import InputError
from twhin_hf.files import new_file
from twhin_hf.forgetting.forgotten import Forgotten
from twhin_hf.forgetting.places import real_path
from twhin_hf.lines import compression_of, iterate_lines, read_blocks, shorten
from twhin_hf.network.sources.report import WITHOUT_TEXT
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import open_engine, read_errors, table_kind

USER_COLUMNS = ("user_id", "author_id")
POST_COLUMNS = ("post_id", "anchor_id", "positive_id")
LISTS = {
    **dict.fromkeys([*(f"{name}s" for name in USER_COLUMNS), "users"], "users"),
    **dict.fromkeys([*(f"{name}s" for name in POST_COLUMNS), "posts"], "posts"),
}
"""Kinds of the columns of which each row holds several ids."""

_BETWEEN_IDS = r"""[\s,;|\[\](){}"']+"""
_BENCHMARK = {"text", "user"}
_ROWS_PER_BLOCK = 65_536
_BLOCK_BYTES = 2**26
_LONGEST_CELL = 2**28

Ids = dict[str, tuple[str, pa.Array]]
"""Kind (`user`, `post` or `vector`; `users` or `posts` of lists) and values of each column."""


class Block(NamedTuple):
    """Rows of a table.

    Args:
        ids: Of the rows.
        num_rows: Their number.
        content: What is written of them: a record batch, or texts.
    """

    ids: Ids
    num_rows: int
    content: Any


@dataclass(frozen=True, eq=False)
class TableFile:
    """A file of rows.

    Args:
        path: The file.
        columns: What the user and post columns are called where it is unusual.
        table_format: How text tables are written.
        memory_limit: Most memory of the engine that reads JSON; blocks of rows come on top.
    """

    path: Path
    columns: Mapping[str, str]
    table_format: TableFormat
    memory_limit: str = "1GB"

    def blocks(self) -> Iterator[Block]:
        """All rows.

        Raises:
            InputError: The file is damaged, or of another kind than its name says.
        """
        return _READERS[self._kind()](self)

    def rewrite(self, forgotten: Forgotten) -> None:
        """Takes the rows out; the file is replaced when all of it is written."""
        with (
            new_file(real_path(self.path)) as partial,
            _WRITERS[self._kind()](self, partial) as write,
        ):
            for block in self.blocks():
                write(block.content, ~forgotten.matches(block.ids, block.num_rows))

    def _kind(self) -> str:
        if self.path.name == WITHOUT_TEXT:
            return "ids"
        kind = table_kind(self.path, self.table_format) or ""
        return "CSV" if kind == "TSV" else kind


def is_record(path: Path) -> bool:
    """Whether a `.json` file is one object over many lines, such as options, and no JSON lines."""
    if path.suffix != ".json":
        return False
    try:
        return next(filter(str.strip, iterate_lines(path)), "").strip() == "{"
    except InputError:  # which is told where it is read as a table
        return False


def _of_lists(columns: Mapping[str, list[Any]], kinds: Mapping[str, str]) -> Ids:
    """Columns of lists of ids, those left out that hold none."""
    kind = pa.list_(pa.string())
    lists = {name: [[*_ids_in(value)] for value in values] for name, values in columns.items()}
    return {name: (kinds[name], pa.array(own, kind)) for name, own in lists.items() if any(own)}


def _ids_in(value: Any) -> Iterator[str]:
    """Texts and whole numbers in lists, and in lists and objects inside those."""
    if isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _ids_in(inner)
    elif isinstance(value, (str, int)):
        yield str(value)


def _roles(names: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Which columns hold ids, and whose."""
    users = {*USER_COLUMNS, columns.get("user_id", "")}
    posts = {*POST_COLUMNS, columns.get("post_id", "")}
    if _BENCHMARK & set(names):
        posts.add("id")
    found = {name: "user" for name in names if name in users}
    return found | {name: "post" for name in names if name in posts}


# Parquet


def _parquet_blocks(table: TableFile) -> Iterator[Block]:
    with read_errors(table.path, has_memory_limit=False), pq.ParquetFile(table.path) as file:
        schema, metadata = file.schema_arrow, file.metadata
        size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        width = max(1, size // max(1, metadata.num_rows))
        rows = max(1, min(_ROWS_PER_BLOCK, _BLOCK_BYTES // width))
        dotted = [there for there in table.columns.values() if "." in there]
        roles = _roles([*schema.names, *dotted], table.columns)
        is_vector = "user" in schema.names and _is_vector(schema.field("user").type)
        lists = [name for name in LISTS if name in schema.names and name not in roles]
        lists = [name for name in lists if _is_list(schema.field(name).type)]
        for batch in file.iter_batches(rows):
            columns = {name: _column(batch, name, table.path) for name in roles}
            ids: Ids = {
                name: (roles[name], column)
                for name, column in columns.items()
                if column is not None
            }
            if is_vector:
                ids["user"] = ("vector", batch["user"])
            ids |= _of_lists({name: batch[name].to_pylist() for name in lists}, LISTS)
            yield Block(ids, len(batch), batch)


def _column(batch: pa.RecordBatch, name: str, path: Path) -> pa.Array | None:
    """The ids in a column, or inside the objects of one (`user.id`), as strings."""
    if name in batch.schema.names:
        values = batch[name]
    else:
        first, *inside = name.split(".")
        if first not in batch.schema.names:
            return None
        try:
            values = pc.struct_field(batch[first], inside)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError):
            return None
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (is_text or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise InputError(
            f"{path}: column {name!r} is of type {values.type}; ids are strings or integers. Cast "
            "it when you write the file, or leave the file out."
        )
    return values.cast(pa.string())


def _is_vector(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and pa.types.is_floating(kind.value_type)


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)


@contextmanager
def _parquet_writer(table: TableFile, partial: Path) -> Iterator[Callable[[Any, np.ndarray], None]]:
    with pq.ParquetFile(table.path) as file:
        schema, metadata = file.schema_arrow, file.metadata
        group = metadata.row_group(0) if metadata.num_row_groups else None
    codec = group.column(0).compression if group is not None and group.num_columns else "ZSTD"
    with pq.ParquetWriter(
        partial, schema, compression="NONE" if codec == "UNCOMPRESSED" else codec
    ) as writer:
        yield lambda batch, keep: writer.write_batch(batch.filter(pa.array(keep)))


# JSON lines


def _json_blocks(table: TableFile) -> Iterator[Block]:
    names = dict.fromkeys([*USER_COLUMNS, *POST_COLUMNS, *table.columns.values(), "id"])
    roles = _roles([*names, "text"], table.columns)
    pointers = {name: _pointers(name) for name in roles}
    # An `id` is that of a post in a table of posts alone.
    values = {
        name: f"coalesce({', '.join(f'json_extract_string(text, {p})' for p in paths)}, NULL)"
        for name, paths in pointers.items()
    }
    values["id"] = f"CASE WHEN json_exists(text, '/text') THEN {values['id']} END"
    kinds = {name: f"{kind}s" for name, kind in roles.items() if name != "id"} | LISTS
    selected = ", ".join(
        f"CASE WHEN ok THEN {value} END AS c{i}" for i, value in enumerate(values.values())
    )
    query = f"""
        SELECT ok, {selected} FROM (
            SELECT row, text, json_valid(text) AS ok FROM block
        ) ORDER BY row
    """
    with open_engine(table.memory_limit) as engine:
        connection = getattr(engine, "con")  # noqa: B009 - DuckDB's own, which Ibis does not type
        line = 1
        for block in read_blocks(table.path):
            rows = pa.array(np.arange(len(block.lines)))
            connection.register("block", pa.table({"text": block.lines, "row": rows}))
            found = connection.sql(query).to_arrow_table()
            connection.unregister("block")
            columns = {name: found[f"c{i}"].combine_chunks() for i, name in enumerate(values)}
            bad = np.flatnonzero(~found["ok"].to_numpy())
            if len(bad):
                columns = _mended(table.path, block.lines, bad, columns, line)
            ids: Ids = {
                name: (roles[name], column)
                for name, column in columns.items()
                if column.null_count < len(column)
            }
            lists = _of_lists(_json_lists(table.path, block.lines, kinds, line), kinds)
            ids |= {f"{name}[]": own for name, own in lists.items()}  # beside a text of the name
            yield Block(ids, len(block.lines), block.lines)
            line += len(block.lines)


def _mended(
    path: Path,
    lines: pa.ChunkedArray,
    bad: np.ndarray,
    columns: Mapping[str, pa.Array],
    first_line: int,
) -> dict[str, pa.Array]:
    """The columns with the ids of lines that the engine cannot read, for their odd characters."""
    given = {name: column.to_pylist() for name, column in columns.items()}
    for row in bad.tolist():
        text = lines[row].as_py()
        if not text.strip():
            continue
        value = _json_value(path, text, first_line + row)
        for name, column in given.items():
            found = value.get(name) if isinstance(value, dict) else None
            if name == "id" and "text" not in value:
                found = None
            column[row] = None if found is None else str(found)
    return {name: pa.array(column, pa.string()) for name, column in given.items()}


def _json_lists(
    path: Path, lines: pa.ChunkedArray, names: Collection[str], first_line: int
) -> dict[str, list[Any]]:
    """What stands in the lists of the names, a value a line; nothing where no line has such."""
    named = rf'"({"|".join(map(re.escape, names))})"\s*:\s*\['
    rows = np.flatnonzero(pc.match_substring_regex(lines, named))
    found: dict[str, list[Any]] = {name: [None] * len(lines) for name in names if len(rows)}
    for row in rows.tolist():
        value = _json_value(path, lines[row].as_py(), first_line + row)
        for name in names if isinstance(value, dict) else ():
            if isinstance(value.get(name), list):
                found[name][row] = value[name]
    return found


def _json_value(path: Path, text: str, line: int) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not JSON lines (line {line:,}: {error}): {shorten(text)}."
        ) from error


def _pointers(name: str) -> list[str]:
    """Where a column may be in an object, as JSON pointers (RFC 6901), quoted for SQL."""
    escaped = name.replace("~", "~0").replace("/", "~1").replace("'", "''")
    return [f"'/{escaped}'"] + ([f"'/{escaped.replace('.', '/')}'"] if "." in name else [])


@contextmanager
def _json_writer(table: TableFile, partial: Path) -> Iterator[Callable[[Any, np.ndarray], None]]:
    codec = compression_of(table.path)
    with pa.OSFile(str(partial), "wb") as file:
        stream = pa.CompressedOutputStream(file, codec) if codec else file

        def write(lines: pa.ChunkedArray, keep: np.ndarray) -> None:
            kept = lines.filter(pa.array(keep))
            if len(kept):
                stream.write("".join(kept.to_pylist()).encode())

        yield write
        if codec:
            stream.close()


# CSV


def _csv_blocks(table: TableFile) -> Iterator[Block]:
    rows = _csv_rows(table)
    header, text = next(rows, ([], ""))
    while text and not any(header):
        yield Block({}, 1, [text])
        header, text = next(rows, ([], ""))
    if table.table_format.header == "none":
        rows = chain([(header, text)], rows)
        header = [str(number) for number in range(1, len(header) + 1)]
    else:
        yield Block({}, 1, [text])
    header = [name.removeprefix("\ufeff").strip('"') for name in header]
    roles = _roles(header, table.columns)
    # Here `users` and `posts` are rather counts.
    lists = {n: k for n, k in LISTS.items() if n in header and n not in roles and "_" in n}
    roles |= lists
    places = [header.index(name) for name in roles]
    while True:
        texts: list[str] = []
        cells: list[list[str]] = [[] for _ in roles]
        # Rows are let go one by one: many at once would keep the garbage collector busy.
        for row, text in islice(rows, _ROWS_PER_BLOCK):
            texts.append(text)
            for column, place in zip(cells, places, strict=True):
                column.append(row[place] if place < len(row) else "")
        if not texts:
            return
        ids: Ids = {
            name: (kind, pa.array(column, pa.string()))
            for (name, kind), column in zip(roles.items(), cells, strict=True)
        }
        for name in lists:
            ids[name] = (lists[name], pc.split_pattern_regex(ids[name][1], _BETWEEN_IDS))
        yield Block(ids, len(texts), texts)


def _csv_rows(table: TableFile) -> Iterator[tuple[list[str], str]]:
    """The rows, and the text that each was read from."""
    csv.field_size_limit(_LONGEST_CELL)
    path, table_format = table.path, table.table_format
    delimiter = table_format.delimiter(path.name)
    opener = cast(Any, gzip.open if path.name.lower().endswith(".gz") else open)
    try:
        with opener(path, "rt", encoding=table_format.encoding, newline="") as lines:
            if not table_format.is_quoted(delimiter):
                for line in lines:
                    yield line.rstrip("\r\n").split(delimiter), line
                return
            taken: list[str] = []
            reader = csv.reader(_noted(lines, taken), delimiter=delimiter, strict=True)
            for row in reader:
                yield row, "".join(taken)
                taken.clear()
            if taken:
                yield [], "".join(taken)
    except UnicodeError as error:
        raise InputError(
            f"{path} is not {table_format.encoding.upper()} ({error}). Say what it is "
            "(`--encoding latin-1`, for one)."
        ) from error
    except csv.Error as error:
        raise InputError(
            f"{path} is no CSV: {error}. Mend its quotes, or read it without (`--no_quoting`)."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is cut off or damaged: {error}. Get the file again.") from error


def _noted(lines: Iterator[str], taken: list[str]) -> Iterator[str]:
    """The lines, each of which is noted as it is taken."""
    for line in lines:
        taken.append(line)
        yield line


@contextmanager
def _csv_writer(table: TableFile, partial: Path) -> Iterator[Callable[[Any, np.ndarray], None]]:
    opener = cast(Any, gzip.open if table.path.name.lower().endswith(".gz") else open)
    with opener(partial, "wt", encoding=table.table_format.encoding, newline="") as file:

        def write(texts: list[str], keep: np.ndarray) -> None:
            file.writelines(text for text, stays in zip(texts, keep, strict=True) if stays)

        yield write


# Ids, one a line


def _id_blocks(table: TableFile) -> Iterator[Block]:
    lines = iterate_lines(table.path)
    while block := list(islice(lines, _ROWS_PER_BLOCK)):
        ids = pa.array(block, pa.string())
        yield Block({"post_id": ("post", ids)}, len(block), [f"{line}\n" for line in block])


def _id_writer(table: TableFile, partial: Path) -> Any:
    return _csv_writer(replace(table, table_format=TableFormat()), partial)


_READERS = {
    "Parquet": _parquet_blocks,
    "JSON lines": _json_blocks,
    "CSV": _csv_blocks,
    "ids": _id_blocks,
}
_WRITERS = {
    "Parquet": _parquet_writer,
    "JSON lines": _json_writer,
    "CSV": _csv_writer,
    "ids": _id_writer,
}
