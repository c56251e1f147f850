"""Makes an engagement prediction benchmark that can be given away.

As in TwHIN-BERT (Zhang et al., KDD 2023, Section 3.2): up to 10,000 posts per language, split by
post, and records of a network vector and a post, each user once a language. Users have no id in it
and come in an order that nobody can draw again, posts have keyed hashes of theirs, and rare users,
posts and languages, whose people are easiest to recognise, stay out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, DatasetInfo, Features, List, Value

from twhin_hf.benchmarks.engagement.benchmark import EngagementBenchmark, build_benchmark
from twhin_hf.benchmarks.engagement.loading import EngagementSplits, hub_configs
from twhin_hf.benchmarks.engagement.recipe import EngagementRecipe
from twhin_hf.benchmarks.hub_folder import HubConfig
from twhin_hf.data.splits import SPLITS, split_posts
from twhin_hf.data.time_splits import Split, check_unseen
from twhin_hf.errors import InputError
from twhin_hf.printing import counts_sentence
from twhin_hf.privacy.keys import check_key, hash_ids, new_key, random_order
from twhin_hf.recommendation.records import Records, distinct_records

if TYPE_CHECKING:
    from twhin_hf.network.folder import Network
    from twhin_hf.network.log import EngagementGraph

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedBenchmark:
    """The benchmark and what was left out of it.

    Args:
        languages: Posts (`id`, `text`, `lang`) and records (`user`, `id`) of each language.
        counts: `excluded_posts`, `rare_users`, `rare_posts`, `languages_without_a_split`,
            `rare_languages` (those of too few users), and the counts of `build_benchmark`.
    """

    languages: dict[str, EngagementSplits]
    counts: dict[str, int]

    def configs(self) -> list[HubConfig]:
        """What `write_hub_folder` writes."""
        return [
            config
            for language, parts in self.languages.items()
            for config in hub_configs(language, parts)
        ]


def build_engagement_benchmark(
    graph: EngagementGraph,
    network: Network,
    posts: pa.Table,
    *,
    key: bytes | None = None,
    exclude_posts: Iterable[str] = (),
    split: Split | None = None,
    **options: Any,
) -> PublishedBenchmark:
    """Makes a benchmark from a log and a network that has not seen its held-out posts.

    Args:
        graph: The whole log, held-out posts included; in a split by time read with its ends.
        network: User vectors; trained on the engagements of train posts only.
        posts: `post_id`, `text` and optionally `lang`.
        key: Secret key of the hashes that stand for post ids, 16 to 64 bytes; drawn where it is
            None. It is neither returned nor written: whoever has it can find out an id by trying.
        exclude_posts: Ids of posts that text models were pretrained on; they take no part.
        split: Of the posts that are not excluded, in their order, as `make_split` returns it; by a
            hash of their ids where it is None.
        **options: Fields of `EngagementRecipe`. Its `split_seed` is that of the network, or, where
            its train posts are excluded, another one, which splits the rest anew.

    Returns:
        The benchmark; a language of too few users, or in which a split has no record, is left out.

    Raises:
        InputError: The network has seen a held-out post, the key is too short or too long, a
            minimum is below 1, or nothing is left.
    """
    recipe = EngagementRecipe(**options)
    key = new_key() if key is None else check_key(key)
    known = pc.is_in(posts["post_id"], value_set=pa.array(list(exclude_posts), pa.string()))
    counts = {"excluded_posts": pc.sum(known).as_py() or 0}
    posts = posts.filter(pc.invert(known))
    split = split or Split(split_posts(posts["post_id"], recipe.split_seed))
    check_unseen(network, posts["post_id"], split)
    popular, rare = _above_floors(graph, recipe.min_user_engagements, recipe.min_post_engagements)
    benchmark = build_benchmark(
        popular,
        network,
        posts,
        split.names,
        max_posts=recipe.max_posts,
        records_per_user=1,
        seed=recipe.seed,
    )
    ids = np.array(hash_ids(benchmark.post_ids, key), dtype=object)
    records = {language: benchmark.records_of(language) for language in benchmark.language_names}
    whole = {language: own for language, own in records.items() if all(map(len, own.values()))}
    languages = {
        language: _publish(benchmark, language, ids, own)
        for language, own in whole.items()
        if sum(map(len, own.values())) >= recipe.min_language_users  # each user once
    }
    counts |= rare | benchmark.counts
    counts["languages_without_a_split"] = len(records) - len(whole)
    counts["rare_languages"] = len(whole) - len(languages)
    logger.debug("Engagement benchmark to publish: %s", counts)
    if not languages:
        raise InputError(
            "No language has records in train, validation and test of "
            f"{recipe.min_language_users} users or more; found are {counts_sentence(counts)}. "
            "Give a larger log, lower the floors, or exclude fewer posts; where all posts of train "
            "are excluded, another split_seed (`--split_seed`) splits the rest anew.",
            faq="too-little-to-judge",
        )
    return PublishedBenchmark(languages, counts)


def _above_floors(
    graph: EngagementGraph, min_user: int, min_post: int
) -> tuple[EngagementGraph, dict[str, int]]:
    """The engagements whose user and post reach their floors in the whole log."""
    edges = distinct_records(graph.lhs, graph.rhs)
    users = np.bincount(edges.users, minlength=len(graph.user_ids)) >= min_user
    posts = np.bincount(edges.posts, minlength=len(graph.post_ids)) >= min_post
    kept = users[graph.lhs] & posts[graph.rhs]
    if not kept.any():
        raise InputError(
            f"No engagement is left: no post with {min_post} users was engaged with by a user with "
            f"{min_user} posts. Lower min_user_engagements or min_post_engagements.",
            faq="no-edge-left",
        )
    popular = replace(
        graph, lhs=graph.lhs[kept], rhs=graph.rhs[kept], relation=graph.relation[kept]
    )
    return popular, {"rare_users": int((~users).sum()), "rare_posts": int((~posts).sum())}


def _publish(
    benchmark: EngagementBenchmark, language: str, ids: np.ndarray, records: dict[str, Records]
) -> EngagementSplits:
    """Posts and records of a language; `ids` are those that all posts have in it."""
    pools = benchmark.pools_of(language)
    return EngagementSplits(
        posts=DatasetDict(
            {split: _posts(benchmark, ids, pools[split], language) for split in SPLITS}
        ),
        records=DatasetDict({split: _records(benchmark, ids, records[split]) for split in SPLITS}),
    )


def _posts(
    benchmark: EngagementBenchmark, ids: np.ndarray, rows: np.ndarray, language: str
) -> Dataset:
    """In the order of the hashes, which tells nothing of the order in the log."""
    rows = rows[np.argsort(ids[rows])]
    columns = {
        "id": ids[rows].tolist(),
        "text": [benchmark.texts[row] for row in rows],
        "lang": [language] * len(rows),
    }
    return Dataset.from_dict(columns, features=Features(dict.fromkeys(columns, Value("string"))))


def _records(benchmark: EngagementBenchmark, ids: np.ndarray, records: Records) -> Dataset:
    """In an order that no seed brings back: the network's users are in that of their ids."""
    records = records.where(random_order(len(records)))
    width = benchmark.user_vectors.shape[1]
    vectors = np.ascontiguousarray(benchmark.user_vectors[records.users], dtype=np.float32)
    table = pa.table(
        {
            "user": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width),
            "id": pa.array(ids[records.posts], pa.string()),
        }
    )
    features = Features({"user": List(Value("float32"), length=width), "id": Value("string")})
    return Dataset(table, info=DatasetInfo(features=features))
