"""Events that a service has taken, line by line on the disk before they count.

Two files, which all commands read: `events.jsonl` holds engagements (user_id, post_id, relation,
timestamp), and `events.posts.jsonl` beside it the new posts (post_id, text). What a service was
told is there when it starts again, and for `twhin-hf network update` the next day.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from twhin_hf.errors import InputError
from twhin_hf.files import parse_json

logger = logging.getLogger(__name__)


class Engagement(NamedTuple):
    """Who engaged with what, how and when.

    Args:
        user_id: Who.
        post_id: With which post.
        relation: How, such as `like`.
        timestamp: When, as the client wrote it; None where it did not.
    """

    user_id: str
    post_id: str
    relation: str = "engage"
    timestamp: str | int | None = None


class EventsLog:
    """An open log, which no other process may write to.

    Args:
        path: File of the engagements; made where it is missing.

    Raises:
        InputError: Another service writes to it, or a line is no event.
        OSError: The files may not be written.
    """

    def __init__(self, path: str | Path):
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(lock_beside(path), timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise InputError(
                f"another service writes to {path}; give each an events log of its own"
            ) from None
        names = (path.with_name(f"{path.stem}.posts{path.suffix}"), path)
        posts, engagements = (_read(name) for name in names)
        self.posts = [
            (_word(names[0], row, "post_id"), _word(names[0], row, "text")) for row in posts
        ]
        self.engagements = [
            Engagement(
                _word(path, row, "user_id"),
                _word(path, row, "post_id"),
                _word(path, row, "relation"),
                row.get("timestamp"),
            )
            for row in engagements
        ]
        self._known = set(map(_same, self.engagements))
        self._files = [FileIO(name, "a") for name in names]

    def append(self, posts: Sequence[tuple[str, str]], engagements: Sequence[Engagement]) -> None:
        """Writes what is not there yet; it is on the disk when this returns.

        Args:
            posts: New posts: id and text.
            engagements: Repeats are left out.
        """
        new = {_same(one): one for one in reversed(engagements) if _same(one) not in self._known}
        lines = [one._asdict() for one in reversed(new.values())]
        # Posts first: no engagement is ever without its post.
        _write(self._files[0], [{"post_id": name, "text": text} for name, text in posts])
        _write(self._files[1], lines)
        self._known |= new.keys()

    def close(self) -> None:
        """Closes the files."""
        for file in self._files:
            file.close()
        self._lock.release()


def lock_beside(path: Path) -> Path:
    """The file that is locked while a service writes to a log."""
    return path.with_name(f".{path.name}.lock")


def _same(one: Engagement) -> tuple[str, str, str]:
    return one.user_id, one.post_id, one.relation


def _write(file: FileIO, rows: Iterable[dict[str, Any]]) -> None:
    """All of the rows or none of them."""
    left = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if not left:
        return
    end = file.seek(0, os.SEEK_END)
    try:
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        raise


def _read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; a last line that was broken off goes."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole, _, broken = content.rpartition(b"\n")
    if broken:
        logger.warning("%s: its last line was broken off, and is taken out", path)
        with path.open("r+b") as file:
            file.truncate(len(content) - len(broken))
    rows = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            row = parse_json(line.decode("utf-8"))
        except ValueError as error:
            raise InputError(f"{path}, line {number}, is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}, is {row!r}; needed is an event")
        rows.append(row)
    return rows


def _word(path: Path, row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise InputError(f"{path}: {name} of an event is {value!r}; needed is a text")
    return value
