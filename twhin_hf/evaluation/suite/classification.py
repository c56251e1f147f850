"""Labelled texts as tasks of the suites `twhin` and `tweeteval`: fine-tuned, or frozen features."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twhin_hf.benchmarks.classification.benchmarks import BENCHMARKS, find_files, load_benchmark
from twhin_hf.benchmarks.hashtag.loading import hashtag_languages, load_hashtag_prediction
from twhin_hf.evaluation.classification import (
    ClassificationConfig,
    evaluate_classification,
    recipe_config,
)
from twhin_hf.evaluation.frozen_features import FeatureConfig, evaluate_features
from twhin_hf.evaluation.hashtag import METRIC
from twhin_hf.evaluation.suite.running import Figure, Model, SuiteOptions, SuiteTask, without_seeds
from twhin_hf.loading.text_encoders import load_text_encoder

if TYPE_CHECKING:
    from datasets import Dataset

_HASHTAG = "hashtag"
_FEATURE_SEED = 0  # a logistic regression draws nothing
_STANCES = tuple(name for name in BENCHMARKS if name.startswith("tweeteval-stance-"))


@dataclass(frozen=True)
class LabelledTexts:
    """A benchmark in one language, read when it is first asked for.

    Args:
        benchmark: `hashtag`, or a name of `BENCHMARKS`.
        language: Its language.
        place: Folder or archive of its files.
        hydration: Texts, where the files have ids alone.
    """

    benchmark: str
    language: str
    place: Path
    hydration: str | None

    @cached_property
    def loaded(self) -> tuple[Mapping[str, Dataset], dict[str, Any]]:
        """Splits, and notes on them for `results.json`."""
        if self.benchmark == _HASHTAG:
            splits: Any = load_hashtag_prediction(
                self.language, data_dir=self.place, hydration=self.hydration
            )
            return splits, {"hydration": splits["train"].info.description}
        found = load_benchmark(self.benchmark, self.place, self.hydration)
        return found.splits, found.notes

    @cached_property
    def fingerprint(self) -> str:
        """A hash of texts and labels."""
        state = hashlib.blake2b(digest_size=8)
        for name, dataset in sorted(self.loaded[0].items()):
            state.update(f"{name} {len(dataset)}".encode())
            for column in ("text", "label"):
                state.update("\0".join(map(str, dataset[column])).encode())
        return state.hexdigest()


@dataclass(frozen=True)
class ClassificationTask(SuiteTask):
    """Fine-tuning on labelled texts.

    Args:
        data: What it is trained and tested on.
        recipe: The benchmark whose hyper-parameters are taken (`recipe_config`).
        changed: Fields of `ClassificationConfig` in place of the recipe's.
    """

    data: LabelledTexts
    recipe: str
    changed: dict[str, Any]

    def config(self, model: Model) -> ClassificationConfig:
        """How a model is fine-tuned: its size tells the hyper-parameters."""
        return replace(recipe_config(self.recipe, model.name, model.revision), **self.changed)

    def options(self, model: Model) -> dict[str, Any]:
        """Options of a model: how it is run, and a fingerprint of the data."""
        return without_seeds(self.config(model)) | {"data": self.data.fingerprint}

    def run(self, model: Model, seeds: tuple[int, ...]) -> Iterator[tuple[int, dict[str, Figure]]]:
        """Runs the task; gives each seed with the figures by language, as they come."""
        splits, notes = self.data.loaded
        for seed in seeds:
            config = replace(self.config(model), seeds=(seed,))
            (found,) = evaluate_classification(
                model.name, splits, self.metric, config, revision=model.revision
            )
            details = {
                "validation": found.validation,
                "best_epoch": found.best_epoch,
                **found.setup,
                **notes,
            }
            yield seed, {self.languages[0]: Figure(found.value, details)}


@dataclass(frozen=True)
class FeatureTask(SuiteTask):
    """Logistic regression on frozen features of labelled texts.

    Args:
        data: What it is trained and tested on.
        config: The protocol.
        pooling: Of the features; the model's own where it is None.
        device: Of the encoder.
    """

    data: LabelledTexts
    config: FeatureConfig
    pooling: str | None
    device: str | None

    def options(self, model: Model) -> dict[str, Any]:
        """Options of a model: how it is run, and a fingerprint of the data."""
        return asdict(self.config) | {"pooling": self.pooling, "data": self.data.fingerprint}

    def run(self, model: Model, seeds: tuple[int, ...]) -> Iterator[tuple[int, dict[str, Figure]]]:
        """Runs the task; gives each seed with the figures by language, as they come."""
        encoder = load_text_encoder(
            model.name, model.revision, pooling=self.pooling, device=self.device
        )
        splits, notes = self.data.loaded
        found = evaluate_features(encoder, splits, self.metric, self.config)
        details = {
            "validation": found.validation,
            "inverse_penalty": found.inverse_penalty,
            **found.setup,
            **notes,
        }
        for seed in seeds:
            yield seed, {self.languages[0]: Figure(found.value, details)}


@dataclass(frozen=True)
class StanceTask(SuiteTask):
    """TweetEval's stance: five topics, each with a classifier of its own, and their mean.

    Args:
        topics: A task each.
    """

    topics: tuple[ClassificationTask, ...]

    def options(self, model: Model) -> dict[str, Any]:
        """Options of a model: how it is run, and a fingerprint of the data."""
        return {topic.name: topic.options(model) for topic in self.topics}

    def run(self, model: Model, seeds: tuple[int, ...]) -> Iterator[tuple[int, dict[str, Figure]]]:
        """Runs the task; gives each seed with the figures by language, as they come."""
        for seed in seeds:
            runs = {
                topic.name: dict(topic.run(model, (seed,)))[seed]["en"] for topic in self.topics
            }
            mean = float(np.mean([figure.value for figure in runs.values()]))
            details = {
                name: {"value": figure.value, **figure.details} for name, figure in runs.items()
            }
            yield seed, {"en": Figure(mean, details)}


def hashtag_tasks(root: Path, options: SuiteOptions) -> list[SuiteTask]:
    """Fine-tuning and frozen features in each language asked for; none without data."""
    place = _first_there(root / "hashtag", root / "hashtag-classification-id.zip")
    if place is None:
        return []
    tasks: list[SuiteTask] = []
    for language in filter(options.wants, hashtag_languages(place)):
        data = LabelledTexts(_HASHTAG, language, place, options.hydration)
        tasks.append(_fine_tuned("hashtag", "hashtag", METRIC, data, options))
        tasks.append(
            FeatureTask(
                "hashtag-features",
                METRIC,
                (language,),
                (_FEATURE_SEED,),
                data,
                FeatureConfig(),
                options.pooling,
                options.device,
            )
        )
    return tasks


def external_tasks(root: Path, name: str, options: SuiteOptions) -> list[ClassificationTask]:
    """Fine-tuning on a benchmark of `BENCHMARKS`; none without its data or its language."""
    benchmark = BENCHMARKS[name]
    place = _first_there(root / name, root / name.partition("-")[0])
    if place is None or not options.wants(benchmark.language) or not find_files(name, place):
        return []
    data = LabelledTexts(name, benchmark.language, place, options.hydration)
    return [_fine_tuned(name, name, benchmark.metric, data, options)]


def tweeteval_tasks(folder: Path, task: str, options: SuiteOptions) -> list[ClassificationTask]:
    """Fine-tuning on a task of TweetEval; none without its data."""
    if not folder.is_dir() or not options.wants("en"):
        return []
    name = f"tweeteval-{task}"
    data = LabelledTexts(name, "en", folder, options.hydration)
    return [_fine_tuned(task, name, BENCHMARKS[name].metric, data, options)]


def stance_tasks(folder: Path, options: SuiteOptions) -> list[StanceTask]:
    """TweetEval's stance as one task; none without its data."""
    if not folder.is_dir() or not options.wants("en"):
        return []
    topics = tuple(
        _fine_tuned(
            name,
            "hashtag",
            BENCHMARKS[name].metric,
            LabelledTexts(name, "en", folder, options.hydration),
            options,
        )
        for name in _STANCES
    )
    return [StanceTask("stance", topics[0].metric, ("en",), topics[0].seeds, topics)]


def _fine_tuned(
    name: str, recipe: str, metric: str, data: LabelledTexts, options: SuiteOptions
) -> ClassificationTask:
    seeds = options.seeds or ClassificationConfig().seeds
    changed = options.fine_tuning | ({"device": options.device} if options.device else {})
    return ClassificationTask(name, metric, (data.language,), seeds, data, recipe, changed)


def _first_there(*paths: Path) -> Path | None:
    return next((path for path in paths if path.exists()), None)
