"""Lines of large text files, packed or not, in blocks of Arrow strings.

The data sets of translation pairs are lines with tabs, without quoting, so no CSV dialect applies;
a wrong line is told by its number.
"""

from __future__ import annotations

import bz2
import gzip
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_BLOCK_BYTES = 1 << 23
_LONGEST_LINE = 1 << 28
_SHOWN = 80  # characters of a wrong line in a message
_MAGIC = {".gz": (b"\x1f\x8b", "gzip"), ".bz2": (b"BZh", "bzip2")}
_BOM = b"\xef\xbb\xbf"


class LineBlock(NamedTuple):
    """Lines that are not empty, without their line breaks, and their numbers from 1 on.

    Attributes:
        path: The file.
        lines: String array `[num_lines]`.
        numbers: int64 `[num_lines]`.
    """

    path: Path
    lines: pa.StringArray
    numbers: np.ndarray

    def error(self, row: int, problem: str) -> ValueError:
        """What is wrong with a line, for a person."""
        line = self.lines[row].as_py()
        shown = line if len(line) <= _SHOWN else line[:_SHOWN] + "…"
        return ValueError(f"{self.path}, line {self.numbers[row]:,}: {problem} The line: {shown!r}")


def read_blocks(path: Path, *, progress: bool = True) -> Iterator[LineBlock]:
    """Reads a text file of any size in blocks of some megabytes.

    Args:
        path: The file; `.gz`, `.bz2` and `.tar.bz2` (the first file in it) are unpacked.
        progress: Shows a progress bar of the bytes read.

    Raises:
        ValueError: The file is not what its ending says, is damaged, or is not UTF-8.
    """
    first, rest = 1, b""
    with _open(path, progress) as stream:
        while data := _read(path, stream):
            data = rest + data
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if len(rest) > _LONGEST_LINE:
                raise ValueError(
                    f"{path} has a line of more than {_LONGEST_LINE >> 20} MB (line {first:,}); "
                    "needed is a file of lines."
                )
            if end:
                yield _block(path, data[:end], first)
                first += data.count(b"\n", 0, end)
    if rest:
        yield _block(path, rest, first)


def first_line(path: Path) -> str:
    """The first line that is not empty; empty where there is none."""
    for block in read_blocks(path, progress=False):
        if len(block.lines):
            return block.lines[0].as_py()
    return ""


def split_columns(
    block: LineBlock, num_columns: int, names: str, dropped: Counter[str]
) -> tuple[LineBlock, list[pa.Array]]:
    """Splits lines at tabs.

    A line with too few columns is an error. One with too many holds a tab in a text, where nobody
    can tell which: it is dropped and counted.

    Args:
        block: The lines.
        num_columns: How many there must be.
        names: What the columns are, for the message.
        dropped: Gets the count.

    Returns:
        The lines kept, and their columns: `num_columns` string arrays.

    Raises:
        ValueError: A line has too few columns.
    """
    found = pc.count_substring(block.lines, "\t").to_numpy() + 1
    if (found < num_columns).any():
        row = int(np.argmax(found < num_columns))
        raise block.error(
            row,
            f"{found[row]} column{'s' * bool(found[row] > 1)}, where {num_columns} are needed, "
            f"with a tab between two: {names}.",
        )
    if (found > num_columns).any():
        kept = found == num_columns
        dropped["lines with too many columns"] += int((~kept).sum())
        block = block._replace(
            lines=block.lines.filter(pa.array(kept)), numbers=block.numbers[kept]
        )
    values = pc.split_pattern(block.lines, "\t").flatten()
    rows = np.arange(0, len(values), num_columns)
    return block, [values.take(pa.array(rows + column)) for column in range(num_columns)]


def numbers_of(block: LineBlock, column: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    """A column of numbers.

    Raises:
        ValueError: A value is none; tells the line.
    """
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        pattern = r"^-?\d+$" if pa.types.is_integer(kind) else r"^-?\d*\.?\d+([eE][-+]?\d+)?$"
        numeric = pc.match_substring_regex(column, pattern).to_numpy(zero_copy_only=False)
        row = int(np.argmin(numeric))
        raise block.error(row, f"{column[row].as_py()!r} is no {name}.") from None


@contextmanager
def _open(path: Path, progress: bool) -> Iterator[IO[bytes]]:
    """The unpacked bytes; the bar advances by the packed ones."""
    from rich.progress import Progress

    packing = path.suffix.lower()
    _check_magic(path, packing)
    with (
        Progress(disable=not progress) as bar,
        bar.open(path, "rb", description=f"Reading {path.name}") as raw,
    ):
        if path.name.lower().endswith(".tar.bz2"):
            with _damage(path), tarfile.open(fileobj=raw, mode="r|bz2") as archive:
                stream = next(filter(None, map(archive.extractfile, archive)), None)
                if stream is None:
                    raise ValueError(f"{path} holds no file. Fetch it again.")
                yield stream
        elif packing == ".gz":
            yield gzip.GzipFile(fileobj=raw)  # type: ignore[misc]
        elif packing == ".bz2":
            yield bz2.BZ2File(raw)
        else:
            yield raw


def _check_magic(path: Path, packing: str) -> None:
    if packing in _MAGIC:
        magic, name = _MAGIC[packing]
        with path.open("rb") as raw:
            begin = raw.read(8)
        if not begin.startswith(magic):
            raise ValueError(
                f"{path} is not {name}, though its name ends in {packing}: it begins with "
                f"{begin!r}. Rename it if it is plain text, else fetch it again."
            )


def _read(path: Path, stream: IO[bytes]) -> bytes:
    with _damage(path):
        return stream.read(_BLOCK_BYTES)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turns what unpackers raise into a ValueError that names the file."""
    try:
        yield
    except (EOFError, OSError, zlib.error, tarfile.TarError) as error:
        raise ValueError(f"{path} is damaged ({error}). Fetch it again.") from error


def _block(path: Path, data: bytes, first: int) -> LineBlock:
    if first == 1:
        data = data.removeprefix(_BOM)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = first + data.count(b"\n", 0, error.start)
        raise ValueError(
            f"{path}, line {number:,} is not UTF-8 ({error.reason}). Convert the file to UTF-8."
        ) from error
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    lines = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data))
    lines = pc.utf8_rtrim(lines, "\r\n")
    filled = pc.not_equal(pc.binary_length(lines), 0)
    numbers = first + np.flatnonzero(filled.to_numpy(zero_copy_only=False))
    return LineBlock(path, lines.filter(filled), numbers)
