"""From a table of neighbours to a Parquet file of pairs, block by block."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.errors import InputError
from twhin_hf.files import new_file
from twhin_hf.mapped import mapped_table, open_mapped_table
from twhin_hf.network.near_duplicates import text_similarity
from twhin_hf.run_file import run_metadata
from twhin_hf.tables import TableSource, open_engine, read_errors, read_table, table_batches

PAIR_SCHEMA = pa.schema(
    {"anchor_id": pa.string(), "positive_id": pa.string(), "similarity": pa.float32()}
)
# Comparing the k neighbours of the k neighbours of a block takes this many bytes.
_BLOCK_BYTES = 2**25
_ROWS_PER_BLOCK = 65_536


def read_pairs(
    source: TableSource,
    *,
    memory_limit: str = "1GB",
    directory: str | Path | None = None,
) -> pa.Table:
    """Pairs that mining wrote, or others of the same columns.

    Args:
        source: What `read_table` reads, with columns `anchor_id` and `positive_id`: strings or
            integers.
        memory_limit: Most memory of the engine.
        directory: Where the engine spills, and a copy is while it is written.

    Returns:
        Both columns as strings, memory-mapped.

    Raises:
        FileNotFoundError: No such file.
        InputError: A missing column, one of another type, or a file that cannot be read.
    """
    schema = pa.schema(dict.fromkeys(PAIR_SCHEMA.names[:2], pa.string()))
    with open_engine(memory_limit, temp_directory=directory) as engine, read_errors(source):
        table = read_table(source, schema.names, connection=engine, option="")
        blocks = table_batches(table, _ROWS_PER_BLOCK, directory)
        return open_mapped_table(mapped_table((block.cast(schema) for block in blocks), schema))


class NeighbourTable(NamedTuple):
    """The k nearest posts of every post, nearest first."""

    similarities: np.ndarray  # float32 [num_posts, k]
    rows: np.ndarray  # int32 [num_posts, k]; -1 where there is none


class PairFilter(NamedTuple):
    """Which neighbours become pairs; see `MiningConfig` for the fields."""

    min_similarity: float
    max_text_similarity: float
    mutual: bool
    max_pairs_per_post: int | None


def write_pairs(
    table: NeighbourTable,
    sketches: np.ndarray,
    ids: pa.Array,
    output: Path,
    options: PairFilter,
    threads: int | None = None,
    record: Mapping[str, Any] | None = None,
) -> dict[str, int]:
    """Filters the neighbours and writes each unordered pair once, sorted by the anchor's row.

    Args:
        table: Neighbours of `num_posts` posts.
        sketches: Of their texts, uint8 `[num_posts, 64]`; see `near_duplicates`.
        ids: Their ids, `[num_posts]`.
        output: The file; it appears when it is complete.
        options: The filters.
        threads: Threads; all cores where it is None.
        record: What the file is to say of how it was made.

    Returns:
        How many candidates there were, how many each filter took, and how many pairs were written.

    Raises:
        InputError: No pair is left.
    """
    # What each post proposes; row -1 where a filter took the neighbour.
    num_posts, k = table.rows.shape
    proposed = np.empty((num_posts, k), np.int32)
    in_pair = np.zeros(num_posts, bool)
    counts: Counter[str] = Counter()
    threads = threads or os.cpu_count() or 1
    schema = PAIR_SCHEMA.with_metadata(run_metadata(record) if record else None)
    with (
        ThreadPoolExecutor(threads) as pool,
        new_file(output) as partial,
        pq.ParquetWriter(partial, schema, compression="zstd", use_dictionary=False) as writer,
    ):

        def propose(block: slice) -> dict[str, int]:
            keep, taken = _filter(table, block, sketches, options)
            proposed[block] = np.where(keep, table.rows[block], -1)
            return taken

        def collect(block: slice) -> pa.Table:
            anchors, ranks = np.nonzero(_first_of_two(proposed, block))
            similarities = table.similarities[block][anchors, ranks]
            positives = proposed[block][anchors, ranks]
            anchors += block.start
            in_pair[anchors] = in_pair[positives] = True
            columns = [ids.take(pa.array(anchors)), ids.take(pa.array(positives)), similarities]
            return pa.table(columns, schema=PAIR_SCHEMA)

        blocks = list(_blocks(num_posts, k))
        for taken in pool.map(propose, blocks):
            counts.update(taken)
        # A few blocks at a time, so that finished ones do not pile up.
        for start in range(0, len(blocks), 2 * threads):
            for pairs in pool.map(collect, blocks[start : start + 2 * threads]):
                writer.write_table(pairs)
                counts["num_pairs"] += len(pairs)
        if not counts["num_pairs"]:
            raise InputError(_explain_no_pairs(counts, options), faq="no-pairs")
    counts["repeated"] = int((proposed >= 0).sum()) - counts["num_pairs"]
    return {**counts, "posts_in_pairs": int(in_pair.sum())}


def _filter(
    table: NeighbourTable, block: slice, sketches: np.ndarray, options: PairFilter
) -> tuple[np.ndarray, dict[str, int]]:
    """The neighbours of a block that pass all filters, bool `[rows, k]`, and how many do not."""
    rows, similarities = table.rows[block], table.similarities[block]
    keep = rows >= 0
    counts = {"candidates": int(keep.sum())}

    def drop(name: str, passing: np.ndarray) -> None:
        before = int(keep.sum())
        np.logical_and(keep, passing, out=keep)
        counts[name] = before - int(keep.sum())

    drop("below_similarity", similarities >= options.min_similarity)
    posts, ranks = np.nonzero(keep)
    overlap = np.zeros(keep.shape)
    overlap[posts, ranks] = text_similarity(sketches[block][posts], sketches[rows[posts, ranks]])
    drop("near_duplicates", overlap < options.max_text_similarity)
    # The other filters are symmetric, so it does not matter that they come first.
    drop("not_mutual", _contains(table.rows, rows, block) if options.mutual else keep)
    most = options.max_pairs_per_post
    drop("over_max_pairs", keep if most is None else np.cumsum(keep, axis=1) <= most)
    return keep, counts


def _first_of_two(proposed: np.ndarray, block: slice) -> np.ndarray:
    """The proposals of a block without those that a post of a lower row makes too, bool."""
    rows = proposed[block]
    own = np.arange(block.start, block.stop)[:, None]
    return (rows >= 0) & ~((rows < own) & _contains(proposed, rows, block))


def _contains(table: np.ndarray, rows: np.ndarray, block: slice) -> np.ndarray:
    """Whether the neighbours of `rows[i, j]` hold the post of the block's row i, bool like rows."""
    own = np.arange(block.start, block.stop, dtype=table.dtype)[:, None, None]
    return (table[rows] == own).any(axis=-1)


def _blocks(num_posts: int, k: int) -> Iterator[slice]:
    size = max(1, _BLOCK_BYTES // (4 * k * max(k, 64)))
    for start in range(0, num_posts, size):
        yield slice(start, min(start + size, num_posts))


def _explain_no_pairs(counts: Mapping[str, int], options: PairFilter) -> str:
    reasons = {
        "below_similarity": f"below the similarity of {options.min_similarity:g}",
        "near_duplicates": "with nearly the same text",
        "not_mutual": "not mutual",
    }
    taken = [f"{counts[name]:,} {reason}" for name, reason in reasons.items() if counts[name]]
    return (
        f"No pair is left of {counts['candidates']:,} candidates: {'; '.join(taken)}. "
        "Relax that filter (min_similarity, max_text_similarity, mutual) or give a larger k."
    )
