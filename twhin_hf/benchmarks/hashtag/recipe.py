"""The options of `build_hashtag_benchmark`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from twhin_hf.errors import InputError


@dataclass(frozen=True)
class HashtagRecipe:
    """How the benchmark is made.

    Args:
        num_hashtags: Number of classes per language: its most popular hashtags (paper: 500).
        max_posts: Maximum number of posts per language (paper: 20,000).
        min_examples: Minimum number of different posts per class; near-duplicates count as one.
            With 10 or more, each class is in each split.
        fractions: Shares of train, validation and test in each class (paper: 0.8 0.1 0.1).
        max_text_similarity: Similarity from which two posts are near-duplicates.
        seed: Seed of the posts drawn and of the splits.

    Raises:
        InputError: A number or shares that cannot work.
    """

    num_hashtags: int = 500
    max_posts: int = 20_000
    min_examples: int = 10
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    max_text_similarity: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("num_hashtags", 2), ("max_posts", 1), ("min_examples", 3)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        if (
            len(self.fractions) != 3
            or min(self.fractions) <= 0
            or abs(sum(self.fractions) - 1) > 1e-9
        ):
            raise InputError(
                f"fractions={self.fractions}: three shares above 0 (train, validation, test) are "
                "needed that add up to 1, such as (0.8, 0.1, 0.1)."
            )
