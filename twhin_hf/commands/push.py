"""`twhin-hf push`: a model on the Hub, in one commit."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "push",
        help="publish a model on the Hub: weights, tokenizer, code, card and results",
        description="Publishes a model on the Hub in one commit: weights, tokenizer, code, card "
        "and results (results*.json in the folder). Checkpoints, optimizers, logs and pickles stay "
        "behind. What was written into the card by hand stays when it is pushed again.",
    )
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a saved model")
    parser.add_argument("--repo", required=True, metavar="OWNER/NAME", help="made if not there")
    parser.add_argument("--private", action="store_true", help="only its owners may see it")
    parser.add_argument(
        "--card", metavar="FILE", help="a card to begin with, such as one of model_cards/"
    )
    parser.add_argument("--message", default="Upload model", help="of the commit")
    parser.add_argument(
        "--dry-run", action="store_true", help="list what would go, and ask no network"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Publishes, or lists."""
    from rich.console import Console
    from rich.table import Table

    from twhin_hf.hub.push import plan_push, push_model

    if args.repo.count("/") != 1:
        raise ValueError(f"--repo is {args.repo!r}; give the owner and the name, as me/my-model")
    card = Path(args.card).read_text(encoding="utf-8") if args.card else None
    if args.dry_run:
        done = plan_push(args.model, args.repo, card)
    else:
        done = push_model(
            args.model, args.repo, private=args.private, card=card, message=args.message
        )
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
