"""The option that says what a file calls the columns of a contract."""

from __future__ import annotations

import argparse
from typing import Any


def add_columns(group: Any, option: str, what: str, example: str) -> None:
    """Adds `option NAME=THERE ...`, pairs of our name and theirs.

    Args:
        group: A parser or a group of its options.
        option: Such as `--columns`.
        what: Whose columns, for the help, such as "the log".
        example: A pair, such as `user_id=uid`.
    """
    group.add_argument(
        option,
        nargs="+",
        type=parse_column,
        default=[],
        metavar="NAME=THERE",
        help=f"what {what} calls a column, where it is another name, such as {example}",
    )


def parse_column(text: str) -> tuple[str, str]:
    """Reads `user_id=uid`.

    Raises:
        argparse.ArgumentTypeError: It is no pair.
    """
    name, separator, there = text.partition("=")
    if not (name and separator and there):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=THERE, such as user_id=uid")
    return name, there
