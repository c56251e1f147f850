"""Options of fitting an engagement model; importing nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field

from twhin_hf.errors import InputError
from twhin_hf.recommendation.engagement_config import EngagementConfig


@dataclass(frozen=True)
class RecommendationConfig:
    """Recommender.

    Args:
        pooling: Pooling of the encoder's token vectors: cls, mean, mean_all or combined; or parts
            joined by plus, heads among them, as engagement+distillation (default: the model's
            own).
        words: Number of TF-IDF + SVD features beside the encoder's vectors; 0 for none.
        max_records: Engagements that the projections are learnt from, at most; a random choice
            where there are more.
        max_held_out: Held-out engagements by which text and network are mixed, at most.
        num_negatives: Posts from which each held-out engagement is told then.
        seed: Random seed.
        predictor: Options of the two projections.

    Raises:
        InputError: A number below what can work.
    """

    pooling: str | None = None
    words: int = 256
    max_records: int = 2_000_000
    max_held_out: int = 20_000
    num_negatives: int = 6000
    seed: int = 0
    predictor: EngagementConfig = field(
        default_factory=lambda: EngagementConfig(max_epochs=60, patience=5, seeds=(0,))
    )

    def __post_init__(self) -> None:
        least = {"words": 0, "max_records": 1, "max_held_out": 1, "num_negatives": 1}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {minimum}.")
