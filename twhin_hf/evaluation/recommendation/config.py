"""Options of judging recommenders; importing nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from twhin_hf.errors import InputError


@dataclass(frozen=True)
class RecommendationJudgingConfig:
    """Judging.

    Args:
        new_users: Share of the users who are kept out, as users that come later.
        known_posts: Share of the other users' engagements with training posts that is kept out, to
            be found among known posts.
        mixed_by: Share of what is left that network and encoder are made without, for the model to
            mix them by.
        max_users: Users judged for a task, at most; a random choice where there are more.
        num_candidates: Posts of the sampled ranking, the engaged one included (paper: 1,000).
        at: Values of k in HITS@k, recall@k and NDCG@k.
        recommended: Length of the lists by which coverage and popularity are told.
        dimension: Embedding dimension of the network, where the command embeds it.
        seed: Seed of users, engagements, candidates, network and models.

    Raises:
        InputError: A share outside 0 to 1, or a number below what can work.
    """

    new_users: float = 0.1
    known_posts: float = 0.05
    mixed_by: float = 0.05
    max_users: int = 10_000
    num_candidates: int = 1000
    at: tuple[int, ...] = (10, 20, 50, 100)
    recommended: int = 10
    dimension: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("new_users", "known_posts", "mixed_by"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise InputError(f"{name} is {value}; it is a share, from 0 to below 1.")
        for name, least in {"max_users": 1, "num_candidates": 2, "recommended": 1}.items():
            if (value := getattr(self, name)) < least:
                raise InputError(f"{name} is {value}; it must be at least {least}.")
        if not self.at or min(self.at) < 1:
            raise InputError(f"at is {self.at}; name one k at least, each 1 or more.")
