"""Vectors as values that can be looked for: a published vector is that of its user, bit for bit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def row_bytes(vectors: np.ndarray) -> np.ndarray:
    """Each row as one value of bytes, so that equal rows can be found; −0 is 0.

    Args:
        vectors: Float `[rows, dimension]`, looked at as float32.

    Returns:
        Bytes (`V`) `[rows]`.
    """
    rows = np.ascontiguousarray(np.asarray(vectors, np.float32) + np.float32(0))
    return rows.view(f"V{rows.shape[1] * 4}")[:, 0]


def vector_column(column: pa.Array) -> np.ndarray:
    """A column of lists of numbers as float32 `[rows, dimension]`.

    Raises:
        ValueError: A row has no vector, or one of another length.
    """
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    if column.null_count or not len(column) or len(values) % len(column):
        raise ValueError("vectors of different lengths, or none in some rows")
    return values.reshape(len(column), -1)
