"""The posts nearest to a text, by cosine, among the vectors of a Parquet file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.devices import pick_device
from twhin_hf.errors import InputError, reading
from twhin_hf.network.neighbours import unit_vectors
from twhin_hf.run_file import RUN_KEY
from twhin_hf.serving.exported import load_encoder
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import TableSource, open_engine, read_errors, read_table

logger = logging.getLogger(__name__)

_VECTORS_PER_BLOCK = 16_384


class Hits(NamedTuple):
    """The nearest posts of each query, nearest first.

    Args:
        post_ids: `[queries][k]`.
        cosines: float32 `[queries, k]`.
    """

    post_ids: list[list[str]]
    cosines: np.ndarray


class Hit(NamedTuple):
    """A post that was found.

    Args:
        post_id: Id of the post.
        cosine: Cosine of its vector and the query's.
        text: Its text; empty where no posts were given.
    """

    post_id: str
    cosine: float
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
    """Finds the posts nearest to each text, by cosine and exactly.

    Args:
        vectors: File of `embed_posts`.
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
        InputError: A file of other columns, or a model whose vectors have another dimension.
    """
    made_with = vectors_made_with(vectors)
    if made_with and made_with["model"] != model:
        logger.warning(
            "the vectors were made with %s; vectors of another model cannot be compared with them",
            made_with["model"],
        )
    pooling = made_with.get("pooling")
    encoder = load_encoder(model, revision, pick_device(device), pooling)
    embedded = encoder.encode(
        list(queries), max_length=made_with.get("max_length"), pooling=pooling
    )
    hits = search_vectors(vectors, np.asarray(embedded), k)
    found = sorted({post_id for post_ids in hits.post_ids for post_id in post_ids})
    texts = {}
    if posts is not None:
        texts = texts_of(
            posts, found, columns=columns, table_format=table_format, memory_limit=memory_limit
        )
    return [
        [Hit(post_id, float(cosine), texts.get(post_id, "")) for post_id, cosine in row]
        for row in map(zip, hits.post_ids, hits.cosines)
    ]


def search_vectors(vectors: str | Path, queries: np.ndarray, k: int) -> Hits:
    """The k nearest posts of each query, by cosine, exactly.

    The file is read once, block by block: a few queries take no longer than an index would take to
    be filled, and memory holds a block.

    Args:
        vectors: The file of `embed_posts`.
        queries: `[queries, dimension]`, of any length.
        k: Posts to find; all of them where there are fewer.

    Raises:
        FileNotFoundError: The file is missing.
        InputError: A file of other columns, or queries of another dimension than its vectors.

    Zero vectors, which have no direction, are as far as anything can be at a right angle: cosine 0.
    """
    import faiss

    if k < 1:
        raise InputError(f"k is {k}; it must be 1 or more.")
    with _open(vectors) as file, read_errors(vectors):
        dimension = file.schema_arrow.field("embedding").type.list_size
        if queries.ndim != 2 or queries.shape[1] != dimension:
            raise InputError(
                f"The queries are of shape {list(queries.shape)} and the vectors of {vectors} have "
                f"{dimension} dimensions: embed the queries with the model and pooling of the "
                "vectors."
            )
        k = min(k, file.metadata.num_rows)
        if k < 1:
            raise InputError(f"{vectors} holds no vectors. Embed the posts again.")
        nearest = faiss.ResultHeap(len(queries), k, keep_max=True)
        query_units, start = unit_vectors(queries), 0
        for batch in file.iter_batches(_VECTORS_PER_BLOCK, columns=["embedding"]):
            if batch["embedding"].null_count:
                raise InputError(f"{vectors} holds posts without a vector. Embed the posts again.")
            values = batch["embedding"].flatten().to_numpy(zero_copy_only=False)
            units = unit_vectors(values.reshape(-1, dimension))
            cosines, rows = faiss.knn(
                query_units, units, min(k, len(units)), metric=faiss.METRIC_INNER_PRODUCT
            )
            nearest.add_result(cosines, rows + start)
            start += len(units)
        nearest.finalize()
        if (nearest.I < 0).any():
            raise InputError(f"{vectors} holds vectors of NaN or infinity. Embed the posts again.")
        ids = _ids_of_rows(file, rows := np.unique(nearest.I))
        if len(ids) < len(rows) or None in ids.values():
            raise InputError(f"{vectors} holds vectors without a post_id. Embed the posts again.")
    return Hits([[ids[row] for row in rows] for rows in nearest.I.tolist()], nearest.D)


def vectors_made_with(vectors: str | Path) -> dict[str, Any]:
    """How the vectors of a file were made: `model`, `pooling`, …; empty where it does not tell.

    Raises:
        FileNotFoundError: The file is missing.
        InputError: A file of other columns.
    """
    with _open(vectors) as file:
        metadata = file.schema_arrow.metadata or {}
    with reading(vectors, "Embed the posts again (`twhin-hf embed`)."):
        return dict(json.loads(metadata.get(RUN_KEY.encode(), b"{}")))


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


def _open(vectors: str | Path) -> pq.ParquetFile:
    if not Path(vectors).is_file():
        raise FileNotFoundError(f"There is no {vectors}; `twhin-hf embed` makes it.")
    with read_errors(vectors):
        file = pq.ParquetFile(vectors)
        schema = file.schema_arrow
        kinds = {field.name: field.type for field in schema}
    embedding = kinds.get("embedding", pa.null())
    is_vector = pa.types.is_fixed_size_list(embedding) and pa.types.is_floating(
        embedding.value_type
    )
    if kinds.get("post_id") not in (pa.string(), pa.large_string()) or not is_vector:
        file.close()
        raise InputError(
            f"{vectors} has the columns {', '.join(f'{n} ({t})' for n, t in kinds.items())}; "
            "needed are post_id and embedding, strings and lists of numbers of a fixed size, as "
            "`twhin-hf embed` writes."
        )
    return file


def _ids_of_rows(file: pq.ParquetFile, rows: np.ndarray) -> dict[int, str]:
    """The ids of rows, which are sorted."""
    found: dict[int, str] = {}
    start = 0
    for batch in file.iter_batches(_VECTORS_PER_BLOCK, columns=["post_id"]):
        own = rows[(rows >= start) & (rows < start + len(batch))]
        ids = batch["post_id"].take(pa.array(own - start)).to_pylist()
        found |= dict(zip(own.tolist(), ids, strict=True))
        start += len(batch)
    return found
