"""One gradient for a weight that is both the words of an encoder and its MLM head's decoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@contextmanager
def joint_gradient(words: nn.Embedding) -> Iterator[list[Tensor]]:
    """Has the gradient from the words' vectors added, row by row, to that from the decoder.

    PyTorch makes two gradients of a whole vocabulary and adds them, though that of the vectors is 0
    but in the rows of a batch's tokens.

    Args:
        words: Of the encoder, which is called once within the context.

    Yields:
        A list that holds, after that call, the weight as the decoder has to take it.
    """
    weights: list[Tensor] = []

    def look_up(module: nn.Module, arguments: tuple[Tensor, ...], vectors: Tensor) -> Tensor:
        vectors, weight = _Lookup.apply(words.weight, arguments[0], words.padding_idx)
        weights.append(weight)
        return vectors

    handle = words.register_forward_hook(look_up)
    try:
        yield weights
    finally:
        handle.remove()


class _Lookup(torch.autograd.Function):
    """Vectors of tokens, and the weight itself: the two ways in which it is used."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, ids: Tensor, padding_idx: int | None
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(ids)
        ctx.padding_idx = padding_idx
        return F.embedding(ids, weight), weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_vectors, gradient = gradients
        (ids,) = ctx.saved_tensors
        ids = ids.flatten()
        of_vectors = of_vectors.flatten(0, -2).to(gradient.dtype)
        if ctx.padding_idx is not None:
            of_vectors = of_vectors * (ids != ctx.padding_idx)[:, None]
        # In place: the decoder's gradient is nobody else's.
        return gradient.index_add_(0, ids, of_vectors), None, None
