"""Two linear projections that tell who engages with which post.

The predictor of TwHIN-BERT's engagement benchmark (Zhang et al., KDD 2023, Section 3.2): a user's
network vector and a post's frozen text features are brought into one space,

    h_u = W_uᵀ e_u,   h_t = W_tᵀ e_t,   P(u engages with t) = σ(h_uᵀ h_t).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch.nn import functional

from twhin_hf.devices import pick_device
from twhin_hf.errors import InputError
from twhin_hf.recommendation.engagement_config import EngagementConfig
from twhin_hf.recommendation.ranking import CandidateSets, Ranks, ranks
from twhin_hf.recommendation.records import Records


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
    def rank(self, users: torch.Tensor, posts: torch.Tensor, candidates: CandidateSets) -> Ranks:
        """Rank of each record's engaged post; `users` and `posts` are the whole feature tables."""
        h_posts = self.post(posts[torch.from_numpy(candidates.pool)])
        found = []
        for number, block in enumerate(candidates.blocks()):
            rows = torch.from_numpy(candidates.records.users[block])
            scores = (self.user(users[rows]) @ h_posts.T).cpu().numpy()
            engaged = scores[np.arange(len(scores)), candidates.columns[block]]
            found.append(ranks(engaged, scores, candidates.mask(number)))
        return Ranks(*map(np.concatenate, zip(*found, strict=True)))


def train_predictor(
    users: torch.Tensor,
    posts: torch.Tensor,
    train: Records,
    validation: CandidateSets,
    config: EngagementConfig,
    seed: int,
    progress: bool = False,
) -> tuple[EngagementPredictor, int]:
    """One seed: the predictor at the epoch with the best validation MRR, and that epoch.

    Args:
        users: Standardised vectors [users, ·].
        posts: Standardised features [posts, ·].
        train: Engagements to learn from, rows of the two tables.
        validation: What chooses the epoch.
        config: Sizes, rate, epochs, negatives.
        seed: Of first weights, order and negatives.
        progress: Show a bar on a terminal, with the time left if it does not stop early.
    """
    generator = torch.Generator().manual_seed(seed)
    model = EngagementPredictor(
        users.shape[1], posts.shape[1], config.projection_size, generator
    ).to(pick_device(config.device))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    train_users, train_posts = torch.from_numpy(train.users), torch.from_numpy(train.posts)
    drawable, weights = map(torch.from_numpy, prevalence(train.posts, config.negative_power))
    best, best_epoch, weights_of_best = -1.0, 0, model.state_dict()
    epochs = track(
        range(1, config.max_epochs + 1),
        "Learning who engages (at most)",
        console=Console(stderr=True),
        transient=True,
        disable=not (progress and sys.stderr.isatty()),
    )
    for epoch in epochs:
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
        mrr = float(model.rank(users, posts, validation).reciprocal().mean())
        if mrr > best:
            best, best_epoch, weights_of_best = mrr, epoch, deepcopy(model.state_dict())
        elif epoch - best_epoch >= config.patience:
            break
    model.load_state_dict(weights_of_best)
    return model, best_epoch


def rows_to_try(features: np.ndarray, config: EngagementConfig) -> list[str]:
    """`raw`, `normalized` or both: how rows are read, to be chosen on validation."""
    if config.normalize != "auto":
        return ["normalized" if config.normalize == "always" else "raw"]
    lengths = np.linalg.norm(features, axis=1)
    if config.standardize and np.allclose(lengths, lengths.max(initial=0), rtol=1e-3):
        # Standardised, rows of one length are the same raw and normalised.
        return ["normalized"]
    return ["raw", "normalized"]


@contextmanager
def one_thread_an_operation() -> Iterator[None]:
    """The matrices are small: a thread a run beats several threads a product, by far on busy cores.

    It also makes the figures independent of the number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Standardization(NamedTuple):
    """Brings every feature to mean 0 and variance 1, by the rows that training sees.

    Args:
        mean: float32 `[width]`.
        scale: float32 `[width]`, one over the standard deviation; 0 where a feature is always the
            same in training: it tells nothing, and must not be blown up.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def fit(cls, values: np.ndarray, rows: np.ndarray, config: EngagementConfig) -> Standardization:
        """By some rows of `values` [rows, width]; 0 and 1 where the config wants none."""
        width = values.shape[1]
        if not config.standardize:
            return cls(torch.zeros(width), torch.ones(width))
        seen = torch.from_numpy(np.asarray(values[rows], dtype=np.float32))
        deviation, mean = torch.std_mean(seen, dim=0, correction=0)
        return cls(mean, torch.where(deviation < 1e-6, 0.0, 1 / deviation))

    def apply(self, values: np.ndarray) -> torch.Tensor:
        """Float32 `[rows, width]`."""
        return (torch.from_numpy(np.array(values, dtype=np.float32)) - self.mean) * self.scale


def check_finite(name: str, values: np.ndarray) -> None:
    """Raises an InputError that counts the rows with NaN or infinity."""
    bad = int((~np.isfinite(values).all(axis=1)).sum())
    if bad:
        raise InputError(
            f"{bad:,} of {len(values):,} rows of the {name} hold NaN or infinity. "
            "Check the training that made them; the evaluation needs finite numbers.",
            faq="not-finite",
        )
