"""The tasks of each suite, found in a folder of data.

- `twhin`: `engagement/`, `hashtag/` (or `hashtag-classification-id.zip`) and a folder for each
  external benchmark, named as in `twhin_hf.benchmarks.classification.benchmarks`
  (`semeval2018-es/`, or `semeval2018/` for all its languages).
- `tweeteval`: a folder a task (`emoji/`, …), as in TweetEval's `datasets`.
- `tpp`: `ner/`, `sentiment/` and `pos/`, each with `train/en.…` and `test/LANG.…`, and perhaps
  `labels.yaml` with new names of labels.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twhin_hf.benchmarks.classification.benchmarks import BENCHMARKS, find_files, load_benchmark
from twhin_hf.evaluation.classification import (
    ClassificationConfig,
    evaluate_classification,
    recipe_config,
)
from twhin_hf.evaluation.engagement import EngagementConfig, predict_engagement
from twhin_hf.evaluation.frozen_features import FeatureConfig, evaluate_features
from twhin_hf.evaluation.hashtag import METRIC
from twhin_hf.evaluation.suite.running import Figure, Model, SuiteOptions, SuiteTask, without_seeds
from twhin_hf.evaluation.suite.zero_shot import zero_shot_tasks
from twhin_hf.evaluation.text_encoders import load_text_encoder
from twhin_hf.evaluation.zero_shot import TASKS as ZERO_SHOT_METRICS

if TYPE_CHECKING:
    from datasets import Dataset

SUITES = ("twhin", "tpp", "tweeteval")
EXTERNAL = (
    "semeval2017",
    "semeval2018-en",
    "semeval2018-es",
    "asad",
    "covid-ja",
    "semeval2020-hi",
    "semeval2020-es",
)
_FEATURE_SEED = 0  # a logistic regression draws nothing
_TWEETEVAL = ("emoji", "emotion", "hate", "irony", "offensive", "sentiment")
_STANCES = tuple(name for name in BENCHMARKS if name.startswith("tweeteval-stance-"))

Splits = Mapping[str, "Dataset"]
Loaded = tuple[Splits, dict[str, Any]]
"""Splits, and notes on them for `results.json`."""


def find_tasks(
    suite: str, data: str | Path, options: SuiteOptions
) -> tuple[list[SuiteTask], list[str]]:
    """The tasks of a suite whose data is there.

    Args:
        suite: One of `SUITES`.
        data: The folder, as the module says.
        options: Languages, seeds and more.

    Returns:
        The tasks, and the names of those that are left out, as their data is not there.

    Raises:
        FileNotFoundError: The folder is not there.
        ValueError: An unknown suite, or no task at all.
    """
    if suite not in SUITES:
        raise ValueError(f"suite is {suite!r}; choose one of {SUITES}")
    root = Path(data)
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root}; it holds the data of the suite.")
    finders = {"twhin": _twhin, "tpp": _tpp, "tweeteval": _tweeteval}
    tasks: list[SuiteTask] = []
    missing = []
    for name, find in finders[suite](root, options).items():
        found = find()
        tasks += found
        if not found:
            missing.append(name)
    if not tasks:
        wanted = "" if options.languages is None else f" in {', '.join(options.languages)}"
        raise ValueError(
            f"{root} holds no task of the suite {suite!r}{wanted}. Looked for were the folders "
            f"{', '.join(missing)}; found are "
            f"{', '.join(sorted(path.name for path in root.iterdir())) or 'none'}."
        )
    return tasks, missing


Finder = Callable[[], list[SuiteTask]]


def _twhin(root: Path, options: SuiteOptions) -> dict[str, Finder]:
    return {
        "engagement": lambda: _engagement(root / "engagement", options),
        "hashtag": lambda: _hashtag(root, options),
        **{name: functools.partial(_external, root, name, options) for name in EXTERNAL},
    }


def _engagement(folder: Path, options: SuiteOptions) -> list[SuiteTask]:
    from twhin_hf.benchmarks.archives import list_files
    from twhin_hf.benchmarks.engagement.files import find_files
    from twhin_hf.benchmarks.engagement.loading import load_engagement_prediction, to_benchmark
    from twhin_hf.benchmarks.layout import find_layout, fingerprint

    if not folder.is_dir():
        return []
    config = EngagementConfig(device=options.device or "cpu")
    config = replace(config, seeds=options.seeds or config.seeds)

    def task(language: str) -> SuiteTask:
        parts = find_files(folder, language).values()
        files = [file.path for splits in parts for own in splits.values() for file in own]

        def told(model: Model) -> dict[str, Any]:
            return without_seeds(config) | {
                "pooling": options.pooling,
                "data": fingerprint(files, {}),
            }

        def run(model: Model, seeds: tuple[int, ...]) -> Iterator[tuple[int, dict[str, Figure]]]:
            benchmark = to_benchmark(
                {language: load_engagement_prediction(language, data_dir=folder)}
            )
            encoder = load_text_encoder(
                model.name, model.revision, pooling=options.pooling, device=options.device
            )
            found = predict_engagement(
                benchmark.user_vectors,
                encoder.encode(benchmark.texts),
                benchmark.records_of(language),
                replace(config, seeds=seeds),
                pools=benchmark.pools_of(language),
                known=benchmark.known,
            )
            for place, seed in enumerate(seeds):
                details = {
                    "pooling": encoder.pooling,
                    "MRR": found.mrr[place],
                    "best_epoch": found.best_epochs[place],
                    "candidates": found.num_candidates,
                    "records": found.num_records,
                }
                yield seed, {language: Figure(found.hits[place], details)}

        return SuiteTask(
            "engagement", f"HITS@{config.hits_at}", (language,), config.seeds, told, run
        )

    languages = sorted(find_layout(list_files(folder)))
    return [task(language) for language in languages if options.wants(language)]


def _hashtag(root: Path, options: SuiteOptions) -> list[SuiteTask]:
    from twhin_hf.benchmarks.hashtag.loading import hashtag_languages

    places = (root / "hashtag", root / "hashtag-classification-id.zip")
    place = next((path for path in places if path.exists()), None)
    if place is None:
        return []
    tasks = []
    for language in hashtag_languages(place):
        if options.wants(language):
            load = _hashtag_loader(language, place, options)
            tasks.append(_fine_tuned("hashtag", "hashtag", METRIC, language, load, options))
            tasks.append(_features(language, load, options))
    return tasks


def _hashtag_loader(language: str, place: Path, options: SuiteOptions) -> Callable[[], Loaded]:
    from twhin_hf.benchmarks.hashtag.loading import load_hashtag_prediction

    @functools.cache
    def load() -> Loaded:
        splits: Any = load_hashtag_prediction(language, data_dir=place, hydration=options.hydration)
        return splits, {"hydration": splits["train"].info.description}

    return load


def _external(root: Path, name: str, options: SuiteOptions) -> list[SuiteTask]:
    benchmark = BENCHMARKS[name]
    places = (root / name, root / name.partition("-")[0])
    place = next((path for path in places if path.exists()), None)
    if place is None or not options.wants(benchmark.language) or not find_files(name, place):
        return []
    return [
        _fine_tuned(
            name, name, benchmark.metric, benchmark.language, _loader(name, place, options), options
        )
    ]


def _loader(name: str, place: Path, options: SuiteOptions) -> Callable[[], Loaded]:
    """Reads a benchmark when it is first asked for: its splits, and what to know of them."""

    @functools.cache
    def load() -> Loaded:
        found = load_benchmark(name, place, options.hydration)
        return found.splits, found.notes

    return load


def _tweeteval(root: Path, options: SuiteOptions) -> dict[str, Finder]:
    def find(task: str) -> list[SuiteTask]:
        if not (root / task).is_dir() or not options.wants("en"):
            return []
        benchmark = BENCHMARKS[f"tweeteval-{task}"]
        load = _loader(f"tweeteval-{task}", root / task, options)
        return [_fine_tuned(task, f"tweeteval-{task}", benchmark.metric, "en", load, options)]

    return {
        **{task: functools.partial(find, task) for task in _TWEETEVAL},
        "stance": lambda: _stance(root / "stance", options),
    }


def _stance(folder: Path, options: SuiteOptions) -> list[SuiteTask]:
    """TweetEval's stance: five topics, each with a classifier of its own, and their mean."""
    if not folder.is_dir() or not options.wants("en"):
        return []
    topics = [
        _fine_tuned(
            name,
            "hashtag",
            BENCHMARKS[name].metric,
            "en",
            _loader(name, folder, options),
            options,
        )
        for name in _STANCES
    ]

    def told(model: Model) -> dict[str, Any]:
        return {topic.name: topic.options(model) for topic in topics}

    def run(model: Model, seeds: tuple[int, ...]) -> Iterator[tuple[int, dict[str, Figure]]]:
        for seed in seeds:
            runs = {topic.name: dict(topic.run(model, (seed,)))[seed]["en"] for topic in topics}
            mean = float(np.mean([figure.value for figure in runs.values()]))
            details = {
                name: {"value": figure.value, **figure.details} for name, figure in runs.items()
            }
            yield seed, {"en": Figure(mean, details)}

    return [SuiteTask("stance", topics[0].metric, ("en",), topics[0].seeds, told, run)]


def _fine_tuned(
    name: str,
    recipe: str,
    metric: str,
    language: str,
    load: Callable[[], Loaded],
    options: SuiteOptions,
) -> SuiteTask:
    seeds = options.seeds or ClassificationConfig().seeds
    changed = options.fine_tuning | ({"device": options.device} if options.device else {})

    content = functools.cache(lambda: _content(load()[0]))

    def config_of(model: Model) -> ClassificationConfig:
        return replace(recipe_config(recipe, model.name, model.revision), **changed)

    def told(model: Model) -> dict[str, Any]:
        return without_seeds(config_of(model)) | {"data": content()}

    def run(model: Model, missing: tuple[int, ...]) -> Iterator[tuple[int, dict[str, Figure]]]:
        splits, notes = load()
        for seed in missing:
            config = replace(config_of(model), seeds=(seed,))
            (found,) = evaluate_classification(
                model.name, splits, metric, config, revision=model.revision
            )
            details = {
                "validation": found.validation,
                "best_epoch": found.best_epoch,
                **found.setup,
                **notes,
            }
            yield seed, {language: Figure(found.value, details)}

    return SuiteTask(name, metric, (language,), seeds, told, run)


def _features(language: str, load: Callable[[], Loaded], options: SuiteOptions) -> SuiteTask:
    config = FeatureConfig()
    content = functools.cache(lambda: _content(load()[0]))

    def told(model: Model) -> dict[str, Any]:
        return asdict(config) | {"pooling": options.pooling, "data": content()}

    def run(model: Model, seeds: tuple[int, ...]) -> Iterator[tuple[int, dict[str, Figure]]]:
        encoder = load_text_encoder(
            model.name, model.revision, pooling=options.pooling, device=options.device
        )
        splits, notes = load()
        found = evaluate_features(encoder, splits, METRIC, config)
        details = {
            "validation": found.validation,
            "inverse_penalty": found.inverse_penalty,
            **found.setup,
            **notes,
        }
        yield _FEATURE_SEED, {language: Figure(found.value, details)}

    return SuiteTask("hashtag-features", METRIC, (language,), (_FEATURE_SEED,), told, run)


def _tpp(root: Path, options: SuiteOptions) -> dict[str, Finder]:
    return {
        task: functools.partial(zero_shot_tasks, root / task, task, options)
        for task in ZERO_SHOT_METRICS
    }


def _content(splits: Splits) -> str:
    """A hash of texts and labels."""
    state = hashlib.blake2b(digest_size=8)
    for name, dataset in sorted(splits.items()):
        state.update(f"{name} {len(dataset)}".encode())
        for column in ("text", "label"):
            state.update("\0".join(map(str, dataset[column])).encode())
    return state.hexdigest()
