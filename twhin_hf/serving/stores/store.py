"""What every store of vectors does."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from twhin_hf.credentials import without_secrets
from twhin_hf.errors import InputError
from twhin_hf.network.folder import check_finite
from twhin_hf.serving.hits import Hits, check_queries
from twhin_hf.serving.ids import Ids, check_distinct, strings
from twhin_hf.serving.index.index_config import Metric, check_metric


class VectorStore(ABC):
    """Vectors by id, with columns of other values, searched by cosine or inner product.

    What cannot be reached raises ConnectionError, and may be tried again: a batch is written whole,
    or may be written again.

    Args:
        place: As `open_store` takes it; messages show it without passwords.
        metric: What neighbours are ranked by: `cosine`, or the `inner_product` of the vectors as
            they are.

    Raises:
        InputError: An unknown metric.
    """

    def __init__(self, place: str, metric: Metric = "cosine"):
        check_metric(metric)
        self.place, self.metric = without_secrets(place), metric

    def upsert(
        self, ids: Ids, vectors: np.ndarray, payload: Mapping[str, Sequence[Any]] | None = None
    ) -> None:
        """Writes vectors; those of ids that are there are replaced.

        Args:
            ids: Distinct strings `[rows]`.
            vectors: `[rows, dimension]`, kept as they are in float32.
            payload: Columns of other values by name, `[rows]` each.

        Raises:
            ConnectionError: The store cannot be reached.
            InputError: Repeated ids, vectors of another dimension or not finite, zero vectors
                where the metric is cosine (they have none), or columns that cannot be stored.
        """
        found, vectors = strings(ids), np.ascontiguousarray(vectors, np.float32)
        check_distinct(found, "the ids")
        if vectors.ndim != 2 or len(vectors) != len(found):
            raise InputError(
                f"There are {len(found)} ids, and the shape of the vectors is "
                f"{list(vectors.shape)}; needed is [{len(found)}, dimension]."
            )
        if not len(found):
            return
        check_finite(vectors, found, "new")
        is_zero = ~vectors.any(axis=1)
        if self.metric == "cosine" and is_zero.any():
            first = found[int(is_zero.argmax())].as_py()
            raise InputError(
                f"{is_zero.sum()} of the vectors are zero (the first is that of {first!r}), and "
                "have no cosine. Leave them out."
            )
        dimension = self.dimension()
        if dimension not in (None, vectors.shape[1]):
            raise InputError(
                f"The vectors have {vectors.shape[1]} dimensions, and those in {self.place} have "
                f"{dimension}: embed with the same model and pooling, or give another place."
            )
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        columns = {"post_id": found, "embedding": column}
        if taken := sorted(columns.keys() & (payload or {}).keys()):
            raise InputError(f"payload has a column {taken[0]}, which is the store's own.")
        try:
            table = pa.table(columns | dict(payload or {}))
        except pa.ArrowException as error:
            raise InputError(f"payload cannot be stored: {error}") from error
        self._write(table)

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """The k nearest of each query, by the metric; as exactly as the store does.

        Args:
            queries: `[queries, dimension]`; where the metric is cosine, of any length but zero.
            k: Ids to find; all where there are fewer.

        Raises:
            ConnectionError: The store cannot be reached.
            InputError: Queries of another dimension, zero or not finite ones, a k below 1, or a
                store that holds nothing.
        """
        queries, dimension = np.ascontiguousarray(queries, np.float32), self.dimension()
        if dimension is None:
            raise InputError(f"{self.place} holds no vectors; `twhin-hf store` writes them.")
        check_queries(queries, dimension, k, self.place)
        if not np.isfinite(queries).all():
            raise InputError("The queries hold NaN or infinity.")
        if self.metric == "cosine" and not queries.any(axis=1).all():
            raise InputError("The queries hold zero vectors, which are without a cosine.")
        return self._search(queries, k)

    def delete(self, ids: Ids) -> None:
        """Deletes vectors; ids that have none are passed over.

        Raises:
            ConnectionError: The store cannot be reached.
        """
        found = strings(ids)
        if len(found) and self.dimension() is not None:
            self._delete(found)

    @abstractmethod
    def count(self) -> int:
        """Number of vectors; 0 where nothing is there yet."""

    @abstractmethod
    def dimension(self) -> int | None:
        """Dimension of the vectors; None where nothing is there yet."""

    def close(self) -> None:  # noqa: B027 - most have nothing open
        """Lets go of what is open."""

    @abstractmethod
    def _write(self, table: pa.Table) -> None:
        """Writes a batch: `post_id`, `embedding` (lists of fixed size) and the payload."""

    @abstractmethod
    def _delete(self, ids: pa.Array) -> None: ...

    @abstractmethod
    def _search(self, queries: np.ndarray, k: int) -> Hits: ...


def hits_of(found: Sequence[Sequence[tuple[str, float]]]) -> Hits:
    """Hits from the id and score of what each query found."""
    scores = np.full((len(found), max(map(len, found), default=0)), -np.inf, np.float32)
    for row, own in zip(scores, found, strict=True):
        row[: len(own)] = [score for _, score in own]
    return Hits([[name for name, _ in own] for own in found], scores)


def matrix(table: pa.Table) -> np.ndarray:
    """The vectors of a batch, float32 `[rows, dimension]`."""
    column = table["embedding"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), column.type.list_size)


def check_installed(extra: str, *modules: str) -> None:
    """Checks that the libraries of a store are installed.

    Raises:
        InputError: One is not.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"This store needs {', '.join(missing)}: `pip install 'twhin_hf[{extra}]'`."
        )
