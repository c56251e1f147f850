"""Reads Parquet, CSV and JSON lines, one file or a folder, as Ibis tables of text columns.

Every stage that takes a file from a person reads it here, so formats and errors are the same
everywhere. Parquet is read by the engine, DuckDB or Spark; the wanted columns of text formats are
written to its spill folder once, as Parquet, by this process.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, Union

from twhin_hf.data_fingerprint import RUN_NAME
from twhin_hf.engines import (
    engine_of,
    is_spark,
    numbered,
    open_engine,
    read_rows,
    scan_parquet,
    spark_address,
    spark_errors,
    spill_folder,
    write_rows,
)
from twhin_hf.errors import InputError
from twhin_hf.files import list_files, parse_json
from twhin_hf.lines import BLOCK_SIZE, iterate_lines
from twhin_hf.remote import is_remote, remote_files, system_for_engine
from twhin_hf.scratch import scratch_folder
from twhin_hf.table_format import TableFormat
from twhin_hf.text_tables import Columns, csv_header, json_keys, read_csv, read_json_lines

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
_LOG_COLUMNS = frozenset(["user_id", "post_id", "relation", "timestamp"])
_POST_COLUMNS = frozenset(["post_id", "text", "lang", "timestamp"])
"""A command that reads some of these takes the names of all: a person writes them once."""
_DISK_FULL = (os.strerror(errno.ENOSPC), "max_temp_directory_size")
"""What the engine says of a disk that is full, or nearly."""
_LINES_LOOKED_AT = 100
_FEW_VALUES = 2**24
_MOST_VALUES_A_BYTE = 200
POSITION = "position"
"""Column of the order of rows."""
# Not \p{C}: for Java it holds what its Unicode does not know yet, such as new emojis.
_VISIBLE = r"[^\s\p{Z}\p{Cc}\p{Cf}\p{Co}\p{Cs}]"
_FILE_IN_ERROR = re.compile(r"""(?:[Ff]ile (?:= )?["']?)(/.+?|\w:.+?)["'\n]""")


def read_table(
    source: TableSource,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    connection: ibis.BaseBackend,
    columns: Mapping[str, str] | None = None,
    option: str = "columns",
    table_format: TableFormat | None = None,
    with_position: bool = False,
) -> ir.Table:
    """The named columns of a file, a folder of files or an Ibis table, all of them strings.

    Integers become their decimal digits, however many. CSV is read with every column as text, so
    that "007" stays "007"; "" is null there. A folder is read with its subfolders; names that start
    with "." or "_" are not. A column that any row has is read.

    Args:
        source: A file, a folder of files of one format, the address of Parquet files elsewhere
            (`hf://`, `s3://`), or a table of any Ibis back end.
        required: Columns that must be there.
        optional: Columns that may be missing; the table that comes back has those found.
        connection: The engine that reads files; see `open_engine`.
        columns: What a column is called in the source, where it is not called by our name. A dot
            reaches inside the objects of JSON lines and Parquet: `{"user_id": "user.id"}`. Names
            of a log's or the posts' other columns are passed over.
        option: What the caller names `columns`, for the message where one is missing; empty where
            the caller has no such option.
        table_format: How text tables are written; CSV and TSV as they usually are where it is None.
        with_position: Adds `position`, int64, which rises in the order of the rows: files by their
            names. A table of Spark that is no file has no order, and is numbered as it comes.

    Returns:
        Table of string columns, the required ones first.

    Raises:
        FileNotFoundError: No such file, or nothing to read in the folder.
        InputError: Unknown or mixed formats, a missing column, ids (`…_id`) that are no strings or
            integers, or a file that is damaged or of another encoding.
    """
    table_format = table_format or TableFormat()
    names = {name: name for name in (*required, *optional)}
    known = set(names).union(
        *(table for table in (_LOG_COLUMNS, _POST_COLUMNS) if table.issuperset(required))
    )
    unknown = sorted(set(columns or {}) - known)
    if unknown:
        raise InputError(
            f"{option} names {', '.join(unknown)}, which is not read here; known are "
            f"{', '.join(names)}."
        )
    columns = {name: column for name, column in (columns or {}).items() if name in names}
    names.update(columns)
    wanted = Columns(names, {*required, *columns}, option)
    if not isinstance(source, (str, Path)):
        if with_position:
            source = numbered(source, engine_of(source, connection))
        return _select(source, wanted, describe(source), with_position)
    if is_remote(source):
        with read_errors(source):
            table = _read_remote(source, connection, with_position)
            return _select(table, wanted, source, with_position)
    kind, files = _list_files(Path(source), table_format)
    # Text is read in blocks, whatever the limit.
    with read_errors(source, has_memory_limit=False):
        if kind == "Parquet":
            _check_footers(files)
            table = scan_parquet(files, connection)
        else:
            with _text_engine(connection) as engine:
                if kind == "JSON lines":
                    blocks = read_json_lines(engine, files, wanted, str(source))
                else:
                    blocks = read_csv(engine, files, table_format, wanted)
                files, found = _write_blocks(blocks, spill_folder(connection), wanted)
            wanted = Columns({name: name for name in found}, wanted.required, option)
            table = scan_parquet(files, connection)
        if with_position:
            table = numbered(table, connection, files)
        return _select(table, wanted, str(source), with_position)


@contextmanager
def _text_engine(connection: ibis.BaseBackend) -> Iterator[Any]:
    """DuckDB's connection, which reads text for Spark too."""
    if is_spark(connection):
        with open_engine() as own:
            yield getattr(own, "con")  # noqa: B009 - DuckDB's own, which Ibis does not type
    else:
        yield getattr(connection, "con")  # noqa: B009 - as above


def _read_remote(address: str, connection: ibis.BaseBackend, with_position: bool) -> ir.Table:
    """Files of another place, read as they are needed: row groups, and columns of them."""
    system, files = remote_files(address)
    if is_spark(connection):  # which has connectors of its own
        found = [spark_address(system, file) for file in files]
        table = scan_parquet(found, connection)
        return numbered(table, connection, found) if with_position else table
    engine = getattr(connection, "con")  # noqa: B009 - as above
    shown = system_for_engine(system)
    if shown.protocol not in engine.list_filesystems():
        engine.register_filesystem(shown)
    paths = [glob.escape(f"{shown.protocol}://{file}") for file in files]
    table = connection.read_parquet(paths, union_by_name=True)
    return numbered(table, connection) if with_position else table


def _write_blocks(
    blocks: Iterable[pa.Table], folder: Path, wanted: Columns
) -> tuple[list[Path], list[str]]:
    """The blocks as a Parquet file in the folder, and the names of its columns.

    Optional columns that no row fills are left out.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in wanted.names])
    found = set(wanted.required)
    path = folder / f"{uuid.uuid4().hex}.parquet"
    waiting: list[pa.Table] = []
    with pq.ParquetWriter(path, schema) as writer:
        for block in blocks:
            block = block.cast(schema)
            found |= {name for name in schema.names if block[name].null_count < len(block)}
            waiting.append(block)
            if sum(table.nbytes for table in waiting) >= BLOCK_SIZE:
                writer.write_table(pa.concat_tables(waiting))
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
    return [path], [name for name in schema.names if name in found]


def read_ids(
    source: TableSource,
    name: str = "post_id",
    *,
    table_format: TableFormat | None = None,
    memory_limit: str = "1GB",
) -> pa.ChunkedArray:
    """The distinct ids of a table, as strings.

    Args:
        source: What `read_table` reads.
        name: Column of the ids.
        table_format: How text tables are written.
        memory_limit: Most memory of the engine.

    Raises:
        FileNotFoundError: The file is missing.
        InputError: The column is missing, or the file cannot be read.
    """
    with open_engine(memory_limit) as engine, read_errors(source):
        table = read_table(source, [name], connection=engine, option="", table_format=table_format)
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
    with scratch_folder(temp_directory) as scratch:
        files = write_rows(table, scratch / "table.parquet", table.get_backend())
        yield from read_rows(files, rows_per_batch)


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file, whole in memory.

    Args:
        path: The file.
        columns: Which; all where it is None.

    Raises:
        FileNotFoundError: No such file.
        InputError: The file is damaged, or of far more values than its size lets expect.
    """
    import duckdb
    import pyarrow.parquet as pq

    size = path.stat().st_size
    # By the engine: of a damaged column Arrow's own metadata end the process. Arrow has memory for
    # all rows that a row group says it has, however few values follow.
    most_told = "sum(greatest(num_values, row_group_num_rows, 0))"
    query = f"SELECT coalesce({most_told}, 0) FROM parquet_metadata(?)"
    with read_errors(path, has_memory_limit=False), duckdb.connect() as engine:
        _check_footers([path])
        ((values,),) = engine.execute(query, [glob.escape(str(path))]).fetchall()
        most = max(_FEW_VALUES, _MOST_VALUES_A_BYTE * size)
        if values > most:
            raise InputError(
                f"{path} has {size:,} bytes and holds {int(values):,} values, more "
                f"than {most:,}: they would fill the memory. Write it again in several files."
            )
        return pq.read_table(path, columns=None if columns is None else list(columns))


def _check_footers(files: Iterable[Path]) -> None:
    """Has Arrow read the footers, which bounds their lists; the engine has memory for any."""
    import pyarrow.parquet as pq

    for file in files:
        pq.read_schema(file)


def column_names(path: Path, table_format: TableFormat | None = None) -> list[str]:
    """The columns of a file: those of its header or schema, or the keys of all its objects.

    Args:
        path: Parquet, CSV, TSV or JSON lines.
        table_format: How text tables are written; CSV and TSV as they usually are where it is None.

    Raises:
        InputError: The file is damaged, no regular file, or of another encoding.
    """
    table_format = table_format or TableFormat()
    kind = _format(path, table_format)
    if kind == "Parquet":
        import pyarrow.parquet as pq

        with read_errors(path):
            return pq.read_schema(path).names
    if kind in ("CSV", "TSV"):
        return list(csv_header(path, table_format))
    with open_engine() as engine, read_errors(path, has_memory_limit=False):
        return json_keys(getattr(engine, "con"), [path])  # noqa: B009 - as above


def table_kind(path: Path, table_format: TableFormat | None = None) -> str | None:
    """The format of a table by its name: Parquet, CSV, TSV or JSON lines; None where it is none."""
    return _format(path, table_format or TableFormat())


def first_objects(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of the first 100 lines of JSON, blank ones left out.

    Raises:
        InputError: A line is not JSON or no object, or the file cannot be read.
    """
    try:
        for line in filter(str.strip, islice(iterate_lines(path), _LINES_LOOKED_AT)):
            value = parse_json(line)
            if not isinstance(value, dict):
                raise InputError(f"a line holds {type(value).__name__}, not an object")
            yield value
    except ValueError as error:
        raise InputError(
            f"{path} is not JSON lines ({error}). Needed is one JSON object a line; write a JSON "
            "array as lines first (`jq -c '.[]'`).",
            faq="file-formats",
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
def read_errors(source: object, *, has_memory_limit: bool = True) -> Iterator[None]:
    """Turns the engine's errors into an InputError that names the file and says what to do.

    A full disk stays what it is, an OSError.

    Args:
        source: What is read.
        has_memory_limit: Whether who calls may give more memory.
    """
    import duckdb
    import pyarrow as pa

    try:
        yield
    # Of damaged pages and names Arrow gives a bare OSError, without a number, or a UnicodeError.
    except (duckdb.Error, pa.ArrowException, OSError, UnicodeError, *spark_errors()) as error:
        if isinstance(error, FileNotFoundError) or (isinstance(error, OSError) and error.errno):
            raise
        text = str(error)
        if any(words in text for words in _DISK_FULL):
            message = f"{text.splitlines()[0].rstrip('.')} (while reading {describe(source)})"
            raise OSError(errno.ENOSPC, message) from error
        if isinstance(error, duckdb.OutOfMemoryException):
            advice = (
                "Give a larger memory_limit (`--memory_limit`) or fewer threads"
                if has_memory_limit
                else "Read it on a machine of fewer cores, or in parts"
            )
            raise InputError(
                f"Reading {describe(source)} needs more memory than allowed: "
                f"{text.splitlines()[0].rstrip('.')}. {advice}.",
                faq="memory",
            ) from error
        named = _FILE_IN_ERROR.search(text)
        where = named.group(1) if named else describe(source)
        message = " ".join(re.split(r"\n\s*(?:Possible|LINE|file =)", text)[0].split())
        raise InputError(
            f"{where} cannot be read: {message.rstrip('.')}. "
            "Files must be whole, regular and UTF-8."
        ) from error


def _list_files(path: Path, table_format: TableFormat) -> tuple[str, list[Path]]:
    """The format and the files of a file or folder, files of no bytes left out."""
    files = list_files(path)
    endings = (
        f"{', '.join(_FORMATS)} (the text formats with or without .gz), or any with a separator "
        "(`--separator`)"
    )
    if path.is_file() and _format(path, table_format) is None:
        raise InputError(
            f"{path} has none of the endings that are read: {endings}. Rename or convert the file.",
            faq="file-formats",
        )
    kinds: dict[str, list[Path]] = {}
    for file in files:
        if path.is_dir() and file.name == RUN_NAME:
            continue
        if kind := _format(file, table_format):
            kinds.setdefault(kind, []).append(file)
    if not kinds:
        raise FileNotFoundError(
            f"{path} holds no file that can be read. Endings that are read: {endings}."
        )
    if len(kinds) > 1:
        found = ", ".join(f"{len(files)} {kind} ({files[0].name})" for kind, files in kinds.items())
        raise InputError(
            f"{path} mixes formats: {found}. Keep one format a folder.", faq="file-formats"
        )
    kind, files = next(iter(kinds.items()))
    files = [file for file in files if file.stat().st_size]
    if not files:
        raise InputError(f"{path} is empty: not even the names of columns are there.")
    return kind, files


def _format(file: Path, table_format: TableFormat) -> str | None:
    name = file.name.lower()
    kind = _FORMATS.get(Path(name.removesuffix(".gz")).suffix)
    if kind == "Parquet" and name.endswith(".gz"):
        return None
    if table_format.separator is not None and kind not in ("Parquet", "JSON lines"):
        return "CSV"
    return kind


def _select(table: ir.Table, wanted: Columns, where: str, with_position: bool = False) -> ir.Table:
    """The wanted columns under our names, as strings, and `position` where it is asked for."""
    found = {there: _column(table, there) for there in wanted.names.values()}
    inside = [there for there, column in found.items() if column is not None]
    wanted.check([*table.columns, *inside], where)
    selected = {}
    for name, there in wanted.names.items():
        column = found[there]
        if column is None:
            continue
        kind = column.type()
        # A type that Ibis does not know: times with a zone in nanoseconds, as pandas writes them.
        is_time = name == "timestamp" and (
            kind.is_temporal() or kind.is_floating() or kind.is_decimal() or kind.is_unknown()
        )
        # Spark has no other type for integers of 64 bits without a sign.
        is_integer = kind.is_integer() or (kind.is_decimal() and kind.scale == 0)
        if not (kind.is_string() or is_integer or kind.is_uuid() or is_time):
            fields = ", ".join(f"{there}.{field}" for field in getattr(kind, "names", ()))
            advice = (
                f"Name what is inside: {fields}." if fields else "Cast it when you write the file."
            )
            raise InputError(
                f"{where}: column {there!r} is of type {kind}; needed are strings or integers. "
                f"{advice}",
                faq="ids",
            )
        selected[name] = column if kind.is_string() else column.cast("string")
    if with_position:
        selected[POSITION] = table[POSITION]
    return table.select(**selected)


def _column(table: ir.Table, there: str) -> Any:
    """A column by its name, or by a dotted one inside a struct; None where it is not there."""
    if there in table.columns:
        return table[there]
    first, *rest = there.split(".")
    column: Any = table[first] if first in table.columns else None
    for part in rest:
        is_there = column is not None and part in getattr(column.type(), "names", ())
        column = column[part] if is_there else None
    return column
