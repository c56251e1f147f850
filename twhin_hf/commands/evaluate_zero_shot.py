"""`twhin-hf evaluate zero-shot`: fine-tune on one language, test on others."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset


def add_parser(benchmarks: argparse._SubParsersAction) -> None:
    """Adds the benchmark."""
    parser = benchmarks.add_parser(
        "zero-shot",
        help="fine-tune on one language, test on others (NER, sentiment, parts of speech)",
        description="Zero-shot transfer as in the Translation Pair Prediction paper. NER: CoNLL "
        "(token, tag), indexed (number, token, tag), JSON lines or Shakti Standard Format. POS: "
        "CoNLL-U. Sentiment: a table with text and label, or …text.txt with …labels.txt beside it.",
    )
    parser.add_argument("--task", required=True, choices=("ner", "sentiment", "pos"))
    parser.add_argument("--model", required=True, help="folder or repository of the encoder")
    parser.add_argument("--revision", help="revision of the repository")
    parser.add_argument("--train", required=True, type=_language_file, metavar="LANG=FILE")
    parser.add_argument(
        "--validation",
        type=_language_file,
        metavar="LANG=FILE",
        help="held out, reported beside the others; nothing is chosen by it",
    )
    parser.add_argument(
        "--test", required=True, nargs="+", type=_language_file, metavar="LANG=FILE"
    )
    parser.add_argument("--output", required=True, help="folder for results.json")
    parser.add_argument(
        "--before", help="results.json of another encoder, to show side by side with Δ%%"
    )
    parser.add_argument(
        "--label-map",
        nargs="+",
        default=[],
        metavar="OLD=NEW",
        help="new names of labels (of entity types, without B- and I-; 'O' drops one), or a YAML "
        "file of them; examples/configs/entity_labels.yaml brings WNUT-17, SSEA and WikiNEuRal "
        "together",
    )
    parser.add_argument(
        "--keep-neutral", action="store_true", help="sentiment with neutral (paper: without)"
    )
    for name, kind, default, text in (
        ("epochs", float, 3.0, "passes over the training set"),
        ("batch-size", int, 16, "sentences a step"),
        ("learning-rate", float, 5e-5, "at its height; the paper names none"),
        ("warmup-steps", int, 500, "steps in which the learning rate rises"),
        ("weight-decay", float, 0.01, "of AdamW"),
        ("runs", int, 3, "seeds; the median is reported"),
    ):
        parser.add_argument(
            f"--{name}", type=kind, default=default, help=f"{text} (default: %(default)s)"
        )
    parser.add_argument(
        "--max-length",
        type=int,
        help="tokens a text is cut to (default: 128 for sentiment, else 512, or the model's most)",
    )
    parser.add_argument(
        "--allow-unseen-labels",
        action="store_true",
        help="count labels that training has not seen as wrong, instead of stopping",
    )
    parser.add_argument(
        "--device",
        help="cpu, to leave an accelerator alone; of several GPUs CUDA_VISIBLE_DEVICES chooses",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Reads all files, then trains and tests for each seed, and writes the results."""
    from rich.console import Console

    from twhin_hf.evaluation.zero_shot import (
        ZeroShotConfig,
        evaluate_zero_shot,
        options_of,
        zero_shot_rows,
        zero_shot_table,
    )
    from twhin_hf.results import Results, read_results, results_table, write_results

    languages = [language for language, _ in args.test]
    if len(set(languages)) < len(languages):
        raise ValueError(f"--test names a language twice: {languages}; give each one file")
    before = read_results(args.before) if args.before else None
    if before and before.task != (task := f"zero-shot {args.task}"):
        raise ValueError(
            f"--before {args.before} holds results of {before.task!r}; needed are those of {task!r}"
        )
    config = ZeroShotConfig(
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        warmup_steps=args.warmup_steps,
        weight_decay=args.weight_decay,
        max_length=args.max_length,
        seeds=tuple(range(args.runs)),
        allow_unseen_labels=args.allow_unseen_labels,
        device=args.device,
    )
    label_map = read_label_map(args.label_map)
    report = evaluate_zero_shot(
        args.task,
        args.model,
        _read(args, args.train[1], label_map),
        {language: _read(args, path, label_map) for language, path in args.test},
        _read(args, args.validation[1], label_map) if args.validation else None,
        config,
        revision=args.revision,
    )
    results = Results(
        task=f"zero-shot {args.task}",
        model=args.model,
        revision=args.revision,
        results=zero_shot_rows(args.task, report, config),
        options={
            **options_of(config, report),
            "train": args.train,
            "validation": args.validation,
            "test": args.test,
            "label_map": label_map,
            "neutral": args.keep_neutral if args.task == "sentiment" else None,
        },
    )
    path = write_results(results, args.output)
    console = Console()
    console.print(results_table(results, title=f"Zero-shot transfer from {args.train[0]}"))
    if before:
        console.print(zero_shot_table(before, {args.model: results}))
    console.print(f"Saved in {path}")


def read_label_map(entries: list[str]) -> dict[str, str]:
    """New names of labels, of `OLD=NEW` and of YAML files.

    Raises:
        ValueError: An entry that is neither.
        FileNotFoundError: A YAML file that is not there.
    """
    import yaml

    found: dict[str, str] = {}
    for entry in entries:
        old, equals, new = entry.partition("=")
        if equals and old and new:
            found[old] = new
        elif not entry.endswith((".yaml", ".yml")):
            raise ValueError(f"--label-map {entry!r}: needed is OLD=NEW or a YAML file")
        elif not Path(entry).is_file():
            raise FileNotFoundError(f"--label-map: there is no {entry}")
        else:
            content = yaml.safe_load(Path(entry).read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError(f"{entry} holds no `OLD: NEW` lines")
            found |= {str(old): str(new) for old, new in content.items()}
    return found


def _read(args: argparse.Namespace, path: str, label_map: dict[str, str]) -> Dataset:
    from twhin_hf.benchmarks.zero_shot.readers import read_entities, read_pos, read_sentiment

    if args.task == "ner":
        return read_entities(path, label_map)
    if args.task == "pos":
        return read_pos(path)
    return read_sentiment(path, label_map, drop=() if args.keep_neutral else ("neutral",))


def _language_file(text: str) -> tuple[str, str]:
    language, equals, path = text.partition("=")
    if not (language and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r}: needed is LANG=FILE, such as hi=test.conll")
    return language, path
