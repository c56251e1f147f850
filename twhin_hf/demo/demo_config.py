"""Options of `make_demo`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from twhin_hf.errors import InputError

FEWEST_POSTS = 20


@dataclass(frozen=True)
class DemoInputs:
    """What the demo is made of.

    Args:
        model: Encoder to show: folder or Hub repository.
        posts: Posts (post_id, text, lang) to look in: Parquet, CSV or JSON lines; file or folder.
        stock: Encoder to show beside it, such as the one that its training began from.
        recommender: Folder of `twhin-hf recommender fit`, for who would engage.
        network: Network folder, for the groups of people that posts appeal to.
        engagements: Engagement log (user_id, post_id), for posts that the network was not made of.
        hashtag_classifier: Classifier that examples/run_hashtag.py has fine-tuned, for likely
            hashtags (default: those of the nearest posts).
        pooling: Pooling of the model's token vectors: cls, mean, mean_all or combined; or parts
            joined by plus, heads among them, as mean+engagement (default: the model's own).
        stock_pooling: Pooling of the stock encoder's token vectors (default: its own).
        columns: Rename columns of the log: NAME=COLUMN.
        post_columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the readers.
    """

    model: str | None = None
    posts: str | None = None
    stock: str | None = None
    recommender: str | None = None
    network: str | None = None
    engagements: str | None = None
    hashtag_classifier: str | None = None
    pooling: str | None = None
    stock_pooling: str | None = None
    columns: dict[str, str] | None = None
    post_columns: dict[str, str] | None = None
    memory_limit: str = "1GB"


@dataclass(frozen=True)
class DemoConfig:
    """What the demo shows.

    Args:
        sample: Number of posts to look in; all of them if there are fewer.
        k: Number of nearest posts to show.
        label: Column of the posts to show beside each, such as topic.
        examples: Texts to click on (default: posts of several languages).
        seed: Random seed of the sample and the map.

    Raises:
        InputError: A sample of fewer than 20 posts, or no neighbours.
    """

    sample: int = 5000
    k: int = 6
    label: str | None = None
    examples: list[str] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sample < FEWEST_POSTS:
            raise InputError(
                f"sample is {self.sample}; it must be {FEWEST_POSTS} or more, or there is hardly a "
                "neighbour to show."
            )
        if self.k < 1:
            raise InputError(f"k is {self.k}; it must be 1 or more.")
