"""The wanted columns of CSV and JSON lines, in blocks of Arrow strings.

Columns are asked for by their names, so that one that comes late is there too. Memory depends
neither on the number of files nor on their size.
"""

from __future__ import annotations

import codecs
import csv
import glob
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.engines import json_errors
from twhin_hf.errors import InputError
from twhin_hf.lines import (
    BLOCK_SIZE,
    UNREADABLE,
    check_unpacked,
    damaged,
    open_text,
    open_unpacked,
    read_blocks,
    shorten,
    whole_lines,
)
from twhin_hf.table_format import TableFormat

logger = logging.getLogger(__name__)

_ROWS_PER_BATCH = 10_000
_SEPARATORS = ",;|\t"
_LONGEST_CELL = 2**28
_LOOKED_AT = 2**16
_ENGINE_ENCODINGS = {"utf-8": "utf-8", "iso8859-1": "latin-1"}
_INTEGER = "-?[0-9]+"
# An integer that was a float on its way: 123.0, 1.05E+18, 1,05E+18, 1e+18. Other numbers with a
# point may be names, such as 3.14 and 1.2.3.
_FLOAT = r"^[+-]?([0-9]+\.0*|[0-9]([.,][0-9]+)?[eE][+-][0-9]+|[0-9][.,][0-9]+[eE][0-9]+)$"
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


class Columns(NamedTuple):
    """The columns to read.

    Args:
        names: Our name and theirs.
        required: Those of our names that must be there.
        option: What the caller calls the option that renames columns; empty where it has none.
    """

    names: Mapping[str, str]
    required: AbstractSet[str]
    option: str

    def check(self, found: Sequence[str], where: str, advice: str = "") -> None:
        """Checks that the required ones are among those found.

        Args:
            found: The names that are there.
            where: The source, for the message.
            advice: What else may help where one is missing.

        Raises:
            InputError: One is not.
        """
        for name in self.names:
            if name in self.required and self.names[name] not in found:
                raise self._missing(name, found, where, advice)

    def _missing(self, name: str, found: Sequence[str], where: str, more: str) -> InputError:
        there = self.names[name]
        found = list(dict.fromkeys(found))
        shown = ", ".join(found[:40]) + (", …" if len(found) > 40 else "")
        advice = (
            f'Say which one it is with {self.option}={{"{name}": "..."}} '
            f"(command line: `--{self.option} {name}=...`)."
            if self.option
            else f"Rename the one that it is to {there!r}."
        )
        return InputError(
            f"{where} has no column {there!r}; found are {shown or 'none'}. {advice}{more}",
            faq="columns",
        )


def is_id(name: str) -> bool:
    """True for a column of ours that holds ids."""
    return name == "id" or name.endswith("_id")


def read_json_lines(
    connection: Any, files: Sequence[Path], wanted: Columns, where: str
) -> Iterator[pa.Table]:
    """The wanted columns of JSON objects, a line each; a missing one is null.

    Args:
        connection: Of DuckDB.
        files: Compressed or not.
        wanted: A dotted name (`user.id`) is a key of that name, or one inside an object.
        where: Names the source.

    Raises:
        InputError: A line is no JSON object, an id is no string or integer, another value is a list
            or an object, a file is damaged, or no line has a required column.
    """
    pointers = [(name, path) for name, there in wanted.names.items() for path in _pointers(there)]
    places: dict[str, list[str]] = {}
    for place, (name, _) in enumerate(pointers, start=1):
        places.setdefault(name, []).append(f"value[{place}]")
    # NaN, which is no JSON but written by some, stands for null.
    text_of = "CASE WHEN {0}::VARCHAR <> 'NaN' THEN {0} ->> '$' END"
    texts = {
        name: f"coalesce({', '.join(map(text_of.format, values))}, NULL)"
        for name, values in places.items()
    }
    odd = [
        f"(json_type({value}) NOT IN ('VARCHAR', 'NULL') "
        f"AND NOT regexp_full_match({value}::VARCHAR, '{_INTEGER}'))"
        if is_id(name)
        else f"json_type({value}) IN ('OBJECT', 'ARRAY')"
        for name, values in places.items()
        for value in values
    ]
    nothing = " AND ".join(f"value[{place}] IS NULL" for place in range(1, len(pointers) + 1))
    paths = ", ".join(_quoted(path) for _, path in pointers)
    query = f"""
        SELECT {", ".join(f"{text} AS {_identifier(name)}" for name, text in texts.items())}, row,
            ({" OR ".join([*odd, f"({nothing} AND json_type(text) <> 'OBJECT')"])}) AS is_odd
        FROM (SELECT text, row, json_extract(text, [{paths}]) AS value FROM block
              WHERE trim(text, E' \\t\\r\\n') <> '')
    """
    found, rows = set[str](), 0
    for block in _line_blocks(files):
        table = _query_lines(connection, block, query)
        bad = table["row"].filter(pc.fill_null(table["is_odd"], False))
        if len(bad):
            raise _odd_line(block, bad[0].as_py(), wanted)
        table = table.select(list(wanted.names))
        found |= {name for name in wanted.names if table[name].null_count < len(table)}
        rows += len(table)
        yield table
    if not rows:
        raise InputError(f"{where} is empty: it holds no JSON object.")
    if not wanted.required <= found:
        there = [there for name, there in wanted.names.items() if name in found]
        wanted.check([*json_keys(connection, files), *there], where)


def json_keys(connection: Any, files: Sequence[Path]) -> list[str]:
    """The keys of all objects, as they first appear.

    Raises:
        InputError: A line is no JSON object, or a file is damaged.
    """
    query = """
        SELECT keys, row, is_odd FROM (
            SELECT json_keys(text) AS keys, min(row) AS row,
                bool_or(json_type(text) <> 'OBJECT') AS is_odd
            FROM block WHERE trim(text, E' \\t\\r\\n') <> '' GROUP BY 1
        ) ORDER BY row
    """
    found: dict[str, None] = {}
    for block in _line_blocks(files):
        table = _query_lines(connection, block, query)
        for row, is_odd in zip(table["row"].to_pylist(), table["is_odd"].to_pylist(), strict=True):
            if is_odd:
                raise _odd_line(block, row, Columns({}, set(), ""))
        for keys in table["keys"].to_pylist():
            found.update(dict.fromkeys(keys))
    return list(found)


def csv_header(file: Path, table_format: TableFormat) -> tuple[str, ...]:
    """The names of a file's columns, or their numbers where there is no header; none if empty.

    Raises:
        InputError: The file is damaged, or of another encoding.
    """
    delimiter = table_format.delimiter(file.name)
    first = next(_rows(file, table_format, delimiter), (0, []))[1]
    if table_format.header == "none":
        return tuple(str(number) for number in range(1, len(first) + 1))
    return tuple(first)


def read_csv(
    connection: Any, files: Sequence[Path], table_format: TableFormat, wanted: Columns
) -> Iterator[pa.Table]:
    """The wanted columns of CSV; one that a file does not have is null there.

    Args:
        connection: Of DuckDB.
        files: Compressed or not.
        table_format: How they are written.
        wanted: Names, or numbers from 1 on where there is no header.

    Raises:
        InputError: Every file is empty, a required column is missing, a wanted one is there twice,
            an id is a float, or a row is cut off or has another number of columns.
    """
    headers: dict[tuple[str, ...], list[Path]] = {}
    _warn_of_utf8(files, table_format.encoding)
    for file in files:
        header = csv_header(file, table_format)
        if any(header):
            headers.setdefault(header, []).append(file)
    if not headers:
        raise InputError(f"{files[0]} is empty: not even the names of columns are there.")
    for header, group in headers.items():
        is_there = wanted.required <= {n for n, there in wanted.names.items() if there in header}
        if len(header) == 1 and not is_there and set(header[0]) & set(_SEPARATORS):
            raise InputError(
                f"{group[0]} has one column, {shorten(header[0])}. Say what separates its columns "
                "(`--separator ';'`, for one; \\t is a tab).",
                faq="separator",
            )
        has_names = table_format.header == "first"
        wanted.check(
            header,
            str(group[0]),
            " If the first row is no header: `--header none`." if has_names else "",
        )
        if twice := [there for there in wanted.names.values() if header.count(there) > 1]:
            raise InputError(
                f"{group[0]} has {header.count(twice[0])} columns {twice[0]!r}, and nobody can "
                "tell which is meant. Rename the others."
            )
        for table in _read_group(connection, header, group, table_format, wanted):
            table = _without(table_format.missing, table)
            _check_ids(table, group, wanted)
            yield table


def _warn_of_utf8(files: Sequence[Path], encoding: str) -> None:
    """Warns where files are read as another encoding and look like UTF-8.

    Text of other encodings is next to never UTF-8 by chance, and Latin-1 reads any bytes: without a
    word, each letter with an accent would become two.
    """
    if _codec_name(encoding) in ("utf-8", "utf-8-sig"):
        return
    found = [file for file in files if _looks_like_utf8(file)]
    if found:
        logger.warning(
            "%s%s read as %s and %s like UTF-8: if texts come out garbled, leave `--encoding` out.",
            found[0],
            f" and {len(found) - 1:,} more are" if found[1:] else " is",
            encoding,
            "look" if found[1:] else "looks",
        )


def _looks_like_utf8(file: Path) -> bool:
    """Whether the beginning of a file is UTF-8 with other characters than ASCII."""
    try:
        with open_unpacked(file) as stream:
            start = stream.read(_LOOKED_AT) or b""
        return not codecs.getincrementaldecoder("utf-8")().decode(start).isascii()
    # Whoever reads it tells what is wrong.
    except (*UNREADABLE, UnicodeDecodeError):
        return False


def _without(missing: Sequence[str], table: pa.Table) -> pa.Table:
    """The table with null in the place of cells that say that nothing is there."""
    if not missing:
        return table
    said = pa.array(missing, pa.string())
    null = pa.scalar(None, pa.string())
    columns = [pc.if_else(pc.is_in(column, said), null, column) for column in table.columns]
    return pa.table(columns, names=table.column_names)


def _read_group(
    connection: Any,
    header: tuple[str, ...],
    files: list[Path],
    table_format: TableFormat,
    wanted: Columns,
) -> Iterator[pa.Table]:
    """Files of one header: by the engine, or by Python where the engine gives up.

    Python reads mixed line ends, long cells and every encoding, and knows the line of an error.
    """
    import duckdb

    delimiter = table_format.delimiter(files[0].name)
    encoding = _ENGINE_ENCODINGS.get(_codec_name(table_format.encoding))
    num_rows = size = 0
    if encoding is not None:
        quote = '"' if table_format.is_quoted(delimiter) else ""
        # Names of columns that nobody asked for may repeat, which the engine refuses.
        columns = ", ".join(f"'_{i}': 'VARCHAR'" for i in range(len(header)))
        paths = ", ".join(_quoted(glob.escape(str(file))) for file in files)
        selected = ", ".join(
            (f"_{header.index(there)}" if there in header else "NULL::VARCHAR")
            + f" AS {_identifier(name)}"
            for name, there in wanted.names.items()
        )
        query = f"""
            SELECT {selected} FROM read_csv(
                [{paths}], columns={{{columns}}}, auto_detect=false,
                header={table_format.header == "first"}, delim={_quoted(delimiter)},
                quote='{quote}', escape='{quote}', encoding='{encoding}')
        """
        try:
            for batch in connection.sql(query).to_arrow_reader(_ROWS_PER_BATCH):
                num_rows += len(batch)
                size += batch.nbytes
                check_unpacked(files, size)
                yield pa.Table.from_batches([batch])
            return
        # After the first batches Arrow passes the engine's errors on as OSError.
        except (duckdb.Error, pa.ArrowException, OSError, UnicodeDecodeError):
            logger.debug("The engine cannot read %s; reading it line by line", files[0])
    all_rows = (row for file in files for row in _whole_rows(file, table_format, delimiter, header))
    rows = islice(all_rows, num_rows, None)
    while block := list(islice(rows, _ROWS_PER_BATCH)):
        yield pa.table(
            {
                name: pa.array(
                    [row[header.index(there)] or None for row in block]
                    if there in header
                    else [None] * len(block),
                    pa.string(),
                )
                for name, there in wanted.names.items()
            }
        )


def _whole_rows(
    file: Path, table_format: TableFormat, delimiter: str, header: tuple[str, ...]
) -> Iterator[list[str]]:
    rows = _rows(file, table_format, delimiter)
    if table_format.header == "first":
        next(rows)
    for number, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"{file}, line {number:,} has {len(row)} columns, the first line {len(header)}: "
                f"{shorten(delimiter.join(row))}. Mend the row or take it out; where cells hold "
                "separators, check separator and quoting (`--separator`, `--quoting`, "
                "`--no_quoting`).",
                faq="separator",
            )
        yield row


def _rows(file: Path, table_format: TableFormat, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with the number of the line that each ends with."""
    csv.field_size_limit(_LONGEST_CELL)
    encoding = "utf-8-sig" if _codec_name(table_format.encoding) == "utf-8" else None
    number = 0
    try:
        with open_text(file, encoding or table_format.encoding) as lines:
            if table_format.is_quoted(delimiter):
                reader = csv.reader(_without_zeros(lines, file), delimiter=delimiter, strict=True)
                for row in reader:
                    number = reader.line_num
                    if row:
                        yield number, row
            else:
                for number, line in enumerate(_without_zeros(lines, file), start=1):
                    if line := line.rstrip("\r\n"):
                        yield number, line.split(delimiter)
    except UnicodeError as error:
        raise InputError(
            f"{file} is not {table_format.encoding.upper()} ({error}). Say what it is "
            "(`--encoding latin-1`, for one), or convert it to UTF-8.",
            faq="encoding",
        ) from error
    except csv.Error as error:
        raise InputError(
            f"{file}: the row that ends with line {number + 1:,} or later is no CSV: {error}. Mend "
            "its quotes, or read the file without (`--no_quoting`)."
        ) from error
    except UNREADABLE as error:
        raise damaged(file, number, error) from error


def _without_zeros(lines: IO[str], file: Path) -> Iterator[str]:
    for number, line in enumerate(whole_lines(lines, file), start=1):
        if "\0" in line:
            raise InputError(
                f"{file}, line {number:,} holds zero bytes: the file is damaged, or of another "
                "encoding (`--encoding utf-16`). Get the file again.",
                faq="encoding",
            )
        yield line


def _check_ids(table: pa.Table, files: list[Path], wanted: Columns) -> None:
    for name in filter(is_id, table.column_names):
        found = table[name].filter(
            pc.fill_null(pc.match_substring_regex(table[name], _FLOAT), False)
        )
        if len(found):
            where = str(files[0].parent if len(files) > 1 else files[0])
            raise _bad_value(
                where, found[0], wanted, name, f" (in {len(found):,} of {len(table):,} rows)"
            )


def _bad_value(where: str, value: Any, wanted: Columns, name: str, rows: str = "") -> InputError:
    there = wanted.names[name]
    what = f"{where}: the {'id' if is_id(name) else 'column'} {there!r} is"
    if isinstance(value, dict):
        inside = ", ".join(f"{there}.{key}" for key in list(value)[:5])
        return InputError(
            f"{what} an object; needed are strings or integers. Name what is "
            f"inside ({inside or 'it is empty'}): `--columns {name}=...`.",
            faq="ids",
        )
    if isinstance(value, (bool, list)):
        kind = "a list" if isinstance(value, list) else "true or false"
        return InputError(
            f"{what} {kind}, {shorten(json.dumps(value))}; needed are "
            "strings or integers. Is it the right column?"
        )
    return InputError(
        f"{what} a float, {shorten(str(value))}{rows}; needed are strings or "
        "integers. Floats merge ids that differ in their last digits: read the column as text "
        f"where the file is written (pandas: `dtype={{{there!r}: str}}`; R: `colClasses = "
        '"character"`; a spreadsheet: format it as text before the import), and write it again.',
        faq="ids",
    )


class _LineBlock(NamedTuple):
    """Lines of one or more files.

    Args:
        lines: Strings.
        origins: First row of a file's lines in the block, the file, and the number of that line.
    """

    lines: pa.ChunkedArray
    origins: list[tuple[int, Path, int]]

    def place(self, row: int) -> tuple[Path, int]:
        """File and number of a line."""
        start, file, number = next(o for o in reversed(self.origins) if o[0] <= row)
        return file, number + row - start


def _line_blocks(files: Iterable[Path]) -> Iterator[_LineBlock]:
    """Lines in blocks of some megabytes, to which several small files go."""
    chunks: list[pa.Array] = []
    origins: list[tuple[int, Path, int]] = []
    rows = size = 0
    for file in files:
        number = 1
        for block in read_blocks(file):
            origins.append((rows, file, number))
            chunks += block.lines.chunks
            number += len(block.lines)
            rows += len(block.lines)
            size += block.lines.nbytes
            if size >= BLOCK_SIZE:
                yield _LineBlock(pa.chunked_array(chunks, pa.string()), origins)
                chunks, origins, rows, size = [], [], 0, 0
    if rows:
        yield _LineBlock(pa.chunked_array(chunks, pa.string()), origins)


def _query_lines(connection: Any, block: _LineBlock, query: str) -> pa.Table:
    """The answer of the query, which reads `text` and `row` of `block`."""
    rows = pa.array(np.arange(len(block.lines), dtype=np.int64))
    connection.register("block", pa.table({"text": block.lines, "row": rows}))
    try:
        return connection.sql(query).to_arrow_table()
    except json_errors():
        mended = _mend_lines(connection, block)
        connection.register("block", pa.table({"text": mended, "row": rows}))
        return connection.sql(query).to_arrow_table()
    finally:
        connection.unregister("block")


def _mend_lines(connection: Any, block: _LineBlock) -> pa.ChunkedArray:
    """The lines of the registered block in the JSON that the engine reads.

    Half a character (a lone surrogate) becomes U+FFFD.

    Raises:
        InputError: A line is no JSON for Python either.
    """
    bad = connection.execute(
        "SELECT row, text FROM block WHERE NOT json_valid(text) "
        "AND trim(text, E' \\t\\r\\n') <> '' ORDER BY row"
    ).fetchall()
    mask = np.zeros(len(block.lines), bool)
    mended = []
    for row, text in bad:
        try:
            value = json.loads(text, strict=False)
        except (ValueError, RecursionError) as error:
            raise _no_json(block, row, str(error)) from error
        mended.append(_HALF_CHARACTER.sub("\ufffd", json.dumps(value, ensure_ascii=False)))
        mask[row] = True
    file, number = block.place(bad[0][0])
    logger.warning(
        "%s: %d lines hold half of a character (a lone surrogate) or a bare control character; the "
        "former are read as U+FFFD. The first is line %d",
        file,
        len(bad),
        number,
    )
    return pc.replace_with_mask(block.lines, pa.array(mask), pa.array(mended, pa.string()))


def _odd_line(block: _LineBlock, row: int, wanted: Columns) -> InputError:
    """What is wrong with a line that is JSON: no object, or a value of another type."""
    try:
        value = json.loads(block.lines[row].as_py(), strict=False)
    except RecursionError:
        return _no_json(block, row, "its lists or objects are nested too deep")
    except ValueError as error:
        # The engine takes more for JSON, such as a comma before a bracket that closes.
        return _no_json(block, row, str(error))
    if not isinstance(value, dict):
        return _no_json(block, row, f"it holds {type(value).__name__}, not an object")
    file, number = block.place(row)
    for name, there in wanted.names.items():
        found = _value_at(value, there)
        is_bad_id = is_id(name) and isinstance(found, (bool, float))
        if is_bad_id or isinstance(found, (dict, list)):
            return _bad_value(f"{file}, line {number:,}", found, wanted, name)
    return _no_json(block, row, "it cannot be read")


def _value_at(value: Any, there: str) -> Any:
    if there in value:
        return value[there]
    for part in there.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _no_json(block: _LineBlock, row: int, problem: str) -> InputError:
    file, number = block.place(row)
    return InputError(
        f"{file} is not JSON lines (line {number:,}: {problem}): "
        f"{shorten(block.lines[row].as_py())}. Needed is one JSON object a line; write a JSON "
        "array as lines first (`jq -c '.[]'`)."
    )


def _pointers(there: str) -> list[str]:
    """Where a column may be in an object, as JSON pointers (RFC 6901)."""
    escaped = there.replace("~", "~0").replace("/", "~1")
    return [f"/{escaped}"] + ([f"/{escaped.replace('.', '/')}"] if "." in there else [])


def _codec_name(encoding: str) -> str:
    return codecs.lookup(encoding).name


def _quoted(text: str) -> str:
    """A string of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    """A name of SQL."""
    return '"' + name.replace('"', '""') + '"'
