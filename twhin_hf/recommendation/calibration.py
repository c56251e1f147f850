"""From scores to probabilities, and how far these can be trusted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_MOST_KNOTS = 64


class Calibration(NamedTuple):
    """A rising map from scores to probabilities, linear between knots.

    The probability is that of a pair drawn from all users and posts to be an engagement of the log.

    Args:
        scores: float32 `[knots]`, rising.
        logits: float32 `[knots]`, never falling: log-odds at the knots.
    """

    scores: np.ndarray
    logits: np.ndarray

    def probability(self, scores: np.ndarray) -> np.ndarray:
        """Of scores of any shape, float32 from 0 to 1; beyond the knots as at the outermost."""
        logits = np.interp(scores, self.scores, self.logits)
        return (1 / (1 + np.exp(-logits))).astype(np.float32)


def fit_calibration(scores: np.ndarray, engaged: np.ndarray, weights: np.ndarray) -> Calibration:
    """Isotonic regression of engagements on scores (Zadrozny and Elkan, KDD 2002).

    Args:
        scores: float `[pairs]`.
        engaged: Bool `[pairs]`.
        weights: How many pairs each stands for, float `[pairs]`.
    """
    from sklearn.isotonic import isotonic_regression

    edges = np.unique(np.quantile(scores[engaged], np.linspace(0, 1, _MOST_KNOTS + 1)))
    edges = np.concatenate([[-np.inf], edges[:-1]])
    bins = np.searchsorted(edges, scores, side="right") - 1
    total = np.bincount(bins, weights, len(edges))
    hits = np.bincount(bins, weights * engaged, len(edges))
    middle = np.bincount(bins, weights * scores, len(edges))
    full = total > 0
    rate = hits[full] / total[full]
    rising = isotonic_regression(rate, sample_weight=total[full])
    # Half an engagement keeps a bin without any from being impossible.
    least = 0.5 * weights[engaged].min(initial=1.0) / total[full]
    rising = np.maximum.accumulate(np.clip(rising, least, 1 - 1e-6))
    return Calibration(
        (middle[full] / total[full]).astype(np.float32),
        np.log(rising / (1 - rising)).astype(np.float32),
    )


class Reliability(NamedTuple):
    """Predicted probabilities against what happened.

    Args:
        predicted: Mean prediction of each bin, float64 `[bins]`.
        observed: Share of engagements in each, float64 `[bins]`.
        share: Share of all pairs in each, float64 `[bins]`.
    """

    predicted: np.ndarray
    observed: np.ndarray
    share: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: |predicted − observed|, the mean over all pairs."""
        return float((self.share * np.abs(self.predicted - self.observed)).sum())


def reliability(
    predicted: np.ndarray, engaged: np.ndarray, weights: np.ndarray, bins: int = 10
) -> Reliability:
    """Bins of equal numbers of engagements, so that the rare high probabilities are seen too.

    Args:
        predicted: Probabilities, float `[pairs]`.
        engaged: Bool `[pairs]`.
        weights: How many pairs each stands for, float `[pairs]`.
        bins: At most so many; ties share one.

    Example:
        >>> found = reliability(
        ...     np.array([0.1, 0.1, 0.5, 0.5]), np.array([False, True, True, True]), np.ones(4), 2
        ... )
        >>> found.observed.tolist(), round(found.error, 3)
        ([0.5, 1.0], 0.45)
    """
    edges = np.unique(np.quantile(predicted[engaged], np.linspace(0, 1, bins + 1)[1:-1]))
    places = np.searchsorted(edges, predicted, side="right")
    total = np.bincount(places, weights)
    full = total > 0
    mean = np.bincount(places, weights * predicted)[full] / total[full]
    hit = np.bincount(places, weights * engaged)[full] / total[full]
    return Reliability(mean, hit, total[full] / total.sum())
