"""Makes a hashtag prediction benchmark from any posts, by the recipe of TwHIN-BERT.

Zhang et al. (KDD 2023, Section 3.3): the 500 most popular hashtags of a language, posts that hold
exactly one of them, the hashtag taken out, 16,000 / 2,000 / 2,000 posts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, DatasetDict, DatasetInfo, Features, Value

from twhin_hf.benchmarks.duplicate_groups import group_near_duplicates
from twhin_hf.benchmarks.hashtag.recipe import HashtagRecipe
from twhin_hf.benchmarks.hashtag.text import find_hashtags, remove_hashtags
from twhin_hf.data.language_codes import check_language_code
from twhin_hf.data.posts import read_posts
from twhin_hf.data.splits import SPLITS
from twhin_hf.data.time_splits import Split
from twhin_hf.errors import InputError
from twhin_hf.printing import counts_sentence
from twhin_hf.privacy.keys import check_key, hash_ids
from twhin_hf.scratch import scratch_folder
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import TableSource, has_text, open_engine

logger = logging.getLogger(__name__)

_ROWS_PER_BATCH = 10_000
_TAGS = pa.schema({"row": pa.int64(), "lang": pa.string(), "tag": pa.string()})


@dataclass(frozen=True)
class HashtagBenchmark:
    """The benchmark and what was left out of it.

    Args:
        languages: By language `train`, `validation` and `test` with columns `id`, `text` and
            `label` (`ClassLabel`); no near-duplicates of a post stand in two splits.
        counts: By language `posts_with_a_hashtag`, `posts_with_one_popular`, `above_maximum`,
            `nothing_but_hashtag`, `rare_classes`, `in_rare_classes`, `near_duplicates` (posts
            kept that repeat another), `classes` and `posts`; in a split by time also
            `later_copies` (near-duplicates of a post of an earlier split, left out).
    """

    languages: dict[str, DatasetDict]
    counts: dict[str, dict[str, int]]


def build_hashtag_benchmark(
    posts: TableSource | Dataset,
    recipe: HashtagRecipe | None = None,
    *,
    key: bytes | None = None,
    split: Split | None = None,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    memory_limit: str = "1GB",
    threads: int | None = None,
    temp_directory: str | Path | None = None,
) -> HashtagBenchmark:
    """Makes a benchmark from posts.

    Hashtags are compared in NFKC and case-folded, in any script. A language with fewer than two
    classes left is left out.

    Args:
        posts: A file, folder or table of `post_id`, `text` and `lang`; or the data set of
            `read_posts`.
        recipe: The paper's by default.
        key: Secret key of the hashes that stand for post ids, 16 to 64 bytes; posts are then in the
            order of the hashes. Ids stay as they are, and may name authors, where it is None.
        split: Of the posts of a data set, in their order, as `make_split` returns it; each class is
            split at random by the shares where it is None.
        columns: What the source calls a column, such as `{"text": "body"}`.
        table_format: How text tables are written.
        memory_limit: Most memory of the engine; the posts of one language come on top.
        threads: Threads of the engine; all cores where it is None.
        temp_directory: Where hashtags are kept on the way.

    Raises:
        FileNotFoundError: The source is missing.
        InputError: The posts cannot be read, no language has enough posts with hashtags, or the
            key is too short or too long, or the split is of other posts.
    """
    recipe = recipe or HashtagRecipe()
    if key is not None:
        check_key(key)
    if not isinstance(posts, Dataset):
        posts = read_posts(
            posts,
            columns=columns,
            table_format=table_format,
            memory_limit=memory_limit,
            threads=threads,
        ).dataset
    if split is not None and len(split.names) != len(posts):
        raise InputError(
            f"The split is of {len(split.names):,} posts, and there are {len(posts):,}; give the "
            "split of these posts, in their order."
        )
    languages, counts = {}, {}
    with scratch_folder(temp_directory) as scratch:
        tags = scratch / "tags.parquet"
        _write_hashtags(posts, tags)
        for language, rows, labels, found in _posts_with_one(tags, recipe, memory_limit, threads):
            check_language_code(language)
            made = _build_language(posts, rows, labels, recipe, key, split, found)
            counts[language] = found
            if made is not None:
                languages[language] = made
    if not languages:
        found_in = [f"{language}: {counts_sentence(found)}" for language, found in counts.items()]
        raise InputError(
            f"No language has two hashtags with {recipe.min_examples} different posts each, of "
            f"{len(posts):,} posts ({'; '.join(found_in)}). Give more posts, or lower "
            "min_examples (`--min_examples`).",
            faq="too-little-to-judge",
        )
    logger.debug("Hashtag benchmark: %s", counts)
    return HashtagBenchmark(languages, counts)


def _write_hashtags(posts: Dataset, path: Path) -> None:
    """Row, language and hashtag of each post, each hashtag of a post once."""
    arrow, start = posts.with_format("arrow"), 0
    with pq.ParquetWriter(path, _TAGS, compression="zstd") as writer:
        for batch in arrow.iter(batch_size=_ROWS_PER_BATCH):
            tags = find_hashtags(batch["text"].combine_chunks())
            parents = tags.value_parent_indices()
            table = pa.table(
                {
                    "row": pc.add(parents.cast(pa.int64()), start),
                    "lang": batch["lang"].take(parents),
                    "tag": tags.flatten(),
                }
            )
            writer.write_table(table.group_by(_TAGS.names).aggregate([]).cast(_TAGS))
            start += len(batch)


def _posts_with_one(
    tags: Path, recipe: HashtagRecipe, memory_limit: str, threads: int | None
) -> Iterator[tuple[str, np.ndarray, pa.Array, dict[str, int]]]:
    """Of each language the rows with exactly one popular hashtag, in order, and that hashtag."""
    import ibis

    with open_engine(memory_limit, threads, tags.parent) as engine:
        table = engine.read_parquet(tags)
        counted = table.group_by("lang", "tag").agg(posts=table.count())
        order = [ibis.desc("posts"), ibis.asc("tag")]
        ranked = counted.mutate(rank=ibis.row_number().over(group_by="lang", order_by=order))
        popular = ranked.filter(ranked["rank"] < recipe.num_hashtags).select("lang", "tag")
        with_popular = table.inner_join(popular, ["lang", "tag"])
        one = with_popular.group_by("lang", "row").agg(
            tag=with_popular.tag.min(), popular=with_popular.count()
        )
        one = one.filter(one.popular == 1)
        totals = table.group_by("lang").agg(posts=table.row.nunique()).order_by("lang").to_pyarrow()
        for language, total in zip(
            *(totals[name].to_pylist() for name in totals.column_names), strict=True
        ):
            own = one.filter(one.lang == language).order_by("row").select("row", "tag").to_pyarrow()
            found = {"posts_with_a_hashtag": total, "posts_with_one_popular": len(own)}
            yield language, own["row"].to_numpy(), own["tag"].combine_chunks(), found


def _build_language(
    posts: Dataset,
    rows: np.ndarray,
    labels: pa.Array,
    recipe: HashtagRecipe,
    key: bytes | None,
    split: Split | None,
    counts: dict[str, int],
) -> DatasetDict | None:
    """The splits of one language, none where fewer than two classes are left; fills the counts."""
    rng = np.random.default_rng(recipe.seed)
    if split is not None:  # one after the other: the first of copies is of the earliest split
        order = np.concatenate([np.flatnonzero(split.names[rows] == name) for name in SPLITS])
        rows, labels = rows[order], labels.take(pa.array(order))
    chosen = np.sort(rng.permutation(len(rows))[: recipe.max_posts])
    counts["above_maximum"] = len(rows) - len(chosen)
    own = posts.select(rows[chosen]).with_format("arrow")[:]
    labels = labels.take(pa.array(chosen))
    texts = remove_hashtags(own["text"].combine_chunks(), labels)
    table = pa.table({"id": own["post_id"], "text": texts, "label": labels})
    if split is not None:
        table = table.append_column("split", pa.array(split.names[rows[chosen]]))
    table = table.filter(has_text(table["text"]))
    counts["nothing_but_hashtag"] = len(chosen) - len(table)

    groups = group_near_duplicates(table["text"].combine_chunks(), recipe.max_text_similarity)
    names, classes = np.unique(table["label"].to_numpy(), return_inverse=True)
    is_leader = groups == np.arange(len(groups))
    sizes = np.bincount(classes[is_leader], minlength=len(names))
    # A group counts for the class of its first post, so a copy with another hashtag counts nowhere.
    kept_classes = sizes >= recipe.min_examples
    is_late = np.zeros(len(groups), bool)
    if split is None:
        splits = _stratify(classes, is_leader, recipe.fractions, rng)[groups]
    else:
        splits = np.array(table["split"].to_pylist())
        is_late = splits != splits[groups]
        counts["later_copies"] = int(is_late.sum())
        for name in SPLITS:
            kept_classes &= np.isin(np.arange(len(names)), classes[is_leader & (splits == name)])
    kept = kept_classes[classes] & kept_classes[classes[groups]] & ~is_late
    counts["rare_classes"] = int((~kept_classes).sum())
    counts["in_rare_classes"] = int((~kept & ~is_late).sum())
    counts["near_duplicates"] = int((kept & ~is_leader).sum())
    counts["classes"], counts["posts"] = int(kept_classes.sum()), int(kept.sum())
    if kept_classes.sum() < 2:
        return None
    label = ClassLabel(names=names[kept_classes].tolist())
    numbers = (np.cumsum(kept_classes) - 1)[classes]
    table = table.set_column(2, "label", pa.array(numbers, pa.int64()))
    if key is not None:
        table = table.set_column(0, "id", pa.array(hash_ids(table["id"].to_pylist(), key)))
    features = Features({"id": Value("string"), "text": Value("string"), "label": label})
    table = table.select(list(features)).cast(features.arrow_schema)
    parts = {name: table.filter(pa.array(kept & (splits == name))) for name in SPLITS}
    if key is not None:
        parts = {name: part.sort_by("id") for name, part in parts.items()}
    return DatasetDict(
        {name: Dataset(part, info=DatasetInfo(features=features)) for name, part in parts.items()}
    )


def _stratify(
    classes: np.ndarray,
    is_leader: np.ndarray,
    fractions: tuple[float, float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Splits `[posts]` of str of the groups' leaders, each class by the shares."""
    leaders = rng.permutation(np.flatnonzero(is_leader))
    leaders = leaders[np.argsort(classes[leaders], kind="stable")]
    own = classes[leaders]
    place = np.arange(len(own)) - np.searchsorted(own, own, side="left")
    share = (place + 0.5) / np.bincount(own)[own]
    splits = np.full(len(classes), SPLITS[0], dtype="U10")
    splits[leaders] = np.array(SPLITS)[
        np.searchsorted(np.cumsum(fractions[:2]), share, side="right")
    ]
    return splits
