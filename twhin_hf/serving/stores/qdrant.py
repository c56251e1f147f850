"""Vectors in a collection of Qdrant: a server, or a folder that one process opens at a time."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from twhin_hf.credentials import without_secrets
from twhin_hf.errors import InputError
from twhin_hf.serving.hits import Hits
from twhin_hf.serving.index.index_config import Metric
from twhin_hf.serving.stores.store import VectorStore, check_installed, hits_of, matrix

API_KEY = "QDRANT_API_KEY"
"""Variable of the environment with the key of a server."""

_NUMBERS_PER_REQUEST = 2**20  # a server takes 32 MB of JSON
_IDS_PER_REQUEST = 1000


class QdrantStore(VectorStore):
    """A collection, made with the first batch; ids stand in the payload as `post_id`.

    Args:
        place: As `open_store` takes it.
        address: `http://` or `https://` and a host, a folder, or `:memory:`.
        collection: Its name.
        metric: What it is made to rank by.
    """

    def __init__(self, place: str, address: str, collection: str, metric: Metric = "cosine"):
        super().__init__(place, metric)
        check_installed("qdrant", "qdrant_client")
        self.address, self.collection = address, collection

    @cached_property
    def _client(self) -> Any:
        from qdrant_client import QdrantClient

        if self.address == ":memory:":
            return QdrantClient(":memory:")
        if "://" in self.address:
            key = os.environ.get(API_KEY)
            return QdrantClient(url=self.address, api_key=key, check_compatibility=False)
        return QdrantClient(path=self.address)

    def count(self) -> int:
        """Number of vectors."""
        with self._asking():
            is_there = self._client.collection_exists(self.collection)
            return self._client.count(self.collection).count if is_there else 0

    def dimension(self) -> int | None:
        """Dimension of the vectors."""
        with self._asking():
            if not self._client.collection_exists(self.collection):
                return None
            vectors = self._client.get_collection(self.collection).config.params.vectors
            if not hasattr(vectors, "size"):
                raise InputError(f"{self.place} has vectors of several names; give one of ours.")
            return vectors.size

    def _distance(self) -> Any:
        from qdrant_client.models import Distance

        return Distance.COSINE if self.metric == "cosine" else Distance.DOT

    def _check_distance(self) -> None:
        """Refuses a collection that was made to rank by something else."""
        made = self._client.get_collection(self.collection).config.params.vectors.distance
        if made != self._distance():
            known = {"Cosine": "cosine", "Dot": "inner_product"}.get(made)
            advice = f"give the metric {known}, or another collection" if known else "give another"
            raise InputError(
                f"{self.place} was made to rank by {known or made}, and the metric is "
                f"{self.metric}: {advice}."
            )

    def close(self) -> None:
        """Closes the connection, or lets go of the folder."""
        if "_client" in self.__dict__:
            self._client.close()
            del self.__dict__["_client"]

    def _write(self, table: pa.Table) -> None:
        from qdrant_client import models

        vectors = matrix(table)
        others = table.drop_columns(["embedding"])
        step = max(1, _NUMBERS_PER_REQUEST // vectors.shape[1])
        with self._asking():
            if not self._client.collection_exists(self.collection):
                self._client.create_collection(
                    self.collection,
                    vectors_config=models.VectorParams(
                        size=vectors.shape[1], distance=self._distance()
                    ),
                )
            else:
                self._check_distance()
            for start in range(0, len(vectors), step):
                payloads = others.slice(start, step).to_pylist()
                points = models.Batch(
                    ids=[_point(payload["post_id"]) for payload in payloads],
                    vectors=vectors[start : start + step].tolist(),
                    payloads=payloads,
                )
                self._client.upsert(self.collection, points=points, wait=True)

    def _delete(self, ids: pa.Array) -> None:
        from qdrant_client import models

        points: list[Any] = [_point(name) for name in ids.to_pylist()]
        with self._asking():
            for start in range(0, len(points), _IDS_PER_REQUEST):
                some = models.PointIdsList(points=points[start : start + _IDS_PER_REQUEST])
                self._client.delete(self.collection, points_selector=some, wait=True)

    def _search(self, queries: np.ndarray, k: int) -> Hits:
        from qdrant_client import models

        requests = [
            models.QueryRequest(query=query, limit=k, with_payload=["post_id"])
            for query in queries.tolist()
        ]
        with self._asking():
            self._check_distance()
            answers = self._client.query_batch_points(self.collection, requests)
        return hits_of(
            [[(point.payload["post_id"], point.score) for point in one.points] for one in answers]
        )

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Tells a server that is down from one that refuses."""
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

        try:
            yield
        except InputError:
            raise
        except ResponseHandlingException as error:
            raise ConnectionError(f"{self.place} cannot be reached: {_said(error)}") from None
        except UnexpectedResponse as error:
            if error.status_code is None or error.status_code >= 500 or error.status_code == 429:
                raise ConnectionError(f"{self.place} cannot answer: {_said(error)}") from None
            raise InputError(f"{self.place} refuses: {_said(error)}") from None
        # Of the local mode: another process has the folder, or its files are damaged.
        except (ValueError, RuntimeError, KeyError) as error:
            raise InputError(f"{self.place} cannot be used: {_said(error)}") from None


def _point(post_id: str) -> str:
    """A point's id, which Qdrant wants to be a number or a UUID."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, post_id))


def _said(error: Exception) -> str:
    return without_secrets(" ".join(str(error).split()))[:300]
