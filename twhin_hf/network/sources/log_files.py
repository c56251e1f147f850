"""The files of a log: lines of JSON, or one JSON value that is read at once."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from twhin_hf.files import list_files
from twhin_hf.lines import Block, read_blocks, shorten

MAX_DOCUMENT = 2**28
_HEAD_SIZE = 2**20
_ITEMS_PER_BLOCK = 10_000
_LINES_LOOKED_AT = 100
_ARCHIVES = {b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7z", b"PAR1": "Parquet"}
NO_JSON = "?"
"""Stands for a line that is not UTF-8, so that it counts as one that is no JSON."""
_ASSIGNMENT = re.compile(r"\s*window\.[\w.]+\s*=\s*")  # X's archive holds JSON as JavaScript


class Head(NamedTuple):
    """What the beginning of a file shows.

    Args:
        objects: JSON objects of the first lines, or first items of a document.
        document: The file's one JSON value, where it is no file of lines.
    """

    objects: list[dict[str, Any]]
    document: Any = None


def list_log_files(path: Path) -> list[Path]:
    """The files of a folder and its subfolders in the order of their names, or the file itself.

    Names that start with "." or "_" and files of no bytes are left out of a folder.

    Raises:
        FileNotFoundError: No such file, or nothing in the folder.
        ValueError: The file is empty.
    """
    found = [file for file in list_files(path) if file.stat().st_size]
    if not found and path.is_file():
        raise ValueError(f"{path} is empty: 0 bytes. Was the download complete?")
    if not found:
        raise FileNotFoundError(f"{path} holds no file that can be read.")
    return found


def read_head(path: Path, collections: Collection[str]) -> Head:
    """Tells lines from a document by the first lines of a file, and reads a document.

    Args:
        path: The file.
        collections: Keys that mark an object as a collection of items.

    Raises:
        ValueError: The file holds no JSON, no text, or a document above 256 MiB.
    """
    _check_kind(path)
    first = next(read_blocks(path, _HEAD_SIZE, replacement=NO_JSON), None)
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
            "tables there is `--source table --columns user_id=... post_id=...`."
        )
    return Head(objects)


def as_blocks(items: Iterable[Mapping[str, Any]], position: int) -> Iterator[Block]:
    """Items of a document as the lines that they would be."""
    items = iter(items)
    while part := list(islice(items, _ITEMS_PER_BLOCK)):
        lines = pa.chunked_array([[json.dumps(item) for item in part]], pa.string())
        yield Block(lines, position)


def _check_kind(path: Path) -> None:
    with path.open("rb") as file:
        kind = _ARCHIVES.get(file.read(4))
    if kind is not None:
        advice = (
            "Read it with `--source table`."
            if kind == "Parquet"
            else "Unpack it and give the folder."
        )
        raise ValueError(f"{path} is a {kind} file, not JSON. {advice}")


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
