"""Zero-shot transfer: fine-tune an encoder on one language, test it on others.

The protocol of Translation Pair Prediction (Mishra and Haghighi, W-NUT 2021, Section 4): named
entities by micro F1, sentiment by macro F1, universal parts of speech by accuracy. The encoder is
loaded as the stock class of transformers with a new classifier on top, and all of it is trained.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from twhin_hf.errors import InputError
from twhin_hf.evaluation.fine_tuning import FineTuned, fine_tune
from twhin_hf.evaluation.sentiment import macro_f1
from twhin_hf.evaluation.token_classification import entity_f1, tag_accuracy, tags_of_words
from twhin_hf.evaluation.zero_shot_config import ZeroShotConfig
from twhin_hf.results import Result, Results, figures_table, fits_screen

if TYPE_CHECKING:
    from datasets import Dataset
    from rich.table import Table

logger = logging.getLogger(__name__)

TASKS = {"ner": "micro F1", "sentiment": "macro F1", "pos": "accuracy"}
"""The metric of each task."""
VALIDATION = "validation"


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
        revision: Revision of the repository.

    Raises:
        InputError: An unknown task, columns of another task, no test set, fewer than two labels, a
            label that training has not seen (unless allowed), a test set called `validation` beside
            the one held out, a tokenizer that does not fit the model, or a `max_length` beyond the
            model's.
    """
    config = config or ZeroShotConfig()
    held_out = {} if validation is None else {VALIDATION: validation}
    if held_out.keys() & tests.keys():
        raise InputError(
            f"a test set is called {VALIDATION!r}, as the set held out from training is in the "
            "results; call it by its language"
        )
    sets = {**tests, **held_out}
    labels = _check_input(task, train, tests, sets, config)
    values: dict[str, list[float]] = {name: [] for name in sets}
    is_sequence = task == "sentiment"
    for run in fine_tune(
        model, labels, train, sets, config, is_sequence=is_sequence, revision=revision
    ):
        for name, dataset in sets.items():
            value = _score(task, run, name, dataset, labels)
            values[name].append(value)
            logger.info("seed %d: %s of %s %.4f", run.seed, TASKS[task], name, value)
    results = {
        name: ZeroShotResult(
            tuple(values[name]), _details(task, dataset, run.encoded[name], labels)
        )
        for name, dataset in sets.items()
    }
    setup = {"labels": labels, "max_length": run.max_length, "steps": run.steps}
    return ZeroShotReport(results, run.setup | setup)


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

    Where that is wider than a screen, each figure has a row.

    Args:
        before: Results of the encoder to compare with.
        after: Those of others, by the name to show.

    Raises:
        InputError: Results of different tasks.
    """
    tasks = {results.task for results in (before, *after.values())}
    if len(tasks) > 1:
        raise InputError(f"results of {sorted(tasks)} stand side by side; give one task's")
    base = {row.language: row for row in before.results}
    metric = next(iter(base.values())).metric
    title = f"{before.task}: {metric} in per cent, and Δ% over {before.model}"
    rows = []
    for name, results in ((before.model, before), *after.items()):
        values = {row.language: row.value for row in results.results}
        rows.append([name])
        for language, row in base.items():
            value = values.get(language)
            change = ""
            if value is not None and row.value and results is not before:
                change = f"{100 * (value / row.value - 1):+.1f}"
            rows[-1] += ["" if value is None else f"{100 * value:.1f}", change]
    columns = [name for language in base for name in (language, f"{language} Δ%")]
    if fits_screen(["model", *columns], rows):
        return figures_table(title, ["model", *columns], rows)
    long = [
        [language, row[0], *row[place : place + 2]]
        for place, language in zip(range(1, len(columns), 2), base, strict=True)
        for row in rows
    ]
    return figures_table(title, ["language", "model", "%", "Δ%"], long, num_names=2)


def _score(task: str, run: FineTuned, name: str, dataset: Dataset, labels: Sequence[str]) -> float:
    predicted = run.predicted[name]
    if task == "sentiment":
        return macro_f1(dataset["label"][:], np.array(labels)[predicted].tolist())
    gold = dataset["tags"][:]
    num_words = [len(tags) for tags in gold]
    numbers = tags_of_words(predicted, run.gold[name], run.encoded[name], num_words)
    # The number of a word that was not read is -1, the last of these names.
    names = np.array([*labels, "O" if task == "ner" else ""])
    tags = [names[sentence].tolist() for sentence in numbers]
    return (entity_f1 if task == "ner" else tag_accuracy)(gold, tags)


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
        raise InputError(f"task is {task!r}; choose one of {list(TASKS)}")
    if not tests:
        raise InputError("no test set is given; name at least one language to test on")
    needed = {"text", "label"} if task == "sentiment" else {"tokens", "tags"}
    for name, dataset in {"train": train, **sets}.items():
        if not needed <= set(dataset.column_names) or not len(dataset):
            raise InputError(
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
        raise InputError(f"the training set has the labels {labels}; at least two are needed")
    for name, dataset in sets.items():
        unseen = _unseen(task, dataset, labels)
        if unseen and not config.allow_unseen_labels:
            counts = ", ".join(f"{label} ({count:,})" for label, count in unseen.items())
            raise InputError(
                f"the {name} set has labels that training has not seen: {counts}. Training has "
                f"{', '.join(labels)}. Bring both to one set of labels (`--label_map OLD=NEW`), or "
                "count these as wrong (`--allow_unseen_labels`).",
                faq="label-map",
            )
    steps = math.ceil(math.ceil(len(train) / config.batch_size) * config.epochs)
    if steps <= config.warmup_steps:
        logger.warning(
            "Training takes about %d steps, and the learning rate rises for %d: it never reaches "
            "%g. Give fewer warmup_steps (`--warmup_steps`), more epochs or more texts.",
            steps,
            config.warmup_steps,
            config.learning_rate,
        )
    return labels
