"""Vectors of new rows of one side from those of the other: least squares, in closed form.

A row that engaged with the rows `j` of a set `N` of the other side, whose vectors are `v`, has the
vector `x` that minimises the loss of alternating least squares (Hu, Koren and Volinsky, ICDM 2008):

    Σ_{j in N} c_j (target − x · v_j)² + Σ_{j not in N} (x · v_j)² + l2 |x|²

All rows of the other side come in by their Gram matrix, which is computed once, so a row costs what
its own engagements cost: with fewer engagements than dimensions, a system of as many equations as
there are engagements is solved (push-through identity) instead of one of the dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from twhin_hf.network.engagements import Neighbours

_BLOCK_NUMBERS = 2**23


def fold_in(
    vectors: np.ndarray,
    neighbours: Neighbours,
    confidence: np.ndarray | float,
    *,
    gram: np.ndarray,
    l2: float,
    target: float = 1.0,
) -> np.ndarray:
    """The least squares vector of each row, given the vectors of the other side.

    Args:
        vectors: Of the other side, float32 `[num_others, dimension]`; may be memory-mapped.
        neighbours: With which rows of the other side each row engaged.
        confidence: Weight of each engagement, `[num_engagements]` or one for all; what a row did
            not engage with has the weight 1.
        gram: `vectors.T @ vectors` of the other side, or its estimate, `[dimension, dimension]`;
            scaled by w, what a row did not engage with weighs w.
        l2: Weight of the squared length of a vector, above 0.
        target: Score that an engagement should have; where there is none it is 0.

    Returns:
        float32 `[num_rows, dimension]`; 0 for a row without engagements.

    Example:
        >>> one_post = np.ones((1, 1), np.float32)
        >>> twice = Neighbours(np.array([0, 1, 1]), np.array([0], np.int32))
        >>> fold_in(one_post, twice, 3.0, gram=one_post, l2=1.0).tolist()  # 3 / (3 + 1)
        [[0.75], [0.0]]
    """
    num_rows, dimension = len(neighbours.offsets) - 1, vectors.shape[1]
    counts = np.diff(neighbours.offsets)
    confidences = np.broadcast_to(np.float64(confidence), len(neighbours.others))
    everything = gram.astype(np.float64) + l2 * np.eye(dimension)
    inverse = np.linalg.inv(everything)
    found = np.zeros((num_rows, dimension), np.float32)
    for rows in _blocks(counts, dimension):
        size = int(counts[rows].max())
        places = neighbours.offsets[rows][:, None] + np.arange(size)
        is_there = np.arange(size) < counts[rows][:, None]
        places = np.where(is_there, places, 0)
        engaged = vectors[neighbours.others[places]].astype(np.float64)
        engaged *= is_there[:, :, None]
        own = np.where(is_there, confidences[places], 1.0)
        more = own - 1  # beyond the weight that the Gram matrix gives it already
        if size <= dimension:
            projected = engaged @ inverse
            system = more[:, :, None] * (projected @ engaged.swapaxes(1, 2)) + np.eye(size)
            dual = np.linalg.solve(system, own[:, :, None] * target)
            found[rows] = (dual.swapaxes(1, 2) @ projected)[:, 0]
        else:
            system = everything + (engaged * more[:, :, None]).swapaxes(1, 2) @ engaged
            wanted = target * (own[:, None] @ engaged)[:, 0, :, None]
            found[rows] = np.linalg.solve(system, wanted)[:, :, 0]
    return found


class Part(NamedTuple):
    """Rows of one side that are solved for, with all that they engaged with."""

    rows: np.ndarray  # int64 [num_rows], rising
    neighbours: Neighbours  # of each of them
    confidence: np.ndarray  # [num_engagements]

    @classmethod
    def of(
        cls, rows: np.ndarray, own: np.ndarray, others: np.ndarray, confidence: np.ndarray
    ) -> Part:
        """From engagements in any order.

        Args:
            rows: Rows to solve for, rising.
            own: One of `rows` for each engagement.
            others: Row of the other side for each engagement.
            confidence: Of each engagement; those of a pair that comes several times add up.
        """
        counts = np.bincount(np.searchsorted(rows, own), minlength=len(rows))
        order = np.argsort(own, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return cls(rows, Neighbours(offsets, others[order]), confidence[order])


def alternate(
    vectors: Mapping[str, np.ndarray],
    parts: Mapping[str, Part],
    rounds: int,
    *,
    share: float = 1.0,
    l2: float,
    target: float = 1.0,
    threads: int | None = None,
) -> None:
    """Folds posts in from the users and users from the posts, in turns; the vectors change.

    Args:
        vectors: Of `users` and `posts`, float32 `[rows, dimension]`.
        parts: Of `users` and `posts`, the rows that change.
        rounds: How often each side is solved.
        share: Weight of what a row did not engage with.
        l2: As in `fold_in`.
        target: As in `fold_in`.
        threads: Threads of the matrix products (default: all cores).
    """
    with threadpool_limits(limits=threads):
        for _ in range(rounds):
            for side, other in (("posts", "users"), ("users", "posts")):
                rows, neighbours, confidence = parts[side]
                gram = share * (vectors[other].T @ vectors[other])
                vectors[side][rows] = fold_in(
                    vectors[other], neighbours, confidence, gram=gram, l2=l2, target=target
                )


def _blocks(counts: np.ndarray, dimension: int) -> Iterator[np.ndarray]:
    """Rows of like counts together, so that little is padded; those without any are left out."""
    doublings = np.ceil(np.log2(np.maximum(counts, 1))).astype(int)
    for power in np.unique(doublings[counts > 0]):
        rows = np.flatnonzero((doublings == power) & (counts > 0))
        numbers = len(rows) * max(2**power, dimension) ** 2
        yield from np.array_split(rows, min(len(rows), -(-numbers // _BLOCK_NUMBERS)))
