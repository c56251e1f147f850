"""Ranks of engaged posts among random candidates: HITS@k, mean reciprocal rank, candidate sets."""

from __future__ import annotations

import numpy as np

from twhin_hf.benchmarks.engagement.benchmark import Records

SCORES_PER_BLOCK = 2**22  # 16 MiB of float32 scores at a time


def ranks(positive: np.ndarray, scores: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """Rank of each engaged post among its candidates, 1 is best.

    A candidate outranks the engaged post unless its score is strictly lower: ties and NaN count
    against the model, so a constant score gives the worst rank.

    Args:
        positive: Score of the engaged post [records].
        scores: Scores of all posts of the split [records, posts].
        candidate: Which of them are this record's negatives, bool [records, posts].
    """
    outranks = ~(scores < positive[:, None])
    return 1 + (outranks & candidate).sum(axis=1)


def hits_and_mrr(rank: np.ndarray, k: int) -> tuple[float, float]:
    """HITS@k and the mean reciprocal rank of ranks that start at 1."""
    return float((rank <= k).mean()), float((1.0 / rank).mean())


class CandidateSets:
    """The random negatives of every record of a split, drawn once and kept as packed bits.

    Args:
        records: Users and engaged posts, the latter as rows of `pool`'s posts.
        pool: Sorted post rows to draw from.
        known: Every engagement of these users: a post the user engaged with is no negative.
        num_candidates: Posts to rank, the engaged one included; all of `pool` where it has fewer.
        seed: Seed of the draw.
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
        self.mean_size = 1 + float(np.concatenate([mask.sum(axis=1) for mask in drawn]).mean())
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
