"""An encoder and its pooling as one module of tensors, which can be traced into a graph."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from twhin_hf.modeling.post_encoder import PostEncoderMixin
from twhin_hf.serving.embedding_settings import VectorSettings

INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("sentence_embedding", "last_hidden_state")


class PooledEncoder(nn.Module):
    """Padded posts to vectors.

    `encode` of a `Twhin…Model` reads packed rows too, and the number of posts from what they hold;
    here a row is a post, and no shape depends on a value.
    """

    def __init__(self, encoder: Any, settings: VectorSettings):
        """Takes the encoder as it is.

        Args:
            encoder: A `Twhin…Model`.
            settings: What its vectors are.
        """
        super().__init__()
        self.encoder = encoder
        self.settings = settings

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors and hidden states.

        Args:
            input_ids: `[rows, width]`.
            attention_mask: `[rows, width]`, 1 on the tokens, which come before the padding.

        Returns:
            `[rows, parts · hidden]` and `[rows, width, hidden]`.
        """
        # That of the backbone: the padded path.
        backbone: Any = super(PostEncoderMixin, cast(PostEncoderMixin, self.encoder))
        hidden = backbone.forward(
            input_ids=input_ids, attention_mask=attention_mask, return_dict=True
        )[0]
        pooled = [_pool(part, hidden, input_ids, attention_mask) for part in self.settings.pooling]
        vectors = torch.cat(pooled, dim=-1)
        if self.settings.normalize:
            vectors = nn.functional.normalize(vectors, dim=-1)
        return vectors, hidden


def _pool(part: str, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    if part == "cls":
        return hidden[:, 0]
    weights = attention_mask.to(hidden.dtype)
    if part == "mean":
        # The two tokens that frame a post, wherever they stand.
        last = input_ids.gather(1, attention_mask.sum(dim=1, keepdim=True) - 1)
        weights = weights * (input_ids != input_ids[:, :1]) * (input_ids != last)
    sums = (weights[:, :, None] * hidden).sum(dim=1)
    return sums / weights.sum(dim=1, keepdim=True).clamp(min=1)
