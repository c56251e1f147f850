"""Secret keys, the hashes of ids that they make, and orders that tell nothing.

A plain hash hides no id, because whoever knows the ids can hash them too, and neither does an order
drawn from a seed that others can guess. So the keys and orders come from the system's randomness.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from twhin_hf.errors import InputError
from twhin_hf.files import new_file

HASH_PATTERN = "[0-9a-f]{32}"
"""What `hash_ids` makes, as a regular expression."""

_DRAWN = 32
_LEAST = 16
_DIGEST = 16


def new_key() -> bytes:
    """A key of 32 bytes, from the system's randomness."""
    return secrets.token_bytes(_DRAWN)


def check_key(key: bytes) -> bytes:
    """The key itself.

    Raises:
        InputError: It has fewer than 16 bytes, which can be tried out, or more than 64.
    """
    if not _LEAST <= len(key) <= hashlib.blake2b.MAX_KEY_SIZE:
        raise InputError(
            f"The key has {len(key)} bytes; needed are {_LEAST} to {hashlib.blake2b.MAX_KEY_SIZE} "
            "random ones. Leave it out to have one drawn."
        )
    return key


def read_key(path: str | os.PathLike[str]) -> bytes:
    """The key in a file, all of its bytes.

    Raises:
        FileNotFoundError: No such file.
        InputError: It holds fewer than 16 bytes or more than 64.
    """
    try:
        return check_key(Path(path).read_bytes())
    except InputError as error:
        raise InputError(f"{path} is no file of a key. {error}") from error


def read_or_make_key(path: str | os.PathLike[str]) -> bytes:
    """The key in a file, which is made where it is missing, readable for its owner alone.

    Args:
        path: The file. Whoever has it can tell which hash stands for an id, so it is kept apart
            from what is published.

    Raises:
        InputError: The file holds no key.
    """
    path = Path(path)
    if not path.exists():
        with new_file(path) as partial:
            partial.touch(mode=0o600)
            partial.write_bytes(new_key())
    return read_key(path)


def key_beside(folder: str | os.PathLike[str]) -> Path:
    """Where the key of a data set is unless somebody says otherwise: beside it, never in it."""
    folder = Path(folder).resolve()
    return folder.with_name(f"{folder.name}.key")


def hash_ids(ids: Iterable[str], key: bytes) -> list[str]:
    """BLAKE2b of each id under the key, 32 hexadecimal digits.

    To find out which id a hash stands for, hash the ids that it may be with the same key.

    Example:
        >>> hash_ids(["p1"], b"0123456789abcdef")
        ['e1c14b6b9483005593cc44c067986217']
    """
    keyed = hashlib.blake2b(digest_size=_DIGEST, key=check_key(key))
    hashes = []
    for given in ids:
        state = keyed.copy()
        state.update(given.encode())
        hashes.append(state.hexdigest())
    return hashes


def random_order(count: int) -> np.ndarray:
    """The numbers below `count` in an order of the system's randomness, int64 `[count]`.

    No seed brings it back, so rows in this order tell nothing of the order they were in.
    """
    return np.argsort(np.frombuffer(os.urandom(8 * count), np.uint64), kind="stable")
