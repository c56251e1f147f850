"""The network folder: vectors of users, posts and relations, ids of their rows, engagements."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.errors import WRONG_CONTENT, InputError
from twhin_hf.files import new_file, read_json_object, write_json
from twhin_hf.network.engagements import Engagements, Neighbours
from twhin_hf.network.tensor_files import (
    Blocks,
    damaged,
    map_tensors,
    row_blocks,
    write_tensors,
)
from twhin_hf.tables import read_parquet

METADATA_FILE = "network.json"
"""Written last: a folder without it is no network."""

CHECKPOINT_FILE = "embedding_checkpoint.safetensors"
"""Of an embedding that goes on; it goes once the network is saved beside it."""

PARTS_FOLDER = "embedding_parts"
"""Beside a checkpoint: shards or partitions of its tables."""

_ENGAGEMENTS_FILE = "engagements.safetensors"
HELD_OUT_FILE = "held_out.safetensors"
VECTORS = "vectors"
HELD_OUT_TENSOR = "engagements"


@dataclass(frozen=True)
class Network:
    """User, post and relation vectors with the ids of their rows.

    Args:
        user_ids: Strings, `[num_users]`.
        post_ids: Strings, `[num_posts]`.
        relations: Names, `[num_relations]`.
        user_vectors: float32 `[num_users, dimension]`; may be memory-mapped.
        post_vectors: float32 `[num_posts, dimension]`; may be memory-mapped.
        relation_vectors: float32 `[num_relations, dimension]`.
        user_degrees: Distinct engagements of each user, int64 `[num_users]`.
        post_degrees: Distinct engagements of each post, int64 `[num_posts]`.
        metadata: What `network.json` holds: counts, dimension, seed, versions, options, metrics.
        engagements: Who engaged with which post; may be memory-mapped. Folders of earlier versions
            hold none.
        held_out: Rows of user and post of the engagements that the vectors were not learnt from,
            int64 `[num_held_out, 2]`; may be memory-mapped. Folders of earlier versions hold none.
    """

    user_ids: pa.Array
    post_ids: pa.Array
    relations: list[str]
    user_vectors: np.ndarray
    post_vectors: np.ndarray
    relation_vectors: np.ndarray
    user_degrees: np.ndarray
    post_degrees: np.ndarray
    metadata: dict[str, Any] = field(default_factory=dict)
    engagements: Engagements | None = None
    held_out: np.ndarray | None = None

    @property
    def num_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def num_posts(self) -> int:
        """Number of posts."""
        return len(self.post_ids)

    @property
    def dimension(self) -> int:
        """Dimension of every vector."""
        return self.post_vectors.shape[1]


def save_network(network: Network, directory: str | Path) -> None:
    """Writes the folder; its files appear together, and `network.json` last of them.

    Args:
        network: The network to write.
        directory: Created where it is missing; files of an older network there are replaced, and a
            checkpoint of its embedding goes when all are in place.

    Raises:
        InputError: Rows and ids do not agree, or a vector holds NaN or infinity.
    """
    _check(network, "the network to save")
    folder = Path(directory)
    vectors = {
        "users": network.user_vectors,
        "posts": network.post_vectors,
        "relations": network.relation_vectors,
    }
    tables = {
        "users": pa.table({"user_id": network.user_ids, "degree": network.user_degrees}),
        "posts": pa.table({"post_id": network.post_ids, "degree": network.post_degrees}),
    }
    metadata = {
        **network.metadata,
        "num_users": network.num_users,
        "num_posts": network.num_posts,
        "relations": network.relations,
        "dimension": network.dimension,
    }
    with ExitStack() as files:
        # The stack finishes the file that it opened first last.
        write_json(files.enter_context(new_file(folder / METADATA_FILE)), metadata)
        for name, values in vectors.items():
            path = files.enter_context(new_file(folder / f"{name}.safetensors"))
            _write_vectors(path, values)
        for name, table in tables.items():
            path = files.enter_context(new_file(folder / f"{name}.parquet"))
            pq.write_table(table, path, compression="zstd")
        if network.engagements is not None:
            path = files.enter_context(new_file(folder / _ENGAGEMENTS_FILE))
            write_tensors(path, _engagement_tensors(network.engagements))
        if network.held_out is not None:
            path = files.enter_context(new_file(folder / HELD_OUT_FILE))
            write_tensors(path, {HELD_OUT_TENSOR: Blocks.of(network.held_out)})
        # From here on until all are in place the folder is none, rather than half of each network.
        (folder / METADATA_FILE).unlink(missing_ok=True)
        if network.engagements is None:
            (folder / _ENGAGEMENTS_FILE).unlink(missing_ok=True)
        if network.held_out is None:
            (folder / HELD_OUT_FILE).unlink(missing_ok=True)
    remove_checkpoint(folder)


def load_network(directory: str | Path) -> Network:
    """Reads a folder that `save_network` wrote; the vectors are memory-mapped, read-only.

    Args:
        directory: The network folder.

    Raises:
        FileNotFoundError: The folder or one of its files is missing.
        InputError: A file is cut short, rows and ids do not agree, or a vector holds NaN or
            infinity.
    """
    folder = Path(directory)
    names = [f"{stem}.safetensors" for stem in ("users", "posts", "relations")]
    names += ["users.parquet", "posts.parquet", METADATA_FILE]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} is no complete network folder: {', '.join(missing)} missing. "
            "Write it with `twhin-hf network embed` or save_network()."
        )
    metadata = read_json_object(folder / METADATA_FILE)
    relations = metadata.get("relations")
    if not isinstance(relations, list) or not all(isinstance(name, str) for name in relations):
        raise damaged(folder / METADATA_FILE, "it has no list of names, relations")
    # What is mapped costs nothing to check: before the tables, which are read whole.
    user_vectors, post_vectors, relation_vectors = (_vectors(folder / name) for name in names[:3])
    engagements = _engagements(folder / _ENGAGEMENTS_FILE)
    held_out = _held_out(folder / HELD_OUT_FILE)
    user_ids, user_degrees = _ids_and_degrees(folder / "users.parquet", "user_id")
    post_ids, post_degrees = _ids_and_degrees(folder / "posts.parquet", "post_id")
    network = Network(
        user_ids=user_ids,
        post_ids=post_ids,
        relations=relations,
        user_vectors=user_vectors,
        post_vectors=post_vectors,
        relation_vectors=relation_vectors,
        user_degrees=user_degrees,
        post_degrees=post_degrees,
        metadata=metadata,
        engagements=engagements,
        held_out=held_out,
    )
    _check(network, str(folder))
    return network


def remove_checkpoint(directory: str | Path) -> None:
    """Removes what an embedding would go on from."""
    (Path(directory) / CHECKPOINT_FILE).unlink(missing_ok=True)
    shutil.rmtree(Path(directory) / PARTS_FOLDER, ignore_errors=True)


def check_finite(values: np.ndarray, ids: pa.Array | list[str], what: str) -> None:
    """Raises an InputError that names the first id whose vector holds NaN or infinity."""
    count, first = 0, ""
    for block in row_blocks(values):
        bad = np.flatnonzero(~np.isfinite(values[block]).all(axis=1))
        if len(bad) and not count:
            first = str(ids[block.start + int(bad[0])])
        count += len(bad)
    if count:
        raise InputError(
            f"{count} of {len(values)} {what} vectors hold NaN or infinity (the first is that of "
            f"{first!r}). Vectors must be finite: embed again with a smaller learning rate.",
            faq="not-finite",
        )


def _check(network: Network, where: str) -> None:
    sides: dict[str, tuple[Any, np.ndarray, Any]] = {
        "user": (network.user_ids, network.user_vectors, network.user_degrees),
        "post": (network.post_ids, network.post_vectors, network.post_degrees),
        "relation": (network.relations, network.relation_vectors, network.relations),
    }
    for side, (ids, vectors, degrees) in sides.items():
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise InputError(
                f"{where}: {side} vectors are {vectors.dtype} of shape {list(vectors.shape)}; "
                "needed are float32 of shape [rows, dimension]."
            )
        if not len(ids) == len(vectors) == len(degrees):
            raise InputError(
                f"{where}: {len(ids)} {side} ids, {len(vectors)} {side} vectors and "
                f"{len(degrees)} degrees. Rows and ids must agree: write the folder again."
            )
        if vectors.shape[1] != network.dimension:
            raise InputError(
                f"{where}: {side} vectors have {vectors.shape[1]} dimensions, post vectors "
                f"{network.dimension}. All must have the same: write the folder again."
            )
        check_finite(vectors, ids, f"{side} ({where})")
    _check_engagements(network, where)
    _check_held_out(network, where)


def _write_vectors(path: Path, values: np.ndarray) -> None:
    """As a file; one of finished vectors in the folder of parts is moved, not copied."""
    if isinstance(values, np.memmap) and values.filename:
        made = Path(values.filename)
        if made.parent == path.parent.resolve() / PARTS_FOLDER:
            os.replace(made, path)
            return
    write_tensors(path, {VECTORS: Blocks.of(values)})


def _engagement_tensors(engagements: Engagements) -> dict[str, Blocks]:
    return {
        f"{side}.{name}": Blocks.of(getattr(neighbours, name))
        for name in Neighbours._fields  # the wider ones first
        for side, neighbours in engagements._asdict().items()
    }


def _engagements(path: Path) -> Engagements | None:
    if not path.is_file():
        return None
    tensors = map_tensors(path)
    try:
        sides = [
            Neighbours(tensors[f"{side}.offsets"], tensors[f"{side}.others"])
            for side in Engagements._fields
        ]
    except KeyError as error:
        raise damaged(path, f"there is no tensor {error}") from error
    return Engagements(*sides)


def _check_engagements(network: Network, where: str) -> None:
    if network.engagements is None:
        return
    by_post, by_user = network.engagements
    sides = {"post": (by_post, network.num_posts), "user": (by_user, network.num_users)}
    for side, (neighbours, count) in sides.items():
        if len(neighbours.offsets) != count + 1 or neighbours.offsets[-1] != len(neighbours.others):
            raise InputError(
                f"{where}: engagements are those of {len(neighbours.offsets) - 1} {side}s, and "
                f"there are {count}. Embed the network again."
            )


def _held_out(path: Path) -> np.ndarray | None:
    if not path.is_file():
        return None
    tensors = map_tensors(path)
    if HELD_OUT_TENSOR not in tensors:
        raise damaged(path, f"there is no tensor {HELD_OUT_TENSOR!r}")
    return tensors[HELD_OUT_TENSOR]


def _check_held_out(network: Network, where: str) -> None:
    held_out = network.held_out
    if held_out is None or not held_out.size:
        return
    counts = (network.num_users, network.num_posts)
    fits = held_out.ndim == 2 and held_out.shape[1] == 2 and held_out.min() >= 0
    if not fits or (held_out.max(axis=0) >= counts).any():
        raise InputError(
            f"{where}: held-out engagements of shape {list(held_out.shape)} do not fit "
            f"{counts[0]} users and {counts[1]} posts. Embed the network again."
        )


def _ids_and_degrees(path: Path, name: str) -> tuple[pa.Array, np.ndarray]:
    try:
        table = read_parquet(path, [name, "degree"])
        ids, degrees = (table[column].combine_chunks() for column in (name, "degree"))
        ids.validate(full=True)
    except (pa.ArrowException, OSError, *WRONG_CONTENT) as error:
        raise damaged(path, " ".join(str(error).split())[:200]) from error
    kinds = (ids.type, degrees.type)
    if ids.null_count or degrees.null_count or kinds != (pa.string(), pa.int64()):
        raise damaged(path, f"{name} is {ids.type} and degree {degrees.type}, or one is null")
    return ids, degrees.to_numpy()


def _vectors(path: Path) -> np.ndarray:
    tensors = map_tensors(path)
    if set(tensors) != {VECTORS} or tensors[VECTORS].dtype != np.float32:
        raise damaged(path, f"it is no float32 tensor named {VECTORS!r}")
    return tensors[VECTORS]
