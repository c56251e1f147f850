"""`twhin-hf push`: a model, an adapter or a benchmark on the Hub, in one commit."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "push",
        help="publish a model, an adapter or a benchmark on the Hub, with card and results",
        description="Publishes a model on the Hub in one commit: weights, tokenizer, code, card "
        "and results (results*.json in the folder). Checkpoints, optimizers, logs and pickles stay "
        "behind. What was written into the card by hand stays when it is pushed again. An adapter "
        "goes out as an adapter; a benchmark (--dataset) as its Parquet files and their card.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="DIR", help="folder of a saved model or adapter")
    what.add_argument(
        "--dataset", metavar="DIR", help="folder that a `twhin-hf data` command has written"
    )
    parser.add_argument("--repo", required=True, metavar="OWNER/NAME", help="made if not there")
    parser.add_argument("--private", action="store_true", help="only its owners may see it")
    parser.add_argument(
        "--card", metavar="FILE", help="a card to begin with, such as one of model_cards/"
    )
    parser.add_argument(
        "--base-model", metavar="OWNER/NAME", help="where an adapter's base model is published"
    )
    parser.add_argument("--message", default="Upload with twhin_hf", help="of the commit")
    parser.add_argument(
        "--dry-run", action="store_true", help="list what would go, and ask no network"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Publishes, or lists."""
    from rich.console import Console
    from rich.table import Table

    from twhin_hf.hub.datasets import plan_dataset_push, push_dataset
    from twhin_hf.hub.push import plan_push, push_model

    if args.repo.count("/") != 1:
        raise ValueError(f"--repo is {args.repo!r}; give the owner and the name, as me/my-model")
    card = Path(args.card).read_text(encoding="utf-8") if args.card else None
    if args.dataset and args.base_model:
        raise ValueError("--base-model goes with --model: a data set stands on no model")
    options = {"private": args.private, "card": card, "message": args.message}
    if args.dataset and args.dry_run:
        done = plan_dataset_push(args.dataset, args.repo, card)
    elif args.dataset:
        done = push_dataset(args.dataset, args.repo, **options)
    elif args.dry_run:
        done = plan_push(args.model, args.repo, card, args.base_model)
    else:
        done = push_model(args.model, args.repo, base_model=args.base_model, **options)
    table = Table(title=f"{'Would go' if args.dry_run else 'Went'} to {args.repo}")
    table.add_column("file")
    table.add_column("bytes", justify="right")
    for name, size in done.sizes().items():
        table.add_row(name, f"{size:,}")
    console = Console()
    console.print(table)
    for title, names in (("Left behind", done.left_behind), ("Taken away", done.deleted)):
        if names:
            console.print(f"{title}: {', '.join(names)}", highlight=False)
    if done.url:
        console.print(done.url, highlight=False)
