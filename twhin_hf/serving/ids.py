"""Ids of vectors, as Arrow's strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.errors import InputError

Ids = Union[Sequence[str], "pa.Array", "pa.ChunkedArray"]


def check_distinct(ids: pa.Array | pa.ChunkedArray, what: object) -> None:
    """Refuses ids that come more than once.

    Args:
        ids: Strings.
        what: Holds them, for the message.

    Raises:
        InputError: Some do; the first is named.
    """
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    counts = pc.value_counts(ids)
    first = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    raise InputError(
        f"{len(first)} ids come more than once in {what} (the first is {first[0].as_py()!r}); an "
        "id has one vector. Leave the others out."
    )


def strings(ids: Ids) -> pa.Array:
    """Ids as an Arrow array of strings; integers become their digits.

    Raises:
        InputError: Some are missing, or of another type.
    """
    try:
        chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [pa.array(ids)]
        if any(pa.types.is_floating(chunk.type) for chunk in chunks):
            raise TypeError("they are floats, which merge ids")
        found = pa.concat_arrays(
            [pa.array([], pa.string()), *(c.cast(pa.string()) for c in chunks)]
        )
    except (pa.ArrowException, TypeError) as error:
        raise InputError(f"The ids cannot be read ({error}); needed are strings.") from error
    if found.null_count:
        raise InputError(f"{found.null_count} ids are missing; every vector needs one.")
    return found


def is_in(ids: pa.Array | pa.ChunkedArray, among: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Whether each id is among others, bool `[ids]`."""
    return pc.is_in(ids, value_set=among).to_numpy(zero_copy_only=False)
