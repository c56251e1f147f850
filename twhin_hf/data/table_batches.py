"""Rows of an engine's table in Arrow batches."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import ibis.expr.types as ir


def iterate_batches(table: ir.Table, num_rows: int = 10_000) -> Iterator[pa.RecordBatch]:
    """The rows of a table of any size in order, by way of a Parquet file that goes away.

    Args:
        table: Of `read_table`, while its engine is open.
        num_rows: Most rows of a batch.
    """
    with tempfile.TemporaryDirectory(prefix="twhin_hf-") as folder:
        path = Path(folder) / "rows.parquet"
        table.to_parquet(path)
        yield from pq.ParquetFile(path).iter_batches(batch_size=num_rows)
