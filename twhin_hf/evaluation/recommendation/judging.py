"""Ranks of what is to be found, among all posts and among sampled ones, for several models at once.

Every model is two tables whose inner products are its scores. Users are taken in blocks, so that a
bounded number of scores is there at a time, and every model is asked for the same candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from twhin_hf.errors import InputError
from twhin_hf.evaluation.recommendation.splits import Task
from twhin_hf.recommendation.ranking import SCORES_PER_BLOCK, Ranks
from twhin_hf.recommendation.records import Records


class Scorer(NamedTuple):
    """What a model says: the inner product of a user's and a post's row.

    Args:
        users: float32 `[users, width]`, all users of the log.
        posts: float32 `[posts, width]`, all posts.
    """

    users: np.ndarray
    posts: np.ndarray


class Found(NamedTuple):
    """What a model has found of a task, by engagement to find.

    Args:
        wanted: The engagements, sorted by user.
        listed: Rank among the posts that the user has not engaged with and those to find.
        apart: The same without the user's other posts to find.
        sampled: Rank among random ones of these.
        top: Best posts of each user, int64 `[users, recommended]`; −1 where there are no more.
    """

    wanted: Records
    listed: Ranks
    apart: Ranks
    sampled: Ranks
    top: np.ndarray


def judge(
    scorers: Mapping[str, Scorer],
    task: Task,
    history: Records,
    *,
    num_candidates: int = 1000,
    recommended: int = 10,
    seed: int = 0,
    scores_per_block: int = SCORES_PER_BLOCK,
) -> dict[str, Found]:
    """Ranks each engagement of a task by each model.

    Args:
        scorers: Models by name.
        task: What is to be found, and among which posts.
        history: What users have engaged with already: no candidates.
        num_candidates: Posts of the sampled ranking, the engaged one included.
        recommended: Length of the lists of best posts.
        seed: Of the candidates.
        scores_per_block: Most scores at a time, but for a user with more posts to find.

    Raises:
        InputError: A model's vectors hold NaN or infinity.
    """
    for name, scorer in scorers.items():
        if not all(np.isfinite(table).all() for table in scorer):
            raise InputError(f"the vectors of {name} hold NaN or infinity")
    rng = np.random.default_rng(seed)
    own = history.restrict_to(task.pool).sorted_by_user()
    parts: dict[str, list[Found]] = {name: [] for name in scorers}
    for block in _blocks(task, own, scores_per_block):
        sampled = block.draw(num_candidates - 1, rng)
        for name, scorer in scorers.items():
            scores = scorer.users[block.users] @ scorer.posts[task.pool].T
            scores[block.seen] = -np.inf
            parts[name].append(block.find(scores, sampled, task.pool, recommended))
    return {name: _joined(found) for name, found in parts.items()}


class _Block(NamedTuple):
    """Some users of a task.

    Args:
        users: Their rows.
        wanted: Their engagements to find.
        rows: Which of the users each is of.
        columns: Which of the pool's posts each is with.
        seen: Bool `[users, pool]`: no candidates.
        targets: Bool `[users, pool]`: to be found.
    """

    users: np.ndarray
    wanted: Records
    rows: np.ndarray
    columns: np.ndarray
    seen: np.ndarray
    targets: np.ndarray

    def draw(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Random candidates of each engagement: columns, and which of them count.

        The numbers are drawn engagement by engagement, so that blocks make no difference.
        """
        size = self.seen.shape[1]
        keys = rng.random((len(self.rows), size), dtype=np.float32)
        banned = (self.seen | self.targets)[self.rows]
        keys[banned] = 2.0
        if number >= size:
            columns = np.broadcast_to(np.arange(size), keys.shape)
            return columns, ~banned
        columns = np.argpartition(keys, number - 1, axis=1)[:, :number]
        return columns, ~np.take_along_axis(banned, columns, axis=1)

    def find(
        self,
        scores: np.ndarray,
        sampled: tuple[np.ndarray, np.ndarray],
        pool: np.ndarray,
        recommended: int,
    ) -> Found:
        of_record = scores[self.rows]
        engaged = scores[self.rows, self.columns][:, None]
        better, tied = of_record > engaged, of_record == engaged
        others = self.targets[self.rows]
        listed = Ranks(better.sum(axis=1), tied.sum(axis=1) - 1)
        apart = Ranks(
            listed.better - (better & others).sum(axis=1),
            listed.tied + 1 - (tied & others).sum(axis=1),
        )
        columns, counts = sampled
        drawn = np.take_along_axis(of_record, columns, axis=1)
        return Found(
            self.wanted,
            listed,
            apart,
            Ranks(
                ((drawn > engaged) & counts).sum(axis=1), ((drawn == engaged) & counts).sum(axis=1)
            ),
            _best(scores, pool, recommended),
        )


def _blocks(task: Task, seen: Records, scores_per_block: int) -> Iterator[_Block]:
    wanted, pool = task.wanted, task.pool
    users, starts, counts = np.unique(wanted.users, return_index=True, return_counts=True)
    number = (starts + counts - 1) // max(1, scores_per_block // len(pool))
    for first, last in _runs(number):
        own = users[first:last]
        records = wanted.where(np.arange(starts[first], starts[last - 1] + counts[last - 1]))
        rows, columns = np.searchsorted(own, records.users), np.searchsorted(pool, records.posts)
        low, high = np.searchsorted(seen.users, [own[0], own[-1] + 1])
        known = seen.where(np.arange(low, high))
        known = known.where(np.isin(known.users, own))
        shape = (len(own), len(pool))
        is_seen, is_target = np.zeros(shape, bool), np.zeros(shape, bool)
        is_seen[np.searchsorted(own, known.users), np.searchsorted(pool, known.posts)] = True
        is_target[rows, columns] = True
        yield _Block(own, records, rows, columns, is_seen & ~is_target, is_target)


def _runs(numbers: np.ndarray) -> Iterator[tuple[int, int]]:
    """Beginning and end of each run of equal numbers."""
    edges = np.flatnonzero(np.diff(numbers)) + 1
    yield from zip([0, *edges.tolist()], [*edges.tolist(), len(numbers)], strict=True)


def _best(scores: np.ndarray, pool: np.ndarray, k: int) -> np.ndarray:
    """Pool posts with the best scores of each row, int64 `[rows, k]`, in no order."""
    found = np.full((len(scores), k), -1, np.int64)
    k = min(k, scores.shape[1])
    columns = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    left = np.take_along_axis(scores, columns, axis=1) > -np.inf
    found[:, :k] = np.where(left, pool[columns], -1)
    return found


def _joined(parts: list[Found]) -> Found:
    def ranks(name: str) -> Ranks:
        own = [getattr(part, name) for part in parts]
        return Ranks(
            np.concatenate([one.better for one in own]), np.concatenate([one.tied for one in own])
        )

    return Found(
        Records.concatenate([part.wanted for part in parts]),
        ranks("listed"),
        ranks("apart"),
        ranks("sampled"),
        np.concatenate([part.top for part in parts]),
    )
