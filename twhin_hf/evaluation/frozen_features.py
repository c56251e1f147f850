"""Logistic regression on frozen vectors of texts.

TwHIN-BERT, Section 3.5 and Table 5: the encoder is not trained, a classifier on its vectors is. The
paper names neither the pooling nor the regularisation; here the pooling is stated in the result,
features are brought to mean 0 and variance 1 by the train split, and the strength of the L2
penalty is the one that is best on validation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twhin_hf.data.splits import SPLITS
from twhin_hf.errors import InputError
from twhin_hf.evaluation.classification import check_splits
from twhin_hf.evaluation.classification_metrics import metric_named
from twhin_hf.results import Result

if TYPE_CHECKING:
    from datasets import Dataset

    from twhin_hf.loading.text_encoders import TextEncoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureConfig:
    """How the classifier is trained; the paper names nothing of it.

    Args:
        inverse_penalties: The values of scikit-learn's `C` to choose from, by validation.
        max_iterations: Upper limit of the solver (L-BFGS).
    """

    inverse_penalties: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        if not self.inverse_penalties or min(self.inverse_penalties) <= 0:
            raise InputError(
                f"inverse_penalties={self.inverse_penalties}: at least one is needed, all above 0."
            )


@dataclass(frozen=True)
class FeatureResult:
    """Figures of one benchmark; there is no seed, as nothing is drawn.

    Args:
        value: The metric on test, 0 to 1.
        validation: The metric on validation with the same classifier.
        inverse_penalty: The `C` that is best on validation.
        setup: The class that made the features, their pooling and width, and texts per split.
    """

    value: float
    validation: float
    inverse_penalty: float
    setup: dict[str, Any]


def evaluate_features(
    encoder: TextEncoder,
    splits: Mapping[str, Dataset],
    metric: str,
    config: FeatureConfig | None = None,
) -> FeatureResult:
    """Trains a logistic regression on frozen vectors, and tests it.

    Args:
        encoder: Of `load_text_encoder`.
        splits: `train`, `validation` and `test` with `text` and `label`.
        metric: A name of `METRICS`.
        config: Penalties to choose from.

    Raises:
        InputError: As `evaluate_classification` says of splits and metric; vectors that hold NaN
            or infinity.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    config = config or FeatureConfig()
    score = metric_named(metric)
    named = check_splits(splits)
    vectors = {name: np.asarray(encoder.encode(named[name]["text"][:])) for name in SPLITS}
    for name, rows in vectors.items():
        bad = int((~np.isfinite(rows).all(axis=1)).sum())
        if bad:
            raise InputError(
                f"{bad:,} of {len(rows):,} vectors of the {name} split hold NaN or infinity; check "
                "the training of the encoder"
            )
    scaler = StandardScaler().fit(vectors["train"])
    features = {name: scaler.transform(rows) for name, rows in vectors.items()}
    labels = {name: named[name]["label"][:] for name in SPLITS}
    found = []
    for inverse_penalty in config.inverse_penalties:
        classifier = LogisticRegression(C=inverse_penalty, max_iter=config.max_iterations)
        classifier.fit(features["train"], labels["train"])
        figures = {
            name: score(labels[name], classifier.predict(features[name]).tolist())
            for name in SPLITS[1:]
        }
        logger.info("C = %g: %s %.4f on validation", inverse_penalty, metric, figures["validation"])
        found.append((figures["validation"], figures["test"], inverse_penalty))
    # The first of equals: the stronger penalty where they are in order.
    validation, value, inverse_penalty = max(found, key=lambda figures: figures[0])
    setup = {
        "class": encoder.kind,
        "pooling": encoder.pooling,
        "width": int(vectors["train"].shape[1]),
        "labels": len(set(labels["train"])),
        "texts": {name: len(labels[name]) for name in SPLITS},
    }
    return FeatureResult(value, validation, inverse_penalty, setup)


def feature_row(language: str, metric: str, result: FeatureResult) -> Result:
    """A row for `results.json`."""
    return Result(
        language=language,
        metric=f"{metric} (frozen features)",
        value=result.value,
        details={
            "validation": result.validation,
            "inverse_penalty": result.inverse_penalty,
            **result.setup,
        },
    )
