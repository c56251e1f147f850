"""Reads Parquet, CSV and JSON lines, one file or a folder, as Ibis tables of text columns.

Every stage that takes a file from a person reads it here, so formats and errors are the same
everywhere. The engine is DuckDB, with a memory limit and a spill folder.
"""

from __future__ import annotations

import csv
import glob
import gzip
import json
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, Union

from twhin_hf.files import list_files
from twhin_hf.lines import iterate_lines

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir
    import pyarrow as pa

TableSource = Union[str, Path, "ir.Table"]

_FORMATS = {
    ".parquet": "Parquet",
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".json": "JSON lines",
}
_LINES_LOOKED_AT = 100
_VISIBLE = r"[^\s\p{Z}\p{C}]"
_FILE_IN_ERROR = re.compile(r"""(?:[Ff]ile (?:= )?["']?)(/.+?|\w:.+?)["'\n]""")


class _Columns(NamedTuple):
    """The columns to read: our name and theirs, and those that must be there."""

    names: Mapping[str, str]
    required: AbstractSet[str]
    option: str

    @property
    def there(self) -> AbstractSet[str]:
        return set(self.names.values())


@contextmanager
def open_engine(
    memory_limit: str = "1GB", threads: int | None = None, temp_directory: str | Path | None = None
) -> Iterator[ibis.BaseBackend]:
    """An empty DuckDB engine that spills to a folder of its own, removed at the end.

    Args:
        memory_limit: Most memory that the engine takes, such as `"1GB"`.
        threads: Threads; all cores where it is None.
        temp_directory: Where the spill folder is made; the system's folder for temporary files
            where it is None.
    """
    import ibis

    with tempfile.TemporaryDirectory(prefix=".twhin_hf-", dir=temp_directory) as spill:
        options: dict[str, Any] = {"memory_limit": memory_limit, "temp_directory": spill}
        if threads is not None:
            options["threads"] = threads
        connection = ibis.duckdb.connect(**options)
        try:
            yield connection
        finally:
            connection.disconnect()


def read_table(
    source: TableSource,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    connection: ibis.BaseBackend,
    columns: Mapping[str, str] | None = None,
    option: str = "columns",
) -> ir.Table:
    """The named columns of a file, a folder of files or an Ibis table, all of them strings.

    Integers become their decimal digits. CSV is read with every column as text, so that "007"
    stays "007". A folder is read with its subfolders; names that start with "." or "_" are not.

    Args:
        source: A file, a folder of files of one format, or a table of any Ibis back end.
        required: Columns that must be there.
        optional: Columns that may be missing; the table that comes back has those found.
        connection: The engine that reads files; see `open_engine`.
        columns: What a column is called in the source, where it is not called by our name.
        option: What the caller names `columns`, for the message where one is missing; empty where
            the caller has no such option.

    Returns:
        Table of string columns, the required ones first.

    Raises:
        FileNotFoundError: No such file, or nothing to read in the folder.
        ValueError: Unknown or mixed formats, a missing column, ids that are no strings or
            integers, or a file that is not UTF-8.
    """
    names = {name: name for name in (*required, *optional)}
    unknown = sorted(set(columns or {}) - set(names))
    if unknown:
        raise ValueError(
            f"{option} names {', '.join(unknown)}, which is not read here; known are "
            f"{', '.join(names)}."
        )
    names.update(columns or {})
    wanted = _Columns(names, {*required, *(columns or {})}, option)
    if not isinstance(source, (str, Path)):
        return _select(source, wanted, describe(source))
    kind, files = _list_files(Path(source))
    with read_errors(source):
        if kind in ("CSV", "TSV"):
            return _read_csv(connection, files, "\t" if kind == "TSV" else ",", wanted)
        paths = [glob.escape(str(file)) for file in files]
        if kind == "Parquet":
            table = connection.read_parquet(paths, union_by_name=True)
        else:
            table = _read_json(connection, paths, wanted)
        return _select(table, wanted, str(source))


def read_ids(source: TableSource, name: str = "post_id") -> pa.ChunkedArray:
    """The distinct ids of a table, as strings.

    Args:
        source: What `read_table` reads.
        name: Column of the ids.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: The column is missing, or the file cannot be read.
    """
    with open_engine() as engine, read_errors(source):
        table = read_table(source, [name], connection=engine, option="")
        return table.distinct().to_pyarrow()[name]


def table_batches(
    table: ir.Table, rows_per_batch: int, temp_directory: str | Path | None = None
) -> Iterator[pa.Table]:
    """The rows in blocks, in order, by way of a temporary Parquet file.

    Args:
        table: A table of an open engine.
        rows_per_batch: Most rows of a block.
        temp_directory: Where the file is; the system's folder where it is None.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory(prefix=".twhin_hf-", dir=temp_directory) as scratch:
        path = Path(scratch) / "table.parquet"
        table.to_parquet(path)
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(rows_per_batch):
                yield pa.Table.from_batches([batch])


def column_names(path: Path) -> list[str]:
    """The columns of a file, read from its beginning alone.

    Args:
        path: Parquet, CSV, TSV or JSON lines, of which the first 100 tell the columns.

    Raises:
        ValueError: The file is damaged, no regular file, or not UTF-8.
    """
    kind = _format(path)
    if kind == "Parquet":
        import pyarrow.parquet as pq

        with read_errors(path):
            return pq.read_schema(path).names
    if kind in ("CSV", "TSV"):
        return list(_csv_header(path, "\t" if kind == "TSV" else ","))
    return list(dict.fromkeys(name for item in first_objects(path) for name in item))


def first_objects(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of the first 100 lines of JSON, blank ones left out.

    Raises:
        ValueError: A line is not JSON or no object, or the file cannot be read.
    """
    try:
        for line in filter(str.strip, islice(iterate_lines(path), _LINES_LOOKED_AT)):
            value = json.loads(line)
            if not isinstance(value, dict):
                raise ValueError(f"a line holds {type(value).__name__}, not an object")
            yield value
    except ValueError as error:
        raise ValueError(
            f"{path} is not JSON lines ({error}). Needed is one JSON object a line; write a JSON "
            "array as lines first (`jq -c '.[]'`)."
        ) from error


def is_blank(column: ir.StringColumn) -> ir.BooleanColumn:
    """True where the text is null, empty or nothing but white space and invisible characters."""
    return column.isnull() | ~column.re_search(_VISIBLE)


def has_text(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The opposite of `is_blank`, for strings in memory."""
    import pyarrow.compute as pc

    return pc.fill_null(pc.match_substring_regex(values, _VISIBLE), False)


def is_source(value: object) -> TypeGuard[TableSource]:
    """True for what `read_table` reads: a path or an Ibis table."""
    return isinstance(value, (str, Path)) or hasattr(value, "get_backend")


def describe(source: object) -> str:
    """What to call a source in a message."""
    return str(source) if isinstance(source, (str, Path)) else "the table given"


@contextmanager
def read_errors(source: object) -> Iterator[None]:
    """Turns the engine's errors into a ValueError that names the file and says what to do."""
    import duckdb
    import pyarrow as pa

    try:
        yield
    except (duckdb.Error, pa.ArrowInvalid) as error:
        text = str(error)
        if isinstance(error, duckdb.OutOfMemoryException):
            raise ValueError(
                f"Reading {describe(source)} needs more memory than allowed: {text.splitlines()[0]}"
                ". Give a larger memory_limit (`--memory_limit`) or fewer threads."
            ) from error
        named = _FILE_IN_ERROR.search(text)
        where = named.group(1) if named else describe(source)
        message = " ".join(re.split(r"\n\s*(?:Possible|LINE|file =)", text)[0].split())
        raise ValueError(
            f"{where} cannot be read: {message.rstrip('.')}. "
            "Files must be whole, regular and UTF-8."
        ) from error


def _list_files(path: Path) -> tuple[str, list[Path]]:
    """The format and the files of a file or folder, files of no bytes left out."""
    files = list_files(path)
    endings = f"{', '.join(_FORMATS)} (the text formats with or without .gz)"
    if path.is_file() and _format(path) is None:
        raise ValueError(
            f"{path} has none of the endings that are read: {endings}. Rename or convert the file."
        )
    kinds: dict[str, list[Path]] = {}
    for file in files:
        if kind := _format(file):
            kinds.setdefault(kind, []).append(file)
    if not kinds:
        raise FileNotFoundError(
            f"{path} holds no file that can be read. Endings that are read: {endings}."
        )
    if len(kinds) > 1:
        found = ", ".join(f"{len(files)} {kind} ({files[0].name})" for kind, files in kinds.items())
        raise ValueError(f"{path} mixes formats: {found}. Keep one format a folder.")
    kind, files = next(iter(kinds.items()))
    files = [file for file in files if file.stat().st_size]
    if not files:
        raise ValueError(f"{path} is empty: not even the names of columns are there.")
    return kind, files


def _format(file: Path) -> str | None:
    name = file.name.lower()
    kind = _FORMATS.get(Path(name.removesuffix(".gz")).suffix)
    return None if kind == "Parquet" and name.endswith(".gz") else kind


def _read_csv(
    connection: ibis.BaseBackend,
    files: list[Path],
    delimiter: str,
    wanted: _Columns,
) -> ir.Table:
    """Reads each group of files with equal headers by position, without guessing the dialect."""
    import ibis

    headers: dict[tuple[str, ...], list[Path]] = {}
    for file in files:
        header = _csv_header(file, delimiter)
        if header:
            headers.setdefault(header, []).append(file)
    tables = []
    for header, group in headers.items():
        # Names of columns that nobody asked for may repeat, which the engine refuses.
        columns = [name if name in wanted.there else f"_{i}" for i, name in enumerate(header)]
        table = connection.read_csv(
            [glob.escape(str(file)) for file in group],
            columns=dict.fromkeys(columns, "string"),
            auto_detect=False,
            header=True,
            delim=delimiter,
            quote='"',
            escape='"',
        )
        _check_columns(header, wanted, str(group[0]))
        tables.append(_select(table, wanted, str(group[0])))
    found = [name for name in wanted.names if any(name in table.columns for table in tables)]
    nothing = ibis.null("string")
    tables = [
        table.select(**{name: table[name] if name in table.columns else nothing for name in found})
        for table in tables
    ]
    return ibis.union(*tables) if len(tables) > 1 else tables[0]


def _csv_header(file: Path, delimiter: str) -> tuple[str, ...]:
    opener = gzip.open if file.name.lower().endswith(".gz") else open
    try:
        with opener(file, "rt", encoding="utf-8-sig", newline="") as lines:
            return tuple(next(csv.reader(lines, delimiter=delimiter), ()))
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 ({error}). Convert it to UTF-8.") from error
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise ValueError(
            f"{file} cannot be read: {error}. Files must be whole, regular and UTF-8."
        ) from error


def _read_json(connection: ibis.BaseBackend, paths: list[str], wanted: _Columns) -> ir.Table:
    found = connection.read_json(paths, format="newline_delimited").columns
    _check_columns(found, wanted, paths[0])
    # Types are given, not guessed: an id beyond 64 bits or one that looks like a date must stay.
    types = {name: "VARCHAR" for name in found if name in wanted.there}
    return connection.read_json(paths, columns=types, format="newline_delimited")


def _check_columns(found: Sequence[str], wanted: _Columns, where: str) -> None:
    for name, there in wanted.names.items():
        if name in wanted.required and there not in found:
            advice = (
                f'Say which one it is with {wanted.option}={{"{name}": "..."}} '
                f"(command line: `--{wanted.option} {name}=...`)."
                if wanted.option
                else f"Rename the one that it is to {there!r}."
            )
            raise ValueError(
                f"{where} has no column {there!r}; found are {', '.join(found) or 'none'}. {advice}"
            )


def _select(table: ir.Table, wanted: _Columns, where: str) -> ir.Table:
    """The wanted columns under our names, as strings."""
    _check_columns(table.columns, wanted, where)
    selected = {}
    for name, there in wanted.names.items():
        if there not in table.columns:
            continue
        kind = table[there].type()
        is_time = name == "timestamp" and kind.is_temporal()
        if not (kind.is_string() or kind.is_integer() or kind.is_uuid() or is_time):
            raise ValueError(
                f"{where}: column {there!r} is of type {kind}; needed are strings or integers. "
                "Cast it when you write the file."
            )
        selected[name] = table[there] if kind.is_string() else table[there].cast("string")
    return table.select(**selected)
