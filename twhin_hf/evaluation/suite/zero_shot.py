"""The tasks of the suite `tpp`: fine-tune on English, test on other languages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twhin_hf.evaluation.suite.running import Figure, Model, SuiteOptions, SuiteTask, without_seeds
from twhin_hf.evaluation.zero_shot import TASKS as METRICS
from twhin_hf.evaluation.zero_shot import ZeroShotConfig, evaluate_zero_shot

if TYPE_CHECKING:
    from datasets import Dataset

_SOURCE_LANGUAGE = "en"


def zero_shot_tasks(folder: Path, task: str, options: SuiteOptions) -> list[SuiteTask]:
    """The transfer of one kind of labels to all languages asked for; none without its data.

    Args:
        folder: `train/en.…`, `test/LANG.…`, and perhaps `labels.yaml`.
        task: `ner`, `sentiment` or `pos`.
        options: Of the suite.

    Raises:
        ValueError: Options of fine-tuning that zero-shot transfer has not.
    """
    from twhin_hf.benchmarks.archives import list_files
    from twhin_hf.benchmarks.layout import fingerprint

    train = _by_language(folder / "train")
    tests = {
        language: path
        for language, path in _by_language(folder / "test").items()
        if options.wants(language)
    }
    if _SOURCE_LANGUAGE not in train or not tests:
        return []
    names = {field.name for field in fields(ZeroShotConfig)} - {"seeds", "device"}
    unknown = sorted(options.fine_tuning.keys() - names)
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is no option of {task}; it has {sorted(names)}")
    config = replace(ZeroShotConfig(), **options.fine_tuning, device=options.device)
    config = replace(config, seeds=options.seeds or config.seeds)
    files = [folder / name for name in sorted(list_files(folder))]

    def told(model: Model) -> dict[str, Any]:
        return without_seeds(config) | {"data": fingerprint(files, {})}

    def run(model: Model, seeds: tuple[int, ...]) -> Iterator[tuple[int, dict[str, Figure]]]:
        label_map = _label_map(folder / "labels.yaml")
        source = _read_zero_shot(task, train[_SOURCE_LANGUAGE], label_map)
        sets = {name: _read_zero_shot(task, path, label_map) for name, path in tests.items()}
        for seed in seeds:
            report = evaluate_zero_shot(
                task,
                model.name,
                source,
                sets,
                config=replace(config, seeds=(seed,)),
                revision=model.revision,
            )
            yield (
                seed,
                {
                    language: Figure(result.values[0], {**report.setup, **result.details})
                    for language, result in report.results.items()
                },
            )

    return [SuiteTask(task, METRICS[task], tuple(tests), config.seeds, told, run)]


def _by_language(folder: Path) -> dict[str, Path]:
    """Files or folders by the language that their names begin with; files of labels are not."""
    if not folder.is_dir():
        return {}
    found = {}
    for path in sorted(folder.iterdir()):
        code = re.match(r"[a-z]{2,3}(?![a-z])", path.name)
        if code and not path.name.endswith("labels.txt"):
            found[code.group()] = path
    return found


def _read_zero_shot(task: str, path: Path, label_map: dict[str, str]) -> Dataset:
    from twhin_hf.benchmarks.zero_shot.readers import read_entities, read_pos, read_sentiment

    if task == "ner":
        return read_entities(path, label_map)
    if task == "pos":
        return read_pos(path)
    return read_sentiment(path, label_map, drop=("neutral",))


def _label_map(path: Path) -> dict[str, str]:
    import yaml

    if not path.is_file():
        return {}
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no `OLD: NEW` lines")
    return {str(old): str(new) for old, new in content.items()}
