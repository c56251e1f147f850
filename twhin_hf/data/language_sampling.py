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
        Row numbers, int64 `[num_rows]`, shuffled.

    Raises:
        InputError: An exponent outside [0, 1].

    Example:
        >>> languages = np.array([0] * 16 + [1] * 4)
        >>> rows = resample_languages(languages, 0.5, np.random.default_rng(0))
        >>> int(languages[rows].sum())  # a share of 2 / (4 + 2) of twenty rows, in place of four
        7
    """
    if not 0 <= exponent <= 1:
        raise InputError(
            f"the exponent of the language sampling is {exponent}; it must be in [0, 1]"
        )
    size = len(languages) if size is None else size
    order = np.argsort(languages, kind="stable")
    _, starts, counts = np.unique(languages[order], return_index=True, return_counts=True)
    shares = counts.astype(np.float64) ** exponent
    # Differences of the rounded cumulative shares: the quotas sum to the size exactly.
    quotas = np.diff(np.rint(np.cumsum(shares) / shares.sum() * size).astype(np.int64), prepend=0)
    drawn = [
        np.concatenate(
            [order[start : start + count][rng.permutation(count)] for _ in range(quota // count)]
            + [order[start : start + count][rng.permutation(count)[: quota % count]]]
        )
        for start, count, quota in zip(starts, counts, quotas, strict=True)
    ]
    return rng.permutation(np.concatenate(drawn)) if drawn else np.empty(0, np.int64)
