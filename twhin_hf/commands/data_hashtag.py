"""`twhin-hf data hashtag`, `hashtag-build` and `contamination`."""

from __future__ import annotations

import argparse

from twhin_hf.commands.columns import add_columns

_FORMATS = "Parquet, CSV or JSON lines; one file or a folder"
_LOADED = """\
Hashtag prediction (Zhang et al., [TwHIN-BERT](https://arxiv.org/abs/2209.07562), KDD 2023, Section
3.3): which hashtag did a post have? The hashtag has been taken out of the text. Post ids and labels
are those of `Twitter/HashtagPrediction`; the texts were hydrated, and the terms of the platform
that they come from apply to them."""
_BUILT = """\
Hashtag prediction by the recipe of [TwHIN-BERT](https://arxiv.org/abs/2209.07562) (Zhang et al.,
KDD 2023, Section 3.3): the {num_hashtags} most popular hashtags of each language, posts with
exactly one of them, which has been taken out of the text; at most {max_posts:,} posts a language.
Each class is split {fractions}; near-duplicates stand in one split."""


def add_parsers(subparsers: argparse._SubParsersAction) -> None:
    """Adds the commands."""
    _add_hashtag(subparsers)
    _add_build(subparsers)
    _add_contamination(subparsers)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a command that writes a data set."""
    parser.add_argument(
        "--output", required=True, help="new folder for the data set: Parquet and a card"
    )
    parser.add_argument(
        "--push-to-hub",
        metavar="REPOSITORY",
        help="also upload it to a private repository of the Hub (`twhin-hf push --dataset` "
        "publishes)",
    )


def finish(args: argparse.Namespace) -> None:
    """Says where the data set is, and uploads it where that was asked for."""
    print(f"Saved in {args.output}")
    if args.push_to_hub:
        from twhin_hf.hub.datasets import push_dataset

        print(f"Uploaded: {push_dataset(args.output, args.push_to_hub, private=True).url}")


def _add_hashtag(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "hashtag",
        help="hydrate the published hashtag benchmark and write it as a data set",
        description="Reads the hashtag prediction benchmark of TwHIN-BERT (ids and hashtags), "
        "takes texts from your own copy of the posts, removes each post's hashtag, and writes a "
        "data set that load_dataset reads without our code.",
    )
    parser.add_argument(
        "--data-dir",
        required=True,
        help="hashtag-classification-id.zip, its unpacked folder, or a folder with texts already",
    )
    parser.add_argument(
        "--hydration",
        help="the texts: JSON lines of X/Twitter's API v1.1 or v2, or a table of post_id and text",
    )
    parser.add_argument("--languages", nargs="+", metavar="CODE", help="default: all")
    add_output(parser)
    parser.set_defaults(run=run_hashtag)


def run_hashtag(args: argparse.Namespace) -> None:
    """Loads language by language and writes."""
    from twhin_hf.benchmarks.hashtag.loading import hashtag_configs
    from twhin_hf.benchmarks.hub_folder import DatasetCard, write_hub_folder

    card = DatasetCard(
        title="Hashtag prediction",
        text=_LOADED,
        license="cc-by-4.0",
        task_categories=["text-classification"],
    )
    configs = hashtag_configs(args.data_dir, args.hydration, args.languages)
    write_hub_folder(configs, args.output, card)
    finish(args)


def _add_build(subparsers: argparse._SubParsersAction) -> None:
    from twhin_hf.benchmarks.hashtag.recipe import HashtagRecipe

    recipe = HashtagRecipe()
    parser = subparsers.add_parser(
        "hashtag-build",
        help="make a hashtag benchmark from your own posts",
        description="Makes a hashtag prediction benchmark from posts, by the recipe of TwHIN-BERT: "
        "the most popular hashtags of each language, and posts with exactly one of them.",
    )
    parser.add_argument("--posts", required=True, help=f"post_id, text, lang. {_FORMATS}")
    add_columns(parser, "--columns", "the posts file", "text=body")
    for option, default, text in (
        ("num-hashtags", recipe.num_hashtags, "classes of a language"),
        ("max-posts", recipe.max_posts, "posts of a language"),
        ("min-examples", recipe.min_examples, "fewest different posts of a class"),
        ("seed", recipe.seed, "of the draw and the splits"),
    ):
        parser.add_argument(
            f"--{option}", type=int, default=default, help=f"{text} (default: %(default)s)"
        )
    add_output(parser)
    parser.set_defaults(run=run_build)


def run_build(args: argparse.Namespace) -> None:
    """Makes the benchmark and writes it."""
    from twhin_hf.benchmarks.hashtag.building import build_hashtag_benchmark
    from twhin_hf.benchmarks.hashtag.recipe import HashtagRecipe
    from twhin_hf.benchmarks.hub_folder import DatasetCard, HubConfig, write_hub_folder

    recipe = HashtagRecipe(
        num_hashtags=args.num_hashtags,
        max_posts=args.max_posts,
        min_examples=args.min_examples,
        seed=args.seed,
    )
    benchmark = build_hashtag_benchmark(args.posts, recipe, columns=dict(args.columns))
    card = DatasetCard(
        title="Hashtag prediction",
        text=_BUILT.format(
            num_hashtags=recipe.num_hashtags,
            max_posts=recipe.max_posts,
            fractions=" / ".join(map(str, recipe.fractions)),
        ),
        task_categories=["text-classification"],
    )
    configs = (HubConfig(name, name, name, own) for name, own in benchmark.languages.items())
    write_hub_folder(configs, args.output, card)
    for language, counts in benchmark.counts.items():
        told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
        print(f"{language}: {told}")
    finish(args)


def _add_contamination(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "contamination",
        help="find posts of a benchmark that pretraining text holds",
        description="Counts the posts of a benchmark of which 50 characters in a row stand in a "
        "pretraining text too (TwHIN-BERT, Section 3.3: 1.56 % of the hashtag benchmark).",
    )
    parser.add_argument("--pretraining", required=True, help=f"column text. {_FORMATS}")
    parser.add_argument(
        "--benchmark", required=True, help=f"columns text and, if there is one, id. {_FORMATS}"
    )
    add_columns(parser, "--columns", "the pretraining text", "text=body")
    parser.add_argument(
        "--ngram", type=int, default=50, help="characters in a row (default: %(default)s)"
    )
    parser.add_argument("--output", help="Parquet file for the posts, with their overlap")
    parser.set_defaults(run=run_contamination)


def run_contamination(args: argparse.Namespace) -> None:
    """Compares and tells."""
    import pyarrow.parquet as pq

    from twhin_hf.benchmarks.contamination import check_contamination

    found, posts = check_contamination(
        args.benchmark, args.pretraining, args.ngram, columns=dict(args.columns)
    )
    print(
        f"{int(found.contaminated.sum()):,} of {len(found.overlap):,} posts ({found.share:.2%}) "
        f"share {args.ngram} characters in a row with {found.num_texts:,} pretraining texts; "
        f"{int(found.short.sum()):,} posts are shorter and were compared as a whole"
    )
    if args.output:
        pq.write_table(posts, args.output)
        print(f"Saved in {args.output}")
