"""`twhin-hf split`: training, validation and test posts, as every stage splits them."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "split",
        help="split posts into training, validation and test posts",
        description="Splits posts by a hash of their ids, as `evaluate` and `run` do: give "
        "train.parquet to every stage before the evaluation, and all posts to the evaluation.",
    )
    parser.add_argument("--posts", required=True, help="Parquet, CSV or JSON lines; file or folder")
    parser.add_argument(
        "--output", required=True, help="folder for train, validation and test.parquet"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Splits and writes."""
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from twhin_hf.data.posts import read_posts
    from twhin_hf.data.splits import SPLITS, split_posts

    posts, _ = read_posts(args.posts)
    table = posts.with_format("arrow")[:]
    splits = split_posts(table["post_id"], args.seed)
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        own = table.filter(pa.array(splits == split))
        pq.write_table(own, folder / f"{split}.parquet")
        print(f"{own.num_rows:,} posts, saved in {folder / f'{split}.parquet'}")
