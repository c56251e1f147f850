"""A store by its address, and vectors into it."""

from __future__ import annotations

import logging
import re
from contextlib import closing
from pathlib import Path

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
)

from twhin_hf.credentials import without_secrets
from twhin_hf.errors import InputError
from twhin_hf.serving.index.index_config import Metric
from twhin_hf.serving.stores.lance import LanceStore
from twhin_hf.serving.stores.parquet import ParquetStore
from twhin_hf.serving.stores.pgvector import PgvectorStore
from twhin_hf.serving.stores.qdrant import QdrantStore
from twhin_hf.serving.stores.store import VectorStore
from twhin_hf.serving.vector_files import vector_blocks

logger = logging.getLogger(__name__)

TRIES = 6
"""With waits of 1, 2, 4, 8 and 16 seconds between them."""
_ROWS_PER_BATCH = 32_768
_TABLE = re.compile(r"\w+(\.\w+)?")


def open_store(place: str | Path, metric: Metric = "cosine") -> VectorStore:
    """Opens a store of vectors; nothing is asked of it yet.

    Args:
        place: `FOLDER` of Parquet files, `lance:PATH` or a path that ends in `.lance`,
            `qdrant:ADDRESS#COLLECTION` (`http://…`, `https://…`, or a folder) or
            `postgresql://USER@HOST/DATABASE#TABLE`. Passwords are better left to PGPASSWORD or
            `~/.pgpass`, Qdrant's key to QDRANT_API_KEY; messages do not show them.
        metric: What neighbours are ranked by: `cosine`, or the `inner_product` of the vectors as
            they are, as a recommender's posts are ranked. A collection of Qdrant keeps that of its
            first batch; the others are searched by either, by cosine if no vector is zero.

    Raises:
        InputError: An address of none of these kinds, an unknown metric, or a library is missing.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> store = open_store(tempfile.mkdtemp())
        >>> store.upsert(["a", "b"], np.eye(2), {"lang": ["en", "ar"]})
        >>> store.search(np.array([[3, 4]]), 1).post_ids
        [['b']]
    """
    place = str(place)
    kind, _, rest = place.partition(":")
    address, _, name = (rest if kind == "qdrant" else place).partition("#")
    if kind in ("postgresql", "postgres", "qdrant") and not _TABLE.fullmatch(name):
        what = "collection" if kind == "qdrant" else "table"
        raise InputError(
            f"{without_secrets(place)} names no {what}; needed is #{what.upper()} at its end, in "
            "letters, digits and underscores."
        )
    if kind in ("postgresql", "postgres"):
        return PgvectorStore(place, address, name, metric)
    if kind == "qdrant":
        return QdrantStore(place, address, name, metric)
    if kind == "lance":
        return LanceStore(place, rest, metric)
    if place.endswith(".lance"):
        return LanceStore(place, place, metric)
    if "://" in place:
        raise InputError(
            f"{without_secrets(place)} is no store that is known: a folder of Parquet, lance:PATH, "
            "qdrant:ADDRESS#COLLECTION or postgresql://USER@HOST/DATABASE#TABLE."
        )
    return ParquetStore(place, metric)


def fill_store(vectors: str | Path, place: str | Path, metric: Metric = "cosine") -> int:
    """Writes the vectors of a file into a store, batch by batch; those of its ids are replaced.

    A store that cannot be reached is tried again for half a minute. The same call again is safe
    wherever it was broken off.

    Args:
        vectors: File of `embed_posts`, or a folder of such files; its other columns go along.
        place: See `open_store`.
        metric: See `open_store`.

    Returns:
        Number of vectors that the store holds.

    Raises:
        ConnectionError: The store cannot be reached.
        FileNotFoundError: The vectors are missing.
        InputError: Damaged vectors, or what the store refuses.
    """
    trying = Retrying(
        retry=retry_if_exception_type(ConnectionError),
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(),
        before_sleep=_tell,
        reraise=True,
    )
    with closing(open_store(place, metric)) as store:
        for block in vector_blocks(vectors, _ROWS_PER_BATCH):
            others = dict(zip(block.others.schema.names, block.others.columns, strict=True))
            trying(store.upsert, block.ids, block.vectors, others)
        return trying(store.count)


def delete_from_store(ids: list[str], place: str | Path) -> int:
    """Deletes vectors from a store, and gives the number of those left.

    Args:
        ids: Those that are not there are passed over.
        place: See `open_store`.

    Raises:
        ConnectionError: The store cannot be reached.
        InputError: What the store refuses.
    """
    with closing(open_store(place)) as store:
        store.delete(ids)
        return store.count()


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    wait = state.next_action.sleep if state.next_action else 0
    logger.warning("%s; trying again in %.0f s", error, wait)
