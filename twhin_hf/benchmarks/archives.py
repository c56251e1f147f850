"""Zip archives from elsewhere, unpacked without trusting them."""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from twhin_hf.errors import WRONG_CONTENT, InputError
from twhin_hf.path_names import relative_path
from twhin_hf.scratch import scratch_folder

_MOST_TIMES = 100
_SMALL = 16 << 20
_DAMAGE: tuple[type[Exception], ...] = (
    *(*WRONG_CONTENT, OSError, struct.error),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


@contextmanager
def open_folder(path: str | Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    """A folder as it is, or a zip archive unpacked into one that goes away at the end.

    Args:
        path: A folder; a zip archive; or a folder that holds nothing wanted but one archive.
        wanted: Of a file's path in the archive or folder: whether it is to be read.

    Raises:
        FileNotFoundError: There is no such file or folder.
        InputError: The archive is cut short or damaged, is locked, unpacks to more than 100 times
            its size, or what is wanted of it is a link or no `relative_path`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}. Give the zip archive or its unpacked folder.")
    if path.is_dir():
        archives = sorted(path.glob("*.zip"))
        if len(archives) != 1 or any(wanted(name) for name in list_files(path)):
            yield path
            return
        path = archives[0]
    with scratch_folder() as folder:
        with _zip_errors(path), zipfile.ZipFile(path) as archive:
            entries = [e for e in archive.infolist() if not e.is_dir() and wanted(e.filename)]
            _check(entries, path)
            for entry in entries:
                _unpack(archive, entry, folder)
        yield folder


def list_files(folder: Path) -> list[str]:
    """Paths of a folder's files, relative to it, with `/`, in order of names."""
    return sorted(
        file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()
    )


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    target = folder / _relative(entry)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A member never gives more bytes than it states: what goes on fails its checksum.
    with archive.open(entry) as packed, target.open("xb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)


def _check(entries: Sequence[zipfile.ZipInfo], path: Path) -> None:
    for entry in entries:
        try:
            _relative(entry)
        except InputError as error:
            raise InputError(
                f"{path}: {error}. Nothing was unpacked: fetch the archive from its publisher, or "
                "unpack it yourself and give the folder."
            ) from error
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise InputError(
                f"{path} holds the link {entry.filename!r}; needed are plain files. "
                "Nothing was unpacked: fetch the archive from its publisher."
            )
    packed, stated = path.stat().st_size, sum(entry.file_size for entry in entries)
    if stated > max(_SMALL, _MOST_TIMES * packed):
        raise InputError(
            f"{path} has {packed:,} bytes and unpacks to {stated:,}, more than {_MOST_TIMES} times "
            "as many, which tables of posts do not. Nothing was unpacked: if it is sound, unpack "
            "it yourself and give the folder."
        )


def _relative(entry: zipfile.ZipInfo) -> PurePosixPath:
    return relative_path(entry.filename.replace("\\", "/"), "member")


@contextmanager
def _zip_errors(path: Path) -> Iterator[None]:
    """Turns what unpacking raises into an InputError that names the archive."""
    try:
        yield
    except InputError:
        raise
    except (RuntimeError, NotImplementedError) as error:
        raise InputError(
            f"{path} cannot be unpacked ({error}). Unpack it yourself and give the folder."
        ) from error
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno and not isinstance(error, FileExistsError):
            raise
        raise InputError(
            f"{path} is no whole zip archive ({error}): it is cut short, damaged, or unpacks to "
            "something else than it states. Fetch it again."
        ) from error
