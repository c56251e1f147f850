"""What tells one state of a data set from another: a hash of its files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from twhin_hf.files import list_files
from twhin_hf.remote import is_remote, remote_fingerprint

RUN_NAME = "run.json"
"""The record of a run, which tells how data were made and is no part of them."""

_BLOCK = 1 << 20
_SIZE = 16


def data_fingerprint(path: str | os.PathLike[str]) -> str:
    """A hash of the content of a file, or of the names and contents of a folder's files.

    It depends neither on what the file or folder itself is called nor on what lies around it; in a
    folder `run.json` and what `files.list_files` leaves out do not count. A folder's hash is one of
    its files' hashes, so that whoever has these need not read the files again.

    Args:
        path: File or folder.

    Returns:
        32 hexadecimal digits (BLAKE2b).

    Raises:
        FileNotFoundError: No such file or folder.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.csv").write_text("id")
        >>> data_fingerprint(folder / "a.csv")
        'a1f9399c2463f250da05c63bf9498627'
    """
    if is_remote(path):
        return remote_fingerprint(path)
    path = Path(path)
    if path.is_file():
        return file_fingerprint(path)
    files = {file.relative_to(path).as_posix(): file for file in list_files(path)}
    return folder_fingerprint({name: file_fingerprint(file) for name, file in files.items()})


def file_fingerprint(path: Path) -> str:
    """The hash of one file's content; a block at a time is in memory."""
    digest = hashlib.blake2b(digest_size=_SIZE)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def folder_fingerprint(files: dict[str, str]) -> str:
    """The hash of a folder, of the hashes of its files by their relative names with `/`."""
    digest = hashlib.blake2b(digest_size=_SIZE)
    for name in sorted(files):
        if name.rpartition("/")[2] != RUN_NAME:
            digest.update(f"{name}\0{files[name]}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()
