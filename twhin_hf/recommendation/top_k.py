"""The best of many scores, a bounded number of them at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_SCORES_PER_BLOCK = 2**23


class Ranking(NamedTuple):
    """The best for each that was asked for, best first.

    Args:
        ids: `[asked][at most k]`, of posts or users.
        scores: float32 `[asked][at most k]`.
        probabilities: Of the scores, float32 `[asked][at most k]`.
    """

    ids: list[list[str]]
    scores: list[np.ndarray]
    probabilities: list[np.ndarray]


def row_blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices of rows, each with a bounded number of values of this width."""
    step = max(1, _SCORES_PER_BLOCK // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def score_blocks(queries: np.ndarray, targets: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Scores of some queries at a time with all targets."""
    for block in row_blocks(len(queries), len(targets)):
        yield block, queries[block] @ targets.T


def best(scores: np.ndarray, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Columns and scores of the k best of each row that are not excluded, best first."""
    k = min(k, scores.shape[1])
    if k == 0:
        return [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(scores)
    top = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k < scores.shape[1] else None
    top = np.tile(np.arange(k), (len(scores), 1)) if top is None else np.sort(top, axis=1)
    values = np.take_along_axis(scores, top, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    top, values = (np.take_along_axis(part, order, axis=1) for part in (top, values))
    left = (values > -np.inf).sum(axis=1)
    return [
        (places[:count], own[:count]) for places, own, count in zip(top, values, left, strict=True)
    ]
