"""Options of `embed_network`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkEmbeddingConfig:
    """Embedding.

    Dimension, epochs and optimizer are the paper's (TwHIN-BERT, Section 2.1.2).

    Args:
        dimension: Embedding dimension (paper: 256).
        epochs: Passes over the edges (paper: 10).
        learning_rate: Learning rate of Adagrad; lower it if a small graph ranks no better than
            popularity.
        num_batch_negs: Negatives per side from the edge's own batch, that is by prevalence.
        num_uniform_negs: Negatives per side drawn uniformly, shared by all edges of a batch.
        negative_weight: Weight of each negative, where a positive has 1 (default: one over the
            number of negatives of an edge).
        batch_size: Edges per step, rounded to whole chunks (default: 1,000 on CPU threads and
            10,000 on a GPU; fewer if an epoch would have less than 1,000 steps).
        holdout: Share of the edges (at most 100,000) that is held out and ranked.
        num_candidates: Posts among which the post of a held-out edge is ranked, itself included.
        seed: Seed of vectors, order, negatives and held-out edges. One thread repeats a run
            exactly; several repeat it up to noise.
        threads: CPU threads (default: as many as torch uses).
        device: Device (default: GPU if available).
        checkpoint_minutes: Minutes between checkpoints, which need an output folder.

    Raises:
        ValueError: A value that cannot work.
    """

    dimension: int = 256
    epochs: int = 10
    learning_rate: float = 0.05
    num_batch_negs: int = 50
    num_uniform_negs: int = 50
    negative_weight: float | None = None
    batch_size: int | None = None
    holdout: float = 0.01
    num_candidates: int = 1000
    seed: int = 0
    threads: int | None = None
    device: str | None = None
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        for name in ("dimension", "epochs", "batch_size", "threads", "seed"):
            value, least = getattr(self, name), int(name != "seed")
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}.")
        if min(self.num_batch_negs, self.num_uniform_negs) < 0:
            raise ValueError(
                f"num_batch_negs is {self.num_batch_negs} and num_uniform_negs is "
                f"{self.num_uniform_negs}; neither may be negative."
            )
        if self.num_batch_negs + self.num_uniform_negs == 0:
            raise ValueError(
                "num_batch_negs and num_uniform_negs are both 0: without negatives all vectors "
                "grow alike. Set one of them, 50 each is the default."
            )
        for name in ("learning_rate", "negative_weight"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}; it must be above 0.")
        if not 0 <= self.holdout < 1:
            raise ValueError(f"holdout is {self.holdout}; it is a share of the edges, below 1.")
        if self.num_candidates < 2:
            raise ValueError(f"num_candidates is {self.num_candidates}; ranking needs 2 or more.")

    @property
    def weight(self) -> float:
        """Of each negative."""
        num_negatives = 2 * (self.num_batch_negs + self.num_uniform_negs)
        return self.negative_weight or 1 / num_negatives
