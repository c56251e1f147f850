"""`twhin-hf synthesize`: a small multilingual social network to try everything on."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "synthesize",
        help="generate a small multilingual social network to try everything on",
        description="Generates posts.parquet and engagements.parquet of a small, seeded, "
        "multilingual social network: what a real log and real posts look like.",
    )
    parser.add_argument("--output", required=True, help="folder to write both files in")
    for name, default in (("users", 5_000), ("posts", 20_000), ("engagements", 300_000)):
        parser.add_argument(
            f"--{name}", type=int, default=default, help=f"number of {name} (default: %(default)s)"
        )
    parser.add_argument("--languages", nargs="+", metavar="CODE", help="default: all six")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Generates and writes."""
    from twhin_hf.data.synthetic import SYLLABLES, SyntheticConfig, generate_network

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
