"""Processes that train together get about as many tokens each: none waits for the longest posts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import Sampler

TOLERANCE = 0.01
"""By how much of their tokens shares may differ before things are swapped."""
SWAPS_PER_SHARE = 4


class BalancedSampler(Sampler[int]):
    """Orders the keys of each batch so that all processes get about as many tokens.

    The batch of all processes together stays the same, and each gets as many of its keys. Losses
    compare the posts of all processes, and so does not change which of them has a post.

    Args:
        sampler: Of keys, a batch of all processes after the other.
        batches: Says by `num_tokens` how many tokens keys have.
        batch_size: Keys of a process.
        num_processes: How many there are.
    """

    def __init__(self, sampler: Any, batches: Any, batch_size: int, num_processes: int):
        self.sampler, self.batches = sampler, batches
        self.batch_size, self.num_processes = batch_size, num_processes

    @property
    def epoch(self) -> int:
        """Of the sampler."""
        return self.sampler.epoch

    def set_epoch(self, epoch: int) -> None:
        """Called by Accelerate's data loader before each epoch."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        keys, size = iter(self.sampler), self.batch_size * self.num_processes
        while len(batch := np.fromiter(islice(keys, size), np.int64)) == size:
            shares = deal(self.batches.num_tokens(batch), self.num_processes)
            yield from batch[shares.reshape(-1)].tolist()
        # A last, short batch is dropped, or comes as it is.
        yield from batch.tolist()


def deal(weights: np.ndarray, num_shares: int) -> np.ndarray:
    """Deals things to shares of as many things and about the same weight.

    They are dealt by falling weight, there and back; then the heaviest and the lightest share swap
    two things whose difference is nearest to half of theirs, until the shares differ by less than
    1 % of their weight, or no swap brings them nearer.

    Args:
        weights: `[num_things]`, a multiple of `num_shares`.
        num_shares: How many there are.

    Returns:
        int64 `[num_shares, num_things // num_shares]`, the things of each share, in their order.

    Example:
        >>> deal(np.array([9, 1, 7, 3, 5, 5]), 2).tolist()
        [[2, 3, 5], [0, 1, 4]]
    """
    weights = np.asarray(weights, np.int64)
    rounds = np.argsort(-weights, kind="stable").reshape(-1, num_shares)
    rounds[1::2] = rounds[1::2, ::-1].copy()
    shares = rounds.T.copy()
    sums = weights[shares].sum(axis=1)
    for _ in range(SWAPS_PER_SHARE * num_shares):
        heavy, light = sums.argmax(), sums.argmin()
        gap = sums[heavy] - sums[light]
        differences = weights[shares[heavy], None] - weights[shares[light]]
        left = np.abs(2 * differences - gap)
        if gap <= TOLERANCE * sums.mean() or left.min() >= gap:
            break
        one, other = np.unravel_index(left.argmin(), left.shape)
        sums[[heavy, light]] += differences[one, other] * np.array([-1, 1])
        shares[heavy, one], shares[light, other] = shares[light, other], shares[heavy, one]
    return np.sort(shares, axis=1)
