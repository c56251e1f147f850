"""How sure a mean over records is: resampling of the people that the records come from.

Records of one user are no independent draws, so users are drawn with replacement and all records of
a drawn user come along (the cluster bootstrap: Davison and Hinkley, Bootstrap Methods and their
Application, 1997, Section 3.8).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twhin_hf.errors import InputError

RESAMPLES = 1000
LEVEL = 0.95
_DRAWS_PER_BLOCK = 2**22


def bootstrap_means(
    values: Sequence[np.ndarray],
    users: Sequence[np.ndarray],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """Means of several tables of records over resampled users.

    A resample draws the users once for all tables, so that tables can be subtracted and averaged.

    Args:
        values: A figure of each record, one array [records] a table.
        users: Whose records they are, int [records] each; the same number is the same user.
        resamples: Number of resamples.
        seed: Seed of the draws.

    Returns:
        Float64 [resamples, tables]; NaN where none of a table's users was drawn.

    Raises:
        InputError: No table, or one without a record.
    """
    if not values or not all(len(table) for table in values):
        raise InputError("Intervals need at least one record in every table; there is one without.")
    _, rows = np.unique(np.concatenate(users), return_inverse=True)
    parts = np.split(rows, np.cumsum([len(table) for table in values])[:-1])
    count = int(rows.max()) + 1
    sums = [np.bincount(own, table, count) for own, table in zip(parts, values, strict=True)]
    sizes = [np.bincount(own, minlength=count).astype(np.float64) for own in parts]
    totals = np.stack([*sums, *sizes], axis=1)
    rng = np.random.default_rng(seed)
    block = max(1, _DRAWS_PER_BLOCK // count)
    found = []
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        found.append(times.astype(np.float64) @ totals)
    drawn_sums, drawn_sizes = np.split(np.concatenate(found), 2, axis=1)
    drawn_sizes[drawn_sizes == 0] = np.nan
    return drawn_sums / drawn_sizes


def interval(means: np.ndarray) -> list[float]:
    """The 95 % interval (percentiles) of one figure's resamples: `[low, high]`."""
    outside = 50 * (1 - LEVEL)
    return np.nanpercentile(means, [outside, 100 - outside]).tolist()


def p_value(differences: np.ndarray) -> float:
    """Two-sided: twice the smaller share of resamples on either side of 0, which counts for both.

    One is added to count and number, as of a finite number of resamples none is 0
    (Davison and Hinkley, Section 4.2).
    """
    known = differences[~np.isnan(differences)]
    tail = min((known <= 0).sum(), (known >= 0).sum())
    return min(1.0, 2 * float(1 + tail) / (1 + len(known)))
