"""What the nearest posts tell of a text: hashtags, languages, audiences. Arithmetic on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Nearest(NamedTuple):
    """Posts that lie near, the nearest first.

    Args:
        rows: Rows of the posts, int `[found]`.
        similarities: Cosines, float32 `[found]`.
    """

    rows: np.ndarray
    similarities: np.ndarray

    def first(self, k: int) -> Nearest:
        """The k nearest of them."""
        return Nearest(self.rows[:k], self.similarities[:k])

    def where(self, chosen: np.ndarray) -> Nearest:
        """Those that are chosen, bool `[found]`."""
        return Nearest(self.rows[chosen], self.similarities[chosen])


def nearest(query: np.ndarray, units: np.ndarray, excluded: Sequence[int] = ()) -> Nearest:
    """All posts by their cosine to a query.

    Args:
        query: `[width]`, of any length; to zeros everything is at a right angle.
        units: Rows of length 1, or zeros, `[posts, width]`.
        excluded: Rows to leave out.

    Example:
        >>> found = nearest(np.array([3.0, 4.0]), np.array([[1.0, 0], [0, 1], [0.6, 0.8]]), [2])
        >>> found.rows.tolist(), [round(float(one), 2) for one in found.similarities]
        ([1, 0], [0.8, 0.6])
    """
    length = np.linalg.norm(query)
    unit = (query / length if length else query).astype(np.float32)
    cosines = units.astype(np.float32, copy=False) @ unit
    order = np.argsort(-cosines, kind="stable")
    order = order[~np.isin(order, excluded)]
    # Rounding to half precision may bring a cosine above 1.
    return Nearest(order, np.clip(cosines[order], -1, 1))


def likely_hashtags(
    found: Nearest, tags: Sequence[Sequence[str]], most: int = 5
) -> list[tuple[str, float]]:
    """The hashtags of near posts, by the share of these posts' similarity that carries each.

    Args:
        found: The near posts; a negative similarity counts as 0.
        tags: Hashtags of all posts.
        most: How many.

    Returns:
        Hashtags and shares from 0 to 1, the largest first; equal shares by name.

    Example:
        >>> near = Nearest(np.array([2, 0]), np.array([0.6, 0.2]))
        >>> likely_hashtags(near, [["cats"], [], ["cats", "pets", "cats"]])
        [('cats', 1.0), ('pets', 0.75)]
    """
    weights = np.maximum(found.similarities.astype(float), 0)
    total = float(weights.sum())
    shares: dict[str, float] = {}
    for row, weight in zip(found.rows.tolist(), weights.tolist(), strict=True):
        for tag in set(tags[row]):
            shares[tag] = shares.get(tag, 0.0) + weight
    ordered = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(tag, round(share / total, 6)) for tag, share in ordered[:most] if share > 0]


def nearest_in_each(found: Nearest, groups: Sequence[str] | np.ndarray) -> dict[str, Nearest]:
    """The nearest post of each group, such as a language.

    Args:
        found: Posts, the nearest first.
        groups: Group of each post, `[posts]`.

    Returns:
        By the name of the group, in the order of their nearest posts.

    Example:
        >>> near = Nearest(np.array([2, 0, 1]), np.array([0.9, 0.5, 0.1]))
        >>> found = nearest_in_each(near, ["a", "a", "b"])
        >>> {name: one.rows.tolist() for name, one in found.items()}
        {'b': [2], 'a': [0]}
    """
    names = np.asarray(groups)[found.rows]
    _, places = np.unique(names, return_index=True)
    places.sort()
    return {
        str(names[place]): Nearest(found.rows[[place]], found.similarities[[place]])
        for place in places
    }


def audience_shares(found: Nearest, audiences: np.ndarray, number: int) -> np.ndarray:
    """How often near posts belong to each audience.

    Args:
        found: Near posts.
        audiences: Audience of each post, int `[posts]`; below 0 where it is not known.
        number: Number of audiences.

    Returns:
        Shares of the near posts whose audience is known, float `[number]`; zeros where none is.

    Example:
        >>> near = Nearest(np.array([0, 1, 2]), np.ones(3))
        >>> audience_shares(near, np.array([1, -1, 1]), 2).tolist()
        [0.0, 1.0]
    """
    known = audiences[found.rows]
    counts = np.bincount(known[known >= 0], minlength=number)
    return counts / max(int(counts.sum()), 1)
