"""How a batch's vectors lie: figures that show a collapse before the loss does."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerState

from twhin_hf.training.settled_log import SettledLog

logger = logging.getLogger(__name__)

COLLAPSED = 0.95
"""A mean cosine of a batch's vectors above this says that they have become one."""


def uniformity(vectors: Tensor) -> Tensor:
    """Log E exp(−2‖x − y‖²) over pairs of a batch (Wang & Isola, ICML 2020, equation 2).

    Args:
        vectors: `[num_posts, size]`, of any length; taken at length 1.

    Returns:
        A scalar: 0 where all vectors are one, lower the more evenly they fill the sphere.

    Example:
        >>> round(float(uniformity(torch.tensor([[1.0, 0.0], [-2.0, 0.0]]))), 3)
        -8.0
    """
    distances = 2 - 2 * _pair_cosines(vectors)
    return torch.exp(-2 * distances).mean().log()


def alignment(vectors: Tensor) -> Tensor:
    """E‖x − x⁺‖² over pairs of a batch (Wang & Isola, ICML 2020, equation 1).

    Args:
        vectors: `[2 · num_pairs, size]`: first all anchors, then their positives in the same order.

    Returns:
        A scalar: 0 where a post and its positive are one, 2 where they are unrelated.

    Example:
        >>> float(alignment(torch.tensor([[1.0, 0.0], [0.0, 3.0]])))
        2.0
    """
    anchors, positives = torch.nn.functional.normalize(vectors, dim=-1).chunk(2)
    return (anchors - positives).square().sum(dim=-1).mean()


def mean_cosine(vectors: Tensor) -> Tensor:
    """The mean cosine of two vectors of a batch: 1 where all have collapsed into one.

    Example:
        >>> float(mean_cosine(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])))
        0.3333333432674408
    """
    return _pair_cosines(vectors).mean()


def _pair_cosines(vectors: Tensor) -> Tensor:
    """Cosines of all pairs of two different rows, each once."""
    units = torch.nn.functional.normalize(vectors.float(), dim=-1)
    rows, columns = torch.triu_indices(len(units), len(units), offset=1, device=units.device)
    return (units @ units.T)[rows, columns]


class CollapseWarning(SettledLog):
    """Warns, once per head, where its vectors have collapsed into one direction."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def judge(self, state: TrainerState, logs: dict[str, Any]) -> None:
        """Warns of vectors that have become one."""
        for name, value in logs.items():
            if not name.endswith("_mean_cosine") or name in self._told or value <= COLLAPSED:
                continue
            self._told.add(name)
            logger.warning(
                "%s is %.3f at step %d: the vectors of this head point in one direction, so that "
                "posts cannot be told apart. Lower the learning rate, or raise the objective's "
                "temperature",
                name,
                value,
                state.global_step,
            )
