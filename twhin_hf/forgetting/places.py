"""All that lies under paths: names that readers leave out and what links lead to as well."""

from __future__ import annotations

import os
import re
import stat
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from twhin_hf.files import recover
from twhin_hf.run_folder import LOCK_NAME
from twhin_hf.scratch import is_abandoned, is_temporary

EARLIER_NAME = ".forgotten.json"
"""In a folder: the earlier fingerprints of its files by their names, and its own under `.`."""

_BEGUN = re.compile(r"\.(.+)\.[0-9a-f]{6}-\d+\.(?:old|partial(\..*)?)")
_KEPT_BY_US = {LOCK_NAME, f"{LOCK_NAME}.json", EARLIER_NAME}
_HISTORY = ".git"


class Places(NamedTuple):
    """What lies under paths.

    Args:
        folders: Each once, whatever leads to it.
        files: All names of each file: its own first, where that is under the paths, then links.
        links: To these files and folders, and those that lead nowhere.
        unread: What is not looked into: what other processes are writing, the history of a
            repository, what may not be read, and links to a folder that they lie in.
    """

    folders: list[Path]
    files: list[list[Path]]
    links: list[Path]
    unread: list[Path]


def find_places(roots: Sequence[Path]) -> Places:
    """Looks what lies under paths.

    Raises:
        FileNotFoundError: A path is not there.
    """
    for root in roots:
        if not root.exists():
            raise FileNotFoundError(f"{root} does not exist. Check the path of the file or folder.")
    folders: dict[Path, Path] = {}
    files: dict[Path, list[Path]] = {}
    links, unread = list[Path](), list[Path]()
    waiting = deque(sorted(dict.fromkeys(roots), key=Path.is_symlink))
    while waiting:
        path = waiting.popleft()
        place = real_path(path)
        try:
            mode = _mode(path)
            if stat.S_ISREG(mode):
                files.setdefault(place, []).append(path)
            elif stat.S_ISDIR(mode) and place not in folders:
                if path.is_symlink() and path not in roots and _lies_in(path, place):
                    unread.append(path)
                    continue
                inside = [(one, one.is_symlink()) for one in sorted(path.iterdir(), reverse=True)]
                folders[place] = path
                for inner, is_link in inside:
                    if inner.name == _HISTORY or is_temporary(inner.name):
                        unread.append(inner)
                    elif inner.name not in _KEPT_BY_US:
                        # Links last: what lies under the paths is called by its own name.
                        (waiting.append if is_link else waiting.appendleft)(inner)
            if path.is_symlink():
                links.append(path)
        except PermissionError:
            unread.append(path)
    return Places([*folders.values()], [*files.values()], links, unread)


def recover_all(roots: Sequence[Path]) -> None:
    """Ends what killed processes of this machine had begun to write, where links lead as well."""
    _end(_begun_at(map(real_path, roots)))
    tried: set[Path] = set()
    # Again after each time: what was put back may hold more.
    while begun := _begun_under(find_places(roots)) - tried:
        _end(begun)
        tried |= begun


def _end(begun: Iterable[Path]) -> None:
    for path in begun:
        with suppress(PermissionError):  # it stays, and is named as not looked through
            recover(path)


def _begun_under(places: Places) -> set[Path]:
    linked = _begun_at(map(real_path, places.links))
    return linked.union(*(_begun_in(real_path(folder)) for folder in places.folders))


def _begun_at(paths: Iterable[Path]) -> set[Path]:
    """Those of some paths that killed processes had begun to write."""
    wanted = {*paths}
    folders = {path.parent for path in wanted}
    return {path for folder in folders for path in _begun_in(folder)} & wanted


def _begun_in(folder: Path) -> set[Path]:
    """What killed processes of this machine had begun to write in a folder."""
    left = (_BEGUN.fullmatch(path.name) for path in folder.glob(".*") if is_abandoned(path.name))
    found = {folder / f"{name[1]}{name[2] or ''}" for name in left if name}
    # Nothing is ever written beside a link, and it may lead anywhere.
    return {path for path in found if not path.is_symlink()}


def _mode(path: Path) -> int:
    """What a path leads to, as `stat` tells it; 0 for nothing, such as a circle of links.

    Raises:
        PermissionError: It may not be told; `is_file` says no on some versions of Python.
    """
    try:
        return path.stat().st_mode
    except PermissionError:
        raise
    except OSError:
        return 0


def _lies_in(path: Path, place: Path) -> bool:
    """Whether a path lies in a folder, by its name or by where the links in that lead."""
    return any(real_path(folder).is_relative_to(place) for folder in path.parents)


def real_path(path: Path) -> Path:
    """Where a path leads by its links."""
    return Path(os.path.realpath(path))


def is_hidden(path: Path, roots: Sequence[Path]) -> bool:
    """Whether readers of the paths leave a file under them out, by a name that begins so.

    Example:
        >>> is_hidden(Path("log/_old/1.csv"), [Path("log")])
        True
        >>> is_hidden(Path("_log/1.csv"), [Path("_log")])
        False
        >>> is_hidden(Path("_log"), [Path("_log/1.csv")])
        False
    """
    inside = [path.relative_to(root).parts for root in roots if path.is_relative_to(root)]
    hidden = [any(part.startswith((".", "_")) for part in parts) for parts in inside]
    return bool(hidden) and all(hidden)
