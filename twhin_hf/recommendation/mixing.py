"""How much a post's text counts, and how much the network, by the number of its engagements.

A post that nobody has met is known by its text alone; one that hundreds engaged with is known best
by who they were. The score

    s(u, t) = a(n) · text(u, t) + c(n) · network(u, t) + d(n) · content(u, t) + b(n)

has weights a, c, d and b that are piecewise linear in `log2(1 + n)`, n the number of engagements of
t; content is the cosine of t's text with those that u engaged with. The weights are learnt from
engagements that neither projection nor network has seen, by a softmax over some posts drawn from
all, which is consistent for the one over all (McFadden, 1978: Modelling the choice of residential
location).
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
        content: Cosine with what the user engaged with, the same shape.
        engagements: Number of engagements of each post, int `[records, candidates]`.
        excluded: Posts that are no candidates of a record, bool, the same shape.
    """

    text: np.ndarray
    network: np.ndarray
    content: np.ndarray
    engagements: np.ndarray
    excluded: np.ndarray


class Mixing(NamedTuple):
    """The weights at the knots.

    Args:
        weights: float32 `[4, KNOTS]`, rows a, c, d and b.
    """

    weights: np.ndarray

    def of(self, engagements: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """a, c, d and b of posts, float32 `[posts]` each.

        Args:
            engagements: Of each post, int `[posts]`.

        Example:
            >>> weights = np.zeros((4, KNOTS), np.float32)
            >>> weights[0, :2] = 1.0, 0.5
            >>> Mixing(weights).of(np.array([0, 1, 3]))[0]
            array([1. , 0.5, 0. ], dtype=float32)
        """
        places = np.log2(1.0 + np.asarray(engagements))
        a, c, d, b = (
            np.interp(places, np.arange(KNOTS), row).astype(np.float32) for row in self.weights
        )
        return a, c, d, b


def fit_mixing(given: Candidates) -> Mixing:
    """Learns the weights: the engaged post is told from the other candidates (softmax).

    Args:
        given: Held-out engagements; each has one candidate at least.
    """
    places = np.minimum(np.log2(1.0 + given.engagements), KNOTS - 1)
    below = np.minimum(places.astype(np.int64), KNOTS - 2)
    lower, share = torch.from_numpy(below), torch.from_numpy((places - below).astype(np.float32))
    scores = [np.asarray(part, np.float32) for part in (given.text, given.network, given.content)]
    scale = [float(part.std()) or 1.0 for part in scores]
    parts = [torch.from_numpy(part / own) for part, own in zip(scores, scale, strict=True)]
    excluded = torch.from_numpy(given.excluded)
    knots = torch.zeros(4, KNOTS)
    knots[:3] = 1.0
    knots.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [knots], max_iter=_STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-6
    )

    def at(row: torch.Tensor) -> torch.Tensor:
        return torch.lerp(row[lower], row[lower + 1], share)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        mixed = at(knots[3])
        for row, part in zip(knots, parts, strict=False):
            mixed = mixed + at(row) * part
        mixed = mixed.masked_fill(excluded, -torch.inf)
        losses = torch.logsumexp(mixed, dim=1) - mixed[:, 0]
        steps = (knots[:, 1:] - knots[:, :-1]).square().sum()
        # The last term takes the constant out of b, which no ranking depends on.
        total = losses.mean() + _SMOOTHNESS * (steps + knots[3].mean().square())
        total.backward()
        return total

    optimizer.step(loss)
    found = knots.detach().numpy() / np.array([*scale, 1.0])[:, None]
    return Mixing(found.astype(np.float32))
