"""`twhin-hf data hashtag` and `hashtag-build`."""

from __future__ import annotations

from twhin_hf.benchmarks.hashtag.recipe import HashtagRecipe
from twhin_hf.commands.options import DatasetOutput, key_fingerprint, options_of_result
from twhin_hf.data.split_config import SplitConfig
from twhin_hf.errors import InputError
from twhin_hf.table_format import TableFormat

_LOADED = """\
Hashtag prediction (Zhang et al., [TwHIN-BERT](https://arxiv.org/abs/2209.07562), KDD 2023, Section
3.3): which hashtag did a post have? The hashtag has been taken out of the text. Post ids and labels
are those of `Twitter/HashtagPrediction`; the texts were hydrated, and the terms of the platform
that they come from apply to them."""
_BUILT = """\
Hashtag prediction by the recipe of [TwHIN-BERT](https://arxiv.org/abs/2209.07562) (Zhang et al.,
KDD 2023, Section 3.3): the {num_hashtags} most popular hashtags of each language, posts with
exactly one of them, which has been taken out of the text; at most {max_posts:,} posts per language.
Each class has {min_examples} different posts or more, split {shares}; near-duplicates stand in
one split."""
_BY_TIME = "by time (train before {validation_from}, validation before {test_from}, test then)"
_HASHED = " Ids of posts are keyed hashes; the key is not published."


def hashtag(
    data_dir: str,
    dataset: DatasetOutput,
    table_format: TableFormat,
    hydration: str | None = None,
    languages: list[str] | None = None,
    columns: dict[str, str] | None = None,
    progress: bool = True,
) -> None:
    """Hydrate the published hashtag benchmark and write it as a data set.

    The benchmark of TwHIN-BERT holds ids and hashtags. Texts come from your own copy of the posts,
    each post's hashtag is removed, and load_dataset reads the result without our code.

    Args:
        data_dir: Benchmark: hashtag-classification-id.zip, its unpacked folder, or a folder with
            texts.
        dataset: Where the data set goes.
        table_format: How text tables are written.
        hydration: Texts of the posts: JSON lines of X/Twitter's API v1.1 or v2, or a table with the
            columns post_id and text.
        languages: Languages to write (default: all).
        columns: Rename columns of the benchmark's tables (id, label, text): NAME=COLUMN.
        progress: Show progress bars.
    """
    from twhin_hf.benchmarks.hashtag.loading import hashtag_configs
    from twhin_hf.benchmarks.hub_folder import DatasetCard

    card = DatasetCard(
        title="Hashtag prediction",
        text=_LOADED,
        license="cc-by-4.0",
        task_categories=["text-classification"],
    )
    with dataset.run(
        "data hashtag",
        options_of_result(table_format, languages=languages, columns=columns),
        data={"data_dir": data_dir, "hydration": hydration},
    ) as run:
        if not run.is_finished:
            configs = hashtag_configs(data_dir, hydration, languages, columns, table_format)
            dataset.write(configs, card, run.path)
    dataset.finish()


def hashtag_build(
    posts: str,
    dataset: DatasetOutput,
    recipe: HashtagRecipe,
    split: SplitConfig,
    table_format: TableFormat,
    engagements: str | None = None,
    hash_ids: bool = True,
    key_file: str | None = None,
    columns: dict[str, str] | None = None,
    log_columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    progress: bool = True,
) -> None:
    """Build a hashtag benchmark from your own posts.

    The recipe is TwHIN-BERT's: the most popular hashtags of each language, and posts with exactly
    one of them. Ids of posts are keyed hashes, as those of some networks name the author.

    Args:
        posts: Posts (post_id, text, lang): Parquet, CSV or JSON lines; file or folder.
        dataset: Where the data set goes.
        recipe: How the benchmark is made.
        split: By what posts are split; by time, copies of a post of an earlier split are left out.
        table_format: How text tables are written.
        engagements: Engagement log, for a split by time of posts without a timestamp.
        hash_ids: Write keyed hashes for the ids of posts.
        key_file: File with 16 to 64 random bytes, the secret key of the hashes; made if it is not
            there (default: OUTPUT.key). With the same key an id has the same hash again.
        columns: Rename columns of the posts: NAME=COLUMN.
        log_columns: Rename columns of the log: NAME=COLUMN.
        memory_limit: Memory limit of the reader.
        progress: Show progress bars.
    """
    from twhin_hf.benchmarks.hashtag.building import build_hashtag_benchmark
    from twhin_hf.benchmarks.hub_folder import DatasetCard, HubConfig
    from twhin_hf.data.posts import read_posts
    from twhin_hf.data.time_splits import make_split
    from twhin_hf.printing import counts_sentence, report

    if key_file and not hash_ids:
        raise InputError("--key_file is the key of hashes: it does not go with --no_hash_ids")
    key = dataset.read_key(key_file) if hash_ids else None
    with dataset.run(
        "data hashtag-build",
        options_of_result(
            recipe,
            split,
            table_format,
            hash_ids=hash_ids,
            columns=columns,
            log_columns=log_columns,
        ),
        data={"posts": posts, "engagements": engagements},
        fingerprints=key_fingerprint(key),
        seed=recipe.seed,
    ) as run:
        if not run.is_finished:
            read, _ = read_posts(
                posts, columns=columns, table_format=table_format, memory_limit=memory_limit
            )
            made = None
            if split.split == "time":
                made = make_split(
                    split,
                    recipe.seed,
                    read.with_format("arrow")[:]["post_id"],
                    posts,
                    engagements,
                    columns=log_columns,
                    post_columns=columns,
                    table_format=table_format,
                    memory_limit=memory_limit,
                )
            benchmark = build_hashtag_benchmark(
                read, recipe, key=key, split=made, memory_limit=memory_limit
            )
            text = _BUILT.format(
                num_hashtags=recipe.num_hashtags,
                max_posts=recipe.max_posts,
                min_examples=recipe.min_examples,
                shares=_BY_TIME.format(**made.record())
                if made
                else " / ".join(map(str, recipe.fractions)),
            )
            if hash_ids:
                text += _HASHED
            card = DatasetCard(
                title="Hashtag prediction", text=text, task_categories=["text-classification"]
            )
            found = benchmark.languages.items()
            configs = (HubConfig(name, name, name, own) for name, own in found)
            dataset.write(configs, card, run.path)
            for language, counts in benchmark.counts.items():
                report(f"{language}: {counts_sentence(counts)}")
    dataset.finish()
