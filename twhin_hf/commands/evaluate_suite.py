"""`twhin-hf evaluate suite`: several models on all tasks of a suite."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from twhin_hf.commands.evaluate_hashtag import add_fine_tuning_options, fine_tuning_options

if TYPE_CHECKING:
    from twhin_hf.evaluation.suite.running import Model

SUITES = ("twhin", "tpp", "tweeteval")


def add_parser(benchmarks: argparse._SubParsersAction) -> None:
    """Adds the benchmark."""
    parser = benchmarks.add_parser(
        "suite",
        help="run all tasks of a paper for several models, beside the published figures",
        description="Runs every task of a suite whose data is there, for each model and seed, and "
        "goes on where it stopped. Writes results.json and tables.md: a table a language with the "
        "average, the best in bold, beside what the papers report. twhin: engagement, hashtag, "
        "frozen features and the external benchmarks of TwHIN-BERT. tpp: zero-shot transfer of "
        "entities, sentiment and parts of speech. tweeteval: TweetEval's seven tasks.",
    )
    parser.add_argument("--suite", required=True, choices=SUITES)
    parser.add_argument(
        "--model",
        required=True,
        action="append",
        metavar="MODEL[@REVISION]",
        help="folder or repository; give it once for each model",
    )
    parser.add_argument(
        "--data",
        required=True,
        help="folder with a folder a task. twhin: engagement, hashtag, semeval2017, "
        "semeval2018-en, semeval2018-es, asad, covid-ja, semeval2020-hi, semeval2020-es. "
        "tweeteval: emoji, emotion, hate, irony, offensive, sentiment, stance. tpp: ner, "
        "sentiment, pos, each with train/en.… and test/LANG.…",
    )
    parser.add_argument("--langs", nargs="+", metavar="CODE", help="default: all in the data")
    parser.add_argument("--output", required=True, help="folder; the same one to go on")
    parser.add_argument("--hydration", help="texts of benchmarks that hold ids alone")
    parser.add_argument(
        "--pooling", help="of frozen features: cls, mean or combined (default: each model's own)"
    )
    add_fine_tuning_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Finds the tasks, runs what has no result yet, and writes the tables."""
    from rich.console import Console

    from twhin_hf.evaluation.suite.running import (
        SuiteOptions,
        figures_of,
        run_suite,
        write_suite_results,
    )
    from twhin_hf.evaluation.suite.tables import (
        averages,
        markdown_table,
        published_figures,
        screen_table,
        suite_tables,
    )
    from twhin_hf.evaluation.suite.tasks import find_tasks

    given = fine_tuning_options(args)
    options = SuiteOptions(
        languages=None if args.langs is None else tuple(args.langs),
        seeds=given.pop("seeds", None),
        device=given.pop("device", None),
        fine_tuning=given,
        pooling=args.pooling,
        hydration=args.hydration,
    )
    tasks, missing = find_tasks(args.suite, args.data, options)
    console = Console()
    if missing:
        console.print(f"Without data in {args.data}, left out: {', '.join(missing)}")
    results = run_suite([_model(name) for name in args.model], tasks, args.output)
    published, sources = published_figures(args.suite)
    tables = suite_tables(figures_of(results), published)
    means = {
        table.title: {model: averages(row) for model, row in table.measured.items()}
        for table in tables
    }
    path = write_suite_results(args.suite, results, means, sources, args.output)
    for table in tables:
        console.print(screen_table(table))
    told = "\n".join(f"- {source}" for source in sources)
    text = "\n".join(markdown_table(table) for table in tables)
    written = Path(args.output) / "tables.md"
    written.write_text(
        f"# {args.suite}\n\nPer cent; the average stands where a row is whole. Published rows:\n\n"
        f"{told or '- none'}\n\n{text}",
        encoding="utf-8",
    )
    console.print(f"Saved in {path} and {written}")


def _model(text: str) -> Model:
    from twhin_hf.evaluation.suite.running import Model

    if Path(text).is_dir():
        return Model(text)
    name, _, revision = text.partition("@")
    return Model(name, revision or None)
