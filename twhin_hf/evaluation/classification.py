"""Fine-tuning on a text classification benchmark.

The protocol of TwHIN-BERT (Zhang et al., KDD 2023, Section 3.3 and Table 9): a linear layer on the
pooled output of the last layer, all weights trained for up to 30 epochs, the epoch that is best on
the development set is tested, and the median of three seeds is reported.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twhin_hf.data.splits import SPLITS
from twhin_hf.errors import InputError
from twhin_hf.evaluation.classification_config import ClassificationConfig
from twhin_hf.evaluation.classification_metrics import metric_named
from twhin_hf.evaluation.fine_tuning import fine_tune
from twhin_hf.results import Result

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_LARGE_HIDDEN_SIZE = 1024


@dataclass(frozen=True)
class Recipe:
    """Learning rates and weight decay of a benchmark (Table 9); the batch size is always 128.

    Args:
        base_learning_rate: Of base models, without weight decay.
        large_learning_rate: Of TwHIN-BERT-large.
        large_weight_decay: Of TwHIN-BERT-large.
    """

    base_learning_rate: float
    large_learning_rate: float
    large_weight_decay: float


RECIPES = {
    "hashtag": Recipe(4e-5, 2e-5, 0.0),
    "semeval2017": Recipe(4e-5, 2e-5, 0.0),
    "semeval2018": Recipe(1e-5, 1e-5, 5e-4),
    "asad": Recipe(1e-5, 1e-5, 5e-4),
    "covid-ja": Recipe(2e-5, 1e-5, 0.0),
    "semeval2020": Recipe(2e-5, 1e-5, 5e-4),
}
"""Table 9 of the paper."""
# TweetEval's emoji is SemEval-2018 Task 2, its sentiment SemEval-2017 Task 4A.
_SAME = {"tweeteval-emoji": "semeval2018", "tweeteval-sentiment": "semeval2017"}


@dataclass(frozen=True)
class ClassificationRun:
    """One seed of one fine-tuning.

    Args:
        value: The metric on test at the best epoch, 0 to 1.
        validation: The metric on validation at that epoch.
        best_epoch: Counted from 1.
        epochs: Epochs that were run.
        setup: The class that was fine-tuned, what of a text it reads, its weights that the
            checkpoint did not hold, how many labels, the longest text, and texts of test cut off.
    """

    value: float
    validation: float
    best_epoch: int
    epochs: int
    setup: dict[str, Any]


def recipe_config(benchmark: str, model: str, revision: str | None = None) -> ClassificationConfig:
    """The paper's values for a benchmark and a model of that size.

    Args:
        benchmark: A key of `RECIPES`, or a benchmark's name: `semeval2018-es` and
            `tweeteval-emoji` mean `semeval2018`. The values for hashtags where the paper has none.
        model: Folder or repository; a hidden size of 1,024 or more makes it a large one.
        revision: Revision of the repository.
    """
    # Late: it imports torch, which this module does without.
    from twhin_hf.loading.auto import load_config

    name = _SAME.get(benchmark, benchmark)
    recipe = RECIPES.get(name) or RECIPES.get(name.partition("-")[0], RECIPES["hashtag"])
    hidden_size = load_config(model, revision).hidden_size
    if hidden_size < _LARGE_HIDDEN_SIZE:
        return ClassificationConfig(learning_rate=recipe.base_learning_rate)
    return ClassificationConfig(
        learning_rate=recipe.large_learning_rate, weight_decay=recipe.large_weight_decay
    )


def evaluate_classification(
    model: str,
    splits: Mapping[str, Dataset],
    metric: str,
    config: ClassificationConfig | None = None,
    *,
    revision: str | None = None,
) -> list[ClassificationRun]:
    """Fine-tunes and tests once for each seed.

    Args:
        model: Folder or repository; it is loaded without remote code.
        splits: `train`, `validation` and `test` with `text` and `label` (strings or `ClassLabel`).
        metric: A name of `METRICS`; by it the epoch is chosen, and it is reported.
        config: The paper's protocol by default.
        revision: Revision of the repository.

    Returns:
        A run a seed, in the order of the seeds.

    Raises:
        InputError: An unknown metric, a split that is missing or empty, other columns, fewer than
            two labels, a label that training has not seen, a tokenizer that does not fit the model
            or a `max_length` beyond the model's.
    """
    config = config or ClassificationConfig()
    score = metric_named(metric)
    named = check_splits(splits)
    labels = sorted(set(named["train"]["label"]))
    names = np.array(labels)

    def judge(gold: np.ndarray, predicted: np.ndarray) -> float:
        return score(names[gold].tolist(), names[predicted].tolist())

    runs = []
    for run in fine_tune(
        model,
        labels,
        named["train"],
        {"test": named["test"]},
        config,
        is_sequence=True,
        validation=named["validation"],
        judge=judge,
        patience=config.patience,
        revision=revision,
    ):
        value = judge(run.gold["test"], run.predicted["test"])
        best = int(np.argmax(run.history))
        logger.info(
            "seed %d: %s %.4f (validation %.4f, epoch %d)",
            run.seed,
            metric,
            value,
            run.history[best],
            best + 1,
        )
        setup = run.setup | {
            "labels": len(labels),
            "texts": {name: len(dataset) for name, dataset in named.items()},
            "texts_cut": sum(run.encoded["test"]["cut"]),
            "max_length": run.max_length,
        }
        runs.append(ClassificationRun(value, run.history[best], best + 1, len(run.history), setup))
    return runs


def classification_row(
    language: str,
    metric: str,
    runs: list[ClassificationRun],
    seeds: tuple[int, ...],
    **details: Any,
) -> Result:
    """A row for `results.json`: the median over the seeds, with each seed's value."""
    values = [run.value for run in runs]
    return Result(
        language=language,
        metric=metric,
        value=float(np.median(values)),
        seeds=list(seeds),
        values=values,
        details={
            "validation": [run.validation for run in runs],
            "best_epochs": [run.best_epoch for run in runs],
            **runs[0].setup,
            **details,
        },
    )


def check_splits(splits: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """The three splits with string columns `text` and `label`, checked before anything long.

    Raises:
        InputError: As `evaluate_classification` says of splits, columns and labels.
    """
    missing = [name for name in SPLITS if name not in splits]
    if missing:
        raise InputError(
            f"there is no {' and no '.join(missing)} split; found are {list(splits)}, needed are "
            f"{list(SPLITS)}"
        )
    for name in SPLITS:
        columns = splits[name].column_names
        if not {"text", "label"} <= set(columns) or not len(splits[name]):
            raise InputError(
                f"the {name} split has {len(splits[name])} rows of {columns}; needed are text and "
                "label, and at least one row"
            )
    named = {name: with_label_names(splits[name]) for name in SPLITS}
    seen = Counter(named["train"]["label"])
    if len(seen) < 2:
        raise InputError(f"the training set has the labels {sorted(seen)}; at least two are needed")
    for name in SPLITS[1:]:
        unseen = Counter(named[name]["label"]).keys() - seen.keys()
        if unseen:
            raise InputError(
                f"the {name} split has {len(unseen)} labels that training has not seen: "
                f"{', '.join(sorted(unseen)[:5])}. Take these texts out, or move some to train."
            )
    return named


def with_label_names(dataset: Dataset) -> Dataset:
    """Columns `text` and `label` with the labels' names where they are a `ClassLabel`'s numbers."""
    import pyarrow as pa
    from datasets import ClassLabel, Dataset

    feature = dataset.features["label"]
    table = dataset.with_format("arrow")[:]
    labels = table["label"]
    if isinstance(feature, ClassLabel):
        labels = pa.chunked_array([pa.array(feature.names)]).take(labels)
    return Dataset(pa.table({"text": table["text"], "label": labels.cast(pa.string())}))
