"""`twhin-hf network import`, `embed` and `mine`: from a network's log to pairs of posts."""

from __future__ import annotations

import argparse
import inspect
import re
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any

from twhin_hf.commands.columns import add_columns, parse_column

_FORMATS = "Parquet, CSV or JSON lines; one file or a folder"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "network",
        help="import and embed an engagement log and mine pairs of socially similar posts",
        description="Imports the logs of networks, embeds an engagement log and mines pairs of "
        "socially similar posts from it.",
    )
    nested = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=_LazyParser
    )
    nested.add_parser(
        "import",
        help="import a log of Bluesky, Mastodon or X, or any table",
        description="Turns a network's log into engagements.parquet and posts.parquet, with counts "
        "of what was left out in import.json. Ids of users stay as they are in the log.",
        options=_add_import_options,
    ).set_defaults(run=run_import)
    nested.add_parser(
        "embed",
        help="learn user and post vectors from an engagement log",
        description="Learns user and post vectors from an engagement log (TwHIN's embedding).",
        options=_add_embed_options,
    ).set_defaults(run=run_embed)
    nested.add_parser(
        "mine",
        help="mine pairs of posts that are close in the network",
        description="Mines pairs of posts whose network vectors are close.",
        options=_add_mine_options,
    ).set_defaults(run=run_mine)


def run_import(args: argparse.Namespace) -> None:
    """Reads a network's log and writes engagements and posts."""
    from twhin_hf.network.sources import fasttext_detector, import_log, package_detector

    try:
        if args.language_model is not None:
            detect_language = fasttext_detector(args.language_model)
        else:
            detect_language = package_detector() if args.detect_languages else None
    except ImportError as error:
        raise ValueError(str(error)) from error
    report = import_log(
        args.source,
        args.input,
        args.output,
        columns=dict(args.map),
        user_id=args.user_id,
        detect_language=detect_language,
        max_bad_lines=args.max_bad_lines,
        memory_limit=args.memory_limit,
        threads=args.threads,
        temp_directory=args.temp_directory,
        progress=args.progress,
    )
    _print_report(f"Import, saved in {args.output}", asdict(report))


def run_embed(args: argparse.Namespace) -> None:
    """Reads the log, learns the vectors and writes the network folder."""
    from twhin_hf.network.embedding import NetworkEmbeddingConfig, embed_network
    from twhin_hf.network.folder import save_network
    from twhin_hf.network.log import read_log

    config = _config_from(args, NetworkEmbeddingConfig)
    graph = read_log(
        args.engagements,
        args.posts,
        relations=args.relations,
        exclude_posts=None if args.exclude_posts is None else _read_ids(args.exclude_posts),
        min_user_degree=args.min_user_degree,
        min_post_degree=args.min_post_degree,
        max_unknown_posts=args.max_unknown_posts,
        columns=dict(args.columns),
        post_columns=dict(args.post_columns),
        memory_limit=args.memory_limit,
        threads=args.threads,
        temp_directory=args.temp_directory,
    )
    network = embed_network(
        graph, config, output=args.output, resume=args.resume, progress=args.progress
    )
    save_network(network, args.output)
    _print_report("Engagement log", asdict(graph.report))
    _print_report(f"Network, saved in {args.output}", network.metadata)


def run_mine(args: argparse.Namespace) -> None:
    """Mines pairs and writes them."""
    from twhin_hf.network.folder import load_network
    from twhin_hf.network.mining import MiningConfig, mine_pairs

    report = mine_pairs(
        load_network(args.network),
        args.posts,
        args.output,
        _config_from(args, MiningConfig),
        progress=args.progress,
        columns=dict(args.columns),
    )
    _print_report(f"Pairs, saved in {args.output}", asdict(report))


def _add_import_options(parser: argparse.ArgumentParser) -> None:
    from twhin_hf.network.sources import SOURCES

    files = parser.add_argument_group("input and output")
    files.add_argument("--source", required=True, choices=SOURCES, help="where the log is from")
    files.add_argument(
        "--input",
        required=True,
        help="file or folder: JSON lines or arrays, plain, .gz or .zst; an unpacked archive; for "
        "'table' Parquet, CSV or JSON lines",
    )
    files.add_argument("--output", required=True, help="folder to write")
    files.add_argument(
        "--map",
        action="append",
        type=parse_column,
        default=[],
        metavar="NAME=THERE",
        help="for 'table', again for each: what it calls user_id, post_id, relation, timestamp, "
        "text or lang, such as user_id=uid",
    )
    files.add_argument("--user-id", help="whose archive it is, where the archive does not say")
    files.add_argument(
        "--max-bad-lines",
        type=float,
        default=0.01,
        help="largest share of a file's lines that may be no JSON (default: %(default)s)",
    )

    languages = parser.add_argument_group("languages, for posts whose log names none")
    detector = languages.add_mutually_exclusive_group()
    detector.add_argument(
        "--language-model",
        metavar="FILE",
        help="identify with this fastText model (needs twhin_hf[fasttext])",
    )
    detector.add_argument(
        "--detect-languages",
        action="store_true",
        help="identify without a file (needs twhin_hf[languages])",
    )

    engine = parser.add_argument_group("engine")
    engine.add_argument("--threads", type=int, help="default: all cores")
    engine.add_argument("--memory-limit", default="1GB", help="its most memory (default: 1GB)")
    engine.add_argument("--temp-directory", help="where it spills (default: the output)")
    _add_progress(parser)


def _add_embed_options(parser: argparse.ArgumentParser) -> None:
    from twhin_hf.network.embedding import NetworkEmbeddingConfig

    files = parser.add_argument_group("input and output")
    files.add_argument(
        "--engagements", required=True, help=f"the log: user_id, post_id, relation. {_FORMATS}"
    )
    files.add_argument(
        "--posts", help=f"post_id, text; engagements with other posts are left out. {_FORMATS}"
    )
    files.add_argument("--output", required=True, help="network folder to write")
    add_columns(files, "--columns", "the log", "user_id=uid")
    add_columns(files, "--post-columns", "the posts file", "text=body")
    files.add_argument("--resume", action="store_true", help="go on from the last checkpoint")

    log = parser.add_argument_group("log")
    log.add_argument(
        "--relations", nargs="+", metavar="NAME", help="keep only these (default: all)"
    )
    log.add_argument(
        "--exclude-posts",
        metavar="FILE",
        help=f"post_id of posts that must not take part. {_FORMATS}",
    )
    log.add_argument(
        "--min-user-degree", type=int, default=1, help="fewest engagements of a user (default: 1)"
    )
    log.add_argument(
        "--min-post-degree", type=int, default=1, help="fewest engagements of a post (default: 1)"
    )
    log.add_argument(
        "--max-unknown-posts",
        type=float,
        default=0.5,
        help="largest share of the log's posts that may be without text (default: 0.5)",
    )
    log.add_argument(
        "--memory-limit", default="600MB", help="most memory of the log reader (default: 600MB)"
    )
    log.add_argument("--temp-directory", help="where the log reader spills (default: the system's)")
    _add_config(parser, "embedding", NetworkEmbeddingConfig)
    _add_progress(parser)


def _add_mine_options(parser: argparse.ArgumentParser) -> None:
    from twhin_hf.network.mining import MiningConfig

    files = parser.add_argument_group("input and output")
    files.add_argument("--network", required=True, help="network folder")
    files.add_argument("--posts", required=True, help=f"post_id, text. {_FORMATS}")
    files.add_argument("--output", required=True, help="Parquet file of pairs to write")
    add_columns(files, "--columns", "the posts file", "text=body")
    _add_config(parser, "mining", MiningConfig)
    _add_progress(parser)


class _LazyParser(argparse.ArgumentParser):
    """Adds its options when it is asked to parse: their configs import torch and more."""

    def __init__(
        self, *, options: Callable[[argparse.ArgumentParser], None], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._add_options: Callable[[argparse.ArgumentParser], None] | None = options

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if self._add_options is not None:
            self._add_options(self)
            self._add_options = None
        return super().parse_known_args(args, namespace)


def _add_config(parser: argparse.ArgumentParser, title: str, config: Callable[[], Any]) -> None:
    """One option a field of a config dataclass; the help comes from its docstring."""
    group = parser.add_argument_group(title)
    hints, defaults, helps = typing.get_type_hints(config), config(), field_help(config)
    for item in fields(defaults):
        default = getattr(defaults, item.name)
        kind = _plain_type(hints[item.name])
        text = helps[item.name].replace("%", "%%")
        if default is not None:
            shown = _format(default) if isinstance(default, bool) else default
            text = f"{text.rstrip('.')} (default: {shown})"
        options: dict[str, Any] = {"default": default, "help": text}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options.update(type=kind, metavar=kind.__name__.upper())
        group.add_argument("--" + item.name.replace("_", "-"), **options)


def field_help(config: object) -> dict[str, str]:
    """What the section "Attributes:" of a dataclass's docstring says of each field."""
    section = (inspect.getdoc(config) or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): ((?:.+\n?)(?:^     .+\n?)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()).replace("`", "") for name, text in entries}


def _plain_type(hint: Any) -> type:
    """The type of an option: `int` of `int | None`, and `str` of what is no plain type."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint if hint in (bool, int, float, str) else str


def _config_from(args: argparse.Namespace, config: Any) -> Any:
    return config(**{item.name: getattr(args, item.name) for item in fields(config)})


def _add_progress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show a progress bar (default: yes)",
    )


def _read_ids(source: str) -> Any:
    """The distinct ids of a file with a column `post_id`, as an Arrow array."""
    from twhin_hf.tables import open_engine, read_errors, read_table

    with open_engine() as engine, read_errors(source):
        return read_table(source, ["post_id"], connection=engine).distinct().to_pyarrow()["post_id"]


def _print_report(title: str, report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", overflow="fold")
    for name, value in report.items():
        if isinstance(value, dict):
            for key, number in value.items():
                table.add_row(f"{name.replace('_', ' ')}: {key}", _format(number))
        else:
            table.add_row(name.replace("_", " "), _format(value))
    Console().print(table)


def _format(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}"
    return str(value)
