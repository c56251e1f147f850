"""Metrics of text classification, by the names that the benchmarks' papers give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twhin_hf.errors import InputError
from twhin_hf.evaluation.sentiment import macro_f1

Metric = Callable[[Sequence[str], Sequence[str]], float]


def average_recall(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Mean of the recall of the labels in `gold` (SemEval-2017 Task 4A, ASAD).

    >>> average_recall(["good", "good", "bad", "bad"], ["good", "bad", "bad", "bad"])
    0.75
    """
    from sklearn.metrics import recall_score

    labels = sorted(set(gold))
    return float(recall_score(gold, predicted, labels=labels, average="macro", zero_division=0))


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Share of the texts whose label is right.

    >>> accuracy(["a", "b", "b", "c"], ["a", "b", "c", "c"])
    0.75
    """
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(gold, predicted))


def irony_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """F1 of the label `irony` alone (TweetEval)."""
    return _f1_of(("irony",), gold, predicted)


def stance_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Mean of the F1 of `against` and `favor`; `none` counts in their errors only (TweetEval)."""
    return _f1_of(("against", "favor"), gold, predicted)


def metric_named(name: str) -> Metric:
    """The metric of that name.

    Raises:
        InputError: There is none.
    """
    if name not in METRICS:
        raise InputError(f"metric is {name!r}; choose one of {list(METRICS)}")
    return METRICS[name]


def _f1_of(labels: Sequence[str], gold: Sequence[str], predicted: Sequence[str]) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(gold, predicted, labels=labels, average="macro", zero_division=0))


METRICS: dict[str, Metric] = {
    "macro F1": macro_f1,
    "average recall": average_recall,
    "accuracy": accuracy,
    "F1 of irony": irony_f1,
    "F1 of against and favor": stance_f1,
}
"""Each metric, 0 to 1, of true and predicted labels."""
