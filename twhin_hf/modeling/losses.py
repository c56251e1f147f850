"""The losses of TwHIN-BERT pretraining: masked language modelling and NT-Xent.

Those of Translation Pair Prediction are in `translation_losses.py`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .linear_cross_entropy import IGNORED, LinearCrossEntropy

MAX_LOGITS = 2**27
"""How many logits `masked_lm_loss` holds at once: 512 MiB in float32, 536 rows of 250,002."""

OWN_BLOCKS = ("cpu",)
"""Devices where our own blocks of logits are used though torch has its own: they are faster."""


def nt_xent_loss(
    queries: Tensor,
    keys: Tensor,
    positives: Tensor,
    exclusion_mask: Tensor,
    temperature: float = 0.1,
    margin: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """NT-Xent: each query finds its positive among the batch's other posts.

    ℓ_i = −log exp((s_ip − m) / τ) / (exp((s_ip − m) / τ) + Σ_{j ∈ negatives of i} exp(s_ij / τ)),
    s the cosine, averaged over the queries (TwHIN-BERT, Section 2.2.2, after SimCLR, Equation 1,
    where there is no margin m).

    Args:
        queries: `[num_queries, size]`, projections of this process's posts.
        keys: `[num_keys, size]`, projections of all posts of the batch.
        positives: `[num_queries]`, the key that is each query's positive.
        exclusion_mask: `[num_queries, num_keys]`, true where a key must not count as a negative:
            the query itself, and whatever `social_exclusions` finds. The positive may be marked
            too: it always takes part.
        temperature: τ.
        margin: M, taken off the positive's cosine, so that it must lead by as much.

    Returns:
        The loss, and the share of queries whose positive scores above all negatives (in-batch
        retrieval accuracy, without the margin); both scalars.

    Example:
        Two pairs, each with equal vectors and at a right angle to the other:

        >>> posts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        >>> itself = torch.eye(4, dtype=torch.bool)
        >>> loss, accuracy = nt_xent_loss(posts, posts, torch.tensor([2, 3, 0, 1]), itself, 1.0)
        >>> round(loss.item(), 4)  # log(1 + 2 / e)
        0.5514
    """
    scores = cosines(queries, keys)
    ruled_out = exclusion_mask.scatter(1, positives[:, None], False)
    scores = scores.masked_fill(ruled_out, float("-inf"))
    accuracy = (scores.detach().argmax(dim=1) == positives).float().mean()
    if margin:
        scores = scores.scatter_add(
            1, positives[:, None], scores.new_full((len(scores), 1), -margin)
        )
    return F.cross_entropy(scores / temperature, positives), accuracy


def cosines(queries: Tensor, keys: Tensor) -> Tensor:
    """Cosine of each of `[num_queries, size]` with each of `[num_keys, size]`, in float32.

    Also under autocast: in bfloat16 many of a batch's cosines would be equal.
    """
    with torch.autocast(queries.device.type, enabled=False):
        return F.normalize(queries.float(), dim=-1) @ F.normalize(keys.float(), dim=-1).T


def social_exclusions(post_ids: Tensor, positive_ids: Tensor, key_ids: Tensor) -> Tensor:
    """Which keys are no negatives of a post: the post itself and all its known positives.

    A post may be in a batch twice, or beside another of its own positives; pushing those apart
    would teach the opposite of what the network says.

    Args:
        post_ids: `[num_queries]`, integer ids of the queries' posts.
        positive_ids: `[num_queries, max_positives]`, ids of all known positives of each query,
            filled up with -1.
        key_ids: `[num_keys]`, ids of the keys' posts.

    Returns:
        Boolean `[num_queries, num_keys]`.

    Example:
        >>> ids = torch.tensor([7, 8, 7, 9])
        >>> social_exclusions(ids[:1], torch.tensor([[9, -1]]), ids).tolist()
        [[True, False, True, True]]
    """
    excluded = post_ids[:, None] == key_ids[None, :]
    # Column by column: memory stays that of the mask, however many positives a post has.
    for column in positive_ids.T:
        excluded |= column[:, None] == key_ids[None, :]
    return excluded


def _whole(values: Any) -> Tensor:
    """All of a tensor of which FSDP2 leaves a share to each process."""
    return values.full_tensor() if hasattr(values, "full_tensor") else values


def masked_lm_loss(
    hidden_states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    num_items: Tensor | int | None = None,
    rows_at_once: int | None = None,
    spare: Tensor | None = None,
) -> Tensor:
    """Cross entropy of the decoder's logits, without ever holding all logits.

    Equal to `F.cross_entropy(F.linear(hidden_states, weight, bias), labels)`. The logits are
    made a block of rows at a time (`MAX_LOGITS`), and their gradients with them: on accelerators by
    `torch.nn.functional.linear_cross_entropy` where torch has it (2.13), else by
    `LinearCrossEntropy`, which takes blocks of words too and holds no exponentials beside the
    weight's gradient.

    Args:
        hidden_states: `[num_masked, hidden]`, of the masked positions alone.
        weight: `[vocabulary, hidden]`.
        bias: `[vocabulary]` or none.
        labels: `[num_masked]`; -100 where nothing has to be predicted.
        num_items: What to divide the sum by; by default how many labels are not -100. Under several
            processes their mean number makes the average of the processes' losses the loss of the
            joint batch.
        rows_at_once: Rows whose logits are held at once, where `MAX_LOGITS` allows more.
        spare: Memory to use for the gradient of the weight on a CPU, like the weight itself.

    Returns:
        Scalar; 0, with gradients of 0, where nothing is masked.
    """
    hidden_states, weight = _whole(hidden_states), _whole(weight)
    bias = None if bias is None else _whole(bias)
    if hasattr(spare, "full_tensor"):
        spare = None
    if len(labels) == 0:
        return (hidden_states.sum() + weight[:0].sum()) * 0.0
    device, dtype = hidden_states.device.type, weight.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    if bias is None:
        bias = weight.new_zeros(len(weight))
    block = max(1, min(MAX_LOGITS // len(weight), rows_at_once or len(labels)))
    # Counted on the device, so that nobody waits for the number.
    scale = 1 / ((labels != IGNORED).sum().clamp(min=1) if num_items is None else num_items)
    options = None if device in OWN_BLOCKS else getattr(torch.nn, "LinearCrossEntropyOptions", None)
    if torch.is_grad_enabled() and options is None:
        return LinearCrossEntropy.apply(
            hidden_states, weight, bias, labels, scale, block, dtype, spare
        )
    hidden_states, weight, bias = (x.to(dtype) for x in (hidden_states, weight, bias))
    if options is None or not torch.is_grad_enabled():
        parts = (
            F.cross_entropy(F.linear(hidden, weight, bias).float(), label, reduction="sum")
            for hidden, label in zip(hidden_states.split(block), labels.split(block), strict=True)
        )
        return torch.stack(list(parts)).sum() * scale
    total = F.linear_cross_entropy(
        hidden_states,
        weight,
        labels,
        linear_bias=bias,
        reduction="sum",
        options=options(batch_chunk_size=block, acc_policy="compact"),
    )
    return total.float() * scale
