"""Heads that the objectives put on top of a pooled post.

What they read is pooled from the hidden states as the config says, never by a backbone's pooler:
checkpoints seldom hold a trained one, and saved models lose it.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from transformers import PreTrainedConfig


def pooled_width(hidden_size: int, pooling: str) -> int:
    """Width of a pooled post: `combined` puts two vectors side by side."""
    return hidden_size * (2 if pooling == "combined" else 1)


class ProjectionHead(nn.Module):
    """MLP from a pooled post to the space of the social loss: linear layers with ReLU in between.

    TwHIN-BERT, Section 2.2.2; the sizes are the config's `social_projection_sizes`.
    """

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        width = pooled_width(config.hidden_size, config.social_pooling)
        sizes = [width, *config.social_projection_sizes]
        self.layers = nn.ModuleList(
            nn.Linear(size, next_size) for size, next_size in pairwise(sizes)
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """`[num_posts, width]` → `[num_posts, social_projection_sizes[-1]]`."""
        for layer in self.layers[:-1]:
            pooled = layer(pooled).relu()
        return self.layers[-1](pooled)


class TranslationPairHead(nn.Module):
    """Linear projection of a pooled text, the same for both sides of a pair.

    Translation Pair Prediction (arXiv 2110.10318); its size is the config's `tpp_projection_size`.
    """

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        width = pooled_width(config.hidden_size, config.tpp_pooling)
        self.projection = nn.Linear(width, config.tpp_projection_size)

    def forward(self, pooled: Tensor) -> Tensor:
        """`[num_posts, width]` → `[num_posts, tpp_projection_size]`."""
        return self.projection(pooled)
