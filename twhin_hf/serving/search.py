"""The posts nearest to a text, among the vectors of Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from twhin_hf.devices import pick_device
from twhin_hf.errors import InputError
from twhin_hf.network.neighbours import unit_vectors
from twhin_hf.serving.exported import load_encoder
from twhin_hf.serving.hits import Hits, check_queries
from twhin_hf.serving.index.index import load_index
from twhin_hf.serving.index.index_config import Metric, check_metric
from twhin_hf.serving.index.state import is_index
from twhin_hf.serving.vector_files import (
    check_same_model,
    describe_vectors,
    vector_blocks,
    vector_ids,
    vector_shape,
    vectors_made_with,
)
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import TableSource, open_engine, read_errors, read_table


class Hit(NamedTuple):
    """A post that was found.

    Args:
        post_id: Id of the post.
        score: Cosine of its vector and the query's, or their inner product in an index of such.
        text: Its text; empty where no posts were given.
    """

    post_id: str
    score: float
    text: str = ""


def search(
    vectors: str | Path,
    queries: Sequence[str],
    model: str,
    *,
    k: int = 10,
    posts: TableSource | None = None,
    revision: str | None = None,
    device: str | None = None,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    memory_limit: str = "1GB",
) -> list[list[Hit]]:
    """Finds the posts nearest to each text: exactly and by cosine, or as an index does.

    Args:
        vectors: File of `embed_posts`, a folder of such files, or an index of `build_index`.
        queries: Texts to search for; they are embedded as the vectors were.
        model: Encoder that made the vectors: folder or Hub repository.
        k: Number of posts per query; all of them if there are fewer.
        posts: Posts with columns `post_id` and `text`, for the texts of the results.
        revision: Revision of the repository.
        device: Device; by default a GPU if available.
        columns: What the posts call a column, such as `{"text": "body"}`.
        table_format: How text tables are written.
        memory_limit: Most memory of the engine that reads the posts.

    Returns:
        The nearest posts of each query, nearest first.

    Raises:
        FileNotFoundError: A file is missing.
        InputError: A file of other columns, or another model than that of the vectors.
    """
    index = load_index(vectors) if is_index(vectors) else None
    made_with = vectors_made_with(vectors) if index is None else index.made_with
    told = describe_vectors(model, revision, {"model": model, "revision": revision})
    check_same_model(vectors, made_with, told)
    pooling = made_with.get("pooling")
    encoder = load_encoder(model, revision, pick_device(device), pooling)
    embedded = encoder.encode(
        list(queries), max_length=made_with.get("max_length"), pooling=pooling
    )
    wanted = np.asarray(embedded)
    hits = search_vectors(vectors, wanted, k) if index is None else index.search(wanted, k)
    found = sorted({post_id for post_ids in hits.post_ids for post_id in post_ids})
    texts = {}
    if posts is not None:
        texts = texts_of(
            posts, found, columns=columns, table_format=table_format, memory_limit=memory_limit
        )
    return [
        [Hit(post_id, float(score), texts.get(post_id, "")) for post_id, score in row]
        for row in map(zip, hits.post_ids, hits.scores)
    ]


def search_vectors(
    vectors: str | Path, queries: np.ndarray, k: int, metric: Metric = "cosine"
) -> Hits:
    """The k nearest posts of each query, by cosine or inner product, exactly.

    The vectors are read once, block by block: a few queries take no longer than an index would take
    to be filled, and memory holds a block.

    Args:
        vectors: The file of `embed_posts`, or a folder of such files.
        queries: `[queries, dimension]`, of any length.
        k: Posts to find; all of them where there are fewer.
        metric: `cosine`, or `inner_product` of the vectors as they are.

    Raises:
        FileNotFoundError: The file is missing.
        InputError: A file of other columns, queries of another dimension than its vectors, or an
            unknown metric.

    Zero vectors, which have no direction, are as far as anything can be at a right angle: cosine 0.
    """
    import faiss

    check_metric(metric)
    scaled = unit_vectors if metric == "cosine" else _as_they_are
    count, dimension = vector_shape(vectors)
    check_queries(queries, dimension, k, vectors)
    if not count:
        raise InputError(f"{vectors} holds no vectors. Embed the posts again.")
    k = min(k, count)
    nearest = faiss.ResultHeap(len(queries), k, keep_max=True)
    wanted, start = scaled(queries), 0
    for block in vector_blocks(vectors):
        scores, rows = faiss.knn(
            wanted,
            scaled(block.vectors),
            min(k, len(block.vectors)),
            metric=faiss.METRIC_INNER_PRODUCT,
        )
        nearest.add_result(scores, rows + start)
        start += len(block.vectors)
    nearest.finalize()
    if (nearest.I < 0).any():
        raise InputError(f"{vectors} holds vectors of NaN or infinity. Embed the posts again.")
    ids = _ids_of_rows(vectors, np.unique(nearest.I))
    return Hits([[ids[row] for row in rows] for rows in nearest.I.tolist()], nearest.D)


def _as_they_are(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors, np.float32)


def texts_of(
    posts: TableSource,
    post_ids: Sequence[str],
    *,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    memory_limit: str = "1GB",
) -> dict[str, str]:
    """The texts of some posts; a post that is not there is left out.

    Args:
        posts: With columns `post_id` and `text`.
        post_ids: Which.
        columns: What the posts call a column, such as `{"text": "body"}`.
        table_format: How text tables are written.
        memory_limit: Most memory of the engine.
    """
    with open_engine(memory_limit) as engine, read_errors(posts):
        table = read_table(
            posts,
            ["post_id", "text"],
            connection=engine,
            columns=columns,
            table_format=table_format,
        )
        found = table.filter(table.post_id.isin(list(post_ids))).to_pyarrow()
    # The first row of an id is the post, as everywhere.
    pairs = zip(found["post_id"].to_pylist(), found["text"].to_pylist(), strict=True)
    return dict(reversed(list(pairs)))


def _ids_of_rows(vectors: str | Path, rows: np.ndarray) -> dict[int, str]:
    """The ids of rows, which are sorted."""
    found: dict[int, str] = {}
    start = 0
    for ids in vector_ids(vectors):
        own = rows[(rows >= start) & (rows < start + len(ids))]
        found |= dict(zip(own.tolist(), ids.take(pa.array(own - start)).to_pylist(), strict=True))
        start += len(ids)
    return found
