"""safetensors files larger than memory: written in blocks, read by mapping, filled by shards.

The library writes and reads whole tensors, from and into memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from twhin_hf.errors import WRONG_CONTENT, InputError

_NAMES = {"float32": "F32", "int32": "I32", "int64": "I64"}
_DTYPES = {short: np.dtype(name) for name, short in _NAMES.items()}
_BLOCK_BYTES = 64 * 2**20


class Blocks(NamedTuple):
    """A tensor that comes block by block.

    Args:
        dtype: float32, int32 or int64.
        shape: Of the whole.
        blocks: Parts along the first dimension, in order.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    blocks: Iterable[np.ndarray]

    @classmethod
    def of(cls, values: np.ndarray) -> Blocks:
        """An array that is there, perhaps mapped from a file, in blocks of about 64 MiB."""
        return cls(values.dtype, values.shape, (values[block] for block in row_blocks(values)))


def row_blocks(values: np.ndarray) -> Iterator[slice]:
    """Slices of rows that together cover `values`, each of about 64 MiB."""
    rows = max(1, _BLOCK_BYTES // max(1, values[:1].nbytes))
    for start in range(0, len(values), rows):
        yield slice(start, min(start + rows, len(values)))


def write_tensors(path: Path, tensors: Mapping[str, Blocks]) -> None:
    """Writes a safetensors file block by block; a link to an older one is replaced, not followed.

    Args:
        path: Of the file.
        tensors: By name; where dtypes differ, the widest first, so that all are aligned.
    """
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.write(_header(tensors))
        for dtype, _, blocks in tensors.values():
            for block in blocks:
                # Not `tofile`, whose error does not say that the disk is full.
                file.write(np.ascontiguousarray(block, dtype).reshape(-1).view(np.uint8).data)


def reserve_tensor(path: Path, name: str, dtype: type, shape: tuple[int, ...]) -> None:
    """Makes a safetensors file of one tensor, all 0, to be filled by `write_rows`."""
    header = _header({name: Blocks(np.dtype(dtype), shape, ())})
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + np.dtype(dtype).itemsize * math.prod(shape))


def write_rows(path: Path, first: int, rows: np.ndarray) -> None:
    """Writes rows into a file of `reserve_tensor`; processes may write to one at the same time.

    Args:
        path: Of the file.
        first: Row of the tensor that `rows` begins at.
        rows: `[count, …]`, of the dtype of the file.
    """
    with path.open("r+b") as file:
        header_size = int.from_bytes(file.read(8), "little")
        file.seek(8 + header_size + first * rows.itemsize * math.prod(rows.shape[1:]))
        for block in row_blocks(rows):
            file.write(np.ascontiguousarray(rows[block]).data)


def map_tensors(path: Path, mode: Literal["r", "c"] = "r") -> dict[str, np.ndarray]:
    """Maps the tensors of a safetensors file.

    Args:
        path: Of the file.
        mode: Read-only, or copied where it is written to; torch wants the latter.

    Raises:
        InputError: The file is no safetensors file, or cut short.
    """
    size = path.stat().st_size
    found = {}
    try:
        with path.open("rb") as file:
            header_size = int.from_bytes(file.read(8), "little")
            if header_size > size - 8:
                raise InputError("the header is longer than the file")
            header = json.loads(file.read(header_size))
        if not isinstance(header, dict):
            raise InputError("the header is no object")
        header.pop("__metadata__", None)
        for name, tensor in header.items():
            shape, (start, end) = tuple(tensor["shape"]), tensor["data_offsets"]
            dtype = _DTYPES[tensor["dtype"]]
            if start < 0 or min(shape, default=0) < 0 or not all(type(n) is int for n in shape):
                raise InputError(f"shape {list(shape)} at {start}")
            if end - start != dtype.itemsize * math.prod(shape):
                raise InputError(f"dtype {tensor['dtype']}, shape {list(shape)}")
            offset = 8 + header_size + start
            if 8 + header_size + end > size:
                raise InputError(f"{size} bytes instead of {8 + header_size + end}")
            found[name] = (
                np.memmap(path, dtype, mode=mode, offset=offset, shape=shape)
                if math.prod(shape)
                else np.zeros(shape, dtype)
            )
    except WRONG_CONTENT as error:
        raise damaged(path, str(error)) from error
    return found


def damaged(path: Path, reason: str) -> InputError:
    """That a file of the network folder does not hold what it should."""
    return InputError(
        f"{path} does not hold what it should ({reason}). It is damaged or of another kind: write "
        "the network folder again."
    )


def _header(tensors: Mapping[str, Blocks]) -> bytes:
    header, end = {}, 0
    for name, (dtype, shape, _) in tensors.items():
        start, end = end, end + dtype.itemsize * math.prod(shape)
        header[name] = {
            "dtype": _NAMES[dtype.name],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin where 8 divides
    return len(text).to_bytes(8, "little") + text
