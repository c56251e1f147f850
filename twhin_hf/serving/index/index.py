"""A saved index of vectors that grows and shrinks: FAISS, in shards, memory-mapped.

New vectors become a shard of their own, which takes in the one before it while that is no larger:
so each vector is written again about log2(shard_size) times, however few come at a time, and there
are never many small shards. Deleted rows are left out of searches until a fifth of their shard is
deleted, which is then written anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.errors import InputError
from twhin_hf.files import new_folder
from twhin_hf.network.folder import check_finite
from twhin_hf.network.neighbours import plain_vectors, unit_vectors
from twhin_hf.run_folder import lock_folder
from twhin_hf.serving.hits import Hits, check_queries
from twhin_hf.serving.ids import Ids, check_distinct, is_in, strings
from twhin_hf.serving.index.index_config import IndexConfig
from twhin_hf.serving.index.searching import Excluded, find_hits
from twhin_hf.serving.index.shards import Shard, write_shard
from twhin_hf.serving.index.state import State, read_state, write_state
from twhin_hf.serving.vector_files import (
    check_same_vectors,
    only_vectors,
    vector_blocks,
    vector_ids,
    vector_shape,
    vectors_made_with,
)

logger = logging.getLogger(__name__)

Vectors = str | Path | tuple[Ids, np.ndarray]

_DELETED_SHARE = 0.2


class VectorIndex:
    """An open index; `load_index` and `build_index` give it.

    Searches may run while another thread adds or deletes: they see the index before or after.

    Args:
        path: Its folder.

    Raises:
        FileNotFoundError: There is no index.
        InputError: It is damaged.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._state = read_state(self.path)
        self._writing = threading.Lock()

    @property
    def count(self) -> int:
        """Number of vectors."""
        return self._state.num_alive

    @property
    def dimension(self) -> int:
        """Dimension of the vectors."""
        return self._state.dimension

    @property
    def config(self) -> IndexConfig:
        """How it is built; `metric` is what scores are."""
        return self._state.config

    @property
    def made_with(self) -> dict[str, Any]:
        """What made the vectors, as `vectors_made_with` gives it; empty where nothing tells it."""
        return dict(self._state.made_with)

    @property
    def ids(self) -> pa.ChunkedArray:
        """Ids of the vectors, strings."""
        return self._state.alive_ids()

    @property
    def all_ids(self) -> pa.ChunkedArray:
        """Every id that the folder holds: of vectors, and those that were deleted."""
        deleted = self._state.deleted["post_id"].chunks
        return pa.chunked_array([*self._state.ids().chunks, *deleted], pa.string())

    def search(self, queries: np.ndarray, k: int, exclude: Excluded | None = None) -> Hits:
        """The k nearest of each query.

        Args:
            queries: `[queries, dimension]`; of any length where the metric is cosine.
            k: Ids to find; all where there are fewer.
            exclude: For each query the ids that it leaves out; the k nearest of the others are
                found.

        Returns:
            Ids and cosines, or inner products where these are the metric. A zero vector has the
            cosine 0 with everything.

        Raises:
            InputError: Queries of another dimension or that are not finite, a k below 1, or not
                one list of ids a query.

        Example:
            >>> import tempfile
            >>> index = build_index((["a", "b"], np.eye(2)), Path(tempfile.mkdtemp()) / "index")
            >>> index.search(np.array([[3, 4]]), 1).post_ids
            [['b']]
            >>> index.search(np.array([[3, 4]]), 1, exclude=[["b"]]).post_ids
            [['a']]
        """
        state = self._state
        queries = np.asarray(queries)
        check_queries(queries, state.dimension, k, self.path)
        if not np.isfinite(queries).all():
            raise InputError("The queries hold NaN or infinity; vectors must be finite.")
        is_cosine = state.config.metric == "cosine"
        prepared = unit_vectors(queries) if is_cosine else plain_vectors(queries)
        return find_hits(state, prepared, k, exclude)

    def add(self, ids: Ids, vectors: np.ndarray) -> None:
        """Adds vectors, of ids that have none; what is deleted may come again.

        Args:
            ids: Distinct strings `[rows]`.
            vectors: `[rows, dimension]`.

        Raises:
            InputError: Ids that are there already, repeated or missing, vectors of another
                dimension or that are not finite, or another process that changes the index.
        """
        new_ids, vectors = _checked(ids, vectors, self.dimension, self.path)
        if not len(new_ids):
            return
        with self._changing() as state:
            known = new_ids.filter(is_in(new_ids, _of(state, new_ids)))
            if len(known):
                raise InputError(
                    f"{len(known)} of the ids are in {self.path} already (the first is "
                    f"{known[0].as_py()!r}). Delete them first, or add the others."
                )
            size = state.config.shard_size
            for start in range(0, len(new_ids), size):
                rows = slice(start, start + size)
                state = self._with_shard(state, new_ids[rows], vectors[rows])
            self._state = write_state(self.path, state, self._state)

    def delete(self, ids: Ids, *, erase: bool = False, is_held: bool = False) -> int:
        """Deletes vectors; ids that have none are passed over.

        Args:
            ids: Strings.
            erase: Leave nothing of them: the shards that hold them are written anew at once, and
                their ids, which `add_vectors` would otherwise pass over from now on, are forgotten.
            is_held: The caller holds the folder already (`lock_folder`).

        Returns:
            Number of vectors deleted.

        Raises:
            InputError: Another process changes the index.
        """
        unwanted = pc.unique(strings(ids))
        with self._changing(is_held=is_held) as state:
            before, shards, gone = state.num_alive, [], [state.deleted]
            for shard in state.shards:
                of_ids = is_in(shard.ids, unwanted)
                rows = np.flatnonzero(of_ids & shard.is_alive)
                names = {"post_id": shard.ids.take(pa.array(rows)), "row": rows}
                numbers = pa.array(np.full(len(rows), shard.number))
                gone.append(pa.table(names | {"shard": numbers}).select(state.deleted.schema.names))
                left = shard.without(rows) if len(rows) else shard
                if erase and of_ids.any():
                    shards.append((left.without(np.flatnonzero(of_ids)), True))
                else:
                    share = 1 - left.num_alive / len(left.ids)
                    shards.append((left, len(rows) > 0 and share > _DELETED_SHARE))
            deleted = pa.concat_tables(gone).cast(state.deleted.schema)
            if erase:
                deleted = deleted.filter(pa.array(~is_in(deleted["post_id"], unwanted)))
            is_same = all(old is new for old, (new, _) in zip(state.shards, shards, strict=True))
            if is_same and deleted.equals(state.deleted):
                return 0
            state = state._replace(deleted=deleted, shards=())
            for shard, is_renewed in shards:
                if is_renewed:
                    state = self._renewed(state, shard)
                else:
                    state = state._replace(shards=(*state.shards, shard))
            self._state = write_state(self.path, state, self._state)
            return before - self._state.num_alive

    def refresh(self) -> None:
        """Takes up what other processes have changed."""
        with self._writing:
            self._state = read_state(self.path, self._state.shards)

    @contextmanager
    def _changing(self, *, is_held: bool = False) -> Iterator[State]:
        """The newest state, which nobody else changes meanwhile."""
        with self._writing, nullcontext() if is_held else lock_folder(self.path):
            self._state = read_state(self.path, self._state.shards)
            yield self._state

    def _with_shard(self, state: State, ids: pa.Array, vectors: np.ndarray) -> State:
        """With a new shard, which takes in those before it that are no larger."""
        shards = list(state.shards)
        taken: list[Shard] = []
        count = len(ids)
        while shards and shards[-1].num_alive <= min(count, state.config.shard_size - count):
            taken.insert(0, shards.pop())
            count += taken[0].num_alive
        if taken:
            ids = pa.concat_arrays([*(shard.alive_ids() for shard in taken), ids])
            vectors = np.concatenate([*(shard.alive_vectors() for shard in taken), vectors])
        shard = write_shard(self.path, state.next_number, ids, vectors, state.config)
        return state._replace(
            shards=(*shards, shard),
            next_number=state.next_number + 1,
            deleted=_without_places(state.deleted, [shard.number for shard in taken]),
        )

    def _renewed(self, state: State, shard: Shard) -> State:
        """With a shard written anew behind the others, without its deleted rows."""
        state = state._replace(deleted=_without_places(state.deleted, [shard.number]))
        if not shard.num_alive:
            return state
        number = state.next_number
        new = write_shard(self.path, number, shard.alive_ids(), shard.alive_vectors(), state.config)
        return state._replace(shards=(*state.shards, new), next_number=number + 1)


def build_index(
    vectors: Vectors,
    output: str | Path,
    config: IndexConfig | None = None,
    *,
    made_with: Mapping[str, Any] | None = None,
) -> VectorIndex:
    """Builds an index, exact in small shards and fast in large ones, and saves it in a folder.

    Memory holds a shard: some `12 * dimension` bytes a vector of it while it is built.

    Args:
        vectors: File of `embed_posts` or a folder of such files; or distinct ids, strings, and
            their vectors `[rows, dimension]`.
        output: New folder. `index.json` tells what is in it: dimension, count, what made the
            vectors, and of each shard the kind of index and its recall@10, measured on 1,000 of
            its vectors.
        config: How it is built.
        made_with: What made the vectors, where no file tells it.

    Raises:
        FileExistsError: The output is there.
        FileNotFoundError: The vectors are missing.
        InputError: Damaged or no vectors, vectors that are not finite, or repeated ids.
    """
    output = Path(output)
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise FileExistsError(f"{output} is there; remove it, or give another output.")
    if isinstance(vectors, tuple):
        ids, values = vectors
        dimension = np.shape(values)[-1] if np.ndim(values) == 2 else 0
        ids, values = _checked(ids, np.asarray(values), dimension, "the new index")
        count = len(ids)
    else:
        count, dimension = vector_shape(vectors)
        made_with = only_vectors(vectors_made_with(vectors))
    if not count or not dimension:
        raise InputError("There are no vectors to build an index of; needed is one at least.")
    with new_folder(output) as folder:
        state = State(dimension, config or IndexConfig(), dict(made_with or {}))
        write_state(folder, state, None)
        index = VectorIndex(folder)
        if isinstance(vectors, tuple):
            index.add(ids, values)
        else:
            add_vectors(index, vectors)
    return VectorIndex(output)


def load_index(path: str | Path) -> VectorIndex:
    """Opens an index; its vectors stay on the disk until they are read.

    Args:
        path: Folder of `build_index`.

    Raises:
        FileNotFoundError: There is no index.
        InputError: It is damaged.
    """
    return VectorIndex(path)


def add_vectors(index: VectorIndex, vectors: str | Path) -> int:
    """Adds the vectors of a file that an index does not hold, but for those deleted from it.

    Args:
        index: An index.
        vectors: File of `embed_posts`, or a folder of such files.

    Returns:
        Number of vectors added.

    Raises:
        FileNotFoundError: The vectors are missing.
        InputError: They were made with another model or other options, ids are repeated, or see
            `VectorIndex.add`.
    """
    told = only_vectors(vectors_made_with(vectors))
    check_same_vectors(index.path, index.made_with, vectors, told)
    _, dimension = vector_shape(vectors)
    _check_dimension(dimension, index.dimension, vectors, index.path)
    ids = pa.chunked_array(vector_ids(vectors), pa.string())
    check_distinct(ids, vectors)
    is_new = ~is_in(ids, index.all_ids)
    left = int(is_new.sum())
    added = start = filled = 0
    names: list[pa.Array] = []
    size = index.config.shard_size
    space = np.empty((min(size, left), dimension), np.float32)
    for block in vector_blocks(vectors):
        rows = np.flatnonzero(is_new[start : start + len(block.ids)])
        start += len(block.ids)
        while len(rows):
            own, rows = np.split(rows, [len(space) - filled])
            space[filled : filled + len(own)] = block.vectors[own]
            names.append(block.ids.take(pa.array(own)))
            filled += len(own)
            if filled == len(space) or added + filled == left:
                index.add(pa.concat_arrays(names), space[:filled])
                added, filled, names = added + filled, 0, []
    return added


def _of(state: State, ids: pa.Array) -> pa.Array:
    """Those of some ids that have a vector."""
    found = [
        shard.ids.filter(pa.array(is_in(shard.ids, ids) & shard.is_alive)) for shard in state.shards
    ]
    return pa.concat_arrays([pa.array([], pa.string()), *found])


def _without_places(deleted: pa.Table, numbers: list[int]) -> pa.Table:
    """Deleted ids whose shards were written anew lie nowhere any more."""
    if not numbers or not deleted.num_rows:
        return deleted
    lies = pc.invert(pc.is_in(deleted["shard"], value_set=pa.array(numbers)))
    nowhere = pa.scalar(None, pa.int64())
    return pa.table(
        {
            "post_id": deleted["post_id"],
            "shard": pc.if_else(lies, deleted["shard"], nowhere),
            "row": pc.if_else(lies, deleted["row"], nowhere),
        }
    )


def _checked(
    ids: Ids, vectors: np.ndarray, dimension: int, place: object
) -> tuple[pa.Array, np.ndarray]:
    """Ids and vectors that can be added.

    Raises:
        InputError: Those that cannot.
    """
    found, vectors = strings(ids), np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or len(vectors) != len(found):
        raise InputError(
            f"There are {len(found)} ids, and the shape of the vectors is {list(vectors.shape)}; "
            f"needed is [{len(found)}, {dimension or 'dimension'}]."
        )
    _check_dimension(vectors.shape[1], dimension, "the vectors", place)
    check_distinct(found, "the ids")
    check_finite(vectors, found, "new")
    return found, vectors


def _check_dimension(own: int, dimension: int, what: object, place: object) -> None:
    if own != dimension:
        raise InputError(
            f"{what} are of {own} dimensions, and {place} holds vectors of {dimension}: embed with "
            "the model and pooling of the index."
        )
