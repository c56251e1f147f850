"""Vectors in a Lance data set, on a disk or an object store; each batch is one commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from twhin_hf.errors import InputError
from twhin_hf.serving.hits import Hits
from twhin_hf.serving.index.index_config import Metric
from twhin_hf.serving.stores.store import VectorStore, check_installed, hits_of

_DELETED_AT_ONCE = 1000


class LanceStore(VectorStore):
    """A data set at a path or address; searched exactly unless somebody built an index in it."""

    def __init__(self, place: str, path: str, metric: Metric = "cosine"):
        super().__init__(place, metric)
        check_installed("lance", "lance")
        self.path = path

    def count(self) -> int:
        """Number of vectors."""
        dataset = self._dataset()
        return 0 if dataset is None else dataset.count_rows()

    def dimension(self) -> int | None:
        """Dimension of the vectors."""
        dataset = self._dataset()
        if dataset is None:
            return None
        with self._reading():
            return dataset.schema.field("embedding").type.list_size

    def _dataset(self) -> Any:
        import lance

        with self._reading():
            try:
                return lance.dataset(self.path)
            except ValueError as error:
                if "not found" in str(error):
                    return None
                raise

    def _write(self, table: pa.Table) -> None:
        import lance

        dataset = self._dataset()
        with self._reading():
            if dataset is None:
                lance.write_dataset(table, self.path)
                return
            merge = dataset.merge_insert("post_id")
            merge.when_matched_update_all().when_not_matched_insert_all().execute(table)

    def _delete(self, ids: pa.Array) -> None:
        dataset = self._dataset()
        with self._reading():
            for start in range(0, len(ids), _DELETED_AT_ONCE):
                names = ids[start : start + _DELETED_AT_ONCE].to_pylist()
                quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
                dataset.delete(f"post_id IN ({quoted})")

    def _search(self, queries: np.ndarray, k: int) -> Hits:
        dataset, found = self._dataset(), []
        metric = "cosine" if self.metric == "cosine" else "dot"
        for query in queries:
            nearest = {"column": "embedding", "q": query, "k": k, "metric": metric}
            with self._reading():
                table = dataset.to_table(columns=["post_id", "_distance"], nearest=nearest)
            distances = table["_distance"].to_numpy()
            found.append(list(zip(table["post_id"].to_pylist(), 1 - distances, strict=True)))
        return hits_of(found)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Tells what Lance says of a data set that is damaged, of other columns or out of reach."""
        try:
            yield
        except (ValueError, KeyError, RuntimeError, OSError, pa.ArrowException) as error:
            text = " ".join(str(error).split())[:200]
            if isinstance(error, OSError) and "://" in self.path:
                raise ConnectionError(f"{self.place} cannot be reached: {text}") from error
            raise InputError(f"{self.place} cannot be used: {text}") from error
