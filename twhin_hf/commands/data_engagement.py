"""`twhin-hf data engagement` and `engagement-build`."""

from __future__ import annotations

import argparse

from twhin_hf.commands.columns import add_columns
from twhin_hf.commands.data_hashtag import add_output, finish

_FORMATS = "Parquet, CSV or JSON lines; one file or a folder"
_TASK = """\
Engagement prediction (Zhang et al., [TwHIN-BERT](https://arxiv.org/abs/2209.07562), KDD 2023,
Section 3.2): which post does a user engage with? Config `en` holds the records (`user`, a network
vector, and `id`, a post the user engaged with), config `en-posts` the posts (`id`, `text`, `lang`).
The splits share no post."""
_BUILT = """\


Ids of posts are salted hashes, and users have none. Each user has at most one record a language,
engaged with {min_user_engagements} posts or more, and each post was engaged with by
{min_post_engagements} users or more. The vectors are those of the network: whoever has it can find
its users here."""


def add_parsers(subparsers: argparse._SubParsersAction) -> None:
    """Adds the commands."""
    _add_engagement(subparsers)
    _add_build(subparsers)


def _add_engagement(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "engagement",
        help="write an engagement benchmark as a data set",
        description="Reads posts and records (by the names of their columns) and writes a data set "
        "that load_dataset reads without our code.",
    )
    parser.add_argument(
        "--data-dir",
        required=True,
        help="folder with posts (id, text) and records (user, a vector, and id) of each language "
        "and split",
    )
    parser.add_argument("--languages", nargs="+", metavar="CODE", help="default: all")
    add_output(parser)
    parser.set_defaults(run=run_engagement)


def run_engagement(args: argparse.Namespace) -> None:
    """Loads language by language and writes."""
    from twhin_hf.benchmarks.engagement.loading import engagement_configs
    from twhin_hf.benchmarks.hub_folder import DatasetCard, write_hub_folder

    card = DatasetCard(title="Engagement prediction", text=_TASK)
    write_hub_folder(engagement_configs(args.data_dir, args.languages), args.output, card)
    finish(args)


def _add_build(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "engagement-build",
        help="make an engagement benchmark from your own log",
        description="Makes an engagement prediction benchmark that can be given away: salted "
        "hashes for ids, and neither rare users nor rare posts. The network must have been "
        "embedded without the validation and test posts (`twhin-hf split`).",
    )
    parser.add_argument("--posts", required=True, help=f"post_id, text, lang. {_FORMATS}")
    parser.add_argument(
        "--engagements", required=True, help=f"the whole log: user_id, post_id. {_FORMATS}"
    )
    parser.add_argument("--network", required=True, help="network folder with the users' vectors")
    add_columns(parser, "--columns", "the log", "user_id=uid")
    add_columns(parser, "--post-columns", "the posts file", "text=body")
    parser.add_argument(
        "--exclude-posts",
        metavar="FILE",
        help="post_id of posts that a text model was pretrained on; where these are all posts of "
        f"train, another --split-seed splits the rest anew. {_FORMATS}",
    )
    parser.add_argument(
        "--salt-file",
        help="file with 16 to 64 random bytes, the key of the hashes (default: drawn and "
        "forgotten); with the same one an id has the same hash again",
    )
    for option, default, text in (
        ("min-user-engagements", 5, "fewest posts a user engaged with"),
        ("min-post-engagements", 5, "fewest users who engaged with a post"),
        ("max-posts", 10_000, "posts of a language"),
        (
            "split-seed",
            0,
            "of train, validation and test; no post of the last two may be in the network",
        ),
        ("seed", 0, "of the draw"),
    ):
        parser.add_argument(
            f"--{option}", type=int, default=default, help=f"{text} (default: %(default)s)"
        )
    add_output(parser)
    parser.set_defaults(run=run_build)


def run_build(args: argparse.Namespace) -> None:
    """Makes the benchmark and writes it."""
    from pathlib import Path

    from twhin_hf.benchmarks.engagement.building import build_engagement_benchmark
    from twhin_hf.benchmarks.hub_folder import DatasetCard, write_hub_folder
    from twhin_hf.data.posts import read_posts
    from twhin_hf.network.folder import load_network
    from twhin_hf.network.log import read_log

    salt = None if args.salt_file is None else Path(args.salt_file).read_bytes()
    excluded = [] if args.exclude_posts is None else _read_ids(args.exclude_posts)
    columns, post_columns = dict(args.columns), dict(args.post_columns)
    network = load_network(args.network)
    benchmark = build_engagement_benchmark(
        read_log(args.engagements, args.posts, columns=columns, post_columns=post_columns),
        network,
        read_posts(args.posts, columns=post_columns).dataset.with_format("arrow")[:],
        salt=salt,
        exclude_posts=excluded,
        min_user_engagements=args.min_user_engagements,
        min_post_engagements=args.min_post_engagements,
        max_posts=args.max_posts,
        split_seed=args.split_seed,
        seed=args.seed,
    )
    text = _TASK + _BUILT.format(**vars(args))
    card = DatasetCard(title="Engagement prediction", text=text)
    write_hub_folder(benchmark.configs(), args.output, card)
    for name, count in benchmark.counts.items():
        print(f"{count:,} {name.replace('_', ' ')}")
    finish(args)


def _read_ids(path: str) -> list[str]:
    """Post ids of a file."""
    from twhin_hf.tables import open_engine, read_table

    with open_engine() as engine:
        return read_table(path, ["post_id"], connection=engine).to_pyarrow()["post_id"].to_pylist()
