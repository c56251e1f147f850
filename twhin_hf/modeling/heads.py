"""Heads that the objectives put on top of a pooled post."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from transformers import PreTrainedConfig


class ProjectionHead(nn.Module):
    """MLP from a pooled post to the space of the social loss: linear layers with ReLU in between.

    TwHIN-BERT, Section 2.2.2; the sizes are the config's `social_projection_sizes`.
    """

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        width = config.hidden_size * (2 if config.social_pooling == "combined" else 1)
        sizes = [width, *config.social_projection_sizes]
        self.layers = nn.ModuleList(
            nn.Linear(size, next_size) for size, next_size in pairwise(sizes)
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """`[num_posts, width]` → `[num_posts, social_projection_sizes[-1]]`."""
        for layer in self.layers[:-1]:
            pooled = layer(pooled).relu()
        return self.layers[-1](pooled)
