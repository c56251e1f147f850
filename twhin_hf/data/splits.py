"""Which posts are trained on and which are held out.

A post's split depends on its id and the seed alone, so every stage that asks (mining, training,
evaluation) gets the same answer whatever the order of the file or the posts added later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.errors import InputError

Ids: TypeAlias = pa.Array | pa.ChunkedArray | Sequence[str]
SPLITS = ("train", "validation", "test")
_BLOCK = 65_536


def split_posts(
    post_ids: Ids,
    seed: int = 0,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
) -> np.ndarray:
    """Split posts by a hash of their id (paper: 0.8 / 0.1 / 0.1 by post).

    The hash is BLAKE2b keyed by the seed, part of Python's standard library and the same on every
    machine and version; about a million ids a second.

    Args:
        post_ids: String ids.
        seed: Another seed gives another, independent split.
        fractions: Shares of train, validation and test; they add up to 1.

    Returns:
        `train`, `validation` or `test` for each id, [posts] of str (as objects: 8 bytes a post).

    Raises:
        InputError: The fractions are negative or do not add up to 1, or an id is null.

    >>> split_posts(["a", "b", "c", "d", "e"], fractions=(0.5, 0.25, 0.25)).tolist()
    ['train', 'test', 'test', 'train', 'test']
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise InputError(
            f"fractions={fractions}: three shares (train, validation, test) are needed, none "
            "negative, that add up to 1, such as (0.8, 0.1, 0.1)."
        )
    ids = strings(post_ids)
    keyed = hashlib.blake2b(digest_size=8, key=str(seed).encode())
    edges = np.cumsum(fractions[:2])
    # Of each post a reference to one of three strings.
    names, split = np.array(SPLITS, object), np.empty(len(ids), object)
    for start in range(0, len(ids), _BLOCK):
        block = ids.slice(start, _BLOCK).to_pylist()
        if None in block:
            row = start + block.index(None)
            raise InputError(f"The id of post {row} is null; each post needs an id.")
        share = np.frombuffer(_digests(keyed, block), dtype="<u8") / 2.0**64
        split[start : start + len(block)] = names[np.searchsorted(edges, share, side="right")]
    return split


def _digests(keyed: hashlib.blake2b, ids: Sequence[str]) -> bytes:
    digests = bytearray()
    for post_id in ids:
        state = keyed.copy()
        state.update(post_id.encode())
        digests += state.digest()
    return bytes(digests)


def check_no_leak(ids: Ids, held_out: Ids, *, what: str) -> None:
    """Refuse ids that an evaluation holds out.

    Args:
        ids: Post ids that take part in training: of a network, of mined pairs, of a data set.
        held_out: Ids of the validation and test posts.
        what: Names the ids in the error, such as "The network".

    Raises:
        InputError: At least one id is held out; the message counts them and shows one.
    """
    ids = strings(ids)
    leaked = ids.filter(pc.is_in(ids, value_set=strings(held_out)))
    if len(leaked):
        example = leaked[0].as_py()
        raise InputError(
            f"{what} holds {len(leaked):,} posts that the evaluation holds out, {example!r} "
            "for one: its figures would be those of posts seen in training. Make it again without "
            "the validation and test posts, or evaluate with the split seed it was made with.",
            faq="held-out",
        )


def strings(ids: Ids) -> pa.Array | pa.ChunkedArray:
    """Ids as Arrow has them; a list, or a column of a data set, is read a block at a time."""
    if isinstance(ids, (pa.Array, pa.ChunkedArray)):
        return ids
    # A block of a lazy column of a data set at a time.
    blocks = [ids[start : start + _BLOCK] for start in range(0, len(ids), _BLOCK)]
    return pa.chunked_array([pa.array(block, pa.string()) for block in blocks], pa.string())
