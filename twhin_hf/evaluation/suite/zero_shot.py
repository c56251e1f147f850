"""The tasks of the suite `tpp`: fine-tune on English, test on other languages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from twhin_hf.benchmarks.archives import list_files
from twhin_hf.benchmarks.layout import fingerprint
from twhin_hf.benchmarks.zero_shot.labels import read_label_map
from twhin_hf.benchmarks.zero_shot.readers import read_zero_shot
from twhin_hf.errors import InputError
from twhin_hf.evaluation.suite.running import Figure, Model, SuiteOptions, SuiteTask, without_seeds
from twhin_hf.evaluation.zero_shot import TASKS as METRICS
from twhin_hf.evaluation.zero_shot import ZeroShotConfig, evaluate_zero_shot

_SOURCE_LANGUAGE = "en"


@dataclass(frozen=True)
class ZeroShotTask(SuiteTask):
    """The transfer of one kind of labels; its name is that of the labels in `METRICS`.

    Args:
        folder: Of its data.
        train: File or folder in English.
        tests: Files or folders by language.
        config: The protocol.
    """

    folder: Path
    train: Path
    tests: dict[str, Path]
    config: ZeroShotConfig

    def options(self, model: Model) -> dict[str, Any]:
        """Options of a model: how it is run, and a fingerprint of the data."""
        files = [self.folder / name for name in sorted(list_files(self.folder))]
        return without_seeds(self.config) | {"data": fingerprint(files, {})}

    def run(self, model: Model, seeds: tuple[int, ...]) -> Iterator[tuple[int, dict[str, Figure]]]:
        """Runs the task; gives each seed with the figures by language, as they come."""
        path = self.folder / "labels.yaml"
        label_map = read_label_map([str(path)] if path.is_file() else [])
        left_out = Counter[str]()
        train = read_zero_shot(self.name, self.train, label_map, left_out=left_out)
        tests = {
            language: read_zero_shot(self.name, path, label_map, left_out=left_out)
            for language, path in self.tests.items()
        }
        skipped = {"left_out": dict(left_out)} if left_out else {}
        for seed in seeds:
            report = evaluate_zero_shot(
                self.name,
                model.name,
                train,
                tests,
                config=replace(self.config, seeds=(seed,)),
                revision=model.revision,
            )
            yield (
                seed,
                {
                    language: Figure(
                        result.values[0],
                        {**report.setup, **result.details, **skipped},
                    )
                    for language, result in report.results.items()
                },
            )


def zero_shot_tasks(folder: Path, task: str, options: SuiteOptions) -> list[ZeroShotTask]:
    """The transfer of one kind of labels to all languages asked for; none without its data.

    Args:
        folder: `train/en.…`, `test/LANG.…`, and perhaps `labels.yaml`.
        task: `ner`, `sentiment` or `pos`.
        options: Of the suite.

    Raises:
        InputError: Options of fine-tuning that zero-shot transfer has not.
    """
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
        raise InputError(f"{', '.join(unknown)} is no option of {task}; it has {sorted(names)}")
    config = replace(ZeroShotConfig(), **options.fine_tuning, device=options.device)
    config = replace(config, seeds=options.seeds or config.seeds)
    source = train[_SOURCE_LANGUAGE]
    return [
        ZeroShotTask(task, METRICS[task], tuple(tests), config.seeds, folder, source, tests, config)
    ]


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
