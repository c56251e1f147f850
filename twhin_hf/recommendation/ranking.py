"""Ranks of engaged posts among random candidates: HITS@k, mean reciprocal rank, candidate sets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twhin_hf.recommendation.records import Records

SCORES_PER_BLOCK = 2**22  # 16 MiB of float32 scores at a time


class Ranks(NamedTuple):
    """How many candidates stand before each engaged post, and how many beside it.

    Ties are in no order, so every figure is its expected value under a random one: a constant
    score gives what chance gives.

    Args:
        better: Candidates with a better score, int [records].
        tied: Candidates with the same score, int [records].

    Example:
        >>> ranks = Ranks(np.array([1, 0]), np.array([0, 3]))
        >>> ranks.expected(), ranks.hits(2), ranks.reciprocal()
        (array([2. , 2.5]), array([1. , 0.5]), array([0.5       , 0.52083333]))
    """

    better: np.ndarray
    tied: np.ndarray

    def expected(self) -> np.ndarray:
        """Rank of each engaged post, 1 is best, half of the ties before it; float [records]."""
        return 1 + self.better + self.tied / 2

    def hits(self, k: int) -> np.ndarray:
        """Probability that the engaged post is among the first k, `(k − better) / (tied + 1)`.

        Returns:
            0 to 1, float [records]; 0 or 1 where nothing is tied.
        """
        return np.clip((k - self.better) / (self.tied + 1), 0, 1)

    def reciprocal(self) -> np.ndarray:
        """Expected reciprocal rank: the mean of `1 / rank` over the places of the tied ones."""
        last = self.better + self.tied + 1
        harmonic = np.append(0.0, np.cumsum(1 / np.arange(1, last.max(initial=0) + 1)))
        return (harmonic[last] - harmonic[self.better]) / (self.tied + 1)


def ranks(positive: np.ndarray, scores: np.ndarray, candidate: np.ndarray) -> Ranks:
    """Rank of each engaged post among its candidates.

    NaN counts against the model: a candidate without a score is better, and every candidate is
    better than an engaged post without one.

    Args:
        positive: Score of the engaged post [records].
        scores: Scores of all posts of the split [records, posts].
        candidate: Which of them are this record's negatives, bool [records, posts].
    """
    better = (~(scores <= positive[:, None]) & candidate).sum(axis=1)
    not_worse = (~(scores < positive[:, None]) & candidate).sum(axis=1)
    return Ranks(better, not_worse - better)


def hits_and_mrr(found: Ranks, k: int) -> tuple[float, float]:
    """HITS@k and the mean reciprocal rank."""
    return float(found.hits(k).mean()), float(found.reciprocal().mean())


class CandidateSets:
    """The random negatives of every record of a split, drawn once and kept as packed bits.

    Args:
        records: Users and engaged posts, the latter as rows of `pool`'s posts.
        pool: Sorted post rows to draw from.
        known: Every engagement of these users: a post the user engaged with is no negative.
        num_candidates: Posts to rank, the engaged one included; all of `pool` where it has fewer.
        seed: Seed of the draw.

    `sizes` tells how many posts are ranked for each record, the engaged one included.
    """

    def __init__(
        self, records: Records, pool: np.ndarray, known: Records, num_candidates: int, seed: int
    ) -> None:
        self.records, self.pool = records, pool
        self.columns = np.searchsorted(pool, records.posts)
        self._known = known.restrict_to(pool).sorted_by_user()
        self._block = max(1, SCORES_PER_BLOCK // len(pool))
        rng = np.random.default_rng(seed)
        drawn = [self._draw(block, num_candidates - 1, rng) for block in self.blocks()]
        self.sizes = 1 + np.concatenate([mask.sum(axis=1) for mask in drawn])
        self._packed = [np.packbits(mask, axis=1) for mask in drawn]

    def blocks(self) -> list[slice]:
        """Slices of the records, each with a bounded number of scores."""
        starts = range(0, len(self.records), self._block)
        return [slice(start, start + self._block) for start in starts]

    def mask(self, block: int) -> np.ndarray:
        """Negatives of one block's records, bool [records of the block, len(pool)]."""
        return np.unpackbits(self._packed[block], axis=1, count=len(self.pool)).astype(bool)

    def _draw(self, block: slice, num_negatives: int, rng: np.random.Generator) -> np.ndarray:
        users, columns = self.records.users[block], self.columns[block]
        allowed = np.ones((len(users), len(self.pool)), dtype=bool)
        allowed[self._engaged(users)] = False
        allowed[np.arange(len(users)), columns] = False
        if num_negatives >= len(self.pool) - 1:
            return allowed
        keys = rng.random(allowed.shape, dtype=np.float32)
        keys[~allowed] = 2.0
        chosen = np.argpartition(keys, num_negatives - 1, axis=1)[:, :num_negatives]
        drawn = np.zeros_like(allowed)
        np.put_along_axis(drawn, chosen, True, axis=1)
        return drawn & allowed

    def _engaged(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        starts = np.searchsorted(self._known.users, users, side="left")
        counts = np.searchsorted(self._known.users, users, side="right") - starts
        rows = np.repeat(np.arange(len(users)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        posts = self._known.posts[np.repeat(starts, counts) + within]
        return rows, np.searchsorted(self.pool, posts)
