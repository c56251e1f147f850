"""Figures of recommenders by user or engagement, from the ranks of what was to be found.

Ties are in no order: every figure is its expected value under a random one.
"""

from __future__ import annotations

import numpy as np

from twhin_hf.recommendation.ranking import Ranks


def recall(ranks: Ranks, users: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Share of each user's posts to find that is among the first k.

    Args:
        ranks: Of each engagement in the list of all, those of the same user included.
        users: Of each engagement, int `[engagements]`.
        k: Length of the list.

    Returns:
        Users, int `[users]`, and their recall, float64 `[users]`.

    Example:
        >>> ranks = Ranks(np.array([0, 5, 2]), np.array([0, 0, 1]))
        >>> recall(ranks, np.array([4, 4, 7]), k=3)
        (array([4, 7]), array([0.5, 0.5]))
    """
    own, group, counts = np.unique(users, return_inverse=True, return_counts=True)
    return own, np.bincount(group, ranks.hits(k), len(own)) / counts


def ndcg(ranks: Ranks, users: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen, TOIS 2002), gains 0 or 1.

    `Σ 1 / log2(1 + rank)` over the posts to find among the first k, divided by what the best order
    has: the first k or fewer places.

    Args:
        ranks: As of `recall`.
        users: As of `recall`.
        k: Length of the list.

    Returns:
        Users, int `[users]`, and their NDCG, float64 `[users]`.

    Example:
        >>> ranks = Ranks(np.array([0, 3]), np.array([0, 0]))
        >>> ndcg(ranks, np.array([1, 1]), k=4)[1].round(4)
        array([0.8772])
    """
    own, group, counts = np.unique(users, return_inverse=True, return_counts=True)
    so_far = np.append(0.0, np.cumsum(1 / np.log2(2 + np.arange(k))))
    last = np.minimum(ranks.better + ranks.tied + 1, k)
    gains = (so_far[last] - so_far[np.minimum(ranks.better, k)]) / (ranks.tied + 1)
    return own, np.bincount(group, gains, len(own)) / so_far[np.minimum(counts, k)]


def coverage(top: np.ndarray, num_posts: int) -> float:
    """Share of the posts that is recommended to anyone.

    Args:
        top: Posts recommended to each user, int `[users, k]`; −1 is none.
        num_posts: Posts that could be.

    Example:
        >>> coverage(np.array([[3, 1], [3, -1]]), num_posts=8)
        0.25
    """
    return len(np.unique(top[top >= 0])) / num_posts


def popularity_percentiles(engagements: np.ndarray) -> np.ndarray:
    """Share of the posts that are less popular, half of those as popular included, float64.

    The mean over all posts is 0.5, so that recommendations above it favour popular ones.

    Args:
        engagements: Of each post, int `[posts]`.

    Example:
        >>> popularity_percentiles(np.array([5, 0, 0, 9]))
        array([0.625, 0.25 , 0.25 , 0.875])
    """
    in_order = np.sort(engagements)
    below = np.searchsorted(in_order, engagements, side="left")
    up_to = np.searchsorted(in_order, engagements, side="right")
    return (below + up_to) / 2 / len(engagements)
