"""The options of `build_engagement_benchmark`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from twhin_hf.errors import InputError


@dataclass(frozen=True)
class EngagementRecipe:
    """How the benchmark is made.

    Args:
        min_user_engagements: Minimum number of posts that a user engaged with.
        min_post_engagements: Minimum number of users who engaged with a post.
        min_language_users: Minimum number of users with a record in a language.
        max_posts: Maximum number of posts per language (paper: 10,000).
        split_seed: Seed of train, validation and test by a hash; no post of the last two may be in
            the network.
        seed: Seed of the posts and records drawn.

    Raises:
        InputError: A minimum below 1.
    """

    min_user_engagements: int = 5
    min_post_engagements: int = 5
    min_language_users: int = 20
    max_posts: int = 10_000
    split_seed: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("min_user_engagements", "min_post_engagements", "min_language_users"):
            least = getattr(self, name)
            if least < 1:
                raise InputError(f"{name} is {least}; it must be at least 1.")
