"""The heads first: a few steps on the frozen encoder's vectors, before all of it is trained.

Random heads send random gradients through the encoder, which forget some of what it knows; heads
that fit it already do not (Kumar et al., ICLR 2022). The posts are encoded once, so that these
steps cost next to nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import get_linear_schedule_with_warmup

from twhin_hf.training.batches import LanguageSampler, PostBatches
from twhin_hf.training.collators import PackingCollator

logger = logging.getLogger(__name__)

POSTS_ENCODED_AT_ONCE = 256


def train_heads(
    model: Any,
    batches: PostBatches,
    sampler: LanguageSampler,
    collator: PackingCollator,
    *,
    num_steps: int,
    batch_size: int,
    learning_rate: float,
    max_grad_norm: float = 1.0,
    show_progress_bar: bool = False,
) -> dict[str, float]:
    """Trains the engagement and distillation heads on the encoder as it is.

    The encoder is not changed. Every process does the same, and so ends with the same heads.

    Args:
        model: A `Twhin…ForPreTraining` with one of the two heads.
        batches: Posts with what a network says of them.
        sampler: Of their keys.
        collator: That masks nothing.
        num_steps: Steps; the learning rate rises for a tenth of them and falls to 0.
        batch_size: Posts of a step.
        learning_rate: Highest learning rate of AdamW.
        max_grad_norm: Gradients are scaled down to this norm.
        show_progress_bar: Show a bar while posts are encoded.

    Returns:
        Loss of each objective over the last tenth of the steps.
    """
    objectives = [name for name in ("engagement", "distillation") if name in model.heads()]
    keys = np.fromiter(islice(_endless(sampler), num_steps * batch_size), np.int64)
    draws, rows = np.divmod(keys, len(batches))
    distinct, places = np.unique(rows, return_inverse=True)
    poolings = sorted({getattr(model.config, f"{name}_pooling") for name in objectives})
    pooled = _pooled(model, batches, distinct, collator, poolings, show_progress_bar)
    parameters = [
        value
        for name in objectives
        for value in model.heads()[name].parameters()
        if value.requires_grad
    ]
    optimizer = torch.optim.AdamW(parameters, learning_rate, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, max(1, num_steps // 10), num_steps)
    was_training = model.training
    model.train()
    losses: list[list[Tensor]] = []
    for step in range(num_steps):
        chosen = slice(step * batch_size, (step + 1) * batch_size)
        targets = collator.network_tensors(batches.targets_of(rows[chosen], draws[chosen]))
        own = torch.from_numpy(places[chosen])
        posts = {name: values[own].to(model.device) for name, values in pooled.items()}
        parts = [_loss(model, name, posts, targets) for name in objectives]
        weights = [getattr(model.config, f"{name}_weight") for name in objectives]
        total = sum(weight * part for weight, part in zip(weights, parts, strict=True))
        optimizer.zero_grad()
        torch.as_tensor(total).backward()
        torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
        optimizer.step()
        schedule.step()
        losses.append([part.detach() for part in parts])
    optimizer.zero_grad()
    model.train(was_training)
    last = losses[-max(1, num_steps // 10) :]
    found = torch.tensor([[part.item() for part in parts] for parts in last]).mean(dim=0)
    result = dict(zip(objectives, found.tolist(), strict=True))
    said = ", ".join(f"{name} {value:.3f}" for name, value in result.items())
    logger.info("Heads alone, %s steps on %s posts: %s", num_steps, f"{len(distinct):,}", said)
    return result


def _loss(model: Any, objective: str, posts: dict[str, Tensor], targets: dict) -> Tensor:
    device = model.device
    own = targets["engagements" if objective == "engagement" else objective]
    own = {name: values.to(device) for name, values in own.items()}
    if objective == "engagement":
        own["across_processes"] = False
    return model.head_loss(objective, posts, own)[1]


@torch.no_grad()
def _pooled(
    model: Any,
    batches: PostBatches,
    rows: np.ndarray,
    collator: PackingCollator,
    poolings: Sequence[str],
    show_progress_bar: bool,
) -> dict[str, Tensor]:
    """The vectors of some posts by the encoder as it is, float32 `[len(rows), width]` each."""
    was_training = model.training
    model.eval()
    parts: dict[str, list[Tensor]] = {name: [] for name in poolings}
    with tqdm(total=len(rows), desc="Encoding posts", disable=not show_progress_bar) as bar:
        for start in range(0, len(rows), POSTS_ENCODED_AT_ONCE):
            some = rows[start : start + POSTS_ENCODED_AT_ONCE]
            inputs = collator(batches.posts_of(some, np.zeros_like(some)))
            inputs = {
                name: value.to(model.device) if isinstance(value, Tensor) else value
                for name, value in inputs.items()
            }
            for name, values in model.pooled_posts(inputs, poolings).items():
                parts[name].append(values.float().cpu())
            bar.update(len(some))
    model.train(was_training)
    return {name: torch.cat(values) for name, values in parts.items()}


def _endless(sampler: LanguageSampler) -> Iterator[int]:
    """Keys of one epoch after the other; the sampler is left as it was."""
    epoch = sampler.epoch
    number = 0
    try:
        while True:
            sampler.set_epoch(number)
            yield from sampler
            number += 1
    finally:
        sampler.set_epoch(epoch)
