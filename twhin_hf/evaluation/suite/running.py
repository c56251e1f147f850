"""Runs a suite of tasks for several models, and goes on where it stopped.

A result file for each model, task and seed is written as soon as it is known; a second run of the
same command reads what is there and runs the rest.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twhin_hf.errors import InputError
from twhin_hf.files import write_json
from twhin_hf.loading.fingerprint import model_fingerprint
from twhin_hf.loading.places import check_local_path
from twhin_hf.path_names import path_name
from twhin_hf.results import (
    Result,
    Results,
    library_versions,
    read_results,
    write_results,
)
from twhin_hf.run_folder import option_changes, other_options

logger = logging.getLogger(__name__)

_NOT_TOLD = ("seeds", "device")


class Model(NamedTuple):
    """A model to judge.

    Args:
        name: Folder or repository.
        revision: Revision of the repository.
    """

    name: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Model:
        """A model by `MODEL` or `MODEL@REVISION`; a folder may have an @ in its name."""
        name, _, revision = (text, "", "") if Path(text).is_dir() else text.partition("@")
        return cls(name, revision or None)


class Figure(NamedTuple):
    """One language's figure of one seed.

    Args:
        value: 0 to 1.
        details: What a reader needs to judge it, such as the pooling.
    """

    value: float
    details: dict[str, Any]


@dataclass(frozen=True)
class SuiteTask(ABC):
    """What is run as one: a training and what is tested with it.

    Args:
        name: Such as `hashtag` or `ner`.
        metric: Its name.
        languages: Those that a run gives figures of.
        seeds: One run each.
    """

    name: str
    metric: str
    languages: tuple[str, ...]
    seeds: tuple[int, ...]

    @abstractmethod
    def options(self, model: Model) -> dict[str, Any]:
        """How a model is run, and a fingerprint of the data.

        A result of other options is never taken for this one's.
        """

    @abstractmethod
    def run(self, model: Model, seeds: tuple[int, ...]) -> Iterator[tuple[int, dict[str, Figure]]]:
        """Each seed with the figures by language, as they come."""


@dataclass(frozen=True)
class SuiteOptions:
    """What holds for all tasks of a suite.

    Args:
        languages: Codes; all that the data has where it is None.
        seeds: One run each; by default the papers': three, six for engagement.
        fine_tuning: Fields of `ClassificationConfig` (and of `ZeroShotConfig`) that are not to
            have the papers' values.
        pooling: Of frozen features; the model's own where it is None.
        hydration: Texts of benchmarks that have ids alone.
        device: `cpu` to leave an accelerator alone.
    """

    languages: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    fine_tuning: dict[str, Any] = field(default_factory=dict)
    pooling: str | None = None
    hydration: str | None = None
    device: str | None = None

    def wants(self, language: str) -> bool:
        """Whether a language (`en`, or a mixture such as `hi+en`) is asked for."""
        parts = {language, *language.split("+")}
        return self.languages is None or bool(parts & set(self.languages))


def without_seeds(config: Any) -> dict[str, Any]:
    """Fields of a config that a figure depends on; each seed has a file of its own."""
    return {name: value for name, value in asdict(config).items() if name not in _NOT_TOLD}


def run_tasks(
    models: Sequence[Model],
    tasks: Sequence[SuiteTask],
    output: str | os.PathLike[str],
    overwrite: bool = False,
) -> list[Results]:
    """Runs what has no result yet.

    Args:
        models: Those to judge.
        tasks: Of `twhin_hf.evaluation.suite.tasks`.
        output: Folder; `runs/MODEL/TASK-LANGUAGES/seed-N.json` in it are the results so far.
        overwrite: Run again what is there of other options or data.

    Returns:
        For each model and task the median over the seeds of each language.

    Raises:
        InputError: No model or task, one twice, or a result there that is of other options or
            data, which is not written over.
    """
    _check_names(models, tasks)
    states = {model: {"model_fingerprint": _state_of(model)} for model in models}
    options = {
        (model, number): _stored(task.options(model) | states[model])
        for model in models
        for number, task in enumerate(tasks)
    }
    for model in models:
        for number, task in enumerate(tasks):
            # Before anything long: a result of other options further on would stop the suite.
            _missing_seeds(model, task, options[model, number], Path(output), overwrite)
    found = []
    for model in models:
        for number, task in enumerate(tasks):
            told = options[model, number]
            missing = _missing_seeds(model, task, told, Path(output), overwrite)
            logger.info(
                "%s, %s (%s): %d of %d seeds to run",
                model.name,
                task.name,
                ", ".join(task.languages),
                len(missing),
                len(task.seeds),
            )
            if missing:
                for seed, figures in task.run(model, missing):
                    _write_run(model, task, seed, figures, told, Path(output))
            found.append(_collect(model, task, told, Path(output)))
    return found


def write_suite_results(
    suite: str,
    results: Sequence[Results],
    averages: Mapping[str, Mapping[str, float | None]],
    sources: Sequence[str],
    folder: str | os.PathLike[str],
    record: Mapping[str, Any] | None = None,
) -> Path:
    """Writes results.json of a whole suite.

    Args:
        suite: Its name.
        results: Of `run_tasks`.
        averages: Of each table, by model; None where a model lacks a figure.
        sources: Where the published figures are from that it is compared with.
        folder: Where.
        record: Of the command.
    """
    path = Path(folder) / "results.json"
    content = {
        "suite": suite,
        "evaluations": [asdict(item) for item in results],
        "averages": averages,
        "published": list(sources),
        "versions": library_versions(),
        "run": dict(record or {}),
    }
    write_json(path, content)
    return path


def _check_names(models: Sequence[Model], tasks: Sequence[SuiteTask]) -> None:
    if not models or not tasks:
        raise InputError(f"{len(models)} models and {len(tasks)} tasks; needed is one of each")
    for model in models:
        check_local_path(model.name)
    folders = [_slug(model) for model in models]
    if len(set(folders)) < len(folders):
        raise InputError(
            f"a model is named twice, or two have the same name: {[m.name for m in models]}"
        )


def _slug(model: Model) -> str:
    """A name for the model's folder: readable, and another for another model."""
    whole = model.name + (f"@{model.revision}" if model.revision else "")
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", whole).strip("-.")[-60:]
    return path_name(f"{readable}-{hashlib.blake2b(whole.encode(), digest_size=3).hexdigest()}")


def _state_of(model: Model) -> str | None:
    """A hash of what is in a model's folder; None for a repository, which its revision tells."""
    return model_fingerprint(model.name) if Path(model.name).is_dir() else None


def _run_file(model: Model, task: SuiteTask, seed: int, output: Path) -> Path:
    name = f"{task.name}-{'-'.join(task.languages)}"
    return output / "runs" / _slug(model) / path_name(name, "task") / f"seed-{seed}.json"


def _stored(options: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives them back, so that they can be compared."""
    return json.loads(json.dumps(options))


def _missing_seeds(
    model: Model, task: SuiteTask, options: dict[str, Any], output: Path, overwrite: bool = False
) -> tuple[int, ...]:
    missing = []
    for seed in task.seeds:
        path = _run_file(model, task, seed, output)
        if not path.is_file():
            missing.append(seed)
            continue
        changes = option_changes(read_results(path).options, options)
        if changes and not overwrite:
            raise other_options(path, changes.values())
        if changes:
            missing.append(seed)
    return tuple(missing)


def _write_run(
    model: Model,
    task: SuiteTask,
    seed: int,
    figures: dict[str, Figure],
    options: dict[str, Any],
    output: Path,
) -> None:
    rows = [
        Result(language, task.metric, figure.value, [seed], [figure.value], figure.details)
        for language, figure in figures.items()
    ]
    results = Results(task.name, model.name, rows, model.revision, options)
    write_results(results, _run_file(model, task, seed, output))


def _collect(model: Model, task: SuiteTask, options: dict[str, Any], output: Path) -> Results:
    """The median over the seeds of each language."""
    runs = [read_results(_run_file(model, task, seed, output)) for seed in task.seeds]
    rows = []
    for place, language in enumerate(task.languages):
        own = [run.results[place] for run in runs]
        values = [row.value for row in own]
        rows.append(
            Result(
                language,
                task.metric,
                float(np.median(values)),
                list(task.seeds),
                values,
                own[0].details,
            )
        )
    return Results(task.name, model.name, rows, model.revision, options, versions=runs[0].versions)


def figures_of(results: Iterable[Results]) -> Iterator[tuple[str, str, str, float]]:
    """Model, task, language and value of each figure."""
    for item in results:
        name = item.model + (f"@{item.revision}" if item.revision else "")
        for row in item.results:
            yield name, item.task, row.language, row.value
