"""Options of `write_map`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twhin_hf.errors import InputError

Coloring = Literal["language", "topic", "audience"]
FEWEST_POSTS = 10


@dataclass(frozen=True)
class MapConfig:
    """What the map shows.

    Args:
        sample: Number of posts to draw; all of them if there are fewer.
        color: Colours that the page can switch between, the first shown first: language, topic,
            audience (default: all that the data allow).
        k: Number of neighbours in the figure of shared audiences.
        method: Projection to two dimensions: t-SNE, or UMAP (pip install 'twhin_hf[umap]').
        texts: Put the texts into the page, and their words into the names of topics and audiences.
        seed: Random seed.

    Raises:
        InputError: A sample of fewer than 10 posts, or no neighbours.
    """

    sample: int = 5000
    color: list[Coloring] | None = None
    k: int = 10
    method: Literal["t-SNE", "UMAP"] = "t-SNE"
    texts: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sample < FEWEST_POSTS:
            raise InputError(f"sample is {self.sample}; it must be {FEWEST_POSTS} or more.")
        if self.k < 1:
            raise InputError(f"k is {self.k}; it must be 1 or more.")
