"""Arrays and tables that lie in files: the system holds of them in memory what there is room for.

Files are in a temporary folder that goes at the end of the process (`TMPDIR` says where), unless a
folder is named.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from twhin_hf.files import process_folder


def mapped_array(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """A memory-mapped array of zeros, to be filled.

    Example:
        >>> array = mapped_array(3, np.int32)
        >>> array[1:] = 5
        >>> array.tolist()
        [0, 5, 5]
    """
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if 0 in sizes:  # no file can be mapped
        return np.empty(sizes, dtype)
    return np.lib.format.open_memmap(
        process_folder() / f"{uuid.uuid4().hex}.npy", mode="w+", dtype=dtype, shape=sizes
    )


def mapped_table(blocks: Iterable[pa.Table], schema: pa.Schema, path: Path | None = None) -> Path:
    """Writes blocks as the stream of Arrow that `datasets` and `open_mapped_table` map.

    Args:
        blocks: With the schema's columns.
        schema: Of the table.
        path: The file; one that goes at the end of the process where it is None.

    Returns:
        Its path.
    """
    path = path or process_folder() / f"{uuid.uuid4().hex}.arrow"
    with pa.ipc.new_stream(path, schema) as stream:
        for block in blocks:
            stream.write_table(block)
    return path


def open_mapped_table(path: Path) -> pa.Table:
    """The table of a file of `mapped_table`, whose columns stay in the file."""
    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
