"""`twhin-hf synthesize`: a small multilingual social network to try everything on."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "synthesize",
        help="generate a small multilingual social network to try everything on",
        description="Generates posts.parquet and engagements.parquet of a small, seeded, "
        "multilingual social network: what a real log and real posts look like; and "
        "translation_pairs.parquet, texts in the network's words in two languages.",
    )
    parser.add_argument("--output", required=True, help="folder to write the files in")
    for name, default in (("users", 5_000), ("posts", 20_000), ("engagements", 300_000)):
        parser.add_argument(
            f"--{name}", type=int, default=default, help=f"number of {name} (default: %(default)s)"
        )
    parser.add_argument(
        "--translation-pairs",
        type=int,
        default=2_000,
        metavar="PAIRS",
        help="of the first language with each other one (default: %(default)s)",
    )
    parser.add_argument("--languages", nargs="+", metavar="CODE", help="default: all six")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Generates and writes."""
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from twhin_hf.data.synthetic import (
        SYLLABLES,
        SyntheticConfig,
        generate_network,
        translation_pairs,
    )

    config = SyntheticConfig(
        num_users=args.users,
        num_posts=args.posts,
        num_engagements=args.engagements,
        languages=tuple(args.languages or SYLLABLES),
        seed=args.seed,
    )
    network = generate_network(config)
    network.save(args.output)
    print(
        f"{network.users.num_rows:,} users, {network.posts.num_rows:,} posts and "
        f"{network.engagements.num_rows:,} engagements, saved in {args.output}"
    )
    first, *others = config.languages
    if others and args.translation_pairs > 0:
        tables = [
            translation_pairs(config, args.translation_pairs, first, other, seed)
            for seed, other in enumerate(others)
        ]
        path = Path(args.output) / "translation_pairs.parquet"
        pq.write_table(pa.concat_tables(tables), path)
        print(f"{sum(map(len, tables)):,} translation pairs, saved in {path}")
