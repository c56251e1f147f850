"""Files by their addresses: `hf://datasets/owner/name/folder`, `s3://bucket/folder` and the like.

Nothing is asked of any other place than the one that an address names, and of that nothing before
it is to be read. fsspec opens them; keys and regions are what its file systems take from the
environment.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

from twhin_hf.errors import InputError

_HIDDEN = (".", "_")
_STATES = ("ETag", "etag", "md5Hash", "lfs", "blob_id", "mtime", "LastModified", "created")
"""What file systems say of a file's content, the surest first."""


def is_remote(source: object) -> TypeGuard[str]:
    """True for an address.

    Example:
        >>> [is_remote(place) for place in ("s3://bucket/posts", "posts.parquet")]
        [True, False]
    """
    return isinstance(source, str) and "://" in source


def remote_files(address: str) -> tuple[Any, list[str]]:
    """The Parquet files at an address: itself, those of a folder, or those that a pattern fits.

    Names that begin with "." or "_" are left out of a folder, as are the folders of such names.

    Returns:
        The file system, and the paths in it, sorted.

    Raises:
        FileNotFoundError: There is none.
        InputError: A place that cannot be asked, or files of another format.
    """
    import fsspec

    with _asking(address):
        system, path = fsspec.core.url_to_fs(address)
        if "*" in path:
            found = system.glob(path)
        elif system.isfile(path):
            found = [path]
        else:
            found = [
                file
                for file in system.find(path)
                if not any(
                    part.startswith(_HIDDEN)
                    for part in file.removeprefix(path).strip("/").split("/")
                )
            ]
    parquet = sorted(file for file in found if file.lower().endswith(".parquet"))
    if found and not parquet:
        raise InputError(
            f"{address} holds no Parquet but {found[0]}; of other places Parquet alone is read: "
            "convert the files, or fetch them first"
        )
    if not parquet:
        raise FileNotFoundError(f"there is nothing at {address}; check the address")
    return system, parquet


def system_for_engine(system: Any) -> Any:
    """A file system as DuckDB asks it: under a name that DuckDB has no reader of its own for.

    Args:
        system: Of fsspec.

    Returns:
        One of the same paths, whose protocol is its name.
    """
    from fsspec import AbstractFileSystem

    name = system.protocol if isinstance(system.protocol, str) else system.protocol[0]

    class Shown(AbstractFileSystem):
        protocol = f"fsspec-{name}"

        def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
            return system.open(_inner(path), mode, **options)

        def info(self, path: str, **options: Any) -> Any:
            return system.info(_inner(path), **options)

        def glob(self, path: str, **options: Any) -> Any:
            return system.glob(_inner(path), **options)

        def modified(self, path: str) -> datetime.datetime:
            try:
                return system.modified(_inner(path))
            except NotImplementedError:  # the Hub's, of files whose commit was not asked for
                return datetime.datetime.fromtimestamp(0, datetime.timezone.utc)

    return Shown()


def _inner(path: str) -> str:
    return path.rpartition("://")[2]


def remote_fingerprint(address: str) -> str:
    """A hash of the names and sizes of the files, and of what the place says of their contents.

    Raises:
        FileNotFoundError: There is none.
        InputError: As `remote_files`.
    """
    system, files = remote_files(address)
    digest = hashlib.blake2b(digest_size=16)
    with _asking(address):
        for file in files:
            told = system.info(file)
            state = next((told[name] for name in _STATES if told.get(name)), None)
            digest.update(f"{file}\0{told.get('size')}\0{state}\0".encode())
    return digest.hexdigest()


@contextmanager
def _asking(address: str) -> Iterator[None]:
    """Turns what file systems raise of a place into an InputError that names it."""
    try:
        yield
    except FileNotFoundError:
        raise
    except ImportError as error:
        raise InputError(
            f"{address} needs another package ({error}); install it, or fetch the files first"
        ) from error
    except Exception as error:  # each file system has its own
        raise InputError(
            f"{address} cannot be read: {error}. Check the address, your keys and the network, or "
            "fetch the files first"
        ) from error
