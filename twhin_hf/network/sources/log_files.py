"""The files of a log: lines of JSON, or one JSON value that is read at once."""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from twhin_hf.errors import InputError
from twhin_hf.files import list_files
from twhin_hf.lines import Block, read_blocks, shorten
from twhin_hf.network.sources.car import is_car, read_car
from twhin_hf.network.sources.unwrapping import dump, parse

MAX_DOCUMENT = 2**28
_HEAD_SIZE = 2**20
_ITEMS_PER_BLOCK = 10_000
_LINES_LOOKED_AT = 100
_ARCHIVES = {b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7z", b"PAR1": "Parquet"}
_JSON_NAME = re.compile(r"\.(?:jsonl?|ndjson|js)(?:\.(?:gz|bz2|xz|zst))?$", re.IGNORECASE)
NO_JSON = "?"
"""Stands for a line that is not UTF-8, so that it counts as one that is no JSON."""
# X's archives hold JSON as JavaScript.
_ASSIGNMENT = re.compile(r"\s*(?:window|Grailbird)\.[\w.]+\s*=\s*")
# Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html
_SERVER_EVENT = re.compile(r"(event|data):(.*)")


class NoLogError(InputError):
    """A file is no JSON, which in a folder of logs is no harm."""


class Head(NamedTuple):
    """What the beginning of a file shows.

    Args:
        objects: JSON values of the first lines, or first items of a document.
        document: The file's one JSON value, where it is no file of lines.
        is_event_stream: Whether the lines are server-sent events.
    """

    objects: list[Any]
    document: Any = None
    is_event_stream: bool = False


def list_log_files(path: Path) -> list[Path]:
    """The files of a folder and its subfolders in the order of their names, or the file itself.

    Names that start with "." or "_" and files of no bytes are left out of a folder.

    Raises:
        FileNotFoundError: No such file, or nothing in the folder.
        InputError: The file is empty.
    """
    found = [file for file in list_files(path) if file.stat().st_size]
    if not found and path.is_file():
        raise InputError(f"{path} is empty: 0 bytes. Was the download complete?")
    if not found:
        raise FileNotFoundError(f"{path} holds no file that can be read.")
    return found


def is_media(name: str) -> bool:
    """Whether a file is a picture, a film, a sound or a font by its name."""
    kind = mimetypes.guess_type(name)[0] or ""
    return kind.startswith(("image/", "video/", "audio/", "font/"))


def read_head(path: Path) -> Head:
    """Tells lines from a document by the first lines of a file, and reads a document.

    Raises:
        NoLogError: The file holds no JSON, by its name too.
        InputError: The file should hold JSON and does not, is damaged, or is a document above
            256 MiB.
    """
    _check_kind(path)
    if is_car(path):
        document = read_car(path)
        return Head(document[:_LINES_LOOKED_AT], document)
    blocks = list(islice(read_blocks(path, _HEAD_SIZE, replacement=NO_JSON), 2))
    lines = blocks[0].lines[:_LINES_LOOKED_AT].to_pylist() if blocks else []
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise NoLogError(f"{path} is empty: it holds nothing but white space.")
    start = lines[0].lstrip()
    objects = [value for line in lines if isinstance(value := parse(line), dict)]
    if not objects and any(map(_SERVER_EVENT.match, lines)):
        events = list(map(parse, _server_events(lines)))
        return Head(events, is_event_stream=True)
    is_script = _ASSIGNMENT.match(start) is not None
    is_one_line = len(lines) == 1 == len(blocks)
    if start[0] == "[" or is_script or (start[0] == "{" and (is_one_line or not objects)):
        document = _read_document(path)
        items = document if isinstance(document, list) else [document]
        return Head(items[:_LINES_LOOKED_AT], document)
    if not objects:
        raise _no_json(
            path,
            f": its first line is {shorten(lines[0])}. For CSV, TSV and other tables there is "
            "`--source table --columns user_id=... post_id=...`.",
        )
    return Head(objects)


def as_blocks(items: Iterable[Mapping[str, Any]], position: int) -> Iterator[Block]:
    """Items of a document as the lines that they would be."""
    items = iter(items)
    while part := list(islice(items, _ITEMS_PER_BLOCK)):
        lines = pa.chunked_array([[dump(item) for item in part]], pa.string())
        yield Block(lines, position)


def server_events(blocks: Iterable[Block]) -> Iterator[Block]:
    """Server-sent events as lines `{"event": NAME, "payload": DATA}`, one for each line of data."""
    position = 0

    def lines() -> Iterator[str]:
        nonlocal position
        for block in blocks:
            position = block.position
            yield from block.lines.to_pylist()

    events = _server_events(lines())
    while part := list(islice(events, _ITEMS_PER_BLOCK)):
        yield Block(pa.chunked_array([part], pa.string()), position)


def _server_events(lines: Iterable[str]) -> Iterator[str]:
    name = "message"
    for line in lines:
        field = _SERVER_EVENT.match(line)
        if field is not None and field[1] == "event":
            name = field[2].strip()
        elif field is not None:
            yield json.dumps({"event": name, "payload": field[2].strip()})


def _no_json(path: Path, problem: str) -> InputError:
    """The error of a file without JSON: worse where its name promises some."""
    kind = InputError if _JSON_NAME.search(path.name) else NoLogError
    return kind(f"{path} holds no JSON{problem}")


def _check_kind(path: Path) -> None:
    with path.open("rb") as file:
        kind = _ARCHIVES.get(file.read(4))
    if kind is not None:
        advice = (
            "Read it with `--source table`."
            if kind == "Parquet"
            else "Unpack it and give the folder."
        )
        raise NoLogError(f"{path} is a {kind} file, not JSON. {advice}")


def _read_document(path: Path) -> Any:
    parts: list[str] = []
    size = 0
    for block in read_blocks(path):
        size += block.lines.nbytes
        if size > MAX_DOCUMENT:
            raise InputError(
                f"{path} is one JSON value of more than {MAX_DOCUMENT >> 20} MiB, which is read at "
                "once. Make lines of it first: `jq -c '.[]' FILE > FILE.jsonl`."
            )
        parts += block.lines.to_pylist()
    text = "".join(parts)
    value = text
    if assignment := _ASSIGNMENT.match(text):
        # Whoever formats such a file ends it as a statement.
        value = text[assignment.end() :].rstrip().removesuffix(";")
    try:
        return json.loads(value)
    except RecursionError as error:
        raise InputError(
            f"{path} is JSON of too many levels: lists or objects nested hundreds deep, as no log "
            f"has them; it begins with {shorten(text)}. Look for what wrote it."
        ) from error
    except ValueError as error:
        # An API's answers, one array a line.
        pages = [parse(line) for line in parts if line.strip()]
        if pages and all(isinstance(page, list) for page in pages):
            return [item for page in pages for item in page]
        raise _no_json(path, f" ({error}); it begins with {shorten(text)}. Is it whole?") from error
