"""Temporary files and folders, and what processes that were killed have left of them.

Each name says which process of which machine it belongs to, so that a later one on the same machine
can tell what nobody uses any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OWNER = re.compile(r"[.-]([0-9a-f]{6})-(\d+)[.-]")
_TEMPORARY = re.compile(r"\.twhin_hf-[0-9a-f]{6}-\d+-|\..*\.[0-9a-f]{6}-\d+\.(old$|partial($|\.))")


def owner() -> str:
    """The machine, as a hash of its name, and this process: `a1b2c3-4242`."""
    host = hashlib.blake2b(socket.gethostname().encode(), digest_size=3).hexdigest()
    return f"{host}-{os.getpid()}"


def is_temporary(name: str) -> bool:
    """Whether a name is one of those that processes, of whatever machine, write under.

    Example:
        >>> is_temporary(f".log.{owner()}.partial.csv"), is_temporary(".log.csv")
        (True, False)
    """
    return _TEMPORARY.match(name) is not None


def is_abandoned(name: str) -> bool:
    """Whether a temporary name belongs to a process of this machine that has ended.

    Example:
        >>> is_abandoned(f".twhin_hf-{owner()}-x"), is_abandoned("posts.parquet")
        (False, False)
    """
    found = _OWNER.search(name)
    if found is None or found[1] != owner().split("-")[0]:
        return False
    try:
        os.kill(int(found[2]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's, or no process at all
        return False
    return False


def remove_abandoned(folder: str | os.PathLike[str], pattern: str) -> None:
    """Removes the files and folders of a pattern whose processes have ended."""
    for path in Path(folder).glob(pattern):
        if is_abandoned(path.name):
            remove(path)


def remove(path: Path) -> None:
    """Removes a file or a whole folder; what is not there, or cannot go, is left."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def scratch_folder(directory: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """A temporary folder for as long as the block lasts; those of killed processes go at its start.

    Args:
        directory: Where it is made; the system's temporary folder where it is None.

    Yields:
        Its path.

    Example:
        >>> with scratch_folder() as folder:
        ...     _ = (folder / "a").write_text("")
        >>> folder.exists()
        False
    """
    parent = Path(directory or tempfile.gettempdir())
    remove_abandoned(parent, ".twhin_hf-*")
    folder = Path(tempfile.mkdtemp(prefix=f".twhin_hf-{owner()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
