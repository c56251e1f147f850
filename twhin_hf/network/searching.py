"""The nearest posts of every post, by an index in shards and queries in shares.

One process makes a shard's index, searches it for all posts and makes the next; with workers the
shards are made by some of them and written to a folder, and each searches all shards for its share
of the posts. Every post meets the same indexes in the same order, in blocks of the same posts, so
that the result does not depend on who does the work.
"""

from __future__ import annotations

import itertools
import mmap
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from twhin_hf.network.mining_config import MiningConfig
from twhin_hf.network.neighbours import (
    EXACT,
    NeighbourIndex,
    build_index,
    default_index,
    faiss_threads,
    search_neighbours,
)
from twhin_hf.network.pairs import NeighbourTable
from twhin_hf.processes import Workers

QUERIES_PER_BLOCK = 4096
BYTES_PER_NEIGHBOUR = 8
"""A similarity and a row."""


class Shards(NamedTuple):
    """What is told of the indexes.

    Args:
        description: FAISS factory string of the first one.
        probes: Most cells that a search visits in one; None where they have none.
        recall: The lowest of the shards' recalls.
        num_shards: How many there are.
        build_seconds: Making all of them.
        search_seconds: Searching them.
    """

    description: str
    probes: int | None
    recall: float
    num_shards: int
    build_seconds: float
    search_seconds: float


class SelectedRows:
    """Some rows of an array that stays where it is, such as in a file.

    Args:
        values: `[num_values, dimension]`.
        rows: int64 `[num_rows]`, rising.
    """

    def __init__(self, values: np.ndarray, rows: np.ndarray):
        self._values, self._rows = values, rows
        self._is_whole = len(rows) == len(values)
        self.shape = (len(rows), *values.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        return self._values[key] if self._is_whole else self._values[self._rows[key]]

    def part(self, start: int, stop: int) -> SelectedRows:
        """A run of the rows."""
        return SelectedRows(self._values, self._rows[start:stop])


@dataclass(frozen=True)
class Stored:
    """What the workers open: vectors, which of them, and their lengths.

    Args:
        folder: Of `rows.npy`, `lengths.npy` and all that workers write.
        vectors: File of float32.
        offset: Where the vectors begin.
        shape: `[num_values, dimension]`.
        config: How to mine.
    """

    folder: Path
    vectors: Path
    offset: int
    shape: tuple[int, int]
    config: MiningConfig

    def open(self) -> tuple[SelectedRows, np.ndarray]:
        """The rows that are searched, and the lengths of their vectors, mapped."""
        values = np.memmap(self.vectors, np.float32, "r", offset=self.offset, shape=self.shape)
        rows = np.load(self.folder / "rows.npy", mmap_mode="r")
        return SelectedRows(values, rows), np.load(self.folder / "lengths.npy", mmap_mode="r")

    def index_path(self, number: int) -> Path:
        """The file of a shard's index."""
        return self.folder / f"shard-{number:06}.faiss"


def search_posts(
    vectors: np.ndarray,
    rows: np.ndarray,
    lengths: np.ndarray,
    config: MiningConfig,
    file: IO[bytes],
    folder: Path,
    *,
    workers: Workers | None = None,
    progress: bool = True,
) -> tuple[NeighbourTable, Shards]:
    """The k nearest of the chosen posts for each of them.

    Args:
        vectors: float32 `[num_values, dimension]`, of any length; may be memory-mapped.
        rows: Which are searched and found, int64 `[num_posts]`, rising.
        lengths: Of their vectors, float32 `[num_posts]`, none of them 0.
        config: How to mine.
        file: Holds the result, so that memory need not.
        folder: For the workers' files; they must see it.
        workers: Do the work; this process where they are None.
        progress: Shows a progress bar.
    """
    k, num_posts, begin = config.k, len(rows), time.perf_counter()
    table = NeighbourTable(
        np.memmap(file, np.float32, mode="r+", shape=(num_posts, k)),
        np.memmap(file, np.int32, mode="r+", offset=4 * num_posts * k, shape=(num_posts, k)),
    )
    if workers is None:
        chosen = SelectedRows(vectors, rows)
        told: list[NeighbourIndex] = []
        seconds: list[float] = []
        blocks = range(0, num_posts, QUERIES_PER_BLOCK)
        indexes = _build_in_turn(chosen, config, told, seconds)
        _search(indexes, chosen, lengths, blocks, table, progress)
        return table, _summary(told, sum(seconds), begin)
    stored = _store(vectors, rows, lengths, config, folder)
    starts = _starts(num_posts, config)
    told = workers.map(partial(_build_shard, stored), range(len(starts)))
    built = time.perf_counter() - begin
    shares = _shares(num_posts, workers.num_workers)
    for part in workers.map(partial(_search_share, stored), shares):
        found = NeighbourTable(*(np.load(path, mmap_mode="r") for path in part))
        start = int(part[0].stem.split("-")[1])
        for block in range(0, len(found.rows), QUERIES_PER_BLOCK):
            own = slice(block, block + QUERIES_PER_BLOCK)
            whole = slice(start + block, start + block + len(found.rows[own]))
            table.similarities[whole], table.rows[whole] = found.similarities[own], found.rows[own]
        for path in part:
            path.unlink()
    return table, _summary(told, built, begin)


def _starts(num_posts: int, config: MiningConfig) -> range:
    """First row of each shard; the shards are of nearly one size."""
    most = config.index_shard_size or num_posts
    num_shards = -(-num_posts // most)
    return range(0, num_posts, -(-num_posts // num_shards))


def _build(vectors: SelectedRows, number: int, config: MiningConfig) -> NeighbourIndex:
    """The index of a shard: exact where one of all posts would be."""
    starts = _starts(len(vectors), config)
    part: Any = vectors.part(starts[number], starts[number] + starts.step)
    is_exact = default_index(len(vectors), vectors.shape[1], config.exact_limit) == EXACT
    chosen = EXACT if is_exact else default_index(len(part), vectors.shape[1], exact_limit=0)
    return build_index(
        part,
        config.index or chosen,
        probes=config.probes,
        target_recall=config.target_recall,
        seed=config.seed,
    )


def _build_in_turn(
    vectors: SelectedRows,
    config: MiningConfig,
    told: list[NeighbourIndex],
    seconds: list[float],
) -> Iterator[tuple[int, Any]]:
    """First row and index of each shard; what is told of it, and its time, go to the lists."""

    def make(number: int) -> Any:
        begin = time.perf_counter()
        built = _build(vectors, number, config)
        told.append(_without_index(built))
        seconds.append(time.perf_counter() - begin)
        return built.index

    for number, start in enumerate(_starts(len(vectors), config)):
        yield start, make(number)  # kept by nobody here, so that one alone is in memory


def _build_shard(stored: Stored, number: int) -> NeighbourIndex:
    """Writes the index of a shard; gives what is to be told of it."""
    import faiss

    vectors, _ = stored.open()
    with faiss_threads(stored.config.threads):
        built = _build(vectors, number, stored.config)
    faiss.write_index(built.index, str(stored.index_path(number)))
    return _without_index(built)


def _search_share(stored: Stored, share: range) -> tuple[Path, Path]:
    """Searches all shards for some blocks of posts, and writes what is found to two files."""
    vectors, lengths = stored.open()
    stop = min(share[-1] + share.step, len(vectors))
    paths = tuple(stored.folder / f"{name}-{share.start}.npy" for name in NeighbourTable._fields)
    shape = (stop - share.start, stored.config.k)
    found = NeighbourTable(
        *(
            np.lib.format.open_memmap(path, "w+", dtype, shape)
            for path, dtype in zip(paths, (np.float32, np.int32), strict=True)
        )
    )
    with faiss_threads(stored.config.threads):
        _search(_read_in_turn(stored, len(vectors)), vectors, lengths, share, found, False)
    del found  # which writes what is mapped
    return paths[0], paths[1]


def _read_in_turn(stored: Stored, num_posts: int) -> Iterator[tuple[int, Any]]:
    import faiss

    for number, start in enumerate(_starts(num_posts, stored.config)):
        yield start, faiss.read_index(str(stored.index_path(number)))


def _search(
    indexes: Iterable[tuple[int, Any]],
    vectors: SelectedRows,
    lengths: np.ndarray,
    blocks: range,
    table: NeighbourTable,
    progress: bool,
) -> None:
    """Searches the indexes one after the other, and keeps the best of all in the table.

    Args:
        indexes: First row and index of each shard.
        vectors: Of all posts.
        lengths: Of the vectors.
        blocks: First row of each block of posts that are searched for.
        table: Of these posts, without those before the first block.
        progress: Shows a progress bar.
    """
    from rich.progress import Progress

    k = table.rows.shape[1]
    with Progress(disable=not progress) as bar:
        for shard, (first, index) in enumerate(indexes):
            task = bar.add_task(f"Searching part {shard + 1}", total=len(table.rows))
            for start in blocks:
                block = slice(start, min(start + blocks.step, len(vectors)))
                found = search_neighbours(index, vectors, lengths, block, k, first)  # type: ignore[arg-type]
                own = slice(block.start - blocks.start, block.stop - blocks.start)
                if shard:
                    found = _best((table.similarities[own], table.rows[own]), found)
                table.similarities[own], table.rows[own] = found
                bar.advance(task, block.stop - block.start)
            del index  # before the next one is made


def _best(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar of two tables of k; of equal ones those of the first."""
    similarities, rows = (np.hstack(pair) for pair in zip(first, second, strict=True))
    is_none = rows < 0
    order = np.argsort(np.where(is_none, np.inf, -similarities), axis=1, kind="stable")
    order = order[:, : first[1].shape[1]]
    return np.take_along_axis(similarities, order, 1), np.take_along_axis(rows, order, 1)


def _shares(num_posts: int, num_workers: int) -> list[range]:
    """Runs of blocks of posts, one a worker; none is empty."""
    step = QUERIES_PER_BLOCK
    num_blocks = -(-num_posts // step)
    bounds = np.linspace(0, num_blocks, num_workers + 1).round().astype(int).tolist()
    return [range(a * step, b * step, step) for a, b in itertools.pairwise(bounds) if a < b]


def _store(
    vectors: np.ndarray,
    rows: np.ndarray,
    lengths: np.ndarray,
    config: MiningConfig,
    folder: Path,
) -> Stored:
    """Files of all that workers need; vectors that are in a file already stay there."""
    np.save(folder / "rows.npy", rows)
    np.save(folder / "lengths.npy", lengths)
    if isinstance(vectors, np.memmap) and isinstance(vectors.base, mmap.mmap):  # a whole map
        path, offset = Path(os.path.abspath(str(vectors.filename))), vectors.offset
    else:
        path, offset = folder / "vectors.f32", 0
        vectors.tofile(path)
    return Stored(folder, path, offset, vectors.shape, config)


def _without_index(built: NeighbourIndex) -> NeighbourIndex:
    return NeighbourIndex(None, built.description, built.probes, built.recall)


def _summary(told: Sequence[NeighbourIndex], build_seconds: float, begin: float) -> Shards:
    searched = time.perf_counter() - begin - build_seconds
    probes = [built.probes for built in told if built.probes is not None]
    recall = min(built.recall for built in told)
    return Shards(
        told[0].description, max(probes, default=None), recall, len(told), build_seconds, searched
    )
