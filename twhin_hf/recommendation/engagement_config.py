"""Options of the engagement benchmark's predictor; importing nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from twhin_hf.errors import InputError
from twhin_hf.value_checks import check_finite, check_least, check_seeds

Normalize = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class EngagementConfig:
    """Predictor.

    Defaults are the paper's (TwHIN-BERT, Section 3.2).

    Args:
        projection_size: Width of both projections (paper: 128).
        records_per_batch: Records per batch (paper: 512).
        learning_rate: Learning rate of Adam (paper: 1e-3).
        max_epochs: Maximum number of epochs; the best one on validation is kept (paper).
        patience: Epochs without a better validation MRR after which training stops.
        num_negatives: Posts drawn per batch, shared by its records, that estimate the expectation
            over negatives; the paper states the expectation only.
        negative_power: Negatives are drawn by frequency in train to this power (paper: 0.75).
        num_candidates: Posts that are ranked, the engaged one included (paper: 1,000).
        hits_at: Value of k in HITS@k (paper: 10).
        seeds: Random seeds, one run each; the median is reported (paper: 6 runs).
        candidate_seed: Seed of the candidates, the same for every run and every model.
        standardize: Bring every feature to mean 0 and variance 1 by the statistics of train, for
            users and posts and for every model alike. The paper does not mention it; without it the
            few huge dimensions of a BERT-like encoder dominate the learning rate.
        normalize: Bring every post's features to length 1 first: always, never, or, for every model
            alike, whichever is better on validation (auto). The paper does not mention it.
        device: Device (default: GPU if available).

    Raises:
        InputError: No seed, a number that cannot work, so few candidates that every rank is a hit,
            or another way to normalize.
    """

    projection_size: int = 128
    records_per_batch: int = 512
    learning_rate: float = 1e-3
    max_epochs: int = 100
    patience: int = 10
    num_negatives: int = 512
    negative_power: float = 0.75
    num_candidates: int = 1000
    hits_at: int = 10
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    candidate_seed: int = 0
    standardize: bool = True
    normalize: Normalize = "auto"
    device: str | None = None

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        check_seeds([self.candidate_seed], "candidate_seed")
        check_finite(self)
        check_least(
            self,
            1,
            *("projection_size", "records_per_batch", "max_epochs", "num_negatives", "hits_at"),
        )
        check_least(self, 0, "learning_rate", "patience")
        if self.normalize not in (choices := get_args(Normalize)):
            raise InputError(f"normalize is {self.normalize!r}; choose from {', '.join(choices)}")
        if self.num_candidates <= self.hits_at:
            raise InputError(
                f"num_candidates={self.num_candidates} with hits_at={self.hits_at}: every rank "
                "would be a hit. Rank more candidates (the paper: 1,000) or take a smaller k."
            )
