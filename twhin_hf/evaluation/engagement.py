"""Engagement prediction: does a frozen post embedding tell who will engage with a post?

The protocol of TwHIN-BERT (Zhang et al., KDD 2023, Section 3.2): two linear projections bring a
user's network vector and a post's frozen text features into one space,

    h_u = W_uᵀ e_u,   h_t = W_tᵀ e_t,   P(u engages with t) = σ(h_uᵀ h_t),

they are trained with negatives drawn in proportion to the posts' frequency^¾, the epoch that is
best on the validation posts is kept, and each engaged test post is ranked among 1,000.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from twhin_hf.benchmarks.engagement.benchmark import EngagementBenchmark, Records
from twhin_hf.devices import pick_device
from twhin_hf.evaluation.engagement_config import EngagementConfig
from twhin_hf.evaluation.ranking import CandidateSets, hits_and_mrr, ranks
from twhin_hf.evaluation.text_encoders import TextEncoder
from twhin_hf.results import Result

logger = logging.getLogger(__name__)

FEWEST_CANDIDATES = 20


@dataclass(frozen=True)
class EngagementResult:
    """Figures of one language, one value per seed.

    Args:
        hits: HITS@k of each run, 0 to 1.
        mrr: Mean reciprocal rank of each run, 0 to 1.
        best_epochs: The epoch that was kept in each run, counted from 1.
        num_candidates: Posts actually ranked for a test record, the engaged one included; the
            mean over the records, as a user's other engaged posts are never candidates.
        num_records: Records of each split.
    """

    hits: tuple[float, ...]
    mrr: tuple[float, ...]
    best_epochs: tuple[int, ...]
    num_candidates: float
    num_records: dict[str, int]


class Encoder(Protocol):
    """What is asked of a model: `encode(texts, pooling=…)` gives features [texts, width]."""

    @property
    def encode(self) -> Callable[..., Any]:
        """Encodes texts."""


def engagement_loss(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """`−[log σ(h_uᵀh_t) + E_{t'~P_n} log σ(−h_uᵀh_t')]`, the mean over the records.

    Args:
        positive: Scores of the engaged posts [batch].
        negative: Scores of posts drawn from P_n [batch, negatives].
    """
    engaged = functional.logsigmoid(positive)
    drawn = functional.logsigmoid(-negative).mean(dim=1)
    return -(engaged + drawn).mean()


def prevalence(posts: np.ndarray, power: float) -> tuple[np.ndarray, np.ndarray]:
    """P_n of the negatives: each post of the records, and `frequency^power`, adding up to 1."""
    rows, frequency = np.unique(posts, return_counts=True)
    weights = frequency.astype(np.float64) ** power
    return rows, weights / weights.sum()


class EngagementPredictor(torch.nn.Module):
    """The two projections; `P(engagement) = σ(h_uᵀ h_t)`.

    Args:
        user_width: Width of the users' vectors.
        post_width: Width of the posts' features.
        projection_size: Width of `h_u` and `h_t`.
        generator: Draws the first weights.
    """

    def __init__(
        self, user_width: int, post_width: int, projection_size: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.user = torch.nn.Linear(user_width, projection_size, bias=False)
        self.post = torch.nn.Linear(post_width, projection_size, bias=False)
        for linear in (self.user, self.post):
            bound = linear.in_features**-0.5
            torch.nn.init.uniform_(linear.weight, -bound, bound, generator=generator)

    def loss(self, users: torch.Tensor, engaged: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Loss of users [batch, ·] with engaged posts [batch, ·], drawn posts [negatives, ·]."""
        h_user, h_engaged, h_drawn = self.user(users), self.post(engaged), self.post(drawn)
        return engagement_loss((h_user * h_engaged).sum(dim=1), h_user @ h_drawn.T)

    @torch.inference_mode()
    def rank(
        self, users: torch.Tensor, posts: torch.Tensor, candidates: CandidateSets
    ) -> np.ndarray:
        """Rank of each record's engaged post; `users` and `posts` are the whole feature tables."""
        h_posts = self.post(posts[torch.from_numpy(candidates.pool)])
        found = []
        for number, block in enumerate(candidates.blocks()):
            rows = torch.from_numpy(candidates.records.users[block])
            scores = (self.user(users[rows]) @ h_posts.T).cpu().numpy()
            engaged = scores[np.arange(len(scores)), candidates.columns[block]]
            found.append(ranks(engaged, scores, candidates.mask(number)))
        return np.concatenate(found)


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
        known: All engagements of the users: never drawn as a candidate. The records of the three
            splits where none are given.

    Raises:
        ValueError: Features hold NaN or inf, a split has no record, a post is in two splits, or
            the test split has fewer than 20 candidates.
    """
    config = config or EngagementConfig()
    pools = {
        split: np.unique(pools[split] if pools else records[split].posts)
        for split in ("validation", "test")
    }
    _check_input(user_vectors, post_features, records, pools, config)
    known = known or Records.concatenate(list(records.values()))
    sets = {
        split: CandidateSets(
            records[split], pools[split], known, config.num_candidates, config.candidate_seed
        )
        for split in pools
    }
    train = records["train"]
    users = _features(user_vectors, np.unique(train.users), config)
    posts = _features(post_features, np.unique(train.posts), config)
    with _one_thread_an_operation(), ThreadPoolExecutor(os.cpu_count()) as workers:
        runs = list(
            workers.map(lambda seed: _run(users, posts, train, sets, config, seed), config.seeds)
        )
    return EngagementResult(
        hits=tuple(hits for hits, _, _ in runs),
        mrr=tuple(mrr for _, mrr, _ in runs),
        best_epochs=tuple(epoch for _, _, epoch in runs),
        num_candidates=sets["test"].mean_size,
        num_records={split: len(records[split]) for split in ("train", *pools)},
    )


@contextmanager
def _one_thread_an_operation() -> Iterator[None]:
    """The matrices are small: a thread a run beats several threads a product, by far on busy cores.

    It also makes the figures independent of the number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(
    users: torch.Tensor,
    posts: torch.Tensor,
    train: Records,
    sets: Mapping[str, CandidateSets],
    config: EngagementConfig,
    seed: int,
) -> tuple[float, float, int]:
    """One seed: HITS@k and MRR on test at the epoch with the best validation MRR."""
    generator = torch.Generator().manual_seed(seed)
    model = EngagementPredictor(
        users.shape[1], posts.shape[1], config.projection_size, generator
    ).to(pick_device(config.device))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    train_users, train_posts = torch.from_numpy(train.users), torch.from_numpy(train.posts)
    drawable, weights = map(torch.from_numpy, prevalence(train.posts, config.negative_power))
    best = (-1.0, 0, 0.0, 0.0)
    for epoch in range(1, config.max_epochs + 1):
        for batch in torch.randperm(len(train), generator=generator).split(
            config.records_per_batch
        ):
            drawn = torch.multinomial(
                weights, config.num_negatives, replacement=True, generator=generator
            )
            loss = model.loss(
                users[train_users[batch]], posts[train_posts[batch]], posts[drawable[drawn]]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        validation = hits_and_mrr(model.rank(users, posts, sets["validation"]), config.hits_at)[1]
        if validation > best[0]:
            test = hits_and_mrr(model.rank(users, posts, sets["test"]), config.hits_at)
            best = (validation, epoch, *test)
        elif epoch - best[1] >= config.patience:
            break
    _, epoch, hits, mrr = best
    logger.debug("seed %d: epoch %d, HITS@%d %.4f", seed, epoch, config.hits_at, hits)
    return hits, mrr, epoch


def _features(values: np.ndarray, train_rows: np.ndarray, config: EngagementConfig) -> torch.Tensor:
    """Float32 features on the device, standardised by the rows that training sees."""
    features = torch.from_numpy(np.array(values, dtype=np.float32))
    if config.standardize:
        seen = features[torch.from_numpy(train_rows)]
        deviation, mean = torch.std_mean(seen, dim=0, correction=0)
        # A dimension that never changes in training carries nothing: keep it from blowing up.
        deviation[deviation < 1e-6] = torch.inf
        features = (features - mean) / deviation
    return features.to(pick_device(config.device))


def _check_input(
    user_vectors: np.ndarray,
    post_features: np.ndarray,
    records: Mapping[str, Records],
    pools: Mapping[str, np.ndarray],
    config: EngagementConfig,
) -> None:
    for name, values in (("user vectors", user_vectors), ("post features", post_features)):
        bad = int((~np.isfinite(values).all(axis=1)).sum())
        if bad:
            raise ValueError(
                f"{bad:,} of {len(values):,} rows of the {name} hold NaN or infinity. "
                "Check the training that made them; the evaluation needs finite numbers."
            )
    for split in ("train", "validation", "test"):
        if not len(records[split]):
            raise ValueError(
                f"The {split} split has no engagement record. "
                "Give more posts or engagements, or another split seed."
            )
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = np.intersect1d(
            pools.get(first, records[first].posts), pools.get(second, records[second].posts)
        )
        if len(shared):
            raise ValueError(
                f"{len(shared):,} posts are both in {first} and in {second} (row {shared[0]} for "
                "one). Split by post: each post belongs to one split."
            )
    for split, pool in pools.items():
        outside = np.setdiff1d(records[split].posts, pool)
        if len(outside):
            raise ValueError(
                f"{len(outside):,} posts of the {split} records are not among the posts to rank "
                f"(row {outside[0]} for one). Give pools that hold every post of their split."
            )
    if len(pools["test"]) < FEWEST_CANDIDATES:
        raise ValueError(
            f"The test split has {len(pools['test'])} posts; at least {FEWEST_CANDIDATES} are "
            f"needed to rank among (the paper ranks {config.num_candidates:,}). Give more posts."
        )
    if len(pools["test"]) < config.num_candidates:
        logger.warning(
            "The test split has %s posts: each engaged post is ranked among these, not among %s.",
            f"{len(pools['test']):,}",
            f"{config.num_candidates:,}",
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
        One result per language.

    Raises:
        ValueError: The model gives another number of rows than there are posts, a language
            cannot be judged (see `predict_engagement`), or options for an encoder that has them.
    """
    if isinstance(model, TextEncoder):
        if encode_options:
            raise ValueError(
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
        ValueError: As `evaluate_engagement`.
    """
    if features.ndim != 2 or len(features) != len(benchmark.texts):
        raise ValueError(
            f"The model gave features of shape {list(features.shape)} for "
            f"{len(benchmark.texts):,} posts; one row per post is needed."
        )
    return {
        language: predict_engagement(
            benchmark.user_vectors,
            features,
            benchmark.records_of(language),
            config,
            pools=benchmark.pools_of(language),
            known=benchmark.known,
        )
        for language in benchmark.language_names
    }


def engagement_rows(
    results: Mapping[str, EngagementResult], config: EngagementConfig | None = None
) -> list[Result]:
    """Rows for `results.json`: the median over the seeds of each language, and their average.

    The paper reports HITS@10 of each language as the median of 6 runs and averages the languages.
    """
    config = config or EngagementConfig()
    rows = []
    for metric, values_of in ((f"HITS@{config.hits_at}", "hits"), ("MRR", "mrr")):
        languages = [
            Result(
                language=language,
                metric=metric,
                value=float(np.median(getattr(result, values_of))),
                seeds=list(config.seeds),
                values=list(getattr(result, values_of)),
                details={"candidates": result.num_candidates, "records": result.num_records},
            )
            for language, result in results.items()
        ]
        rows += [*languages, _average(languages)] if len(languages) > 1 else languages
    return rows


def _average(rows: Sequence[Result]) -> Result:
    return replace(
        rows[0],
        language="average",
        value=float(np.mean([row.value for row in rows])),
        values=np.mean([row.values for row in rows], axis=0).tolist(),
        details={"languages": len(rows)},
    )
