"""Lines of large text files, compressed or not, in blocks of Arrow strings.

Compression (gzip, bzip2, xz, Zstandard) and tar archives, of which the first file is read, are
known by their first bytes. Only a line feed ends a line: texts may hold Unicode's other separators.
What unpacks to far more than its size, and lines without an end, are refused as they are read.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.errors import InputError

BLOCK_SIZE = 2**24
MAX_LINE = 2**28
_NUMBERED_BLOCK_SIZE = 2**23
_READ_SIZE = 2**19  # fresh memory for larger pieces takes longer than reading them
_CODECS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_ENDINGS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
UNREADABLE = (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error)
"""What unpacking damaged files raises."""
_MOST_TIMES = 200
_SMALL = 2**26
_BOM = b"\xef\xbb\xbf"


class Block(NamedTuple):
    """Whole lines.

    Args:
        lines: Strings with their line feeds, `[num_lines]`, in pieces as they were read.
        position: Bytes of the file read so far, compressed as it is.
    """

    lines: pa.ChunkedArray
    position: int


class NumberedLines(NamedTuple):
    """Lines that are not empty, without their line breaks, and their numbers from 1 on.

    Args:
        path: The file.
        lines: Strings, `[num_lines]`.
        numbers: int64 `[num_lines]`.
    """

    path: Path
    lines: pa.StringArray
    numbers: np.ndarray

    def error(self, row: int, problem: str) -> InputError:
        """What is wrong with a line, for a person."""
        shown = shorten(self.lines[row].as_py())
        return InputError(f"{self.path}, line {self.numbers[row]:,}: {problem} The line: {shown}")


def read_blocks(
    path: Path, block_size: int = BLOCK_SIZE, *, replacement: str | None = None
) -> Iterator[Block]:
    """The lines of a file of any size, in blocks.

    Args:
        path: The file.
        block_size: Bytes of a block, about.
        replacement: Stands for a line that is not UTF-8; such a line is an error where it is None.

    Raises:
        InputError: The file is cut off or damaged, is not compressed as its name says, unpacks to
            more than 200 times its size (and 64 MiB), has a line above 256 MiB or one that is not
            UTF-8.
    """
    num_lines, rest, is_first = 0, b"", True
    pieces: list[pa.Array] = []
    with pa.OSFile(str(path)) as file:
        stream = _unpack(path, file, _decompress)
        while True:
            with _damage(path, num_lines):
                # As much again for a line that goes on, or long lines would be copied many times.
                data = stream.read(max(_READ_SIZE, len(rest)))
            is_last = not data
            if is_first:
                data, is_first = data.removeprefix(_BOM), False
            data = rest + data
            if is_last and data:
                data += b"\n"
            cut = data.rfind(b"\n") + 1
            if cut:
                piece = _split(data, cut)
                if piece is None:
                    piece = _decode(path, data[:cut], num_lines, replacement)
                pieces.append(piece)
                num_lines += len(pieces[-1])
            if pieces and (is_last or sum(piece.nbytes for piece in pieces) >= block_size):
                yield Block(pa.chunked_array(pieces), file.tell())
                pieces = []
            rest = data[cut:]
            if is_last:
                return
            if len(rest) > MAX_LINE:
                raise _long_line(path, num_lines + 1)


def read_lines(path: Path, *, progress: bool = True) -> Iterator[NumberedLines]:
    """The lines of a file that are not empty, in blocks of some megabytes.

    Args:
        path: The file.
        progress: Shows a progress bar of the bytes read.

    Raises:
        InputError: As of `read_blocks`.
    """
    from rich.progress import Progress

    num_lines = 0
    with Progress(disable=not progress) as bar:
        task = bar.add_task(f"Reading {path.name}", total=path.stat().st_size)
        for block in read_blocks(path, _NUMBERED_BLOCK_SIZE):
            bar.update(task, completed=block.position)
            lines = pc.utf8_rtrim(block.lines, "\r\n")
            filled = pc.not_equal(pc.binary_length(lines), 0)
            numbers = num_lines + 1 + np.flatnonzero(filled.to_numpy())
            num_lines += len(lines)
            yield NumberedLines(path, lines.filter(filled).combine_chunks(), numbers)


def iterate_lines(path: Path, encoding: str = "utf-8") -> Iterator[str]:
    """All lines of a file as strings of Python, without their line breaks.

    Args:
        path: The file.
        encoding: How it is written; a name that Python knows.

    Raises:
        FileNotFoundError: No such file.
        InputError: As of `read_blocks`, or the file is of another encoding.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}.")
    if codecs.lookup(encoding).name != "utf-8":
        yield from _decoded_lines(path, encoding)
        return
    for block in read_blocks(path, _READ_SIZE):
        yield from pc.utf8_rtrim(block.lines, "\r\n").to_pylist()


def _decoded_lines(path: Path, encoding: str) -> Iterator[str]:
    num_lines = 0
    try:
        with open_text(path, encoding, newline="\n") as lines:
            for line in whole_lines(lines, path):
                num_lines += 1
                yield line.rstrip("\r\n")
    except UnicodeError as error:
        raise InputError(
            f"{path} is not {encoding.upper()} (line {num_lines + 1:,}, or some after it).",
            faq="encoding",
        ) from error
    except UNREADABLE as error:
        raise damaged(path, num_lines, error) from error


@contextmanager
def open_text(path: Path, encoding: str, newline: str = "") -> Iterator[IO[str]]:
    """Opens a text file, compressed or not.

    Args:
        path: The file.
        encoding: How it is written; a name that Python knows.
        newline: As `open` takes.

    Raises:
        InputError: As of `read_blocks`; what reads of it raises `UNREADABLE` too.
    """
    with open_unpacked(path) as stream:
        yield io.TextIOWrapper(io.BufferedReader(stream, _READ_SIZE), encoding, newline=newline)


@contextmanager
def open_unpacked(path: Path) -> Iterator[io.RawIOBase]:
    """Opens the unpacked bytes of a file, compressed or not.

    Raises:
        InputError: As of `read_blocks`; what reads of it raises `UNREADABLE` too.
    """
    with pa.OSFile(str(path)) as file:
        yield _Bytes(_unpack(path, file, _decompress_to_the_end))


def whole_lines(lines: IO[str], path: Path) -> Iterator[str]:
    """The lines of an open text file with their line breaks.

    Raises:
        InputError: A line is longer than 256 MiB; what has no end would fill the memory.
    """
    for number, line in enumerate(iter(lambda: lines.readline(MAX_LINE + 1), ""), start=1):
        if len(line) > MAX_LINE:
            raise _long_line(path, number)
        yield line


def compression_of(path: Path) -> str | None:
    """What a file is compressed by, as Arrow names it; None where it is not.

    Raises:
        InputError: It is not compressed as its name says.
    """
    with path.open("rb") as file:
        return _codec(path, file.read(8))


def first_line(path: Path) -> str:
    """The first line that is not empty; empty where there is none."""
    return next(filter(None, iterate_lines(path)), "")


def shorten(text: str, length: int = 80) -> str:
    """The beginning of a text, quoted, for a message."""
    text = text.strip()
    return repr(text if len(text) <= length else text[: length - 1] + "…")


def _unpack(path: Path, file: pa.NativeFile, decompress: Callable[..., Any]) -> Any:
    """The unpacked bytes of an open file."""
    codec = _codec(path, file.read(8))
    file.seek(0)
    stream = decompress(file, codec)
    if codec:
        stream = _Bounded(path, stream, max(_SMALL, _MOST_TIMES * file.size()))
    with _damage(path, 0):
        if not _is_tar(path, codec, decompress):
            return stream
        archive = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115 - read as long as `file`
        member = next(filter(None, map(archive.extractfile, archive)), None)
    if member is None:
        raise InputError(f"{path} holds no file. Fetch it again.")
    return member


def _codec(path: Path, start: bytes) -> str | None:
    codec = next((name for magic, name in _CODECS.items() if start.startswith(magic)), None)
    named = _ENDINGS.get(path.suffix.lower(), codec)
    if named != codec:
        raise InputError(
            f"{path} is not {named}, though its name ends in {path.suffix}: it begins with "
            f"{start!r}. Rename it if it is plain text, else fetch it again."
        )
    return codec


def _decompress(file: pa.NativeFile, codec: str | None) -> pa.NativeFile | IO[bytes]:
    if codec == "bz2":
        return bz2.BZ2File(file)  # Arrow's reader refuses an empty stream among several
    if codec == "xz":
        return lzma.LZMAFile(file)
    return pa.CompressedInputStream(file, codec) if codec else file


def check_unpacked(files: Sequence[Path], size: int) -> None:
    """Checks what an engine that unpacks by itself has read so far.

    Args:
        files: The files.
        size: Bytes that came out of them.

    Raises:
        InputError: Some are compressed, and more came out than `read_blocks` would unpack.
    """
    most = max(_SMALL, _MOST_TIMES * sum(file.stat().st_size for file in files))
    packed = next((file for file in files if file.suffix.lower() in _ENDINGS), None)
    if packed is not None and size > most:
        raise _bomb(packed, most)


def _bomb(path: Path, most: int) -> InputError:
    return InputError(
        f"{path} has {path.stat().st_size:,} bytes and unpacks to more than {most:,}, as no text "
        "does: it would fill disk or memory. If it is sound, unpack it yourself and give what "
        "comes out."
    )


def _decompress_to_the_end(file: pa.NativeFile, codec: str | None) -> Any:
    """The same, which also gives the last bytes before damage: Arrow gives no part of a block."""
    return gzip.GzipFile(fileobj=cast(Any, file)) if codec == "gzip" else _decompress(file, codec)


class _Bounded:
    """A stream that unpacks so many bytes and no more."""

    def __init__(self, path: Path, stream: Any, most: int):
        self._path, self._stream, self._most, self._rest = path, stream, most, most

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._rest -= len(data)
        if self._rest < 0:
            raise _bomb(self._path, self._most)
        return data


class _Bytes(io.RawIOBase):
    """A stream that has `read` alone, for what asks for more."""

    def __init__(self, stream: Any):
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _is_tar(path: Path, codec: str | None, decompress: Callable[..., Any]) -> bool:
    with pa.OSFile(str(path)) as file, decompress(file, codec) as stream:
        return stream.read(262)[257:] == b"ustar"


@contextmanager
def _damage(path: Path, num_lines: int) -> Iterator[None]:
    """Turns what unpackers raise into an InputError that names the file."""
    try:
        yield
    except UNREADABLE as error:
        raise damaged(path, num_lines, error) from error


def damaged(path: Path, num_lines: int, error: BaseException) -> Exception:
    """What to raise for one of `UNREADABLE`; an error of the system is itself.

    Args:
        path: The file.
        num_lines: Lines that were read before.
        error: What unpacking raised.
    """
    if isinstance(error, OSError) and error.errno:
        return error
    place = f" somewhere after line {num_lines:,}" if num_lines else ""
    return InputError(
        f"{path} is cut off or damaged{place}: {error}. Get the file again, or keep what can be "
        "read of it (`zcat FILE > NEW`, `zstdcat FILE > NEW`)."
    )


def _long_line(path: Path, number: int) -> InputError:
    return InputError(
        f"{path}: line {number:,} is longer than {MAX_LINE >> 20} MiB. Needed is a file of lines "
        "(`jq -c '.[]' FILE` makes lines of a JSON array)."
    )


def _split(data: bytes, cut: int) -> pa.StringArray | None:
    """The lines of `data[:cut]`, which ends with a line, without a copy; None if not all UTF-8."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8, cut) == ord("\n")) + 1
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends
    lines = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data))
    try:
        lines.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return lines


def _decode(path: Path, data: bytes, num_lines: int, replacement: str | None) -> pa.StringArray:
    """The lines of bytes that are not all UTF-8, which come after a number of lines."""
    lines = [_decode_line(line) for line in data.split(b"\n")[:-1]]
    if replacement is None and None in lines:
        number = num_lines + lines.index(None) + 1
        raise InputError(
            f"{path} is not UTF-8 (line {number:,}). Convert it to UTF-8, from Latin-1 for one: "
            "`iconv -f latin1 -t utf-8 FILE > NEW`.",
            faq="encoding",
        )
    return pa.array([replacement if line is None else line for line in lines], pa.string())


def _decode_line(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None
