"""A search over all shards, and what each query leaves out of its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.errors import InputError
from twhin_hf.serving.hits import Hits
from twhin_hf.serving.index.state import State

_MOST_FOUND = 2**24
"""Neighbours that are held at once: some 200 MB."""

Excluded = Union[Sequence[Sequence[str]], "pa.ListArray"]


def find_hits(state: State, queries: np.ndarray, k: int, exclude: Excluded | None) -> Hits:
    """The k nearest of each query, less those that it excludes.

    A query that excludes n ids is answered from its k + n nearest, so that k are left.

    Args:
        state: The index.
        queries: float32 `[queries, dimension]`, of length 1 where the metric is cosine.
        k: At least 1.
        exclude: Ids that each query leaves out.

    Raises:
        InputError: Not one list of ids a query.
    """
    shape = (len(queries), min(k, state.num_alive))
    rows, scores = np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32)
    ids = state.ids()
    if exclude is None:
        excluded = pa.nulls(len(queries), pa.list_(pa.string()))
    else:
        excluded = _lists(exclude, len(queries))
    lengths = excluded.value_lengths().fill_null(0).to_numpy()
    # Queries that exclude about as many are searched together, to find no more than they need.
    doublings = np.ceil(np.log2(lengths + 1)).astype(int)
    for doubling in np.unique(doublings) if shape[1] else ():
        group = np.flatnonzero(doublings == doubling)
        wanted = min(k + int(lengths[group].max()), state.num_alive)
        for block in np.array_split(group, -(-len(group) * wanted // _MOST_FOUND)):
            own_scores, own_rows = _nearest(state, queries[block], wanted)
            stays = own_rows >= 0
            if doubling:
                stays &= ~_is_excluded(ids, own_rows, excluded.take(pa.array(block)))
            order = np.argsort(~stays, axis=1, kind="stable")[:, : shape[1]]
            stays = np.take_along_axis(stays, order, 1)
            rows[block] = np.where(stays, np.take_along_axis(own_rows, order, 1), -1)
            scores[block] = np.where(stays, np.take_along_axis(own_scores, order, 1), -np.inf)
    found = ids.take(pa.array(rows[rows >= 0])).to_pylist()
    ends = np.cumsum((rows >= 0).sum(axis=1)).tolist()
    starts = [0, *ends[:-1]]
    return Hits([found[start:end] for start, end in zip(starts, ends, strict=False)], scores)


def _nearest(state: State, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and rows, over all shards, of the k nearest; both `[queries, k]`."""
    import faiss

    nearest = faiss.ResultHeap(len(queries), k, keep_max=True)
    start = 0
    for shard in state.shards:
        if shard.num_alive:
            scores, rows = shard.search(queries, min(k, shard.num_alive))
            nearest.add_result(scores, np.where(rows < 0, rows, rows + start))
        start += len(shard.ids)
    nearest.finalize()
    return nearest.D, nearest.I


def _is_excluded(ids: pa.ChunkedArray, rows: np.ndarray, excluded: pa.ListArray) -> np.ndarray:
    """Whether each query excludes what it found, bool `[queries, found]`."""
    known = pc.unique(excluded.flatten())
    is_row = rows >= 0
    codes = np.full(rows.shape, -1, np.int64)
    found = pc.index_in(ids.take(pa.array(rows[is_row])), value_set=known).fill_null(-1)
    codes[is_row] = found.to_numpy()
    own = pc.index_in(excluded.flatten(), value_set=known).to_numpy()
    # A query and an id in one number.
    pairs = pc.list_parent_indices(excluded).to_numpy().astype(np.int64) * len(known) + own
    keys = np.arange(len(rows))[:, None] * len(known) + codes
    return np.isin(keys, pairs) & (codes >= 0)


def _lists(exclude: Excluded, num_queries: int) -> pa.ListArray:
    try:
        kind = pa.list_(pa.string())
        lists = exclude.cast(kind) if isinstance(exclude, pa.Array) else pa.array(exclude, kind)
    except (pa.ArrowException, TypeError) as error:
        raise InputError(
            f"exclude cannot be read ({error}); needed is a list of ids, strings, for each query."
        ) from error
    if len(lists) != num_queries:
        raise InputError(
            f"exclude has {len(lists)} lists, and there are {num_queries} queries; needed is a "
            "list of ids for each."
        )
    return lists
