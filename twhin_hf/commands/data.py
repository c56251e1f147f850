"""`twhin-hf data`: makes the data sets that training and evaluation read."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from twhin_hf.commands import data_engagement, data_hashtag

if TYPE_CHECKING:
    from twhin_hf.data.translation.sources import PairSource
    from twhin_hf.data.translation.writing import TranslationPairsReport

_SOURCES = ("tatoeba", "wikimatrix", "wikidata", "published", "columns")
_OF_SOURCE = {"min_score": "wikimatrix", "max_texts": "published", "columns": "columns"}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "data",
        help="make data sets: translation pairs, hashtag and engagement benchmarks",
        description="Makes the data sets that training and evaluation read.",
    )
    nested = parser.add_subparsers(title="data sets", metavar="DATA", required=True)
    _add_translation_pairs(nested)
    data_hashtag.add_parsers(nested)
    data_engagement.add_parsers(nested)


def _add_translation_pairs(nested: argparse._SubParsersAction) -> None:
    parser = nested.add_parser(
        "translation-pairs",
        help="pairs of texts that are translations of each other",
        description="Cleans translation pairs, merges duplicates and writes OUTPUT/en-ar.parquet "
        "and so on, with the columns text_a, text_b, lang_a, lang_b and source, and a count of "
        "what was dropped as OUTPUT/_report.json.",
    )
    parser.add_argument(
        "--source",
        required=True,
        choices=_SOURCES,
        help="tatoeba: sentences and links, exports of a pair, or two columns. wikimatrix: score, "
        "text, text. wikidata: the JSON dump, or answers of the query service with label_en, "
        "description_en and so on. published: JSON lines with unique_label_desc. columns: "
        "Parquet, CSV or JSON lines with two columns of text",
    )
    parser.add_argument("--input", required=True, help="file or folder, as published")
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument(
        "--langs",
        nargs="+",
        default=[],
        metavar="A-B",
        help="pairs of languages in the order of the sides, such as en-ar en-hi (default: all that "
        "the source names)",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        help="wikimatrix: margin score that a pair must exceed (default: 1.05, the paper's)",
    )
    parser.add_argument(
        "--max-texts",
        type=int,
        help="published: texts of an item that are combined (default: 5, the paper's)",
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        metavar="NAME=THERE",
        help="columns: what text_a, text_b, lang_a and lang_b are called, such as text_a=english",
    )
    parser.add_argument(
        "--validation-share",
        type=float,
        metavar="SHARE",
        help="hold out this share of the items (pairs that share texts stay together) and write "
        "OUTPUT/train and OUTPUT/validation (default: hold out nothing)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of what is held out (default: %(default)s)"
    )
    parser.add_argument(
        "--memory-limit", default="1GB", help="most memory of the engine (default: %(default)s)"
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show progress bars (default: yes)",
    )
    parser.set_defaults(run=run_translation_pairs)


def run_translation_pairs(args: argparse.Namespace) -> None:
    """Checks the options, then reads, cleans and writes."""
    from rich.console import Console

    from twhin_hf.data.translation.writing import write_translation_pairs

    for option, source in _OF_SOURCE.items():
        if getattr(args, option) is not None and args.source != source:
            raise ValueError(
                f"--{option.replace('_', '-')} is for --source {source}, not {args.source}; "
                "leave it out."
            )
    report = write_translation_pairs(
        _pair_source(args),
        args.output,
        validation_share=args.validation_share,
        seed=args.seed,
        memory_limit=args.memory_limit,
        progress=args.progress,
    )
    console = Console()
    console.print(_table(report))
    console.print(f"Saved in {args.output}")


def _pair_source(args: argparse.Namespace) -> PairSource:
    from twhin_hf.data.language_codes import parse_language_pairs
    from twhin_hf.data.translation.columns import column_pairs
    from twhin_hf.data.translation.sources import published_pairs, wikimatrix_pairs
    from twhin_hf.data.translation.tatoeba import tatoeba_pairs
    from twhin_hf.data.translation.wikidata import wikidata_pairs

    langs, progress = parse_language_pairs(args.langs), args.progress
    if args.source == "tatoeba":
        limit = args.memory_limit
        return tatoeba_pairs(args.input, langs, memory_limit=limit, progress=progress)
    if args.source == "wikimatrix":
        score = {} if args.min_score is None else {"min_score": args.min_score}
        return wikimatrix_pairs(args.input, langs, progress=progress, **score)
    if args.source == "wikidata":
        return wikidata_pairs(args.input, langs, progress=progress)
    if args.source == "published":
        most = {} if args.max_texts is None else {"max_texts": args.max_texts}
        return published_pairs(args.input, langs, progress=progress, **most)
    columns = dict(_column(text) for text in args.columns or ())
    return column_pairs(args.input, langs, columns=columns, memory_limit=args.memory_limit)


def _column(text: str) -> tuple[str, str]:
    name, separator, there = text.partition("=")
    if not (name and separator and there):
        raise ValueError(f"--columns: {text!r} is not NAME=THERE, such as text_a=english.")
    return name, there


def _table(report: TranslationPairsReport) -> object:
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    table.add_row("source", report.source)
    table.add_row("rows", f"{report.rows:,}")
    for reason, count in report.dropped.items():
        table.add_row(f"dropped: {reason}", f"{count:,}")
    for languages, count in report.pairs.items():
        table.add_row(f"pairs: {languages}", f"{count:,}")
    return table
