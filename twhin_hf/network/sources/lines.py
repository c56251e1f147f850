"""Reads lines of JSON from plain, gzip and Zstandard files, block by block."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

BLOCK_SIZE = 2**24
MAX_LINE = 2**28
MAX_DOCUMENT = 2**28
_HEAD_SIZE = 2**20
_READ_SIZE = 2**19  # fresh memory for larger pieces takes longer than reading them
_ITEMS_PER_BLOCK = 10_000
_LINES_LOOKED_AT = 100
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_ARCHIVES = {b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7z", b"PAR1": "Parquet"}
_BOM = b"\xef\xbb\xbf"
_ASSIGNMENT = re.compile(r"\s*window\.[\w.]+\s*=\s*")  # X's archive holds JSON as JavaScript


class Block(NamedTuple):
    """Whole lines.

    Attributes:
        lines: Strings, `[num_lines]`, in pieces as they were read.
        position: Bytes of the file read so far, compressed as it is.
    """

    lines: pa.ChunkedArray
    position: int


class Head(NamedTuple):
    """What the beginning of a file shows.

    Attributes:
        objects: JSON objects of the first lines, or first items of a document.
        document: The file's one JSON value, where it is no file of lines.
    """

    objects: list[dict[str, Any]]
    document: Any = None


def list_files(path: Path) -> list[Path]:
    """The files of a folder and its subfolders in the order of their names, or the file itself.

    Names that start with "." or "_" and files of no bytes are left out of a folder.

    Raises:
        FileNotFoundError: No such file, or nothing in the folder.
        ValueError: The file is empty.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Check the path of the file or folder.")
    if path.is_file():
        if not path.stat().st_size:
            raise ValueError(f"{path} is empty: 0 bytes. Was the download complete?")
        return [path]
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file()
        and file.stat().st_size
        and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    ]
    if not files:
        raise FileNotFoundError(f"{path} holds no file that can be read.")
    return files


def read_blocks(path: Path, block_size: int = BLOCK_SIZE) -> Iterator[Block]:
    """The lines of a file, in blocks of about `block_size` bytes.

    A line that is not UTF-8 comes as "?", which is no JSON.

    Raises:
        ValueError: The file is cut off or damaged, an archive, or has a line above 256 MiB.
    """
    num_lines, rest, is_first = 0, b"", True
    pieces: list[pa.Array] = []
    with pa.OSFile(str(path)) as file, _open(path, file) as stream:
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
                pieces.append(_split(data, cut))
                num_lines += len(pieces[-1])
            if pieces and (is_last or sum(piece.nbytes for piece in pieces) >= block_size):
                yield Block(pa.chunked_array(pieces), file.tell())
                pieces = []
            rest = data[cut:]
            if is_last:
                return
            if len(rest) > MAX_LINE:
                raise ValueError(
                    f"{path}: line {num_lines + 1:,} is longer than {MAX_LINE >> 20} MiB. Needed "
                    "is one JSON object a line (`jq -c '.[]' FILE` makes lines of an array)."
                )


def read_head(path: Path, collections: Collection[str]) -> Head:
    """Tells lines from a document by the first lines of a file, and reads a document.

    Args:
        path: The file.
        collections: Keys that mark an object as a collection of items.

    Raises:
        ValueError: The file holds no JSON, no text, or a document above 256 MiB.
    """
    first = next(read_blocks(path, _HEAD_SIZE), None)
    lines = [] if first is None else first.lines[:_LINES_LOOKED_AT].to_pylist()
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise ValueError(f"{path} is empty: it holds nothing but white space.")
    objects = [value for line in lines if isinstance(value := _parse(line), dict)]
    start = lines[0].lstrip()
    is_collection = bool(objects) and not objects[0].keys().isdisjoint(collections)
    if start.startswith(("[", "window.")) or start.strip() == "{" or is_collection:
        document = _read_document(path)
        items = document if isinstance(document, list) else [document]
        looked_at = items[:_LINES_LOOKED_AT]
        return Head([item for item in looked_at if isinstance(item, dict)], document)
    if not objects:
        raise ValueError(
            f"{path} holds no JSON: its first line is {shorten(lines[0])}. For CSV, TSV and other "
            "tables there is `--source table --map user_id=... --map post_id=...`."
        )
    return Head(objects)


def as_blocks(items: Iterable[Mapping[str, Any]], position: int) -> Iterator[Block]:
    """Items of a document as the lines that they would be."""
    items = iter(items)
    while part := list(islice(items, _ITEMS_PER_BLOCK)):
        lines = pa.chunked_array([[json.dumps(item) for item in part]], pa.string())
        yield Block(lines, position)


def shorten(text: str, length: int = 80) -> str:
    """The beginning of a text, quoted, for a message."""
    text = text.strip()
    return repr(text if len(text) <= length else text[: length - 1] + "…")


def _open(path: Path, file: pa.NativeFile) -> pa.NativeFile:
    start = file.read(4)
    file.seek(0)
    for magic, kind in _ARCHIVES.items():
        if start.startswith(magic):
            advice = (
                "Read it with `--source table`."
                if kind == "Parquet"
                else "Unpack it and give the folder."
            )
            raise ValueError(f"{path} is a {kind} file, not JSON. {advice}")
    for magic, codec in _MAGIC.items():
        if start.startswith(magic):
            return pa.CompressedInputStream(file, codec)
    return file


@contextmanager
def _damage(path: Path, num_lines: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"{path} is cut off or damaged somewhere after line {num_lines:,}: {error}. Get the "
            "file again, or keep what can be read of it (`zcat FILE > NEW`, `zstdcat FILE > NEW`)."
        ) from error


def _split(data: bytes, cut: int) -> pa.Array:
    """The lines of `data[:cut]`, which ends with a line, without a copy."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8, cut) == ord("\n")) + 1
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends
    lines = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data))
    try:
        lines.validate(full=True)
    except pa.ArrowInvalid:
        return pa.array([_decode(line) for line in data[:cut].splitlines()], pa.string())
    return lines


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return "?"


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _read_document(path: Path) -> Any:
    parts: list[str] = []
    size = 0
    for block in read_blocks(path):
        size += block.lines.nbytes
        if size > MAX_DOCUMENT:
            raise ValueError(
                f"{path} is one JSON value of more than {MAX_DOCUMENT >> 20} MiB, which is read at "
                "once. Make lines of it first: `jq -c '.[]' FILE > FILE.jsonl`."
            )
        parts += block.lines.to_pylist()
    text = "".join(parts)
    assignment = _ASSIGNMENT.match(text)
    try:
        return json.loads(text[assignment.end() :] if assignment else text)
    except ValueError as error:
        # An API's answers, one array a line.
        pages = [_parse(line) for line in parts if line.strip()]
        if pages and all(isinstance(page, list) for page in pages):
            return [item for page in pages for item in page]
        raise ValueError(
            f"{path} holds no JSON ({error}); it begins with {shorten(text)}. Is it whole?"
        ) from error
