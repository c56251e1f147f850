"""Cross entropy of a decoder with a large vocabulary, whose logits pass through the cache."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

IGNORED = -100
"""The label of what has not to be predicted."""

WORDS_AT_ONCE = 2**12
"""Rows of the decoder whose logits a CPU makes at once: few enough to stay in its cache.

An accelerator makes those of all: in small blocks it would wait for the host, which starts them.
"""

LOG2_E = math.log2(math.e)
LOWEST = -1e30
"""Below every logit but those of −∞."""


class LinearCrossEntropy(torch.autograd.Function):
    """Scaled sum of cross entropies, `s Σ_i (log Σ_j exp l_ij − l_it)`, `l = h Wᵀ + b`.

    On a CPU the vocabulary is gone through in blocks, twice. First the logits of a block become, in
    their place, exponentials under the block's own maximum, and take the normalizer and the
    gradient of `h` on, under the maximum so far (as in FlashAttention: Dao et al., 2022, Algorithm
    1). Then the exponentials make the gradient of `W`: as the normalizer is known now, all that
    they lack is a factor for each row, which goes to the small side of the product. What labels
    take off a gradient is in as many rows as there are labels, and is taken off last.

    There a weight is read once, its gradient is written once, in its own precision, and no pass
    over the logits but the products' meets any that are not in the cache. Until the gradient is
    written, the exponentials stand in its place.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_states: Tensor,
        weight: Tensor,
        bias: Tensor,
        labels: Tensor,
        scale: Tensor | float,
        max_rows: int,
        dtype: torch.dtype,
        spare: Tensor | None,
    ) -> Tensor:
        """Computes the loss, and the gradients while the exponentials are there.

        Args:
            ctx: Of autograd.
            hidden_states: `[num_masked, hidden]`.
            weight: `[vocabulary, hidden]`.
            bias: `[vocabulary]`.
            labels: `[num_masked]`; -100 where nothing has to be predicted.
            scale: What the sum is multiplied by.
            max_rows: Rows whose exponentials may be held at once.
            dtype: Of the products; sums, and the gradient of the weight, have their own.
            spare: Memory for the gradient of the weight, of its shape and type.
        """
        # A frozen decoder needs none: with LoRA it would be the largest tensor of the step.
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = weight.new_empty(weight.shape) if spare is None else spare
        grad_bias = torch.zeros_like(bias) if ctx.needs_input_grad[2] else None
        grad_hidden = torch.empty_like(hidden_states)
        losses = []
        # As many numbers as stand in a row of the gradient.
        max_rows = min(max_rows, weight.shape[1] * weight.itemsize // dtype.itemsize)
        words_at_once = WORDS_AT_ONCE if weight.device.type == "cpu" else len(weight)
        room = None
        for start in range(0, len(labels), max_rows):
            rows = slice(start, start + max_rows)
            hidden, label = hidden_states[rows].to(dtype), labels[rows].clamp(min=0)
            row_scale = (labels[rows, None] != IGNORED) * scale
            if start == 0 and grad_weight is not None:
                blocks = _blocks(grad_weight.view(dtype), words_at_once, len(hidden))
            else:
                room = hidden.new_empty(len(weight), max_rows) if room is None else room
                blocks = _blocks(room, words_at_once, len(hidden))
            normalizer, mean, maxima = _pass_vocabulary(hidden, weight, bias, blocks)
            target = weight[label].to(dtype)
            logit = (hidden.float() * target.float()).sum(dim=1) + bias[label]
            losses.append((normalizer - logit.to(dtype)[:, None]) * row_scale)
            grad_hidden[rows] = (mean - target) * row_scale
            if grad_weight is None and grad_bias is None:
                continue
            for place, (block, maximum) in enumerate(zip(blocks, maxima, strict=True)):
                words = slice(place * words_at_once, (place + 1) * words_at_once)
                factor = (maximum - normalizer).exp_() * row_scale
                if grad_bias is not None:
                    grad_bias[words] += torch.mm(factor.to(dtype).T, block)[0]
                if grad_weight is not None:
                    gradient = torch.mm(block.T, (hidden * factor).to(dtype))
                    if start == 0:
                        grad_weight[words] = gradient
                    else:
                        grad_weight[words] += gradient
            if grad_bias is not None:
                grad_bias.index_add_(0, label, -row_scale[:, 0].to(bias.dtype))
            if grad_weight is not None:
                grad_weight.index_add_(0, label, (hidden * -row_scale).to(weight.dtype))
        # Not by `save_for_backward`, which would hold a reference: autograd copies a gradient that
        # others hold, where it adds to it.
        ctx.gradients = grad_hidden, grad_weight, grad_bias
        return torch.cat(losses).sum()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Hands over the gradients."""
        if ctx.gradients is None:
            raise RuntimeError("the gradients of masked_lm_loss are made once; compute it again")
        gradients, ctx.gradients = ctx.gradients, None
        factor = grad_outputs[0]
        # On an accelerator, to look at the factor would be to wait for it.
        if factor.device.type != "cpu" or factor != 1:
            gradients = tuple(g if g is None else g.mul_(factor) for g in gradients)
        return (*gradients, None, None, None, None, None)


def _blocks(room: Tensor, words_at_once: int, num_rows: int) -> list[Tensor]:
    """Places `[num_rows, words of a block]` within `[vocabulary, num_rows or more]`."""
    parts = room.split(words_at_once)
    return [part.flatten()[: num_rows * len(part)].view(num_rows, -1) for part in parts]


def _pass_vocabulary(
    hidden: Tensor, weight: Tensor, bias: Tensor, blocks: list[Tensor]
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Fills the blocks with exponentials under their own maxima.

    Returns:
        The logarithm of the normalizer `[num_rows, 1]`, the mean of the words under the softmax
        `[num_rows, hidden]`, and the maxima of each block `[num_rows, 1]`; all float32.
    """
    highest = torch.full((len(hidden), 1), LOWEST, device=hidden.device)
    total = torch.zeros_like(highest)
    mean = torch.zeros_like(hidden, dtype=torch.float32)
    maxima = []
    sizes = [block.shape[1] for block in blocks]
    parts = zip(weight.split(sizes), bias.split(sizes), blocks, strict=True)
    for words, word_bias, block in parts:
        words = words.to(block.dtype)
        torch.addmm(word_bias.to(block.dtype), hidden, words.T, out=block)
        exponentials = block.float()
        # Words that are ruled out have logits of −∞, perhaps all of a block.
        maximum = exponentials.amax(dim=1, keepdim=True).clamp(min=LOWEST)
        # exp x = 2^(x log2 e), which on a processor takes a quarter of the time of exp.
        torch.add(maximum * -LOG2_E, exponentials, alpha=LOG2_E, out=exponentials).exp2_()
        if exponentials is not block:
            block.copy_(exponentials)
        before, highest = highest, torch.maximum(highest, maximum)
        before, share = (before - highest).exp_(), (maximum - highest).exp_()
        total = total * before + exponentials.sum(dim=1, keepdim=True) * share
        mean = mean * before + torch.mm(block, words) * share
        maxima.append(maximum)
    return highest + total.log(), mean / total, maxima
