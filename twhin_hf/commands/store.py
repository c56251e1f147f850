"""`twhin-hf store`."""

from __future__ import annotations

from twhin_hf.serving.index.index_config import Metric
from twhin_hf.table_format import TableFormat


def store(
    to: str,
    table_format: TableFormat,
    vectors: str | None = None,
    delete: str | None = None,
    metric: Metric = "cosine",
    memory_limit: str = "1GB",
) -> None:
    """Write vectors to a store: Lance, Qdrant, PostgreSQL with pgvector, or Parquet.

    Vectors of posts that are there are replaced. The same command again is safe.

    Args:
        to: FOLDER of Parquet files, lance:PATH, qdrant:ADDRESS#COLLECTION (http://HOST:6333 or a
            folder), or postgresql://USER@HOST/DATABASE#TABLE. Passwords are read from PGPASSWORD
            and ~/.pgpass, Qdrant's key from QDRANT_API_KEY.
        table_format: How text tables are written.
        vectors: Parquet file of `twhin-hf embed`, or a folder of such files; other columns in it
            go along.
        delete: File of posts to delete: a table with post_id, or .txt with an id a line.
        metric: What neighbours are ranked by: cosine, or inner_product of the vectors as they
            are (those of `twhin-hf recommend --write_vectors`).
        memory_limit: Memory limit of the reader of that file.
    """
    from twhin_hf.credentials import without_secrets
    from twhin_hf.errors import InputError
    from twhin_hf.forgetting.forgotten import read_forgotten
    from twhin_hf.printing import report
    from twhin_hf.serving.stores.opening import delete_from_store, fill_store

    if vectors is None and delete is None:
        raise InputError("There is nothing to do: give --vectors to write, or --delete.")
    place = without_secrets(to)
    if vectors is not None:
        report(f"{place} holds {fill_store(vectors, to, metric):,} vectors")
    if delete is not None:
        unwanted = read_forgotten(None, delete, table_format, memory_limit).posts
        left = delete_from_store(unwanted.to_pylist(), to)
        report(f"{place} holds {left:,} vectors after the deletion")
