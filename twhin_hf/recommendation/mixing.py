"""How much a post's text counts, and how much the network, by the number of its engagements.

A post that nobody has met is known by its text alone; one that hundreds engaged with is known best
by who they were. The score

    s(u, t) = a(n) · text(u, t) + c(n) · network(u, t) + b(n)

has weights a, c and b that are piecewise linear in `log2(1 + n)`, n the number of engagements of t.
They are learnt from engagements that neither projection nor network has seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

KNOTS = 9
"""At 0, 1, 3, 7, … 255 engagements; beyond it as at the last."""

_SMOOTHNESS = 1e-3
_STEPS = 60


class Candidates(NamedTuple):
    """Held-out engagements, each with posts to tell it from; the engaged post comes first.

    Args:
        text: Score of the text, float32 `[records, candidates]`.
        network: Score of the network, the same shape.
        engagements: Number of engagements of each post, int `[records, candidates]`.
        excluded: Posts that are no candidates of a record, bool, the same shape.
        weights: Weight of each record, float `[records]`.
    """

    text: np.ndarray
    network: np.ndarray
    engagements: np.ndarray
    excluded: np.ndarray
    weights: np.ndarray


class Mixing(NamedTuple):
    """The weights at the knots.

    Args:
        weights: float32 `[3, KNOTS]`, rows a, c and b.
    """

    weights: np.ndarray

    def of(self, engagements: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """a, c and b of posts, float32 `[posts]` each.

        Args:
            engagements: Of each post, int `[posts]`.

        Example:
            >>> weights = np.zeros((3, KNOTS), np.float32)
            >>> weights[0, :2] = 1.0, 0.5
            >>> Mixing(weights).of(np.array([0, 1, 3]))[0]
            array([1. , 0.5, 0. ], dtype=float32)
        """
        places = np.log2(1.0 + np.asarray(engagements))
        a, c, b = (np.interp(places, np.arange(KNOTS), row) for row in self.weights)
        return a.astype(np.float32), c.astype(np.float32), b.astype(np.float32)


def fit_mixing(given: Candidates) -> Mixing:
    """Learns the weights: the engaged post is told from the other candidates (softmax).

    Args:
        given: Held-out engagements; each has one candidate at least.
    """
    hats = torch.from_numpy(_hats(given.engagements))
    text, network = (
        torch.from_numpy(np.asarray(values, np.float64)) for values in (given.text, given.network)
    )
    scale = [float(values.std()) or 1.0 for values in (text, network)]
    excluded = torch.from_numpy(given.excluded)
    weights = torch.from_numpy(np.asarray(given.weights, np.float64))
    weights = weights / weights.sum()
    knots = torch.zeros(3, KNOTS, dtype=torch.float64)
    knots[:2] = 1.0
    knots.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [knots], max_iter=_STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-6
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        a, c, b = (hats @ row for row in knots)
        scores = a * (text / scale[0]) + c * (network / scale[1]) + b
        scores = scores.masked_fill(excluded, -torch.inf)
        losses = torch.logsumexp(scores, dim=1) - scores[:, 0]
        steps = (knots[:, 1:] - knots[:, :-1]).square().sum()
        # The last term takes the constant out of b, which no ranking depends on.
        total = (weights * losses).sum() + _SMOOTHNESS * (steps + knots[2].mean().square())
        total.backward()
        return total

    optimizer.step(loss)
    found = knots.detach().numpy() / np.array([*scale, 1.0])[:, None]
    return Mixing(found.astype(np.float32))


def _hats(engagements: np.ndarray) -> np.ndarray:
    """Share of each knot, float64 `[…, KNOTS]`."""
    places = np.minimum(np.log2(1.0 + np.asarray(engagements)), KNOTS - 1)
    return np.maximum(0.0, 1.0 - np.abs(places[..., None] - np.arange(KNOTS)))
