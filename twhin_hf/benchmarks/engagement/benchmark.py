"""The engagement benchmark: who engaged with which post, split by post.

TwHIN-BERT's benchmark (Zhang et al., KDD 2023) has up to 10,000 posts per language, split
0.8 / 0.1 / 0.1 by post, and records of a user's network vector and a post the user engaged with.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.data.splits import SPLITS
from twhin_hf.errors import InputError
from twhin_hf.printing import counts_sentence
from twhin_hf.recommendation.catalogue import rows_in
from twhin_hf.recommendation.records import Records, distinct_records

if TYPE_CHECKING:
    from twhin_hf.network.folder import Network
    from twhin_hf.network.log import EngagementGraph

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngagementBenchmark:
    """Posts, their splits, and the records to predict.

    Args:
        post_ids: Id of each post.
        texts: Text of each post.
        languages: Language of each post, [posts] of str.
        splits: `train`, `validation` or `test` of each post, [posts] of str.
        user_vectors: Network vectors, float32 [users, dimension].
        records: What is predicted: at most `records_per_user` a user and language.
        known: Every engagement of these users with these posts.
        counts: What was kept and what was left out, by name.
    """

    post_ids: list[str]
    texts: list[str]
    languages: np.ndarray
    splits: np.ndarray
    user_vectors: np.ndarray
    records: Records
    known: Records
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def language_names(self) -> list[str]:
        """Languages that have posts, in alphabetical order."""
        return sorted(set(self.languages.tolist()))

    def records_of(self, language: str) -> dict[str, Records]:
        """Records of one language by split."""
        own = self.languages == language
        return {
            split: self.records.where((own & (self.splits == split))[self.records.posts])
            for split in SPLITS
        }

    def pools_of(self, language: str) -> dict[str, np.ndarray]:
        """Post rows of one language by split: candidates are drawn from them."""
        own = self.languages == language
        return {split: np.flatnonzero(own & (self.splits == split)) for split in SPLITS}


def build_benchmark(
    graph: EngagementGraph,
    network: Network,
    posts: pa.Table,
    splits: np.ndarray,
    *,
    max_posts: int | None = 10_000,
    records_per_user: int | None = 1,
    seed: int = 0,
) -> EngagementBenchmark:
    """Make the benchmark from an engagement log and a network trained without its held-out posts.

    Args:
        graph: The whole log, held-out posts included.
        network: User vectors; trained on the engagements of train posts only.
        posts: `post_id`, `text` and optionally `lang` (all posts are `und` without it).
        splits: `train`, `validation` or `test` of each row of `posts`.
        max_posts: Posts a language (paper: 10,000); None takes all.
        records_per_user: Records a user and language (paper: each user once); None takes all.
        seed: Draws posts and records where there are more.

    Returns:
        The benchmark; `counts` says what was left out: posts without engagement or above the
        maximum, engagements whose user has no vector or whose post is unknown.

    Raises:
        InputError: `splits` has another length than `posts`, or no engagement is left.
    """
    if len(splits) != posts.num_rows:
        raise InputError(f"{len(splits):,} splits for {posts.num_rows:,} posts; give one each.")
    rng = np.random.default_rng(seed)
    edges = distinct_records(graph.lhs, graph.rhs)
    user_of = rows_in(graph.user_ids, network.user_ids)
    post_of = rows_in(graph.post_ids, posts["post_id"])
    users, rows = user_of[edges.users], post_of[edges.posts]
    no_vector, no_post = users < 0, rows < 0
    usable = Records(users, rows).where(~no_vector & ~no_post)
    if not len(usable):
        raise InputError(
            f"None of {len(edges):,} engagements has both a user with a vector "
            f"({int(no_vector.sum()):,} have none) and a known post ({int(no_post.sum()):,} have "
            "none). Give the log, the posts and the network of the same run."
        )
    languages = _languages(posts)
    engaged = np.unique(usable.posts)
    kept = _sample_posts(engaged, languages, max_posts, rng)
    usable = usable.restrict_to(kept)
    kept_users = np.unique(usable.users)
    known = Records(np.searchsorted(kept_users, usable.users), np.searchsorted(kept, usable.posts))
    records = _sample_records(known, languages[kept], records_per_user, rng)
    counts = {
        "engagements": len(edges),
        "engagements_without_user_vector": int(no_vector.sum()),
        "engagements_without_post": int(no_post.sum()),
        "users_without_vector": int((user_of < 0).sum()),
        "posts_without_engagement": posts.num_rows - len(engaged),
        "posts_above_maximum": len(engaged) - len(kept),
        "posts": len(kept),
        "users": len(kept_users),
        "records": len(records),
    }
    logger.info("Engagement benchmark: %s", counts_sentence(counts))
    texts = posts.select(["post_id", "text"]).take(pa.array(kept))
    return EngagementBenchmark(
        post_ids=texts["post_id"].to_pylist(),
        texts=texts["text"].to_pylist(),
        languages=languages[kept],
        splits=np.asarray(splits)[kept],
        user_vectors=network.user_vectors[kept_users],
        records=records,
        known=known,
        counts=counts,
    )


def _languages(posts: pa.Table) -> np.ndarray:
    if "lang" not in posts.column_names:
        return np.full(posts.num_rows, "und")
    return np.array(pc.fill_null(posts["lang"], "und").to_pylist(), dtype=str)


def _sample_posts(
    rows: np.ndarray, languages: np.ndarray, maximum: int | None, rng: np.random.Generator
) -> np.ndarray:
    """Sorted post rows, at most `maximum` of each language."""
    return np.sort(_at_most(rows, languages[rows], maximum, rng))


def _sample_records(
    known: Records, languages: np.ndarray, maximum: int | None, rng: np.random.Generator
) -> Records:
    """At most `maximum` records of each user in each language."""
    names, codes = np.unique(languages, return_inverse=True)
    groups = known.users * len(names) + codes[known.posts]
    return known.where(np.sort(_at_most(np.arange(len(known)), groups, maximum, rng)))


def _at_most(
    items: np.ndarray, groups: np.ndarray, maximum: int | None, rng: np.random.Generator
) -> np.ndarray:
    """A random choice of at most `maximum` items of each group."""
    if maximum is None:
        return items
    order = rng.permutation(len(items))
    order = order[np.argsort(groups[order], kind="stable")]
    ordered = groups[order]
    place = np.arange(len(items)) - np.searchsorted(ordered, ordered, side="left")
    return items[order[place < maximum]]
