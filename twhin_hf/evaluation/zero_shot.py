"""Zero-shot transfer: fine-tune an encoder on one language, test it on others.

The protocol of Translation Pair Prediction (Mishra and Haghighi, W-NUT 2021, Section 4): named
entities by micro F1, sentiment by macro F1, universal parts of speech by accuracy. The encoder is
loaded as the stock class of transformers with a new classifier on top, and all of it is trained.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from twhin_hf.evaluation.fine_tuning import (
    check_device,
    check_length,
    describe_classifier,
    load_classifier,
    make_trainer,
    predict_labels,
)
from twhin_hf.evaluation.sentiment import encode_texts, macro_f1
from twhin_hf.evaluation.token_classification import (
    encode_words,
    entity_f1,
    tag_accuracy,
    tags_of_words,
)
from twhin_hf.results import Result, Results

if TYPE_CHECKING:
    from datasets import Dataset
    from rich.table import Table
    from transformers import Trainer

logger = logging.getLogger(__name__)

TASKS = {"ner": "micro F1", "sentiment": "macro F1", "pos": "accuracy"}
"""The metric of each task."""
VALIDATION = "validation"
_SENTIMENT_LENGTH, _SENTENCE_LENGTH = 128, 512


@dataclass(frozen=True)
class ZeroShotConfig:
    """How the encoder is fine-tuned; the paper's values are the defaults.

    Args:
        epochs: Passes over the training set; the last model is tested (paper: 3).
        batch_size: Sentences a step (paper: 16).
        learning_rate: At its height, with linear decay; the paper names none, and its notebooks
            leave that of transformers, 5e-5.
        warmup_steps: Steps in which the learning rate rises (paper: 500).
        weight_decay: Of AdamW (paper: 0.01).
        max_length: Tokens that a text is cut to. By default 128 for sentiment (paper) and 512 for
            entities and parts of speech, or what the model reads if less.
        seeds: One run each; the median is reported (the paper does not say).
        allow_unseen_labels: Test on labels that training has not seen; each counts as wrong.
        device: `cpu` to leave an accelerator alone; what Trainer finds by default (`check_device`).
    """

    epochs: float = 3
    batch_size: int = 16
    learning_rate: float = 5e-5
    warmup_steps: int = 500
    weight_decay: float = 0.01
    max_length: int | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    allow_unseen_labels: bool = False
    device: str | None = None

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("seeds is empty: name at least one.")
        check_device(self.device)


@dataclass(frozen=True)
class ZeroShotResult:
    """Figures of one test set.

    Args:
        values: The task's metric, one a seed, 0 to 1.
        details: Rows and words of the test set; words (or texts) cut off or not read; labels that
            training has not seen, with how often.
    """

    values: tuple[float, ...]
    details: dict[str, Any]


@dataclass(frozen=True)
class ZeroShotReport:
    """What a transfer gave, and how it came about.

    Args:
        results: By language, and `validation` where there is one.
        setup: The class that was fine-tuned, its weights that the checkpoint did not hold (the
            classifier, and BERT's pooler for sentiment: drawn anew for each seed and trained), what
            of a text the classifier reads, the labels, the steps, and the longest text.
    """

    results: dict[str, ZeroShotResult]
    setup: dict[str, Any]


def evaluate_zero_shot(
    task: str,
    model: str,
    train: Dataset,
    tests: Mapping[str, Dataset],
    validation: Dataset | None = None,
    config: ZeroShotConfig | None = None,
    *,
    revision: str | None = None,
) -> ZeroShotReport:
    """Fine-tune on `train`, then test on each set, once for each seed.

    Args:
        task: `ner`, `sentiment` or `pos`.
        model: Folder or repository; it is loaded without remote code.
        train: `tokens` and `tags`, or `text` and `label` for sentiment; of one language.
        tests: The same by language.
        validation: Held out from training, in its language; it is reported beside the others, and
            nothing is chosen by it.
        config: The paper's protocol by default.
        revision: Of the repository.

    Raises:
        ValueError: An unknown task, columns of another task, no test set, fewer than two labels, a
            label that training has not seen (unless allowed), a test set called `validation` beside
            the one held out, a tokenizer that does not fit the model, or a `max_length` beyond the
            model's.
    """
    config = config or ZeroShotConfig()
    held_out = {} if validation is None else {VALIDATION: validation}
    if held_out.keys() & tests.keys():
        raise ValueError(
            f"a test set is called {VALIDATION!r}, as the set held out from training is in the "
            "results; call it by its language"
        )
    sets = {**tests, **held_out}
    labels = _check_input(task, train, tests, sets, config)
    results: dict[str, list[float]] = {name: [] for name in sets}
    encoded: dict[str, Dataset] = {}
    setup: dict[str, Any] = {}
    for seed in config.seeds:
        is_sequence = task == "sentiment"
        classifier = load_classifier(model, labels, is_sequence, seed, revision)
        if not encoded:
            length = check_length(
                classifier,
                config.max_length,
                _SENTIMENT_LENGTH if is_sequence else _SENTENCE_LENGTH,
            )
            encode = encode_texts if is_sequence else encode_words
            numbers = {label: number for number, label in enumerate(labels)}
            encoded = {
                name: encode(dataset, classifier.tokenizer, numbers, length)
                for name, dataset in {"": train, **sets}.items()
            }
            setup = describe_classifier(classifier) | {"labels": labels, "max_length": length}
        with tempfile.TemporaryDirectory(prefix="twhin_hf-") as folder:
            trainer = make_trainer(
                classifier,
                encoded[""],
                folder,
                num_train_epochs=config.epochs,
                per_device_train_batch_size=config.batch_size,
                learning_rate=config.learning_rate,
                warmup_steps=config.warmup_steps,
                weight_decay=config.weight_decay,
                use_cpu=config.device == "cpu",
                seed=seed,
            )
            setup["steps"] = trainer.train().global_step
            for name, dataset in sets.items():
                value = _score(task, trainer, dataset, encoded[name], labels)
                results[name].append(value)
                logger.info("seed %d: %s of %s %.4f", seed, TASKS[task], name, value)
    return ZeroShotReport(
        {
            name: ZeroShotResult(
                tuple(results[name]), _details(task, dataset, encoded[name], labels)
            )
            for name, dataset in sets.items()
        },
        setup,
    )


def zero_shot_rows(
    task: str, report: ZeroShotReport, config: ZeroShotConfig | None = None
) -> list[Result]:
    """Rows for `results.json`: the median over the seeds of each language, with each seed's."""
    seeds = list((config or ZeroShotConfig()).seeds)
    return [
        Result(
            language=language,
            metric=TASKS[task],
            value=float(np.median(result.values)),
            seeds=seeds,
            values=list(result.values),
            details=result.details,
        )
        for language, result in report.results.items()
    ]


def zero_shot_table(before: Results, after: Mapping[str, Results]) -> Table:
    """The paper's table: each model's figure in per cent by language, and Δ% over `before`.

    Args:
        before: Results of the encoder to compare with.
        after: Those of others, by the name to show.

    Raises:
        ValueError: Results of different tasks.
    """
    from rich.table import Table

    tasks = {results.task for results in (before, *after.values())}
    if len(tasks) > 1:
        raise ValueError(f"results of {sorted(tasks)} stand side by side; give one task's")
    base = {row.language: row for row in before.results}
    metric = next(iter(base.values())).metric
    table = Table(title=f"{before.task}: {metric} in per cent, and Δ% over {before.model}")
    table.add_column("model", overflow="fold")
    for language in base:
        table.add_column(language, justify="right")
        table.add_column("Δ%", justify="right")
    for name, results in {before.model: before, **after}.items():
        values = {row.language: row.value for row in results.results}
        cells = []
        for language, row in base.items():
            value = values.get(language)
            cells.append("" if value is None else f"{100 * value:.1f}")
            if value is None or row.value == 0 or results is before:
                cells.append("")
            else:
                cells.append(f"{100 * (value / row.value - 1):+.1f}")
        table.add_row(name, *cells)
    return table


def options_of(config: ZeroShotConfig, report: ZeroShotReport) -> dict[str, Any]:
    """Options for `results.json`: how it was fine-tuned, and what came of it."""
    return {**asdict(config), "seeds": list(config.seeds), **report.setup}


def _score(
    task: str, trainer: Trainer, dataset: Dataset, encoded: Dataset, labels: Sequence[str]
) -> float:
    predictions, true_labels = predict_labels(trainer, encoded)
    if task == "sentiment":
        names = np.array(labels)[predictions]
        return macro_f1(dataset["label"][:], names.tolist())
    gold = dataset["tags"][:]
    numbers = tags_of_words(predictions, true_labels, encoded, [len(tags) for tags in gold])
    # The number of a word that was not read is -1, the last of these names.
    names = np.array([*labels, "O" if task == "ner" else ""])
    predicted = [names[sentence].tolist() for sentence in numbers]
    return (entity_f1 if task == "ner" else tag_accuracy)(gold, predicted)


def _details(
    task: str, dataset: Dataset, encoded: Dataset, labels: Sequence[str]
) -> dict[str, Any]:
    unseen = {"unseen_labels": _unseen(task, dataset, labels)}
    if task == "sentiment":
        return {"texts": len(dataset), "texts_cut": sum(encoded["cut"]), **unseen}
    words = sum(map(len, dataset["tags"]))
    unread = words - sum(map(len, encoded["words"]))
    return {"sentences": len(dataset), "words": words, "words_not_read": unread, **unseen}


def _labels_of(task: str, dataset: Dataset) -> Counter[str]:
    if task == "sentiment":
        return Counter(dataset["label"])
    return Counter(chain.from_iterable(dataset["tags"]))


def _unseen(task: str, dataset: Dataset, labels: Sequence[str]) -> dict[str, int]:
    found = _labels_of(task, dataset)
    return {label: found[label] for label in sorted(found.keys() - set(labels))}


def _check_input(
    task: str,
    train: Dataset,
    tests: Mapping[str, Dataset],
    sets: Mapping[str, Dataset],
    config: ZeroShotConfig,
) -> list[str]:
    """Checks before anything long, and names the labels in their order."""
    if task not in TASKS:
        raise ValueError(f"task is {task!r}; choose one of {list(TASKS)}")
    if not tests:
        raise ValueError("no test set is given; name at least one language to test on")
    needed = {"text", "label"} if task == "sentiment" else {"tokens", "tags"}
    for name, dataset in {"train": train, **sets}.items():
        if not needed <= set(dataset.column_names) or not len(dataset):
            raise ValueError(
                f"the {name} set has {len(dataset)} rows of {dataset.column_names}; {task} needs "
                f"{sorted(needed)}, and at least one row"
            )
    seen = _labels_of(task, train)
    if task == "ner":
        kinds = sorted({tag[2:] for tag in seen if tag != "O"})
        labels = ["O", *(f"{prefix}-{kind}" for kind in kinds for prefix in "BI")]
    else:
        labels = sorted(seen)
    if len(labels) < 2:
        raise ValueError(f"the training set has the labels {labels}; at least two are needed")
    for name, dataset in sets.items():
        unseen = _unseen(task, dataset, labels)
        if unseen and not config.allow_unseen_labels:
            counts = ", ".join(f"{label} ({count:,})" for label, count in unseen.items())
            raise ValueError(
                f"the {name} set has labels that training has not seen: {counts}. Training has "
                f"{', '.join(labels)}. Bring both to one set of labels (`--label-map OLD=NEW`), or "
                "count these as wrong (`--allow-unseen-labels`)."
            )
    steps = math.ceil(math.ceil(len(train) / config.batch_size) * config.epochs)
    if steps <= config.warmup_steps:
        logger.warning(
            "Training takes about %d steps, and the learning rate rises for %d: it never reaches "
            "%g. Give fewer warmup_steps (`--warmup-steps`), more epochs or more texts.",
            steps,
            config.warmup_steps,
            config.learning_rate,
        )
    return labels
