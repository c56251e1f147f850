"""Integer edges on disk, and the core of the graph that they make.

A log may hold more edges than memory does, so they are written as they come and read back in
blocks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

_DTYPES: tuple[np.dtype, ...] = (np.dtype(np.int32), np.dtype(np.int32), np.dtype(np.int16))
_BLOCK = 2**20


class Edges(NamedTuple):
    """Edges as three arrays of equal length."""

    lhs: np.ndarray  # int32, row of the user
    rhs: np.ndarray  # int32, row of the post
    relation: np.ndarray  # int16, index of the relation


class EdgeFile:
    """Edges in three files without a name, which go away with the last array that maps them."""

    def __init__(self, directory: str | Path | None = None) -> None:
        # No `with`: the files live as long as the arrays that map them.
        self._files = [tempfile.TemporaryFile(dir=directory) for _ in _DTYPES]  # noqa: SIM115
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, edges: Edges) -> None:
        """Writes edges behind those that are there."""
        for file, values, dtype in zip(self._files, edges, _DTYPES, strict=True):
            # Not `tofile`, whose error does not say that the disk is full.
            file.write(np.ascontiguousarray(values, dtype).data)
        self._size += len(edges.lhs)

    def blocks(self) -> Iterator[Edges]:
        """All edges in blocks that are read, not mapped, so that memory stays bounded."""
        for start in range(0, self._size, _BLOCK):
            count = min(_BLOCK, self._size - start)
            for file, dtype in zip(self._files, _DTYPES, strict=True):
                file.seek(start * dtype.itemsize)
            yield Edges(
                *(
                    np.fromfile(file, dtype, count)
                    for file, dtype in zip(self._files, _DTYPES, strict=True)
                )
            )

    def mapped(self) -> Edges:
        """All edges, memory-mapped and read-only."""
        if not self._size:
            return Edges(*(np.zeros(0, dtype) for dtype in _DTYPES))
        for file in self._files:
            file.flush()
        return Edges(
            *(
                np.memmap(file, dtype, mode="r", shape=(self._size,))
                for file, dtype in zip(self._files, _DTYPES, strict=True)
            )
        )


def edge_blocks(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Blocks of several arrays of equal length, perhaps mapped."""
    for start in range(0, len(arrays[0]), _BLOCK):
        yield tuple(np.asarray(values[start : start + _BLOCK]) for values in arrays)


def degrees(rows: np.ndarray, num_rows: int) -> np.ndarray:
    """How often each row occurs, int64 `[num_rows]`, without a copy of a mapped array."""
    counts = np.zeros(num_rows, np.int64)
    for start in range(0, len(rows), _BLOCK):
        np.add.at(counts, rows[start : start + _BLOCK], 1)
    return counts


class Core(NamedTuple):
    """The users and posts that remain, and how many had an edge but do not remain."""

    users: np.ndarray  # bool [num_users]
    posts: np.ndarray  # bool [num_posts]
    rare_users: int
    rare_posts: int


def find_core(
    edges: EdgeFile, num_users: int, num_posts: int, min_user_degree: int, min_post_degree: int
) -> Core:
    """Drops users and posts below their minimum degree until none is left below it.

    The result is the largest set in which every user and post reaches its minimum: the
    (p, q)-core of a bipartite graph, which does not depend on the order of dropping.

    Args:
        edges: Distinct edges.
        num_users: Rows of users.
        num_posts: Rows of posts.
        min_user_degree: At least 1.
        min_post_degree: At least 1.
    """
    users, posts = np.ones(num_users, bool), np.ones(num_posts, bool)
    with_edges: list[int] = []
    while True:
        user_degrees = np.zeros(num_users, np.int64)
        post_degrees = np.zeros(num_posts, np.int64)
        for block in edges.blocks():
            both = users[block.lhs] & posts[block.rhs]
            np.add.at(user_degrees, block.lhs[both], 1)
            np.add.at(post_degrees, block.rhs[both], 1)
        if not with_edges:
            with_edges = [int((side > 0).sum()) for side in (user_degrees, post_degrees)]
        before = int(users.sum()), int(posts.sum())
        users, posts = user_degrees >= min_user_degree, post_degrees >= min_post_degree
        kept = int(users.sum()), int(posts.sum())
        if kept == before:
            return Core(users, posts, with_edges[0] - kept[0], with_edges[1] - kept[1])


def keep_core(edges: EdgeFile, core: Core, directory: str | Path | None = None) -> EdgeFile:
    """The edges among the core, with rows numbered anew in the same order."""
    if core.users.all() and core.posts.all():
        return edges
    user_rows, post_rows = np.cumsum(core.users) - 1, np.cumsum(core.posts) - 1
    kept = EdgeFile(directory)
    for lhs, rhs, relation in edges.blocks():
        both = core.users[lhs] & core.posts[rhs]
        kept.append(Edges(user_rows[lhs[both]], post_rows[rhs[both]], relation[both]))
    return kept
