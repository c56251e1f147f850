"""The tasks of each suite, found in a folder of data.

- `twhin`: `engagement/`, `hashtag/` (or `hashtag-classification-id.zip`) and a folder for each
  external benchmark, named as in `twhin_hf.benchmarks.classification.benchmarks`
  (`semeval2018-es/`, or `semeval2018/` for all its languages).
- `tweeteval`: a folder a task (`emoji/`, …), as in TweetEval's `datasets`.
- `tpp`: `ner/`, `sentiment/` and `pos/`, each with `train/en.…` and `test/LANG.…`, and perhaps
  `labels.yaml` with new names of labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from twhin_hf.errors import InputError
from twhin_hf.evaluation.suite.classification import (
    external_tasks,
    hashtag_tasks,
    stance_tasks,
    tweeteval_tasks,
)
from twhin_hf.evaluation.suite.engagement import engagement_tasks
from twhin_hf.evaluation.suite.running import SuiteOptions, SuiteTask
from twhin_hf.evaluation.suite.zero_shot import zero_shot_tasks
from twhin_hf.evaluation.zero_shot import TASKS as ZERO_SHOT_METRICS

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
_TWEETEVAL = ("emoji", "emotion", "hate", "irony", "offensive", "sentiment")


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
        InputError: An unknown suite, or no task at all.
    """
    if suite not in SUITES:
        raise InputError(f"suite is {suite!r}; choose one of {SUITES}")
    root = Path(data)
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root}; it holds the data of the suite.")
    found = _tasks_by_name(suite, root, options)
    tasks = [task for own in found.values() for task in own]
    missing = [name for name, own in found.items() if not own]
    if not tasks:
        wanted = "" if options.languages is None else f" in {', '.join(options.languages)}"
        raise InputError(
            f"{root} holds no task of the suite {suite!r}{wanted}. Looked for were the folders "
            f"{', '.join(missing)}; found are "
            f"{', '.join(sorted(path.name for path in root.iterdir())) or 'none'}."
        )
    return tasks, missing


def _tasks_by_name(
    suite: str, root: Path, options: SuiteOptions
) -> Mapping[str, Sequence[SuiteTask]]:
    if suite == "tpp":
        return {task: zero_shot_tasks(root / task, task, options) for task in ZERO_SHOT_METRICS}
    if suite == "tweeteval":
        return {
            **{task: tweeteval_tasks(root / task, task, options) for task in _TWEETEVAL},
            "stance": stance_tasks(root / "stance", options),
        }
    return {
        "engagement": engagement_tasks(root / "engagement", options),
        "hashtag": hashtag_tasks(root, options),
        **{name: external_tasks(root, name, options) for name in EXTERNAL},
    }
