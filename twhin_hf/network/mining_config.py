"""Options of `mine_pairs`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from twhin_hf.errors import InputError


@dataclass(frozen=True)
class MiningConfig:
    """Mining.

    Args:
        k: Number of nearest neighbours looked at for each post.
        min_similarity: Minimum cosine of the network vectors of a pair.
        mutual: Keep a pair only if each post is among the k nearest of the other.
        max_pairs_per_post: Maximum number of pairs that a post is the anchor of, its nearest
            (default: k).
        max_text_similarity: Pairs whose texts share this much or more are copies and dropped
            (Jaccard similarity of their character trigrams). A value above 1 keeps copies.
        max_missing_posts: Maximum share of the network's posts that may be without text.
        exact_limit: Search exactly up to this number of posts, which takes about a minute on two
            cores at 256 dimensions.
        index: FAISS factory string, such as the paper's OPQ64,IVF65536,PQ64 (default: chosen by
            the number of posts).
        index_shard_size: Maximum number of posts in an index: of more posts one is made after the
            other, each of a part of them, so that memory holds one alone (default: all posts).
        probes: Number of cells that a search visits, of the paper's 65,536 its 2,000 (default: as
            many as the recall needs).
        target_recall: Recall@10 against exact search that the number of probes aims for.
        seed: Seed of the rows that train the index and of the recall sample.
        threads: CPU threads (default: all cores).

    Raises:
        InputError: A number below 1.
    """

    k: int = 10
    min_similarity: float = 0.0
    mutual: bool = False
    max_pairs_per_post: int | None = None
    max_text_similarity: float = 0.8
    max_missing_posts: float = 0.5
    exact_limit: int = 150_000
    index: str | None = None
    index_shard_size: int | None = None
    probes: int | None = None
    target_recall: float = 0.95
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("k", "max_pairs_per_post", "index_shard_size", "probes", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1.")
