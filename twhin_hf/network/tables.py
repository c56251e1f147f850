"""Vectors and optimizer state of an embedding that is being trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.log import EngagementGraph

INIT_SCALE = 1e-3
"""Standard deviation of the vectors that training begins with."""


@dataclass(frozen=True)
class Tables:
    """Vectors `[rows, dimension]` and Adagrad state `[rows]` of users, posts and relations.

    Args:
        vectors: By side.
        state: By side.
        learnt: By side, bool `[rows]`, which rows move; all without it.
    """

    vectors: dict[str, Tensor]
    state: dict[str, Tensor]
    learnt: dict[str, Tensor] | None = None

    @classmethod
    def random(cls, graph: EngagementGraph, config: NetworkEmbeddingConfig, device: str) -> Tables:
        """Tables of small random vectors."""
        generator = torch.Generator(device).manual_seed(config.seed)
        rows = {"users": graph.num_users, "posts": graph.num_posts}
        vectors = {
            side: torch.empty(count, config.dimension, device=device).normal_(
                std=INIT_SCALE, generator=generator
            )
            for side, count in rows.items()
        }
        vectors["relations"] = torch.zeros(len(graph.relations), config.dimension, device=device)
        return cls(vectors, {side: table.new_zeros(len(table)) for side, table in vectors.items()})

    @classmethod
    def zeros(cls, side: str, rows: int, dimension: int) -> Tables:
        """A single table of zeros."""
        return cls({side: torch.zeros(rows, dimension)}, {side: torch.zeros(rows)})

    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.named().values())

    def named(self) -> dict[str, Tensor]:
        """Every tensor by the name that it has in a checkpoint."""
        state = {f"{side}.state": values for side, values in self.state.items()}
        return {**self.vectors, **state}

    @contextmanager
    def checkpointed(self) -> Iterator[dict[str, Tensor]]:
        """Around the writing of a checkpoint: gives what it is to hold."""
        yield self.named()

    def update(self, side: str, rows: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """A step of row-wise Adagrad, whose state is the sum of mean squared gradients.

        Args:
            side: Which table.
            rows: int64 `[n]`; a row may come more than once.
            gradient: `[n, dimension]`; overwritten.
            learning_rate: Length of the step.
        """
        if self.learnt is not None:
            kept = self.learnt[side].index_select(0, rows)
            rows, gradient = rows[kept], gradient[kept]
        state = self.state[side]
        norm = torch.linalg.vector_norm(gradient, dim=1)
        state.index_add_(0, rows, norm.square_().div_(gradient.shape[1]))
        step = state.index_select(0, rows).add_(1e-20).rsqrt_().mul_(-learning_rate)
        self.vectors[side].index_add_(0, rows, gradient.mul_(step[:, None]))
