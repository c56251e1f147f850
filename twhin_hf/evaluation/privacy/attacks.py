"""Attacks on vectors of users: who is behind one, and what it was trained on."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from twhin_hf.evaluation.bootstrap import RESAMPLES

_SCORES_PER_BLOCK = 2**23
_BONUS = 3.0  # above the span of cosines, which is 2


def rank_candidates(
    targets: np.ndarray,
    candidates: np.ndarray,
    own: np.ndarray,
    known: csr_array | None = None,
    recorded: csr_array | None = None,
) -> np.ndarray:
    """The rank of each target's own candidate by cosine, best first; ties count half.

    Args:
        targets: What an attacker makes of what is known of a user, float `[num_targets, dim]`.
        candidates: Published vectors, float `[num_candidates, dim]`.
        own: Row of the candidate that belongs to each target, int `[num_targets]`.
        known: Posts that the attacker knows of, `[num_targets, num_posts]`.
        recorded: Posts of the records of each candidate, `[num_candidates, num_posts]`. With both,
            candidates with a known post come before all others.

    Returns:
        float64 `[num_targets]`, from 1 on.

    Example:
        >>> candidates = np.eye(3)
        >>> rank_candidates(np.array([[1.0, 0.5, 0.0]]), candidates, np.array([1])).tolist()
        [2.0]
    """
    unit = unit_rows(candidates)
    targets = unit_rows(targets)
    size = max(1, _SCORES_PER_BLOCK // max(1, len(unit)))
    ranks = []
    for start in range(0, len(targets), size):
        block = slice(start, start + size)
        scores = targets[block] @ unit.T
        if known is not None and recorded is not None:
            scores += _BONUS * ((known[block] @ recorded.T).toarray() > 0)
        mine = np.take_along_axis(scores, own[block, None], axis=1)
        ties = np.isclose(scores, mine, rtol=0, atol=1e-6)  # equal vectors, summed in another order
        ranks.append(1 + ((scores > mine) & ~ties).sum(1) + (ties.sum(1) - 1) / 2)
    return np.concatenate(ranks) if ranks else np.empty(0)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32; a row of zeros stays."""
    vectors = np.asarray(vectors, np.float32)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length == 0, 1, length)


def draw_known(users: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Which engagements an attacker knows: a share of each user's, rounded up.

    Args:
        users: The user of each engagement, int `[num_engagements]`.
        share: Above 0 and at most 1.
        rng: Draws them.

    Returns:
        bool `[num_engagements]`.
    """
    order = rng.permutation(len(users))
    order = order[np.argsort(users[order], kind="stable")]
    ordered = users[order]
    first = np.searchsorted(ordered, ordered, side="left")
    degree = np.searchsorted(ordered, ordered, side="right") - first
    known = np.empty(len(users), bool)
    known[order] = np.arange(len(users)) - first < np.ceil(share * degree)
    return known


def area_under_curve(members: np.ndarray, others: np.ndarray) -> float:
    """The share of pairs of a member and another in which the member scores higher (ROC AUC).

    Ties count half, so 0.5 is what a coin gives.

    Args:
        members: Scores of what took part, float `[num_members]`.
        others: Scores of what did not, float `[num_others]`.

    Example:
        >>> area_under_curve(np.array([0.9, 0.5]), np.array([0.5, 0.1]))
        0.875
    """
    return _Curve(members, others).area(np.ones(len(members)), np.ones(len(others)))


def resampled_areas(
    members: np.ndarray,
    others: np.ndarray,
    users_of_members: np.ndarray,
    users_of_others: np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """`area_under_curve` over resampled users, each with all that is theirs (cluster bootstrap).

    Args:
        members: Scores, float `[num_members]`.
        others: Scores, float `[num_others]`.
        users_of_members: Whose they are, int `[num_members]`.
        users_of_others: The same of the others.
        resamples: Number of resamples.
        seed: Seed of the draws.

    Returns:
        float64 `[resamples]`; NaN where a draw has none of either.
    """
    _, rows = np.unique(np.concatenate([users_of_members, users_of_others]), return_inverse=True)
    own, other = rows[: len(members)], rows[len(members) :]
    count = int(rows.max()) + 1
    curve, rng = _Curve(members, others), np.random.default_rng(seed)
    areas = []
    for _ in range(resamples):
        times = np.bincount(rng.integers(count, size=count), minlength=count)
        areas.append(curve.area(times[own], times[other]))
    return np.array(areas)


class _Curve:
    """Scores of members and others, sorted once for any number of weights."""

    def __init__(self, members: np.ndarray, others: np.ndarray) -> None:
        scores, places = np.unique(np.concatenate([members, others]), return_inverse=True)
        self._count = len(scores)
        self._members, self._others = places[: len(members)], places[len(members) :]

    def area(self, members: np.ndarray, others: np.ndarray) -> float:
        """With a weight of each."""
        mass = np.bincount(self._members, members, self._count)
        against = np.bincount(self._others, others, self._count)
        below = np.cumsum(against) - against / 2
        pairs = mass.sum() * against.sum()
        return float(mass @ below / pairs) if pairs else float("nan")
