"""Which row of a table an id has: memory is bounded, however many ids.

Of many ids by a join of the engine; a million stand in a hash table, without starting one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.scratch import scratch_folder

_BLOCK = 65_536
_HASHED = 1_000_000
"""Ids at most that are looked up in a hash table in memory."""


def rows_of_ids(
    ids: pa.Array | pa.ChunkedArray,
    among: pa.Array | pa.ChunkedArray,
    *,
    memory_limit: str = "500MB",
) -> np.ndarray:
    """The row that each id has among others: 4 bytes an id, and the engine's limit.

    Args:
        ids: Strings, `[num_ids]`; null is no id.
        among: Strings, `[num_others]`.
        memory_limit: Most memory of the engine, which spills to a temporary folder.

    Returns:
        int32 `[num_ids]` (int64 where there are 2³¹ others or more), the first row of those that
        have the id; -1 where none has it.

    Example:
        >>> rows_of_ids(pa.array(["c", "x", "a"]), pa.array(["a", "b", "c", "a"])).tolist()
        [2, -1, 0]
    """
    if len(among) <= _HASHED:
        found = pc.index_in(ids.cast(pa.string()), among.cast(pa.string()), skip_nulls=True)
        return found.fill_null(-1).to_numpy().astype(np.int32)
    return _joined(ids, among, memory_limit)


def _joined(
    ids: pa.Array | pa.ChunkedArray, among: pa.Array | pa.ChunkedArray, memory_limit: str
) -> np.ndarray:
    import duckdb

    dtype = np.int32 if len(among) < 2**31 else np.int64
    unknown = np.iinfo(dtype).max
    found = np.full(len(ids), unknown, dtype)
    with scratch_folder() as spill:
        options = {"memory_limit": memory_limit, "temp_directory": str(spill)}
        with duckdb.connect(config={**options, "preserve_insertion_order": "false"}) as engine:
            engine.register("ids", _numbered(ids))
            engine.register("others", _numbered(among))
            query = "SELECT ids.number, others.number FROM ids JOIN others USING (id)"
            for batch in engine.sql(query).to_arrow_reader(_BLOCK):
                rows, others = (column.to_numpy() for column in batch.columns)
                np.minimum.at(found, rows, others.astype(dtype))
    found[found == unknown] = -1
    return found


def _numbered(ids: pa.Array | pa.ChunkedArray) -> pa.RecordBatchReader:
    """Ids with their rows, read a block at a time."""
    chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    schema = pa.schema({"id": pa.string(), "number": pa.int64()})

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for chunk in chunks:
            for begin in range(0, len(chunk), _BLOCK):
                block = chunk.slice(begin, _BLOCK).cast(pa.string())
                numbers = pa.array(np.arange(start, start + len(block)))
                start += len(block)
                yield pa.RecordBatch.from_arrays([block, numbers], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())
