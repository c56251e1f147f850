"""CAR files: an account's whole repository, as Bluesky exports it.

A repository is a commit and a tree of records by their path (a Merkle search tree), all of them
blocks of DAG-CBOR in one file. Needs the package libipld.

Sources: https://atproto.com/specs/repository, https://ipld.io/specs/transport/car/carv1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twhin_hf.errors import InputError

_MAX_FILE = 2**30
# What the events of a record are made of; the rest may hold bytes, which JSON has no word for.
_FIELDS = ("text", "langs", "subject", "reply", "embed", "createdAt")


def is_car(path: Path) -> bool:
    """Whether a file begins as CAR does: a length, then a map whose first key is `roots`."""
    with path.open("rb") as file:
        return b"\xa2eroots" in file.read(12)


def read_car(path: Path) -> list[dict[str, Any]]:
    """The records of a repository, each as a message of the firehose that created it.

    Raises:
        InputError: The package libipld is missing, or the file is damaged, above 1 GiB, or no
            repository.
    """
    try:
        import libipld
    except ImportError as error:
        raise InputError(
            f"{path} is a CAR export, which needs the package libipld: "
            "`pip install twhin_hf[bluesky]`."
        ) from error
    if path.stat().st_size > _MAX_FILE:
        raise InputError(f"{path} is larger than {_MAX_FILE >> 30} GiB, and is read at once.")
    try:
        header, blocks = libipld.decode_car(path.read_bytes())
        commit = blocks[header["roots"][0]]
        return [
            {
                "repo": commit["did"],
                "rev": commit["rev"],
                "time": blocks[cid].get("createdAt"),
                "ops": [{"action": "create", "path": key, "record": _plain(blocks[cid])}],
            }
            for key, cid in _leaves(blocks, commit["data"])
        ]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is cut off, damaged, or no repository of an account "
            f"({type(error).__name__}: {str(error)[:80]}). Export it again."
        ) from error


def _leaves(blocks: Mapping[bytes, Any], root: bytes) -> Iterator[tuple[str, bytes]]:
    """The path and the block of each record of a tree."""
    waiting = [root]
    while waiting:
        node = blocks[waiting.pop()]
        waiting += [node["l"]] if node["l"] else []
        key = b""
        for entry in node["e"]:
            key = key[: entry["p"]] + entry["k"]
            yield key.decode(), entry["v"]
            waiting += [entry["t"]] if entry["t"] else []


def _plain(value: Any, fields: tuple[str, ...] = _FIELDS) -> Any:
    """A record's fields that are read, without bytes."""
    if isinstance(value, dict):
        names = fields or value.keys()
        return {name: _plain(value[name], ()) for name in names if name in value}
    if isinstance(value, list):
        return [_plain(item, ()) for item in value]
    return None if isinstance(value, bytes) else value
