"""Packing: several posts share a row, so that nearly every token of a batch is real."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twhin_hf.errors import InputError


class PackedLayout(NamedTuple):
    """Where the posts of a batch lie.

    Args:
        rows: int64 `[num_posts]`, the row of each post.
        columns: int64 `[num_posts]`, the column of its first token.
        num_rows: Rows of the batch.
        width: Columns of the batch, the length of its fullest row.
    """

    rows: np.ndarray
    columns: np.ndarray
    num_rows: int
    width: int


def pack(lengths: np.ndarray, row_length: int) -> PackedLayout:
    """Deals posts to rows of about `row_length` tokens, all about as full.

    MULTIFIT (Coffman, Garey and Johnson, 1978): with as few rows as hold the tokens, the smallest
    width into which first-fit decreasing gets all posts, found by doubling and bisection, from the
    narrowest on. Rows need no fixed
    width, since positions restart at each post; so the padding of even a small batch is a few per
    cent. The loop is over distinct lengths, not over posts.

    Args:
        lengths: `[num_posts]`, tokens of each post, all positive.
        row_length: Tokens that a row should hold.

    Raises:
        InputError: No posts, or a post without tokens.

    Example:
        >>> pack(np.array([5, 3, 4, 4]), 8)[2:]
        (2, 8)
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if len(lengths) == 0 or lengths.min() < 1:
        raise InputError("packing needs posts of at least one token each")
    total, longest = int(lengths.sum()), int(lengths.max())
    num_rows = -(-total // row_length)
    order = np.argsort(-lengths, kind="stable")
    distinct, counts = np.unique(lengths, return_counts=True)
    distinct, counts = distinct[::-1], counts[::-1]

    # Mostly a few tokens more than the mean are enough. At `total / num_rows + longest` every row
    # that is left takes any post.
    narrowest = max(longest, -(-total // num_rows))
    too_narrow, width = narrowest - 1, narrowest
    while (dealt := _first_fit(distinct, counts, num_rows, width)) is None:
        too_narrow, width = width, narrowest + 2 * (width - narrowest) + 1
    while width - too_narrow > 1:
        middle = (width + too_narrow) // 2
        if (narrower := _first_fit(distinct, counts, num_rows, middle)) is None:
            too_narrow = middle
        else:
            width, dealt = middle, narrower
    rows, columns = np.empty_like(lengths), np.empty_like(lengths)
    rows[order], columns[order] = dealt
    return PackedLayout(rows, columns, num_rows, int((columns + lengths).max()))


def end_to_end(lengths: np.ndarray) -> PackedLayout:
    """All posts in one row, one after the other, for attention that knows where each ends.

    At most 1.6 % of the row are padding; see `rounded_up`.

    Args:
        lengths: int64 `[num_posts]`, tokens of each post, all positive.

    Example:
        >>> end_to_end(np.array([5, 3, 4]))
        PackedLayout(rows=array([0, 0, 0]), columns=array([0, 5, 8]), num_rows=1, width=12)
    """
    columns = np.cumsum(lengths) - lengths
    return PackedLayout(np.zeros_like(columns), columns, 1, rounded_up(int(lengths.sum())))


def rounded_up(count: int) -> int:
    """The next number of seven bits and zeros: at most 1.6 % more, and 64 of them per doubling.

    Shapes that come again are compiled, or recorded as a CUDA graph, once.

    Example:
        >>> [rounded_up(count) for count in (100, 129, 1000, 30_000)]
        [100, 130, 1000, 30208]
    """
    step = _step(count)
    return -(-count // step) * step


def segment_boundaries(lengths: np.ndarray, width: int) -> tuple[np.ndarray, int]:
    """Where the posts of `end_to_end` begin and end, and how long one may be.

    The padding is cut into segments that are no longer than posts; where it has fewer than it may
    have, the others are empty. So there are as many boundaries in all batches of as many posts.

    Args:
        lengths: int64 `[num_posts]`.
        width: Of the row.

    Returns:
        int32 `[num_segments + 1]`, and the length of the longest post, rounded up to a power of 2.

    Example:
        >>> segment_boundaries(np.array([80, 60]), 142)
        (array([  0,  80, 140, 142], dtype=int32), 128)
    """
    ends = np.cumsum(lengths)
    longest = 1 << (int(lengths.max()) - 1).bit_length()
    num_filling = -(-_step(width) // longest)
    filling = np.minimum(ends[-1] + longest * np.arange(1, num_filling + 1), width)
    return np.concatenate([[0], ends, filling]).astype(np.int32), longest


def _step(count: int) -> int:
    return 1 << max(0, count.bit_length() - 7)


def _first_fit(
    distinct: np.ndarray, counts: np.ndarray, num_rows: int, width: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows and columns of posts, longest first, each in the first row with room.

    Args:
        distinct: The posts' lengths, falling.
        counts: How many posts have each.
        num_rows: Number of rows.
        width: Tokens per row.

    Returns:
        None where a post finds no room.
    """
    filled = np.zeros(num_rows, np.int64)
    rows, columns = [], []
    for length, count in zip(distinct, counts, strict=True):
        reached = np.cumsum((width - filled) // length)
        if reached[-1] < count:
            return None
        taken = np.diff(np.minimum(reached, count), prepend=0)
        chosen = np.repeat(np.arange(num_rows), taken)
        turn = np.arange(count) - np.repeat(np.cumsum(taken) - taken, taken)
        rows.append(chosen)
        columns.append(filled[chosen] + turn * length)
        filled += taken * length
    return np.concatenate(rows), np.concatenate(columns)


def place(
    tokens: np.ndarray, lengths: np.ndarray, layout: PackedLayout, pad_value: int
) -> np.ndarray:
    """Lays the posts' tokens out in rows.

    Args:
        tokens: `[num_tokens]`, of one post after the other.
        lengths: `[num_posts]`.
        layout: Of `pack`.
        pad_value: Where no post lies.

    Returns:
        `[num_rows, width]`, of the tokens' type.
    """
    placed = np.full(layout.num_rows * layout.width, pad_value, dtype=tokens.dtype)
    starts = layout.rows * layout.width + layout.columns
    placed[np.repeat(starts, lengths) + positions_in_posts(lengths)] = tokens
    return placed.reshape(layout.num_rows, layout.width)


def positions_in_posts(lengths: np.ndarray) -> np.ndarray:
    """0, 1, 2, … of each post's tokens, one post after the other: int64 `[num_tokens]`."""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1])) - np.repeat(ends - lengths, lengths)
