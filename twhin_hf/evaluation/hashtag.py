"""Hashtag prediction: which hashtag did a post have?

TwHIN-BERT (Zhang et al., KDD 2023): fine-tuning with all examples (Section 3.3, Tables 3 and 7) and
with 2 to 32 a class (Section 3.4, Figure 4), by macro F1.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twhin_hf.errors import WRONG_CONTENT, InputError, reading
from twhin_hf.evaluation.classification import (
    ClassificationConfig,
    ClassificationRun,
    check_splits,
    classification_row,
    evaluate_classification,
)
from twhin_hf.evaluation.frozen_features import evaluate_features, feature_row
from twhin_hf.files import new_file
from twhin_hf.loading.text_encoders import TextEncoder
from twhin_hf.results import Result

if TYPE_CHECKING:
    from datasets import Dataset

METRIC = "macro F1"
SHOTS = (2, 4, 8, 16, 32)
"""Examples a class of the few-shot curve (the paper: from 2 to 32)."""
_CURVE_COLUMNS = ("model", "language", "examples_per_class", "seed", METRIC)


@dataclass(frozen=True)
class CurvePoint:
    """One number of examples per class.

    Args:
        examples_per_class: As asked for; a class that has fewer gives all it has.
        train_texts: Texts that were trained on, one number per seed.
        runs: A run a seed; each seed draws its own examples.
    """

    examples_per_class: int
    train_texts: tuple[int, ...]
    runs: tuple[ClassificationRun, ...]

    @property
    def values(self) -> list[float]:
        """Macro F1 of each seed, 0 to 1."""
        return [run.value for run in self.runs]


def evaluate_hashtag(
    model: str,
    splits: Mapping[str, Dataset],
    config: ClassificationConfig | None = None,
    *,
    revision: str | None = None,
) -> list[ClassificationRun]:
    """Fine-tunes on all examples, once for each seed; see `evaluate_classification`."""
    return evaluate_classification(model, splits, METRIC, config, revision=revision)


def hashtag_rows(
    model: str,
    languages: Mapping[str, Mapping[str, Dataset]],
    config: ClassificationConfig,
    protocols: Collection[str],
    *,
    shots: Sequence[int] = SHOTS,
    encoder: TextEncoder | None = None,
    revision: str | None = None,
) -> tuple[list[Result], dict[str, list[CurvePoint]]]:
    """Runs protocols of the benchmark on several languages.

    Args:
        model: Encoder: folder or Hub repository.
        languages: Splits by language.
        config: Options of the fine-tuning.
        protocols: Some of `fine-tuning`, `few-shot` and `features`.
        shots: Examples per class of few-shot (paper: 2, 4, 8, 16, 32).
        encoder: For `features`.
        revision: Revision of the repository.

    Returns:
        Rows for `results.json`, with the average of each metric if there are several languages;
        and the few-shot curve of each language.
    """
    rows: list[Result] = []
    curves: dict[str, list[CurvePoint]] = {}
    for language, splits in languages.items():
        if "fine-tuning" in protocols:
            runs = evaluate_hashtag(model, splits, config, revision=revision)
            rows.append(classification_row(language, METRIC, runs, config.seeds))
        if encoder is not None:
            rows.append(feature_row(language, METRIC, evaluate_features(encoder, splits, METRIC)))
        if "few-shot" in protocols:
            curves[language] = few_shot_curve(model, splits, shots, config, revision=revision)
            rows += curve_rows(language, curves[language], config.seeds)
    if len(languages) > 1:
        for metric in dict.fromkeys(row.metric for row in rows):
            values = [row.value for row in rows if row.metric == metric]
            rows.append(Result("average", metric, float(np.mean(values))))
    return rows, curves


def few_shot_subset(train: Dataset, examples_per_class: int, seed: int) -> Dataset:
    """Draws as many examples of each class, without replacement; all of a class that has fewer.

    A smaller number gives a part of what a larger number gives with the same seed.

    Args:
        train: With a column `label`.
        examples_per_class: At least 1.
        seed: Seed of the draw.

    Raises:
        InputError: Fewer than one example a class.
    """
    if examples_per_class < 1:
        raise InputError(f"examples_per_class is {examples_per_class}; needed is 1 or more")
    order = np.random.default_rng(seed).permutation(len(train))
    classes = np.unique(np.asarray(train["label"][:])[order], return_inverse=True)[1]
    by_class = np.argsort(classes, kind="stable")
    counts = np.bincount(classes)
    place_in_class = np.arange(len(train)) - np.repeat(np.cumsum(counts) - counts, counts)
    return train.select(np.sort(order[by_class[place_in_class < examples_per_class]]))


def few_shot_curve(
    model: str,
    splits: Mapping[str, Dataset],
    shots: Sequence[int] = SHOTS,
    config: ClassificationConfig | None = None,
    *,
    revision: str | None = None,
) -> list[CurvePoint]:
    """Fine-tunes on few examples of each class, validates and tests on all.

    Args:
        model: Folder or repository.
        splits: `train`, `validation` and `test`.
        shots: Numbers of examples per class.
        config: The protocol of the full set, as in the paper.
        revision: Revision of the repository.

    Raises:
        InputError: No or odd numbers of examples, or as `evaluate_classification` says.
    """
    config = config or ClassificationConfig()
    if not shots or min(shots) < 1 or len(set(shots)) < len(shots):
        raise InputError(f"shots is {list(shots)}; needed are different numbers from 1 on")
    named = check_splits(splits)
    points = []
    for number in sorted(shots):
        runs, sizes = [], []
        for seed in config.seeds:
            train = few_shot_subset(named["train"], number, seed)
            runs += evaluate_classification(
                model,
                {**named, "train": train},
                METRIC,
                replace(config, seeds=(seed,)),
                revision=revision,
            )
            sizes.append(len(train))
        points.append(CurvePoint(number, tuple(sizes), tuple(runs)))
    return points


def curve_rows(language: str, points: Sequence[CurvePoint], seeds: tuple[int, ...]) -> list[Result]:
    """Rows for `results.json`: the median over the seeds at each number of examples."""
    return [
        replace(
            classification_row(
                language, METRIC, list(point.runs), seeds, train_texts=list(point.train_texts)
            ),
            metric=f"{METRIC} ({point.examples_per_class} a class)",
        )
        for point in points
    ]


def write_curves(
    curves: Mapping[tuple[str, str], Sequence[CurvePoint]],
    seeds: Sequence[int],
    path: str | os.PathLike[str],
) -> Path:
    """Writes a CSV: model, language, examples per class, seed, macro F1.

    Args:
        curves: Points by model and language.
        seeds: Of the runs of each point, in their order.
        path: The file.
    """
    path = Path(path)
    with new_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_CURVE_COLUMNS)
        writer.writerows(
            (model, language, point.examples_per_class, seed, value)
            for (model, language), points in curves.items()
            for point in points
            for seed, value in zip(seeds, point.values, strict=True)
        )
    return path


def read_curves(path: str | os.PathLike[str]) -> dict[tuple[str, str], dict[int, list[float]]]:
    """Reads what `write_curves` wrote: values by number of examples, by model and language.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: Other columns, or values that are no numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}; `evaluate hashtag --protocols few-shot` writes it."
        )
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    advice = "Needed is what `evaluate hashtag` writes: run it again."
    with (
        reading(path, advice, (*WRONG_CONTENT, csv.Error)),
        path.open(encoding="utf-8", newline="") as file,
    ):
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != _CURVE_COLUMNS:
            raise InputError(
                f"{path} has the columns {reader.fieldnames}; needed are {list(_CURVE_COLUMNS)}"
            )
        for row in reader:
            curve = found.setdefault((row["model"], row["language"]), {})
            curve.setdefault(int(row["examples_per_class"]), []).append(float(row[METRIC]))
    return found
