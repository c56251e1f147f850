"""How much a post's text counts, and how much the network, by the number of its engagements.

A post that nobody has met is known by its text alone; one that hundreds engaged with is known best
by who they were. The score

    s(u, t) = a(n) · text(u, t) + c(n) · network(u, t) + d(n) · content(u, t) + b(n)

has weights a, c, d and b that are piecewise linear in `log2(1 + n)`, n the number of engagements of
t; content is the cosine of t's text with those that u engaged with. The weights are learnt from
engagements that neither encoder nor projection nor network has seen, by a softmax over posts drawn
from all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

KNOTS = 9
"""At 0, 1, 3, 7, … 255 engagements; beyond it as at the last."""

_SMOOTHNESS = 1e-3
_STEPS = 60
_TOP = 0.2
"""From the logarithm of an engaged post's chance (0) to the chance itself (1): Zhang and Sabuncu,
NeurIPS 2018. Engagements that nobody could foresee count less, and the top of lists for more."""


class Candidates(NamedTuple):
    """Held-out engagements, and posts to tell the engaged ones from.

    Args:
        engaged: Scores of the engaged posts: text, network and content, float32 `[3, records]`.
        engaged_counts: Numbers of engagements of the engaged posts, int `[records]`.
        drawn: The same scores of posts drawn from all, float32 `[3, records, posts]`.
        drawn_counts: Numbers of engagements of the drawn posts, int `[posts]`.
        excluded: Which of these a record's user has engaged with, bool `[records, posts]`.
    """

    engaged: np.ndarray
    engaged_counts: np.ndarray
    drawn: np.ndarray
    drawn_counts: np.ndarray
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
    """Learns the weights: the engaged post is told from the drawn ones (softmax).

    Args:
        given: Held-out engagements; each has one candidate at least.
    """
    scale = np.asarray(given.drawn).std(axis=(1, 2))
    scale[scale == 0] = 1.0
    engaged = torch.from_numpy(given.engaged / scale[:, None])
    drawn = torch.from_numpy(given.drawn / scale[:, None, None])
    places = [
        torch.from_numpy(_hats(counts)) for counts in (given.engaged_counts, given.drawn_counts)
    ]
    excluded = torch.from_numpy(given.excluded)
    knots = torch.zeros(4, KNOTS)
    knots[:3] = 1.0
    knots.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [knots], max_iter=_STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-6
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        own, others = (hats @ knots.T for hats in places)
        found = (own[:, :3].T * engaged).sum(dim=0) + own[:, 3]
        mixed = others[:, 3].expand(drawn.shape[1:])
        for place in range(3):
            mixed = torch.addcmul(mixed, drawn[place], others[:, place])
        mixed = mixed.masked_fill(excluded, -torch.inf)
        losses = torch.logaddexp(torch.logsumexp(mixed, dim=1), found) - found
        losses = (1 - torch.exp(-_TOP * losses)) / _TOP
        steps = (knots[:, 1:] - knots[:, :-1]).square().sum()
        # The last term takes the constant out of b, which no ranking depends on.
        total = losses.mean() + _SMOOTHNESS * (steps + knots[3].mean().square())
        total.backward()
        return total

    optimizer.step(loss)
    found = knots.detach().numpy() / np.array([*scale, 1.0])[:, None]
    return Mixing(found.astype(np.float32))


def _hats(engagements: np.ndarray) -> np.ndarray:
    """Share of each knot, float32 `[…, KNOTS]`."""
    places = np.minimum(np.log2(1.0 + np.asarray(engagements)), KNOTS - 1)
    hats = np.maximum(0.0, 1.0 - np.abs(places[..., None] - np.arange(KNOTS)))
    return hats.astype(np.float32)
