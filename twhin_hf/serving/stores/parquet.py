"""Vectors in a folder of Parquet files, one for each batch; searched exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.errors import InputError
from twhin_hf.files import list_files, new_file
from twhin_hf.run_folder import lock_folder
from twhin_hf.serving.hits import Hits
from twhin_hf.serving.ids import is_in
from twhin_hf.serving.index.index_config import Metric
from twhin_hf.serving.search import search_vectors
from twhin_hf.serving.stores.store import VectorStore
from twhin_hf.serving.vector_files import open_vectors, vector_shape
from twhin_hf.tables import read_errors


class ParquetStore(VectorStore):
    """A folder, or a file of `twhin-hf embed` that is only searched."""

    def __init__(self, place: str, metric: Metric = "cosine"):
        super().__init__(place, metric)
        self.path = Path(place)

    def count(self) -> int:
        """Number of vectors."""
        return vector_shape(self.path)[0] if self._files() else 0

    def dimension(self) -> int | None:
        """Dimension of the vectors."""
        return vector_shape(self.path)[1] if self._files() else None

    def _files(self) -> list[Path]:
        if not self.path.exists():
            return []
        return [file for file in list_files(self.path) if file.suffix == ".parquet"]

    def _write(self, table: pa.Table) -> None:
        if self.path.is_file():
            raise InputError(
                f"{self.path} is a file of vectors, which `twhin-hf embed --add` adds to; give a "
                "folder."
            )
        with lock_folder(self.path):
            before = self._files()
            numbers = [int(file.stem.rpartition("-")[2]) for file in self.path.glob("part-*")]
            path = self.path / f"part-{max(numbers, default=-1) + 1:06}.parquet"
            with new_file(path) as partial:
                pq.write_table(table, partial)
            # The new ones first: what dies here leaves two of an id, which the same batch mends.
            self._drop(before, table["post_id"])

    def _delete(self, ids: pa.Array) -> None:
        if self.path.is_file():
            raise InputError(
                f"{self.path} is a file of vectors; `twhin-hf data forget` changes it."
            )
        with lock_folder(self.path):
            self._drop(self._files(), ids)

    def _drop(self, files: list[Path], ids: pa.Array | pa.ChunkedArray) -> None:
        """Writes those files anew that hold any of the ids."""
        for path in files:
            with open_vectors(path) as file, read_errors(path):
                goes = is_in(file.read(["post_id"])["post_id"].cast(pa.string()), ids)
                if not goes.any():
                    continue
                if not goes.all():
                    with new_file(path) as partial:
                        pq.write_table(file.read().filter(pa.array(~goes)), partial)
            if goes.all():
                path.unlink()

    def _search(self, queries: np.ndarray, k: int) -> Hits:
        return search_vectors(self.path, queries, k, self.metric)
