"""Heads that the objectives put on top of a pooled post.

What they read is pooled from the hidden states as the config says, never by a backbone's pooler:
checkpoints seldom hold a trained one, and saved models lose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

NORMALIZING_HEADS = ("engagement", "distillation")
"""Objectives whose heads scale what they read to one length; see `ProjectionHead`."""


def pooled_width(hidden_size: int, pooling: str) -> int:
    """Width of a pooled post: `combined` puts two vectors side by side."""
    return hidden_size * (2 if pooling == "combined" else 1)


class ProjectionHead(nn.Module):
    """MLP from a pooled post to the space of an objective: linear layers with ReLU in between.

    Args:
        width: Of a pooled post.
        sizes: Output size of each layer (TwHIN-BERT, Section 2.2.2: 768 768 for the social loss).
        normalize: Scale what is read to length √width: encoders differ much in the length of their
            vectors, and a head that did not would learn at another speed on each.
    """

    def __init__(self, width: int, sizes: Sequence[int], normalize: bool = False):
        super().__init__()
        self.normalize = normalize
        self.layers = nn.ModuleList(
            nn.Linear(size, next_size) for size, next_size in pairwise([width, *sizes])
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """`[num_posts, width]` → `[num_posts, sizes[-1]]`."""
        if self.normalize:
            pooled = nn.functional.normalize(pooled, dim=-1) * pooled.shape[-1] ** 0.5
        for layer in self.layers[:-1]:
            pooled = layer(pooled).relu()
        return self.layers[-1](pooled)


class EngagementHead(ProjectionHead):
    """Brings posts and users into one space: an MLP for the posts, a linear map for the users.

    Args:
        width: Of a pooled post.
        sizes: Output size of each layer for the posts; the last is that of the users' map too.
        dimension: Of the users' network vectors.
    """

    def __init__(self, width: int, sizes: Sequence[int], dimension: int):
        super().__init__(width, sizes, normalize=True)
        self.user_map = nn.Linear(dimension, sizes[-1])
        self.user_mean: Tensor
        self.user_deviation: Tensor
        self.register_buffer("user_mean", torch.zeros(dimension))
        self.register_buffer("user_deviation", torch.ones(dimension))

    def standardize_by(self, mean: Tensor, deviation: Tensor) -> None:
        """Takes over mean and standard deviation of the users' vectors, `[dimension]` each."""
        self.user_mean.copy_(mean)
        # A component that is the same for all users says nothing: it must not be blown up.
        self.user_deviation.copy_(torch.where(deviation > 0, deviation, torch.ones(())))

    def project_users(self, vectors: Tensor) -> Tensor:
        """Network vectors `[num_users, dimension]` → `[num_users, sizes[-1]]`."""
        standardized = (vectors - self.user_mean) / self.user_deviation
        return self.user_map(standardized.to(self.user_map.weight.dtype))


class TranslationPairHead(nn.Module):
    """Linear projection of a pooled text, the same for both sides of a pair.

    Translation Pair Prediction (arXiv 2110.10318).

    Args:
        width: Of a pooled text.
        size: Of the projection.
    """

    def __init__(self, width: int, size: int):
        super().__init__()
        self.projection = nn.Linear(width, size)

    def forward(self, pooled: Tensor) -> Tensor:
        """`[num_posts, width]` → `[num_posts, size]`."""
        return self.projection(pooled)
