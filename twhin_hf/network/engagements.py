"""Who engaged with which post, to be looked up from either side."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from twhin_hf.network.edges import edge_blocks


class Neighbours(NamedTuple):
    """What each row of one side is connected to on the other, one row after the other.

    Args:
        offsets: int64 `[num_rows + 1]`, where each row's part begins.
        others: int32 `[num_engagements]`, rows of the other side, rising within a row.
    """

    offsets: np.ndarray
    others: np.ndarray

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of some rows.

        Args:
            rows: Int `[num_chosen]`.

        Returns:
            int32 `[total]`, the other side's rows of each chosen row, one after the other; and
            int64 `[num_chosen]`, how many each has.

        Example:
            >>> posts = Neighbours(np.array([0, 2, 2, 3]), np.array([4, 7, 5], np.int32))
            >>> [part.tolist() for part in posts.of(np.array([2, 0, 1]))]
            [[5, 4, 7], [1, 2, 0]]
        """
        starts = np.asarray(self.offsets[rows])
        counts = np.asarray(self.offsets[np.asarray(rows) + 1]) - starts
        ends = np.cumsum(counts)
        places = np.repeat(starts - (ends - counts), counts) + np.arange(counts.sum())
        return np.asarray(self.others[places]), counts

    def find(self, rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where pairs stand, by bisection: no other row is read.

        Args:
            rows: Int `[num_pairs]`.
            others: Int `[num_pairs]`, rows of the other side.

        Returns:
            int64 `[num_pairs]`, the place of each pair in `others`, or where it would be inserted;
            and bool `[num_pairs]`, whether it is there.

        Example:
            >>> posts = Neighbours(np.array([0, 2, 2, 3]), np.array([4, 7, 5], np.int32))
            >>> [part.tolist() for part in posts.find(np.array([0, 0, 1]), np.array([7, 5, 5]))]
            [[1, 1, 2], [True, False, False]]
        """
        low = np.asarray(self.offsets[rows])
        end = high = np.asarray(self.offsets[np.asarray(rows) + 1])
        while (is_open := low < high).any():
            middle = (low + high) // 2
            is_left = np.zeros(len(low), bool)
            is_left[is_open] = self.others[middle[is_open]] < others[is_open]
            low = np.where(is_left, middle + 1, low)
            high = np.where(is_open & ~is_left, middle, high)
        is_there = low < end
        is_there[is_there] = self.others[low[is_there]] == others[is_there]
        return low, is_there

    def extended(self, num_rows: int) -> Neighbours:
        """With more rows at the end, which have no others."""
        more = np.full(num_rows + 1 - len(self.offsets), self.offsets[-1])
        return Neighbours(np.concatenate([self.offsets, more]), self.others)

    def added(self, rows: np.ndarray, others: np.ndarray) -> Neighbours:
        """With more pairs, which must be distinct and not there yet.

        Args:
            rows: Int `[num_pairs]`.
            others: Int `[num_pairs]`, rows of the other side.
        """
        order = np.lexsort((others, rows))
        rows, others = rows[order], others[order]
        places, _ = self.find(rows, others)
        counts = np.bincount(rows, minlength=len(self.offsets) - 1)
        offsets = self.offsets + np.concatenate([[0], np.cumsum(counts)])
        return Neighbours(offsets, np.insert(self.others, places, others.astype(np.int32)))


def pair_keys(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """A number for each pair of rows, int64; in the order of the rows, then of the others."""
    return (np.asarray(rows, np.int64) << 32) | np.asarray(others, np.int64)


def neighbours_in_range(
    edges: Iterable[tuple[np.ndarray, ...]], start: int, stop: int
) -> Neighbours:
    """The distinct neighbours of the rows from `start` on and before `stop`, numbered from 0.

    Args:
        edges: In blocks, of which one at a time is in memory: the row and the other of each edge,
            in any order, pairs perhaps there several times.
        start: First row.
        stop: Row after the last one.

    Example:
        >>> edges = [(np.array([3, 1]), np.array([5, 7])), (np.array([2, 1]), np.array([0, 7]))]
        >>> [part.tolist() for part in neighbours_in_range(edges, 1, 3)]
        [[0, 1, 2], [7, 0]]
    """
    keys = [np.zeros(0, np.int64)]
    for rows, others in edges:
        inside = (rows >= start) & (rows < stop)
        keys.append(pair_keys(rows[inside] - start, others[inside]))
    distinct = np.unique(np.concatenate(keys))
    counts = np.bincount(distinct >> 32, minlength=stop - start)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Neighbours(offsets, (distinct & 0xFFFFFFFF).astype(np.int32))


def neighbours_in_file(
    rows: np.ndarray, others: np.ndarray, num_rows: int, ranges: int, path: Path
) -> Neighbours:
    """The distinct neighbours of all rows, found range by range and mapped from a file.

    Args:
        rows: Int `[num_edges]`, perhaps mapped.
        others: Int `[num_edges]`, rows of the other side; the same.
        num_rows: Number of rows.
        ranges: How many times the edges are read, each time for so many-th of the rows.
        path: Of the file, which must stay as long as what is returned.
    """
    offsets = np.zeros(num_rows + 1, np.int64)
    bounds = np.linspace(0, num_rows, ranges + 1).astype(np.int64).tolist()
    with path.open("wb") as file:
        for start, stop in pairwise(bounds):
            found = neighbours_in_range(edge_blocks(rows, others), start, stop)
            offsets[start : stop + 1] = offsets[start] + found.offsets
            file.write(found.others.data)
    return Neighbours(offsets, np.memmap(path, np.int32, "r"))


class Engagements(NamedTuple):
    """The distinct engagements of a network, all relations together.

    Args:
        users_of_posts: The user rows of each post.
        posts_of_users: The post rows of each user.
    """

    users_of_posts: Neighbours
    posts_of_users: Neighbours

    @classmethod
    def from_edges(
        cls, users: np.ndarray, posts: np.ndarray, num_users: int, num_posts: int
    ) -> Engagements:
        """From edges in any order, some perhaps there several times.

        Args:
            users: Int `[num_edges]`, rows of users.
            posts: Int `[num_edges]`, rows of posts.
            num_users: Number of users.
            num_posts: Number of posts.
        """
        ones = np.ones(len(users), np.int8)
        by_user = csr_array((ones, (users, posts)), shape=(num_users, num_posts))
        by_user.sum_duplicates()
        by_post = by_user.T.tocsr()
        by_post.sort_indices()
        return cls(_neighbours(by_post), _neighbours(by_user))

    @property
    def num_engagements(self) -> int:
        """Distinct pairs of a user and a post."""
        return len(self.users_of_posts.others)


def _neighbours(matrix: csr_array) -> Neighbours:
    return Neighbours(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32))
