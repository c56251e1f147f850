"""`twhin-hf evaluate`: benchmarks of a model, each writes results.json."""

from __future__ import annotations

import argparse

from twhin_hf.commands import (
    evaluate_alignment,
    evaluate_classification,
    evaluate_engagement,
    evaluate_hashtag,
    evaluate_retrieval,
    evaluate_suite,
    evaluate_zero_shot,
)

BENCHMARKS = (
    evaluate_engagement,
    evaluate_hashtag,
    evaluate_classification,
    evaluate_retrieval,
    evaluate_zero_shot,
    evaluate_alignment,
    evaluate_suite,
)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="judge a model on a benchmark",
        description="Judges a model on a benchmark; writes results.json and shows a table.",
    )
    benchmarks = parser.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True)
    for benchmark in BENCHMARKS:
        benchmark.add_parser(benchmarks)
