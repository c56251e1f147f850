"""Engagement prediction: does a frozen post embedding tell who will engage with a post?

The protocol of TwHIN-BERT (Zhang et al., KDD 2023, Section 3.2): two linear projections bring a
user's network vector and a post's frozen text features into one space,

    h_u = W_uᵀ e_u,   h_t = W_tᵀ e_t,   P(u engages with t) = σ(h_uᵀ h_t),

they are trained with negatives drawn in proportion to the posts' frequency^¾, the epoch that is
best on the validation posts is kept, and each engaged test post is ranked among 1,000.

The paper does not say whether a post's features are brought to length 1, which may decide more than
the encoder does. Both are tried, for every encoder alike, and validation chooses; so it does among
several feature sets. The test posts are ranked once, for what was chosen.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Protocol

import numpy as np
import torch

from twhin_hf.benchmarks.engagement.benchmark import EngagementBenchmark, Records
from twhin_hf.devices import pick_device
from twhin_hf.errors import InputError
from twhin_hf.evaluation.engagement_results import EngagementResult as EngagementResult
from twhin_hf.evaluation.engagement_results import averaged_languages
from twhin_hf.evaluation.engagement_results import engagement_rows as engagement_rows
from twhin_hf.loading.text_encoders import TextEncoder, length_normalized
from twhin_hf.recommendation.engagement_config import EngagementConfig
from twhin_hf.recommendation.predictor import (
    EngagementPredictor,
    Standardization,
    check_finite,
    one_thread_an_operation,
    rows_to_try,
    train_predictor,
)
from twhin_hf.recommendation.ranking import CandidateSets

logger = logging.getLogger(__name__)

FEWEST_CANDIDATES = 20
MOST_CHOICE_RECORDS = 30_000
"""Most validation engagements by which rows and features are chosen."""
CHOICE_SEEDS = 2
"""Runs by which they are chosen: the first seeds. The others are run with what was chosen."""


class Encoder(Protocol):
    """What is asked of a model: `encode(texts, pooling=…)` gives features [texts, width]."""

    @property
    def encode(self) -> Callable[..., Any]:
        """Encodes texts."""


def predict_engagement(
    user_vectors: np.ndarray,
    post_features: np.ndarray,
    records: Mapping[str, Records],
    config: EngagementConfig | None = None,
    *,
    pools: Mapping[str, np.ndarray] | None = None,
    known: Records | None = None,
) -> EngagementResult:
    """Train and judge the predictor on arrays alone, one run per seed.

    Args:
        user_vectors: Network vectors [users, user width].
        post_features: Frozen text features [posts, post width].
        records: Engagements of the splits `train`, `validation` and `test`.
        config: The paper's protocol by default.
        pools: Post rows of `validation` and `test` from which negatives are drawn; the posts of
            that split's records where none are given.
        known: All engagements of the users: never drawn as a candidate, and those with validation
            posts choose the rows. The records of the three splits where none are given.

    Raises:
        InputError: Features hold NaN or inf, a split has no record, a post is in two splits, or
            the test split has fewer than 20 candidates.
    """
    task = _Task(user_vectors, records, config or EngagementConfig(), pools, known)
    return task.test(task.fit(post_features), post_features)


@dataclass(frozen=True)
class _Fit:
    """Predictors of one feature set, and what chose them.

    Args:
        rows: `raw` or `normalized`.
        models: One per seed that was run, at its best epoch.
        best_epochs: Counted from 1.
        validation: Validation MRR of the rows that were tried, the mean over these seeds.
    """

    rows: str
    models: list[EngagementPredictor]
    best_epochs: list[int]
    validation: dict[str, float]

    @property
    def figure(self) -> float:
        """Validation MRR of these rows."""
        return self.validation[self.rows]


class _Task:
    """One language: users, records and candidates that are the same for all features."""

    def __init__(
        self,
        user_vectors: np.ndarray,
        records: Mapping[str, Records],
        config: EngagementConfig,
        pools: Mapping[str, np.ndarray] | None,
        known: Records | None,
    ):
        self.config, self.records, self.user_vectors = config, records, user_vectors
        self.pools = {
            split: np.unique(pools[split] if pools else records[split].posts)
            for split in ("validation", "test")
        }
        check_finite("user vectors", user_vectors)
        _check_records(records, self.pools, config)
        self.known = known or Records.concatenate(list(records.values()))

    @cached_property
    def validation(self) -> CandidateSets:
        """Chooses the epoch, as in the paper."""
        return self._candidates(self.records["validation"], "validation")

    @cached_property
    def choice(self) -> CandidateSets:
        """Chooses rows and features: all validation engagements, as so few records are noisy."""
        every = self.known.restrict_to(self.pools["validation"])
        if len(every) <= len(self.records["validation"]):
            return self.validation
        if len(every) > MOST_CHOICE_RECORDS:
            drawn = np.random.default_rng(self.config.candidate_seed).permutation(len(every))
            every = every.where(np.sort(drawn[:MOST_CHOICE_RECORDS]))
        return self._candidates(every, "validation")

    @cached_property
    def test_sets(self) -> CandidateSets:
        """Made when they are needed first: nothing that chooses sees them."""
        return self._candidates(self.records["test"], "test")

    def _candidates(self, records: Records, split: str) -> CandidateSets:
        config = self.config
        return CandidateSets(
            records, self.pools[split], self.known, config.num_candidates, config.candidate_seed
        )

    def fit(self, features: np.ndarray) -> _Fit:
        """Predictors on raw or normalised rows, whichever are better on validation."""
        check_finite("post features", features)
        seeds = self.config.seeds[:CHOICE_SEEDS]
        tried = [self._fit(features, rows, seeds) for rows in rows_to_try(features, self.config)]
        best = max(tried, key=lambda fit: fit.figure)
        figures = {fit.rows: fit.figure for fit in tried}
        return _Fit(best.rows, best.models, best.best_epochs, figures)

    def _tables(self, features: np.ndarray, rows: str) -> tuple[torch.Tensor, torch.Tensor]:
        """What the predictor reads of users [users, ·] and posts [posts, ·]."""
        read = length_normalized(features) if rows == "normalized" else features
        train, config = self.records["train"], self.config
        sides = ((self.user_vectors, train.users), (read, train.posts))
        standardized = (
            Standardization.fit(values, np.unique(rows), config).apply(values)
            for values, rows in sides
        )
        users, posts = (table.to(pick_device(config.device)) for table in standardized)
        return users, posts

    def _fit(self, features: np.ndarray, rows: str, seeds: Sequence[int]) -> _Fit:
        users, posts = self._tables(features, rows)
        validation, choice = self.validation, self.choice

        def run(seed: int) -> tuple[EngagementPredictor, int, float]:
            model, epoch = train_predictor(
                users, posts, self.records["train"], validation, self.config, seed
            )
            return model, epoch, float(model.rank(users, posts, choice).reciprocal().mean())

        with one_thread_an_operation(), ThreadPoolExecutor(os.cpu_count()) as workers:
            models, epochs, figures = zip(*workers.map(run, seeds), strict=True)
        logger.debug("%s rows: validation MRR %s, epochs %s", rows, figures, epochs)
        return _Fit(rows, list(models), list(epochs), {rows: float(np.mean(figures))})

    def test(self, fit: _Fit, features: np.ndarray) -> EngagementResult:
        """Runs the seeds that are left on the features of a fit, and ranks the test posts, once."""
        models, epochs = fit.models, fit.best_epochs
        if left := self.config.seeds[len(models) :]:
            others = self._fit(features, fit.rows, left)
            models, epochs = models + others.models, epochs + others.best_epochs
        users, posts = self._tables(features, fit.rows)
        with one_thread_an_operation():
            found = [model.rank(users, posts, self.test_sets) for model in models]
        hits = [ranked.hits(self.config.hits_at) for ranked in found]
        reciprocal = [ranked.reciprocal() for ranked in found]
        return EngagementResult(
            hits=tuple(float(values.mean()) for values in hits),
            mrr=tuple(float(values.mean()) for values in reciprocal),
            seeds=tuple(self.config.seeds),
            best_epochs=tuple(epochs),
            num_candidates=float(self.test_sets.sizes.mean()),
            num_records={
                **{split: len(self.records[split]) for split in ("train", *self.pools)},
                "choice": len(self.choice.records),
            },
            rows=fit.rows,
            validation=fit.validation,
            records=self.records["test"],
            candidates=self.test_sets.sizes,
            hits_by_record=np.stack(hits).astype(np.float32),
            reciprocal_ranks=np.stack(reciprocal).astype(np.float32),
        )


def _check_records(
    records: Mapping[str, Records], pools: Mapping[str, np.ndarray], config: EngagementConfig
) -> None:
    for split in ("train", "validation", "test"):
        if not len(records[split]):
            raise InputError(
                f"The {split} split has no engagement record. "
                "Give more posts or engagements, or another split seed.",
                faq="too-little-to-judge",
            )
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = np.intersect1d(
            pools.get(first, records[first].posts), pools.get(second, records[second].posts)
        )
        if len(shared):
            raise InputError(
                f"{len(shared):,} posts are both in {first} and in {second} (row {shared[0]} for "
                "one). Split by post: each post belongs to one split."
            )
    for split, pool in pools.items():
        outside = np.setdiff1d(records[split].posts, pool)
        if len(outside):
            raise InputError(
                f"{len(outside):,} posts of the {split} records are not among the posts to rank "
                f"(row {outside[0]} for one). Give pools that hold every post of their split."
            )
    if len(pools["test"]) < FEWEST_CANDIDATES:
        raise InputError(
            f"The test split has {len(pools['test'])} posts; at least {FEWEST_CANDIDATES} are "
            f"needed to rank among (the paper ranks {config.num_candidates:,}). Give more posts.",
            faq="too-little-to-judge",
        )
    if len(pools["test"]) < config.num_candidates:
        _warn_of_few(len(pools["test"]), config.num_candidates)


@cache
def _warn_of_few(num_posts: int, num_candidates: int) -> None:
    """Once a split: each encoder that is compared is judged on the same."""
    logger.warning(
        "The test split has %s posts: each engaged post is ranked among these, not among %s.",
        f"{num_posts:,}",
        f"{num_candidates:,}",
    )


def evaluate_engagement(
    model: Encoder | TextEncoder,
    benchmark: EngagementBenchmark,
    config: EngagementConfig | None = None,
    **encode_options: Any,
) -> dict[str, EngagementResult]:
    """Runs the protocol on each language with features of a frozen model.

    Args:
        model: One of our models, whose `encode(texts, pooling="combined")` is called once, with all
            posts; or an encoder of `load_text_encoder`, which has its options already.
        benchmark: Posts, splits, records and user vectors.
        config: Options of the predictor (default: the paper's protocol).
        **encode_options: Options of a model's `encode` (`pooling`, `batch_size`, `max_length`).

    Returns:
        One result per language; those of too few posts or records are left out, which is said.

    Raises:
        InputError: The model gives another number of rows than there are posts, no language can
            be judged (see `predict_engagement`), or options for an encoder that has them.
    """
    if isinstance(model, TextEncoder):
        if encode_options:
            raise InputError(
                f"{', '.join(encode_options)}: this encoder has its options already; give them to "
                "load_text_encoder"
            )
        encoded = model.encode(benchmark.texts)
    else:
        encoded = model.encode(benchmark.texts, **{"pooling": "combined", **encode_options})
    return evaluate_post_features(np.asarray(encoded, dtype=np.float32), benchmark, config)


def evaluate_post_features(
    features: np.ndarray, benchmark: EngagementBenchmark, config: EngagementConfig | None = None
) -> dict[str, EngagementResult]:
    """The same with features that are there already, float32 `[posts, width]`.

    Raises:
        InputError: As `evaluate_engagement`.
    """
    return choose_features({"": features}, benchmark, config).results


@dataclass(frozen=True)
class FeatureChoice:
    """The feature set that validation has chosen, and its figures on test.

    Args:
        chosen: Its name.
        validation: Validation MRR of every set: the mean over the seeds that choose and over the
            languages of the average, with the better rows.
        results: Test figures of the chosen one by language.
    """

    chosen: str
    validation: dict[str, float]
    results: dict[str, EngagementResult]


def choose_features(
    sets: Mapping[str, np.ndarray],
    benchmark: EngagementBenchmark,
    config: EngagementConfig | None = None,
) -> FeatureChoice:
    """Judges the feature set that is best on validation; the test posts see no other.

    Args:
        sets: Features of the benchmark's posts by name, float32 `[posts, width]` each; the first
            of equals is taken. `side_by_side` makes one of several.
        benchmark: Posts, splits, records and user vectors.
        config: Options of the predictor.

    Raises:
        InputError: No set, a set without a row for each post, or as `predict_engagement`; a
            language of too few posts or records is left out, unless it is the only one.

    Example:
        >>> choice = choose_features(  # doctest: +SKIP
        ...     {"mean": mean, "mean + TF-IDF": side_by_side(mean, tfidf)}, benchmark
        ... )
    """
    config = config or EngagementConfig()
    if not sets:
        raise InputError("No feature set was given to choose from; give one at least.")
    for features in sets.values():
        if features.ndim != 2 or len(features) != len(benchmark.texts):
            raise InputError(
                f"The model gave features of shape {list(features.shape)} for "
                f"{len(benchmark.texts):,} posts; one row per post is needed."
            )
    tasks = _tasks(benchmark, config)
    fits = {
        name: {language: task.fit(features) for language, task in tasks.items()}
        for name, features in sets.items()
    }
    averaged = averaged_languages(
        {language: float(task.choice.sizes.mean()) for language, task in tasks.items()}, config
    )
    figures = {
        name: float(np.mean([by_language[language].figure for language in averaged]))
        for name, by_language in fits.items()
    }
    chosen = max(figures, key=lambda name: figures[name])
    results = {
        language: task.test(fits[chosen][language], sets[chosen])
        for language, task in tasks.items()
    }
    return FeatureChoice(chosen, figures, results)


def _tasks(benchmark: EngagementBenchmark, config: EngagementConfig) -> dict[str, _Task]:
    """The languages that can be judged: a few posts in another one stop no comparison."""
    found = {language: _task(benchmark, language, config) for language in benchmark.language_names}
    tasks = {language: task for language, task in found.items() if isinstance(task, _Task)}
    reasons = {name: error for name, error in found.items() if isinstance(error, InputError)}
    if not tasks:
        if len(reasons) == 1:
            raise next(iter(reasons.values()))
        said = " ".join(f"Language {language}: {reason}" for language, reason in reasons.items())
        raise InputError(said, faq="too-little-to-judge")
    for language, reason in reasons.items():
        num_posts = int((benchmark.languages == language).sum())
        _warn_of_left_out(language, num_posts, str(reason))
    return tasks


def _task(
    benchmark: EngagementBenchmark, language: str, config: EngagementConfig
) -> _Task | InputError:
    """The task of a language, or why there is too little to judge by."""
    try:
        return _Task(
            benchmark.user_vectors,
            benchmark.records_of(language),
            config,
            benchmark.pools_of(language),
            benchmark.known,
        )
    except InputError as error:
        if error.faq != "too-little-to-judge":
            raise
        return error


@cache
def _warn_of_left_out(language: str, num_posts: int, reason: str) -> None:
    """Once a language: each encoder that is compared is judged on the others."""
    logger.warning(
        "Language %s (%s posts) is too small to judge and left out of the figures. %s",
        language,
        f"{num_posts:,}",
        reason,
    )
