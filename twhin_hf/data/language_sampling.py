"""Re-sampling of languages, so that small ones are seen more often than they are written."""

from __future__ import annotations

import numpy as np

from twhin_hf.errors import InputError


def resample_languages(
    languages: np.ndarray, exponent: float, rng: np.random.Generator, size: int | None = None
) -> np.ndarray:
    """One epoch of rows, in which a language's share goes with its frequency^exponent.

    TwHIN-BERT, Section 3.1, takes an exponent of 0.7. Within a language every row is drawn once
    before any is drawn again.

    Args:
        languages: Integers `[num_rows]`, the language of each row.
        exponent: 1 keeps the languages' shares; 0 makes them equal.
        rng: Numpy generator; the draw depends on nothing else.
        size: How many rows to draw; by default as many as there are.

    Returns:
        Row numbers, uint32 `[num_rows]` (int64 of 2³² rows or more), shuffled.

    Raises:
        InputError: An exponent outside [0, 1].

    Example:
        >>> languages = np.array([0] * 16 + [1] * 4)
        >>> rows = resample_languages(languages, 0.5, np.random.default_rng(0))
        >>> int(languages[rows].sum())  # a share of 2 / (4 + 2) of twenty rows, in place of four
        7
    """
    size = len(languages) if size is None else size
    drawn = np.empty(size, np.uint32 if len(languages) < 2**32 else np.int64)
    begin = 0
    for language, quota in zip(*language_quotas(languages, exponent, size), strict=True):
        rows = np.flatnonzero(languages == language).astype(drawn.dtype)
        # Each round all rows of the language, in another order; of the last one some.
        for start in range(begin, begin + quota, len(rows)):
            rng.shuffle(rows)
            end = min(start + len(rows), begin + quota)
            drawn[start:end] = rows[: end - start]
        begin += quota
    rng.shuffle(drawn)
    return drawn


def language_quotas(
    languages: np.ndarray, exponent: float, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The languages that there are, and how many of `size` rows each has.

    Raises:
        InputError: An exponent outside [0, 1].
    """
    if not 0 <= exponent <= 1:
        raise InputError(
            f"the exponent of the language sampling is {exponent}; it must be in [0, 1]"
        )
    present, counts = np.unique(languages, return_counts=True)
    shares = counts.astype(np.float64) ** exponent
    # Differences of the rounded cumulative shares: the quotas sum to the size exactly.
    ends = np.rint(np.cumsum(shares) / shares.sum() * size)
    return present, np.diff(ends.astype(np.int64), prepend=0)
