"""All that lies under paths: names that readers leave out and what links lead to as well."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from twhin_hf.files import recover
from twhin_hf.forgetting.trained import EARLIER_NAME
from twhin_hf.run_folder import LOCK_NAME
from twhin_hf.scratch import is_temporary

_KEPT_BY_US = {LOCK_NAME, f"{LOCK_NAME}.json", EARLIER_NAME}
_HISTORY = ".git"


class Places(NamedTuple):
    """What lies under paths.

    Args:
        folders: Each once, whatever leads to it.
        files: All names of each file: its own first, where that is under the paths, then links.
        links: To files and folders, and those that lead nowhere.
        unread: What is not looked into: what other processes are writing, the history of a
            repository, folders that may not be read, and links to a folder that they lie in.
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
        if path.is_symlink():
            links.append(path)
        if path.is_file():
            files.setdefault(place, []).append(path)
        elif path.is_dir() and place not in folders:
            if path not in roots and place in real_path(path.parent).parents:
                unread.append(path)
                continue
            try:
                inside = sorted(path.iterdir(), reverse=True)
            except PermissionError:
                unread.append(path)
                continue
            folders[place] = path
            for inner in inside:
                if inner.name == _HISTORY or is_temporary(inner.name):
                    unread.append(inner)
                elif inner.name not in _KEPT_BY_US:
                    # Links last: what lies under the paths is called by its own name.
                    add = waiting.append if inner.is_symlink() else waiting.appendleft
                    add(inner)
    return Places([*folders.values()], [*files.values()], links, unread)


def recover_all(roots: Sequence[Path]) -> None:
    """Ends what killed processes of this machine had begun to write, where links lead as well."""
    for root in roots:
        recover(real_path(root))
    for link in find_places(roots).links:
        recover(real_path(link))


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
    """
    inside = [path.relative_to(root).parts for root in roots if path.is_relative_to(root)]
    return all(any(part.startswith((".", "_")) for part in parts) for parts in inside)
