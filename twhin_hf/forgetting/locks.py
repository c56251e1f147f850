"""Keeps other processes out of what changes: they would write back whom they have read before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock, Timeout

from twhin_hf.data_fingerprint import RUN_NAME
from twhin_hf.errors import InputError
from twhin_hf.forgetting.places import real_path
from twhin_hf.run_folder import LOCK_NAME, lock_folder
from twhin_hf.serving.service.events_log import lock_beside


class Locks(ExitStack):
    """Folders and logs that are this process's until the block ends."""

    def __init__(self) -> None:
        super().__init__()
        self._held: set[Path] = set()

    def hold(self, path: Path, *, always: bool = False) -> None:
        """Holds what a command that works on a file or folder would hold.

        Args:
            path: The file or folder.
            always: Hold a folder even if nothing has ever held it.

        Raises:
            InputError: Another process works on it; nothing was changed.
        """
        path = real_path(path)
        for folder in dict.fromkeys([*([path] if always else []), *_folders_of(path)]):
            if folder not in self._held:
                self.enter_context(lock_folder(folder))
                self._held.add(folder)
        for place in _logs_of(path):
            if place not in self._held:
                self._hold_log(place, path)

    def _hold_log(self, place: Path, path: Path) -> None:
        try:
            self.enter_context(FileLock(place, timeout=0))
        except Timeout:
            raise InputError(
                f"A service writes to {path}. End it, and begin it again afterwards. Nothing was "
                "changed."
            ) from None
        self._held.add(place)


def _folders_of(path: Path) -> Iterator[Path]:
    """Folders with a lock: the path, what makes it, and the runs that it is of."""
    runs = (folder for folder in path.parents[1:] if (folder / RUN_NAME).is_file())
    making = (path.with_name(name) for name in (f"{path.name}.parts", f".{path.name}.lock"))
    for folder in (path, *making, path.parent, *runs):
        if (folder / LOCK_NAME).is_file():
            yield folder


def _logs_of(path: Path) -> Iterator[Path]:
    """The locks of a log of events, and of the log that a file of posts is of."""
    for name in {path.name, path.name.replace(".posts.", ".")}:
        if (place := lock_beside(path.with_name(name))).is_file():
            yield place
