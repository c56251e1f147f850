"""Users and posts taken out of a network folder, block by block.

Vectors, ids, degrees and engagements are rows of the same order, so that all of them change
together: the folder is written anew beside the old one and takes its place. Users and posts whose
engagements are all gone go too, as no embedding would know them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.errors import InputError
from twhin_hf.files import new_folder, read_json, write_json
from twhin_hf.forgetting.forgotten import Forgotten
from twhin_hf.forgetting.places import real_path
from twhin_hf.network.engagements import Engagements, Neighbours
from twhin_hf.network.folder import CHECKPOINT_FILE as CHECKPOINT
from twhin_hf.network.folder import (
    HELD_OUT_FILE,
    HELD_OUT_TENSOR,
    METADATA_FILE,
    VECTORS,
    Network,
    load_network,
)
from twhin_hf.network.tensor_files import Blocks, row_blocks, write_tensors
from twhin_hf.privacy.vectors import row_bytes
from twhin_hf.run_folder import LOCK_NAME

_EDGES_PER_BLOCK = 2**22
_ROWS_PER_BLOCK = 2**18
_SIDES = {"users": "user_id", "posts": "post_id"}

OWN_TABLES = frozenset(f"{side}.parquet" for side in _SIDES)
"""The only tables of a network."""


@dataclass(frozen=True)
class NetworkChange:
    """What leaves a network.

    Args:
        folder: Of the network.
        forgotten: Users and posts that were asked for, by side.
        keep: Which rows stay, bool `[num_rows]`, by side (`users`, `posts`).
        engagements: Engagements that each row keeps, int64 `[num_rows]`, by side.
        vectors: Of the users that were asked for, as `row_bytes` gives them, sorted.
    """

    folder: Path
    forgotten: dict[str, int]
    keep: dict[str, np.ndarray]
    engagements: dict[str, np.ndarray]
    vectors: np.ndarray

    @property
    def removed(self) -> int:
        """Users and posts that go."""
        return int(sum((~keep).sum() for keep in self.keep.values()))


def is_network(folder: Path) -> bool:
    """Whether a folder is one of a network."""
    return (folder / METADATA_FILE).is_file()


def plan_change(folder: Path, forgotten: Forgotten) -> NetworkChange:
    """Looks which rows of a network go; nothing is written.

    Raises:
        FileNotFoundError: A file of the network is missing.
        InputError: The folder is damaged, of an earlier version, which knows no engagements, or of
            an embedding that has not ended, or nothing is left of it.
    """
    if (folder / CHECKPOINT).exists():
        raise InputError(
            f"{folder} holds the checkpoint of an embedding, whose rows have no ids. Let the "
            f"embedding end, or delete {CHECKPOINT}."
        )
    network = load_network(folder)
    if network.engagements is None:
        raise InputError(
            f"{folder} was written by an earlier version and holds no engagements, so that degrees "
            "cannot be mended. Embed the network again without those to be forgotten.",
            faq="old-network",
        )
    tests = {"users": forgotten.is_user, "posts": forgotten.is_post}
    keep = {
        side: ~np.concatenate([np.zeros(0, bool), *map(tests[side], _blocks_of(ids))])
        for side, ids in (("users", network.user_ids), ("posts", network.post_ids))
    }
    gone = {side: int((~rows).sum()) for side, rows in keep.items()}
    vectors = np.unique(row_bytes(network.user_vectors[np.flatnonzero(~keep["users"])]))
    left = _engagements_left(network, network.engagements, keep)
    for side, before in _degrees(network.engagements).items():
        keep[side] &= (left[side] > 0) | (before == 0)
        if not keep[side].any():
            raise InputError(f"{folder}: nothing is left of the network. Delete it.")
    return NetworkChange(folder, gone, keep, left, vectors)


def apply_change(change: NetworkChange) -> None:
    """Writes the network without the rows that go; the folder is replaced as a whole."""
    network, keep = load_network(change.folder), change.keep
    assert network.engagements is not None
    before = _degrees(network.engagements)
    degrees = {"users": network.user_degrees, "posts": network.post_degrees}
    # A pair that several relations make counts several times in a degree, and is known once.
    degrees = {
        side: np.maximum(degrees[side] - (before[side] - left), left)[keep[side]]
        for side, left in change.engagements.items()
    }
    vectors = {"users": network.user_vectors, "posts": network.post_vectors}
    with new_folder(real_path(change.folder)) as partial:
        link_others(change.folder, partial)
        for side, column in _SIDES.items():
            rows = keep[side]
            _rewrite_ids(partial / f"{side}.parquet", column, rows, degrees[side])
            values = vectors[side]
            write_tensors(
                partial / f"{side}.safetensors",
                {
                    VECTORS: Blocks(
                        np.dtype(np.float32),
                        (int(rows.sum()), network.dimension),
                        (values[block][rows[block]] for block in row_blocks(values)),
                    )
                },
            )
        write_tensors(
            partial / "engagements.safetensors",
            _kept_engagements(network.engagements, keep, change.engagements),
        )
        if network.held_out is not None:
            kept = _kept_held_out(network.held_out, keep)
            write_tensors(partial / HELD_OUT_FILE, {HELD_OUT_TENSOR: Blocks.of(kept)})
        metadata = read_json(change.folder / METADATA_FILE)
        removed = {side: int((~rows).sum()) for side, rows in keep.items()}
        earlier = metadata.get("forgotten", {})
        write_json(
            partial / METADATA_FILE,
            metadata
            | {
                "num_users": int(keep["users"].sum()),
                "num_posts": int(keep["posts"].sum()),
                "num_edges": int(degrees["users"].sum()),
                "forgotten": {side: earlier.get(side, 0) + n for side, n in removed.items()},
            },
        )


def _blocks_of(ids: pa.Array) -> Iterator[pa.Array]:
    for start in range(0, len(ids), _ROWS_PER_BLOCK):
        yield ids.slice(start, _ROWS_PER_BLOCK).cast(pa.string())


def _degrees(engagements: Engagements) -> dict[str, np.ndarray]:
    """Engagements of each row, by side, int64 `[num_rows]`."""
    return {
        "users": np.diff(engagements.posts_of_users.offsets),
        "posts": np.diff(engagements.users_of_posts.offsets),
    }


def _engagements_left(
    network: Network, engagements: Engagements, keep: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Engagements of each row whose user and post both stay, by side."""
    left = {
        "users": np.zeros(network.num_users, np.int64),
        "posts": np.zeros(network.num_posts, np.int64),
    }
    for users, posts in _edge_blocks(engagements.posts_of_users):
        both = keep["users"][users] & keep["posts"][posts]
        np.add.at(left["users"], users[both], 1)
        np.add.at(left["posts"], posts[both], 1)
    return left


def _edge_blocks(neighbours: Neighbours) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of both ends of the engagements, in their order."""
    offsets = np.asarray(neighbours.offsets)
    for start in range(0, len(neighbours.others), _EDGES_PER_BLOCK):
        stop = min(start + _EDGES_PER_BLOCK, len(neighbours.others))
        rows = np.searchsorted(offsets, np.arange(start, stop), side="right") - 1
        yield rows, np.asarray(neighbours.others[start:stop])


def _kept_engagements(
    engagements: Engagements, keep: dict[str, np.ndarray], left: dict[str, np.ndarray]
) -> dict[str, Blocks]:
    """The tensors of the engagements that stay, rows numbered anew."""
    numbers = {side: (np.cumsum(rows) - 1).astype(np.int32) for side, rows in keep.items()}
    sides = {"users_of_posts": ("posts", "users"), "posts_of_users": ("users", "posts")}
    tensors: dict[str, Blocks] = {}
    for name, (own, other) in sides.items():
        neighbours: Neighbours = getattr(engagements, name)
        offsets = np.concatenate([[0], np.cumsum(left[own][keep[own]])]).astype(np.int64)
        tensors[f"{name}.offsets"] = Blocks.of(offsets)
        tensors[f"{name}.others"] = Blocks(
            np.dtype(np.int32),
            (int(offsets[-1]),),
            _renumbered(neighbours, keep[own], keep[other], numbers[other]),
        )
    return tensors


def _kept_held_out(held_out: np.ndarray, keep: dict[str, np.ndarray]) -> np.ndarray:
    """The held-out engagements that stay, rows numbered anew."""
    users, posts = held_out.T
    both = keep["users"][users] & keep["posts"][posts]
    sides = ((users[both], keep["users"]), (posts[both], keep["posts"]))
    return np.stack([np.cumsum(rows)[own] - 1 for own, rows in sides], axis=1).astype(np.int64)


def _renumbered(
    neighbours: Neighbours, keep: np.ndarray, keep_others: np.ndarray, numbers: np.ndarray
) -> Iterator[np.ndarray]:
    for rows, others in _edge_blocks(neighbours):
        yield numbers[others[keep[rows] & keep_others[others]]]


def _rewrite_ids(path: Path, column: str, keep: np.ndarray, degrees: np.ndarray) -> None:
    """The table of ids and degrees with the rows that stay, in the place of a link to the old."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        other = path.with_name(f".{path.name}")
        row = kept = 0
        with pq.ParquetWriter(other, schema, compression="zstd") as writer:
            for batch in file.iter_batches(_ROWS_PER_BLOCK):
                stays = keep[row : row + len(batch)]
                rows = batch.filter(pa.array(stays))
                own = pa.array(degrees[kept : kept + len(rows)]).cast(schema.field("degree").type)
                place = schema.get_field_index("degree")
                writer.write_batch(rows.set_column(place, schema.field(place), own))
                row, kept = row + len(batch), kept + len(rows)
    os.replace(other, path)


def link_others(folder: Path, partial: Path) -> None:
    """Puts the files of a folder that another lacks into it, without a copy where it can be."""
    for path in folder.rglob("*"):
        place = partial / path.relative_to(folder)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        elif not place.exists():
            try:
                os.link(path, place)
            except OSError:
                if not path.name.startswith(LOCK_NAME):  # a copy of a lock holds nothing
                    shutil.copy2(path, place)
