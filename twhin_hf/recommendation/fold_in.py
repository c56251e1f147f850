"""Vectors of users and posts that a network was learnt without, from whom they are linked with.

A linear map is learnt, in closed form, from the users (or posts) that have a vector: from the mean
of their posts' vectors, and from how many they are, to their own. It costs a product with a small
matrix, so that a vector follows each engagement at once. It does as well for every method of
embedding: least squares against the frozen side, which suits ALS alone, gives no more there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twhin_hf.errors import InputError

_RIDGE = 1e-3
"""Penalty relative to the mean square of the features."""


class FoldIn(NamedTuple):
    """`vector = features(mean of the linked vectors, number of links) · weights`.

    Args:
        weights: float32 `[2 · width + 2, dimension]`, for the mean, the mean times `ln(1 + n)`,
            `ln(1 + n)` and 1; width is the dimension of the links, and of the prior vector as well
            where there is one.
    """

    weights: np.ndarray

    @classmethod
    def fit(
        cls, sums: np.ndarray, counts: np.ndarray, vectors: np.ndarray, prior: np.ndarray | None
    ) -> FoldIn:
        """Learns from rows whose vectors are known.

        Args:
            sums: Sum of the vectors that each row is linked with, float `[rows, dimension]`.
            counts: Number of links, `[rows]`.
            vectors: Vectors to reproduce, float `[rows, dimension]`.
            prior: What is known of a row before it has any link, such as what its text predicts,
                float `[rows, dimension]`; None where nothing is.

        Raises:
            InputError: There is no row to learn from.
        """
        if not len(counts):
            raise InputError("no row has a vector to learn from; give a network with engagements")
        features = _features(sums, counts, prior).astype(np.float64)
        gram = features.T @ features
        # Each feature is penalised in its own scale: networks differ by orders of magnitude.
        penalty = _RIDGE * np.diag(gram) + np.finfo(np.float32).tiny
        weights = np.linalg.solve(gram + np.diag(penalty), features.T @ vectors.astype(np.float64))
        return cls(weights.astype(np.float32))

    def vectors(
        self, sums: np.ndarray, counts: np.ndarray, prior: np.ndarray | None = None
    ) -> np.ndarray:
        """Vectors of rows by their links, float32 `[rows, dimension]`; see `fit`."""
        return _features(sums, counts, prior) @ self.weights


def _features(sums: np.ndarray, counts: np.ndarray, prior: np.ndarray | None) -> np.ndarray:
    counts = np.asarray(counts, np.float32)[:, None]
    means = np.asarray(sums, np.float32) / np.maximum(counts, 1)
    if prior is not None:
        means = np.concatenate([means, np.asarray(prior, np.float32)], axis=1)
    growth = np.log1p(counts)
    return np.concatenate([means, means * growth, growth, np.ones_like(growth)], axis=1)


def cross_fitted_ridge(
    features: np.ndarray,
    targets: np.ndarray,
    seed: int,
    penalties: tuple[float, ...] = (1, 10, 100, 1000),
) -> tuple[np.ndarray, np.ndarray]:
    """A linear map with intercept, and what it predicts of rows that it was not learnt from.

    The penalty is the one whose predictions of the other half are best.

    Args:
        features: float `[rows, width]`.
        targets: float `[rows, dimension]`.
        seed: Of the two halves.
        penalties: Ridge penalties to try.

    Returns:
        Weights, float32 `[width + 1, dimension]`, the intercept last, learnt from all rows; and
        predictions, float32 `[rows, dimension]`, each by the other half's weights.
    """
    ones = np.ones((len(features), 1), np.float64)
    design = np.concatenate([np.asarray(features, np.float64), ones], axis=1)
    targets = np.asarray(targets, np.float64)
    halves = np.random.default_rng(seed).permutation(len(design)) % 2
    best, error = (penalties[0], np.zeros(targets.shape)), np.inf
    for penalty in penalties:
        found = np.empty_like(targets)
        for half in (0, 1):
            own, other = halves == half, halves != half
            found[own] = design[own] @ _ridge(design[other], targets[other], penalty)
        if (missed := float(((found - targets) ** 2).mean())) < error:
            best, error = (penalty, found), missed
    weights = _ridge(design, targets, best[0])
    return weights.astype(np.float32), best[1].astype(np.float32)


def _ridge(design: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    penalties = np.full(design.shape[1], penalty, np.float64)
    penalties[-1] = 1e-6  # the intercept
    return np.linalg.solve(design.T @ design + np.diag(penalties), design.T @ targets)
