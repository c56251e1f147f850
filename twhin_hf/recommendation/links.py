"""Who engaged with which post, while it goes on: rows can be added, and links."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import scipy.sparse

from twhin_hf.network.engagements import Neighbours, pair_keys

_REBUILD = 4096
"""Added links from which they are sorted in with the others."""


class Links:
    """The rows of the other side that each row is linked with, none of them twice.

    Args:
        users: int `[links]`, row on this side.
        others: int `[links]`, row on the other.
        num_rows: Rows of this side.
    """

    def __init__(self, users: np.ndarray, others: np.ndarray, num_rows: int):
        self._sorted = _sorted(users, others, num_rows)
        self._added: defaultdict[int, list[int]] = defaultdict(list)
        self._num_added = 0

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of some rows.

        Args:
            rows: int `[num_chosen]`; rows that were never linked have none.

        Returns:
            int32 `[total]`, the rows of the other side, one row's after the other's; and int64
            `[num_chosen]`, how many each has.
        """
        rows = np.asarray(rows)
        known = rows < len(self._sorted.offsets) - 1
        others, own = self._sorted.of(rows[known])
        counts = np.zeros(len(rows), np.int64)
        counts[known] = own
        added = [place for place, row in enumerate(rows.tolist()) if row in self._added]
        if not added:
            return others, counts
        ends = np.cumsum(counts)
        more = [self._added[int(rows[place])] for place in added]
        lengths = [len(links) for links in more]
        others = np.insert(others, np.repeat(ends[added], lengths), np.concatenate(more))
        counts[added] += lengths
        return others, counts

    def sums(self, rows: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum of the vectors that each row is linked with, and their number.

        Args:
            rows: int `[num_chosen]`.
            vectors: float32 `[rows of the other side, dimension]`.

        Returns:
            float32 `[num_chosen, dimension]` and int64 `[num_chosen]`.
        """
        others, counts = self.of(rows)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        ones = np.ones(len(others), np.float32)
        matrix = scipy.sparse.csr_array((ones, others, offsets), shape=(len(rows), len(vectors)))
        return np.asarray(matrix @ vectors), counts

    def add(self, rows: np.ndarray, others: np.ndarray) -> None:
        """Adds links that are not there yet, see `missing`; rows beyond the last are new ones."""
        if not len(rows):
            return
        self._num_added += len(rows)
        if self._num_added < _REBUILD:
            for row, other in zip(rows.tolist(), others.tolist(), strict=True):
                self._added[row].append(other)
            return
        num_rows = max(len(self._sorted.offsets) - 1, 1 + int(rows.max()), *self._added, 0)
        every = np.arange(num_rows + 1)
        linked, counts = self.of(every)
        self._added.clear()
        self._num_added = 0
        self._sorted = _sorted(
            np.concatenate([np.repeat(every, counts), rows]),
            np.concatenate([linked, others]),
            num_rows + 1,
        )

    def missing(self, rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The distinct ones of some links that are not there yet, int64 arrays."""
        pairs = np.unique(pair_keys(rows, others))
        asked = np.unique(pairs >> 32)
        linked, counts = self.of(asked)
        new = pairs[~np.isin(pairs, pair_keys(np.repeat(asked, counts), linked))]
        return new >> 32, new & 0xFFFFFFFF

    def all(self) -> tuple[np.ndarray, np.ndarray]:
        """Every link: rows of this side and of the other, int arrays."""
        every = np.arange(max(len(self._sorted.offsets) - 1, *(row + 1 for row in self._added), 0))
        others, counts = self.of(every)
        return np.repeat(every, counts), others


def _sorted(rows: np.ndarray, others: np.ndarray, num_rows: int) -> Neighbours:
    key = np.unique(pair_keys(rows, others))
    counts = np.bincount(key >> 32, minlength=num_rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Neighbours(offsets, (key & 0xFFFFFFFF).astype(np.int32))
