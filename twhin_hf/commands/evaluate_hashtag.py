"""`twhin-hf evaluate hashtag`: which hashtag did a post have?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

PROTOCOLS = ("fine-tuning", "few-shot", "features")


def add_parser(benchmarks: argparse._SubParsersAction) -> None:
    """Adds the benchmark."""
    parser = benchmarks.add_parser(
        "hashtag",
        help="predict the hashtag of a post (macro F1)",
        description="Hashtag prediction as in the TwHIN-BERT paper: fine-tuning, the best epoch on "
        "validation, the median of three seeds; the same with few examples a class; and a logistic "
        "regression on frozen features.",
    )
    parser.add_argument("--model", required=True, help="folder or repository of the encoder")
    parser.add_argument("--revision", help="revision of the repository")
    parser.add_argument(
        "--data-dir",
        required=True,
        help="hashtag-classification-id.zip, its unpacked folder, or a folder with texts (what "
        "`twhin-hf data hashtag` and `hashtag-build` write)",
    )
    parser.add_argument(
        "--hydration",
        help="texts of the posts: JSON lines of X/Twitter's API, or a table of post_id and text",
    )
    parser.add_argument("--languages", nargs="+", metavar="CODE", help="default: all")
    parser.add_argument("--output", required=True, help="folder for results.json and pictures")
    parser.add_argument(
        "--protocols",
        nargs="+",
        choices=PROTOCOLS,
        default=["fine-tuning"],
        help="what to run (default: fine-tuning)",
    )
    parser.add_argument(
        "--shots",
        nargs="+",
        type=int,
        default=[2, 4, 8, 16, 32],
        help="examples a class of few-shot (default: 2 4 8 16 32, as in the paper)",
    )
    parser.add_argument(
        "--beside",
        nargs="+",
        default=[],
        metavar="CSV",
        help="few_shot.csv of other models, to draw in the same picture",
    )
    parser.add_argument(
        "--pooling",
        help="of features: cls, mean or combined (default: the model's; the result states it)",
    )
    add_fine_tuning_options(parser)
    parser.set_defaults(run=run)


def add_fine_tuning_options(parser: argparse.ArgumentParser) -> None:
    """Adds how a classifier is fine-tuned; None means the paper's value for the benchmark."""
    for option, kind, text in (
        ("epochs", int, "upper limit; the best on validation is tested (default: 30)"),
        ("patience", int, "epochs without a better one after which to stop (default: never)"),
        ("batch-size", int, "texts a step (default: 128)"),
        ("learning-rate", float, "at its height (default: the paper's Table 9)"),
        ("weight-decay", float, "of AdamW (default: the paper's Table 9)"),
        ("warmup-steps", int, "steps in which the learning rate rises (default: 0)"),
        ("max-length", int, "tokens a text is cut to (default: 128, or the model's most)"),
    ):
        parser.add_argument(f"--{option}", type=kind, help=text)
    parser.add_argument(
        "--runs", type=int, help="seeds; the median is reported (default: the paper's, 3)"
    )
    parser.add_argument("--device", help="cpu, to leave an accelerator alone")


def fine_tuning_options(args: argparse.Namespace) -> dict[str, Any]:
    """Those of the options that were given, and the seeds."""
    given: dict[str, Any] = {
        name: getattr(args, name)
        for name in (
            "epochs",
            "patience",
            "batch_size",
            "learning_rate",
            "weight_decay",
            "warmup_steps",
            "max_length",
            "device",
        )
    }
    if args.runs is not None:
        given["seeds"] = tuple(range(args.runs))
    return {name: value for name, value in given.items() if value is not None}


def run(args: argparse.Namespace) -> None:
    """Loads language by language, runs the protocols and writes the results."""
    from dataclasses import replace

    import numpy as np
    from rich.console import Console

    from twhin_hf.benchmarks.hashtag.loading import hashtag_languages, load_hashtag_prediction
    from twhin_hf.evaluation.classification import classification_row, options_of, recipe_config
    from twhin_hf.evaluation.frozen_features import evaluate_features, feature_row
    from twhin_hf.evaluation.hashtag import (
        METRIC,
        curve_rows,
        evaluate_hashtag,
        few_shot_curve,
        read_curves,
        write_curves,
    )
    from twhin_hf.evaluation.text_encoders import load_text_encoder
    from twhin_hf.plots import plot_few_shot
    from twhin_hf.results import Result, Results, results_table, write_results

    others = [read_curves(path) for path in args.beside]
    config = replace(
        recipe_config("hashtag", args.model, args.revision), **fine_tuning_options(args)
    )
    languages = args.languages or hashtag_languages(args.data_dir)
    rows: list[Result] = []
    curves = {}
    encoder = (
        load_text_encoder(
            args.model,
            args.revision,
            pooling=args.pooling,
            max_length=args.max_length,
            device=args.device,
        )
        if "features" in args.protocols
        else None
    )
    # All of them before anything long: the last one may be missing or damaged.
    loaded = {
        language: load_hashtag_prediction(
            language, data_dir=args.data_dir, hydration=args.hydration
        )
        for language in languages
    }
    for language, splits in loaded.items():
        if "fine-tuning" in args.protocols:
            runs = evaluate_hashtag(args.model, splits, config, revision=args.revision)
            rows.append(classification_row(language, METRIC, runs, config.seeds))
        if encoder is not None:
            rows.append(feature_row(language, METRIC, evaluate_features(encoder, splits, METRIC)))
        if "few-shot" in args.protocols:
            points = few_shot_curve(args.model, splits, args.shots, config, revision=args.revision)
            rows += curve_rows(language, points, config.seeds)
            curves[args.model, language] = points
    metrics = list(dict.fromkeys(row.metric for row in rows))
    if len(languages) > 1:
        for metric in metrics:
            values = [row.value for row in rows if row.metric == metric]
            rows.append(Result("average", metric, float(np.mean(values))))
    results = Results(
        task="hashtag",
        model=args.model,
        revision=args.revision,
        results=rows,
        options={**options_of(config), "data_dir": args.data_dir, "protocols": args.protocols},
    )
    path = write_results(results, args.output)
    console = Console()
    console.print(results_table(results, title="Hashtag prediction"))
    console.print(f"Saved in {path}")
    if curves:
        console.print(
            f"Saved in {write_curves(curves, config.seeds, Path(args.output) / 'few_shot.csv')}"
        )
    for (_, language), points in curves.items():
        drawn = {
            model: curve
            for other in others
            for (model, of_language), curve in other.items()
            if of_language == language
        }
        drawn[args.model] = {point.examples_per_class: point.values for point in points}
        picture = Path(args.output) / f"few_shot_{language}.png"
        console.print(
            f"Saved in {plot_few_shot(drawn, picture, f'Hashtag prediction, {language}')}"
        )
