"""`twhin-hf`: every stage as a command."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from twhin_hf.commands import (
    convert,
    data,
    embed,
    evaluate,
    export,
    network,
    pretrain,
    push,
    run,
    search,
    split,
    synthesize,
    tokenizer,
    tpp,
)
from twhin_hf.version import __version__

COMMANDS = (
    run, split, data, network, tokenizer, pretrain, tpp, evaluate, embed, search, convert, export,
    push, synthesize,
)  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; importing nothing heavy, so that `--help` is fast."""
    parser = argparse.ArgumentParser(
        prog="twhin-hf",
        description="From an engagement log to a language model that knows what its users like.",
    )
    parser.add_argument("--version", action="version", version=f"twhin_hf {__version__}")
    parser.add_argument(
        "--debug", action="store_true", help="show where an error came from, and debug messages"
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def parse_known(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None
) -> argparse.Namespace:
    """Parses what the parser knows; `rest` is for a command that parses options of its own."""
    args, rest = parser.parse_known_args(arguments)
    if rest and not getattr(args, "passes_options_on", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    return args


def configure_logging(level: int) -> None:
    """Shows messages of this level and above; of several processes the others only warn."""
    level = level if os.environ.get("RANK", "0") == "0" else logging.WARNING
    logging.basicConfig(format="%(message)s", level=level)
    for library in ("httpx", "datasets", "faiss", "matplotlib", "numexpr"):
        logging.getLogger(library).setLevel(logging.WARNING)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; what a person can mend is told in one line, with exit status 2."""
    parser = build_parser()
    args = parse_known(parser, arguments)
    configure_logging(logging.DEBUG if args.debug else logging.INFO)
    if not getattr(args, "progress", True):
        from datasets import disable_progress_bars

        disable_progress_bars()
    try:
        args.run(args)
    except (ValueError, OSError) as error:
        if args.debug:
            raise
        print(f"twhin-hf: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("twhin-hf: interrupted; the same command goes on where it can", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
