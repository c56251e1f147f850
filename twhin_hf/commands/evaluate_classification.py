"""`twhin-hf evaluate classification`: a published benchmark of text classification by its name."""

from __future__ import annotations

import argparse

from twhin_hf.commands.evaluate_hashtag import add_fine_tuning_options, fine_tuning_options

PROTOCOLS = ("fine-tuning", "features")


def add_parser(benchmarks: argparse._SubParsersAction) -> None:
    """Adds the benchmark."""
    parser = benchmarks.add_parser(
        "classification",
        help="a benchmark by its name: SemEval, ASAD, COVID-JA, UMSAB, TweetEval",
        description="Judges a model on a published benchmark of text classification by the metric "
        "of its publication: semeval2017 (Task 4A), semeval2018-en and -es (Task 2), asad, "
        "covid-ja, semeval2020-hi and -es (Task 9), umsab-LANGUAGE, tweeteval-TASK.",
    )
    parser.add_argument("--benchmark", required=True, metavar="NAME", help="such as umsab-ar")
    parser.add_argument("--model", required=True, help="folder or repository of the encoder")
    parser.add_argument("--revision", help="revision of the repository")
    parser.add_argument(
        "--data-dir", required=True, help="its published files: a folder, or a table"
    )
    parser.add_argument(
        "--hydration",
        help="texts of a benchmark that holds ids alone: JSON lines of X/Twitter's API, or a table "
        "of post_id and text",
    )
    parser.add_argument("--output", required=True, help="folder for results.json")
    parser.add_argument(
        "--protocols",
        nargs="+",
        choices=PROTOCOLS,
        default=["fine-tuning"],
        help="fine-tuning, and a logistic regression on frozen features (default: fine-tuning)",
    )
    parser.add_argument(
        "--pooling",
        help="of features: cls, mean or combined (default: the model's; the result states it)",
    )
    add_fine_tuning_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Reads the files, runs the protocols and writes the results."""
    from dataclasses import replace

    from rich.console import Console

    from twhin_hf.benchmarks.classification.benchmarks import find_benchmark, load_benchmark
    from twhin_hf.evaluation.classification import (
        classification_row,
        evaluate_classification,
        options_of,
        recipe_config,
    )
    from twhin_hf.evaluation.frozen_features import evaluate_features, feature_row
    from twhin_hf.evaluation.text_encoders import load_text_encoder
    from twhin_hf.results import Results, results_table, write_results

    benchmark = find_benchmark(args.benchmark)
    splits, notes, _ = load_benchmark(args.benchmark, args.data_dir, args.hydration)
    config = recipe_config(args.benchmark, args.model, args.revision)
    config = replace(config, **fine_tuning_options(args))
    rows = []
    if "features" in args.protocols:
        encoder = load_text_encoder(
            args.model,
            args.revision,
            pooling=args.pooling,
            max_length=args.max_length,
            device=args.device,
        )
        found = evaluate_features(encoder, splits, benchmark.metric)
        rows.append(feature_row(benchmark.language, benchmark.metric, found))
    if "fine-tuning" in args.protocols:
        runs = evaluate_classification(
            args.model, splits, benchmark.metric, config, revision=args.revision
        )
        row = classification_row(benchmark.language, benchmark.metric, runs, config.seeds)
        rows.append(row)
    results = Results(
        task=args.benchmark,
        model=args.model,
        revision=args.revision,
        results=rows,
        options={
            **options_of(config),
            "data_dir": args.data_dir,
            "protocols": args.protocols,
            "source": benchmark.source,
            "notes": notes,
        },
    )
    path = write_results(results, args.output)
    console = Console()
    console.print(results_table(results, title=args.benchmark))
    console.print(f"Saved in {path}")
