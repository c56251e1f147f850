"""One shard of an index: a FAISS file, memory-mapped, and the ids of its rows in Parquet.

What is written is never changed. A shard holds its vectors in full, whatever finds its candidates,
so that they can be ranked exactly, and taken into another shard.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.errors import WRONG_CONTENT, InputError, reading
from twhin_hf.files import new_file
from twhin_hf.network.neighbours import EXACT, build_index, default_index
from twhin_hf.serving.index.index_config import IndexConfig

logger = logging.getLogger(__name__)

ADVICE = "Build the index again (`twhin-hf index --overwrite`)."
_END = 2**20
"""Bytes at each end of a file whose hash is kept: headers are there, and all of a small file."""


@dataclass(frozen=True, eq=False)
class Shard:
    """An open shard.

    Args:
        number: In the names of its files.
        told: What `index.json` tells of it.
        index: The FAISS index.
        ids: Strings, of the rows.
        is_alive: bool `[rows]`, false where a row was deleted.
    """

    number: int
    told: Mapping[str, Any]
    index: Any
    ids: pa.Array
    is_alive: np.ndarray

    @cached_property
    def num_alive(self) -> int:
        """Vectors that were not deleted."""
        return int(self.is_alive.sum())

    def without(self, rows: np.ndarray) -> Shard:
        """The shard without rows that were deleted."""
        is_alive = self.is_alive.copy()
        is_alive[rows] = False
        return replace(self, is_alive=is_alive)

    def alive_ids(self) -> pa.Array:
        """Ids of the rows that were not deleted."""
        return self.ids.filter(pa.array(self.is_alive))

    def alive_vectors(self) -> np.ndarray:
        """Vectors of the rows that were not deleted, float32 `[num_alive, dimension]`."""
        vectors = self.index.reconstruct_n(0, len(self.ids))
        return vectors if self.num_alive == len(self.ids) else vectors[self.is_alive]

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 and rows int64 of the k nearest, both `[queries, k]`.

        Args:
            queries: float32 `[queries, dimension]`.
            k: At most `num_alive`.
        """
        import faiss as stubs

        faiss: Any = stubs  # which know the arguments of C++ alone
        alive = {} if self._selector is None else {"sel": self._selector}
        exact = faiss.SearchParameters(**alive)
        if not isinstance(self.index, faiss.IndexRefine):
            return self.index.search(queries, k, params=exact)
        base = faiss.downcast_index(self.index.base_index)
        scores, rows = self.index.search(
            queries,
            k,
            params=faiss.IndexRefineSearchParameters(
                k_factor=self.index.k_factor,
                base_index_params=faiss.SearchParametersIVF(nprobe=base.nprobe, **alive),
            ),
        )
        # The cells that were visited may hold fewer.
        lacking = np.flatnonzero((rows < 0).any(axis=1))
        if len(lacking):
            vectors = faiss.downcast_index(self.index.refine_index)
            scores[lacking], rows[lacking] = vectors.search(queries[lacking], k, params=exact)
        return scores, rows

    @cached_property
    def _selector(self) -> Any:
        import faiss as stubs

        faiss: Any = stubs
        if self.is_alive.all():
            return None
        return faiss.IDSelectorBitmap(np.packbits(self.is_alive, bitorder="little"))


def shard_files(number: int) -> tuple[str, str]:
    """Names of the FAISS file and the ids of a shard."""
    return f"shard-{number:06}.faiss", f"shard-{number:06}.parquet"


def write_shard(
    folder: Path, number: int, ids: pa.Array, vectors: np.ndarray, config: IndexConfig
) -> Shard:
    """Builds and writes a shard, and opens it.

    Args:
        folder: Of the index.
        number: In the names of its files.
        ids: Strings `[rows]`.
        vectors: float32 `[rows, dimension]`.
        config: How the index is built.
    """
    import faiss

    rows, dimension = vectors.shape
    built = build_index(
        vectors,
        default_index(rows, dimension, config.exact_limit),
        target_recall=config.target_recall,
        is_cosine=config.metric == "cosine",
    )
    names = shard_files(number)
    with new_file(folder / names[0]) as partial:
        faiss.write_index(built.index, str(partial))
    with new_file(folder / names[1]) as partial:
        pq.write_table(pa.table({"post_id": ids}), partial, use_dictionary=False)
    if built.description != EXACT:
        logger.info(
            "Shard of %s vectors: %s, %s probes, recall@10 %.3f",
            f"{rows:,}", built.description, built.probes, built.recall,
        )  # fmt: skip
    told = {
        "number": number,
        "count": rows,
        "index": built.description,
        "probes": built.probes,
        "recall": built.recall,
        "files": {name: describe_file(folder / name) for name in names},
    }
    return open_shard(folder, told, dimension)


def open_shard(folder: Path, told: Mapping[str, Any], dimension: int) -> Shard:
    """Opens a shard; its vectors stay on the disk until they are read.

    Args:
        folder: Of the index.
        told: What `index.json` tells of the shard.
        dimension: Of the vectors.

    Raises:
        InputError: Files that are missing, damaged or of another shard.
    """
    import faiss

    number = int(told["number"])
    names = shard_files(number)
    for name in names:
        check_file(folder / name, told["files"][name])
    with reading(folder / names[0], ADVICE, (*WRONG_CONTENT, RuntimeError)):
        # Not in FAISS before 1.11, which reads them.
        index = faiss.read_index(str(folder / names[0]), getattr(faiss, "IO_FLAG_MMAP_IFC", 0))
    ids = read_ids(folder / names[1], ["post_id"])["post_id"].combine_chunks()
    is_whole = index.ntotal == len(ids) == told["count"] and not ids.null_count
    if not is_whole or index.d != dimension:
        raise InputError(
            f"{folder / names[0]} holds {index.ntotal:,} vectors of {index.d} dimensions and "
            f"{len(ids):,} ids; index.json tells of {told['count']:,} of {dimension}. {ADVICE}"
        )
    return Shard(number, told, index, ids, np.ones(len(ids), bool))


def read_ids(path: Path, columns: list[str]) -> pa.Table:
    """Columns of a Parquet file of the index.

    Raises:
        InputError: It is damaged.
    """
    with reading(path, ADVICE, (*WRONG_CONTENT, pa.ArrowException, OSError)):
        return pq.read_table(path, columns=columns)


def describe_file(path: Path) -> dict[str, Any]:
    """Size of a file, and a hash of its ends."""
    size, digest = path.stat().st_size, hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        digest.update(file.read(_END))
        file.seek(max(_END, size - _END))
        digest.update(file.read())
    return {"bytes": size, "hash": digest.hexdigest()}


def check_file(path: Path, told: Mapping[str, Any]) -> None:
    """Refuses a file that is not as it was written.

    Raises:
        InputError: It is missing or of another size, or its beginning or end has changed.
    """
    if not path.is_file():
        raise InputError(f"There is no {path}, which index.json names. {ADVICE}")
    found = describe_file(path)
    if found != told:
        raise InputError(
            f"{path} is damaged: it has {found['bytes']:,} bytes (hash {found['hash']}), and "
            f"index.json tells of {told['bytes']:,} (hash {told['hash']}). {ADVICE}"
        )
