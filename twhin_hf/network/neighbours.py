"""Nearest neighbours with FAISS, by cosine or inner product: the index, its settings, its recall.

TwHIN-BERT (Zhang et al., KDD 2023, section 3.1) mines with `OPQ64,IVF65536,PQ64` and 2,000 probes.
Product quantisation alone misses a quarter of the true neighbours whatever the probes, so by
default a fast-scan code finds the candidates and the full vectors rank them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from twhin_hf.errors import InputError
from twhin_hf.network.tensor_files import row_blocks

logger = logging.getLogger(__name__)

EXACT = "Flat"
_RECALL_AT = 10
_NUM_SAMPLES = 1000
# Rows that k-means sees for each cell; FAISS warns below 39.
_TRAINING_ROWS_PER_CELL = 64
_FIRST_PROBES = 8
_REFINE_FACTORS = (10, 20, 40)
# More probes have stopped helping once doubling them adds less recall than this.
_SMALLEST_GAIN = 0.002


@dataclass(frozen=True)
class NeighbourIndex:
    """A filled FAISS index, and what is known of it.

    Args:
        index: The FAISS index; inner product.
        description: Its factory string.
        probes: Cells that a search visits; None where the index has no cells.
        recall: Share of the true 10 nearest neighbours found, on a sample of the posts.
    """

    index: Any
    description: str
    probes: int | None
    recall: float


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """A copy with rows of length 1; a zero vector stays zero. float32 `[rows, dimension]`."""
    import faiss

    units = np.array(vectors, np.float32, order="C")
    faiss.normalize_L2(units)
    return units


def plain_vectors(vectors: np.ndarray) -> np.ndarray:
    """A copy of the rows as they are. float32 `[rows, dimension]`."""
    return np.array(vectors, np.float32, order="C")


def default_index(num_vectors: int, dimension: int, exact_limit: int) -> str:
    """The factory string for this many vectors: exact up to the limit, refined IVF/PQ above.

    Example:
        >>> default_index(50_000, 256, exact_limit=100_000)
        'Flat'
        >>> default_index(1_000_000, 256, exact_limit=100_000)
        'IVF1024,PQ128x4fs,RFlat'
    """
    if num_vectors <= exact_limit:
        return EXACT
    cells = 2 ** round(np.log2(num_vectors) / 2)
    codes = dimension // 2 if dimension % 2 == 0 else dimension
    return f"IVF{cells},PQ{codes}x4fs,RFlat"


def build_index(
    vectors: np.ndarray,
    description: str,
    *,
    probes: int | None = None,
    target_recall: float = 0.95,
    seed: int = 0,
    is_cosine: bool = True,
) -> NeighbourIndex:
    """Trains and fills an index, and finds the settings that reach the target recall.

    Args:
        vectors: float32 `[num_vectors, dimension]`, of any length; may be memory-mapped.
        description: FAISS factory string.
        probes: Cells to visit; chosen for the target recall where it is None.
        target_recall: Recall@10 against exact search, on a sample of 1,000 posts.
        seed: Seed of the training rows and the sample.
        is_cosine: Vectors are brought to length 1; otherwise inner products are searched by.

    Raises:
        InputError: FAISS does not know the factory string, or there are too few vectors for it.
    """
    import faiss

    dimension = vectors.shape[1]
    prepared = unit_vectors if is_cosine else plain_vectors
    random = np.random.default_rng(seed)
    try:
        index = faiss.index_factory(dimension, description, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            rows = _training_rows(index, len(vectors), random)
            index.train(prepared(vectors[rows]))
    except RuntimeError as error:
        reason = str(error).rsplit(": ", 1)[-1].strip()
        raise InputError(
            f"FAISS cannot build the index {description!r} for {len(vectors):,} vectors of "
            f"{dimension} dimensions: {reason}. Leave `index` out to have one chosen."
        ) from error
    for block in row_blocks(vectors):
        index.add(prepared(vectors[block]))
    if description == EXACT:
        return NeighbourIndex(index, description, None, 1.0)

    sample = np.sort(random.choice(len(vectors), min(_NUM_SAMPLES, len(vectors)), replace=False))
    queries = prepared(vectors[sample])
    expected = _exact_neighbours(vectors, queries, min(_RECALL_AT, len(vectors)), prepared)
    probes, recall = _calibrate(index, queries, expected, probes, target_recall)
    if recall < target_recall:
        logger.warning(
            "Index %s reaches recall@10 %.3f, less than the %.2f asked for.",
            description, recall, target_recall,
        )  # fmt: skip
    return NeighbourIndex(index, description, probes, recall)


def vector_lengths(vectors: np.ndarray) -> np.ndarray:
    """Euclidean lengths, float32 `[rows]`, without a copy of the vectors."""
    squares = [
        np.einsum("ij,ij->i", vectors[block], vectors[block]) for block in row_blocks(vectors)
    ]
    return np.sqrt(np.concatenate(squares))


def search_neighbours(
    index: Any, vectors: np.ndarray, lengths: np.ndarray, rows: slice, k: int, first: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other vectors of a block of rows, nearest first.

    Args:
        index: FAISS index of the vectors at length 1, all of them or a shard.
        vectors: float32 `[num_vectors, dimension]`, of any length but zero.
        lengths: Theirs. The length of a query does not change the order of what it finds, so
            queries are not copied to normalise them.
        rows: The block.
        k: Neighbours, less than `num_vectors`.
        first: Row of the first vector of the index.

    Returns:
        Cosines float32 and rows int32, both `[rows, k]`; row -1 where nothing was found.
    """
    similarities, found = index.search(vectors[rows], k + 1)
    is_none = found < 0
    similarities[is_none] = -np.inf
    similarities /= lengths[rows, None]
    found[~is_none] += first
    # A vector finds itself, mostly first; with copies of it around, last or not at all.
    is_self = found == np.arange(rows.start, rows.stop)[:, None]
    is_self[~is_self.any(axis=1), k] = True
    others = ~is_self
    shape = (len(found), k)
    return similarities[others].reshape(shape), found[others].reshape(shape).astype(np.int32)


@contextmanager
def faiss_threads(threads: int | None) -> Iterator[None]:
    """Sets the number of FAISS's threads for a while; None leaves it alone."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _cells(index: Any) -> int:
    """Cells of the inverted file in the index, 0 where there is none."""
    import faiss

    inverted = faiss.try_extract_index_ivf(index)
    return inverted.nlist if inverted is not None else 0


def _training_rows(index: Any, num_vectors: int, random: np.random.Generator) -> np.ndarray:
    wanted = max(_TRAINING_ROWS_PER_CELL * _cells(index), 2**16)
    if wanted >= num_vectors:
        return np.arange(num_vectors)
    return np.sort(random.choice(num_vectors, wanted, replace=False))


def _exact_neighbours(
    vectors: np.ndarray,
    queries: np.ndarray,
    k: int,
    prepared: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Rows of the k nearest vectors of each query, read block by block; int64 `[queries, k]`."""
    import faiss

    nearest = faiss.ResultHeap(len(queries), k, keep_max=True)
    for block in row_blocks(vectors):
        rows_of_block = prepared(vectors[block])
        similarities, rows = faiss.knn(
            queries, rows_of_block, min(k, len(rows_of_block)), metric=faiss.METRIC_INNER_PRODUCT
        )
        nearest.add_result(similarities, rows + block.start)
    nearest.finalize()
    return nearest.I


def _calibrate(
    index: Any, queries: np.ndarray, expected: np.ndarray, probes: int | None, target: float
) -> tuple[int | None, float]:
    """Doubles the probes, then the refined candidates, until the target is reached or stands still.

    Leaves the best settings in the index and returns its probes and its recall.
    """
    import faiss

    is_refined = isinstance(index, faiss.IndexRefine)
    cells = _cells(index)
    settings = faiss.ParameterSpace()
    best: tuple[float, int | None, int] = (-1.0, None, 1)
    visited = probes or min(_FIRST_PROBES, cells) or None
    for factor in _REFINE_FACTORS if is_refined else (1,):
        previous = -1.0
        while True:
            recall = _recall(index, settings, queries, expected, visited, factor)
            best = max(best, (recall, visited, factor), key=lambda tried: tried[0])
            gain, previous = recall - previous, recall
            stands_still = gain < _SMALLEST_GAIN
            if recall >= target or probes or not visited or visited >= cells or stands_still:
                break
            visited = min(2 * visited, cells)
        if recall >= target:
            break
    recall, visited, factor = best
    _apply(index, settings, visited, factor)
    return visited, recall


def _recall(
    index: Any,
    settings: Any,
    queries: np.ndarray,
    expected: np.ndarray,
    probes: int | None,
    factor: int,
) -> float:
    _apply(index, settings, probes, factor)
    found = index.search(queries, expected.shape[1])[1]
    return float((found[:, :, None] == expected[:, None, :]).any(axis=1).mean())


def _apply(index: Any, settings: Any, probes: int | None, factor: int) -> None:
    import faiss

    if probes:
        settings.set_index_parameter(index, "nprobe", probes)
    if isinstance(index, faiss.IndexRefine):
        settings.set_index_parameter(index, "k_factor_rf", factor)
