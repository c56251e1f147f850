"""Losses over large batches, whose scores are never all held.

A loss over a batch compares each of its queries with each of its keys: 4,096 pairs have 67 million
scores. They are made a block of queries at a time, and in the backward pass once more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Found = TypeVar("Found")

MAX_SCORES = 2**22
"""How many scores are held at once: 16 MiB in float32, those of 1,024 pairs of posts."""


def in_blocks(function: Callable[[slice], Found], num_queries: int, num_keys: int) -> list[Found]:
    """What a function says of each block of the queries.

    Args:
        function: Takes the queries' rows; without dropout, for it is called again for its
            gradients where there are several blocks.
        num_queries: How many there are.
        num_keys: How many scores each has.

    Example:
        >>> in_blocks(lambda rows: (rows.start, rows.stop), 5, 2**21)
        [(0, 2), (2, 4), (4, 5)]
    """
    size = queries_at_once(num_keys)
    if num_queries <= size:
        return [function(slice(0, num_queries))]
    return [
        made_again(function, slice(start, min(start + size, num_queries)))
        for start in range(0, num_queries, size)
    ]


def mean_in_blocks(
    figures: Callable[[slice], tuple[Tensor, ...]], num_queries: int, num_keys: int
) -> tuple[Tensor, ...]:
    """Means over the queries of figures that a function gives as means over a block.

    Args:
        figures: As `function` of `in_blocks`; gives scalars.
        num_queries: How many there are.
        num_keys: How many scores each has.

    Returns:
        A scalar for each figure.
    """
    parts = in_blocks(figures, num_queries, num_keys)
    if len(parts) == 1:
        return parts[0]
    size = queries_at_once(num_keys)
    shares = [min(size, num_queries - start) / num_queries for start in range(0, num_queries, size)]
    weighted = [torch.stack(part) * share for part, share in zip(parts, shares, strict=True)]
    return torch.stack(weighted).sum(dim=0).unbind()


def queries_at_once(num_keys: int) -> int:
    """Queries of a block, each with so many scores."""
    return max(1, MAX_SCORES // max(1, num_keys))


def made_again(function: Callable[..., Found], *args: Any) -> Found:
    """Calls a function without dropout, whose activations the backward pass makes once more."""
    return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)
