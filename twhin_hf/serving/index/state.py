"""What an index folder holds at one moment: shards, and what was deleted.

`index.json` is written last and names all other files, none of which is ever changed. So a reader
sees the index before a change or after it, and a writer that dies has changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twhin_hf.errors import reading
from twhin_hf.files import new_file, read_json_object, write_json
from twhin_hf.serving.index.index_config import IndexConfig
from twhin_hf.serving.index.shards import (
    ADVICE,
    Shard,
    check_file,
    describe_file,
    open_shard,
    read_ids,
    shard_files,
)

INDEX_NAME = "index.json"
_FORMAT = 1
_DELETED = pa.schema({"post_id": pa.string(), "shard": pa.int64(), "row": pa.int64()})


class State(NamedTuple):
    """An index at one moment.

    Args:
        dimension: Of the vectors.
        config: How it is built.
        made_with: What made the vectors, as `vectors_made_with` gives it.
        next_number: Of a new file.
        shards: In the order of their rows.
        deleted: Ids that were deleted, and where they still lie: `post_id`, `shard`, `row`; without
            shard and row where the shard was written anew.
        deleted_number: Of the file that holds them; None where there is none.
    """

    dimension: int
    config: IndexConfig
    made_with: Mapping[str, Any]
    next_number: int = 0
    shards: tuple[Shard, ...] = ()
    deleted: pa.Table = _DELETED.empty_table()
    deleted_number: int | None = None

    @property
    def num_alive(self) -> int:
        """Vectors that were not deleted."""
        return sum(shard.num_alive for shard in self.shards)

    def ids(self) -> pa.ChunkedArray:
        """The ids of all rows, the deleted ones among them."""
        return pa.chunked_array([shard.ids for shard in self.shards], pa.string())

    def alive_ids(self) -> pa.ChunkedArray:
        """The ids of the rows that were not deleted."""
        return pa.chunked_array([shard.alive_ids() for shard in self.shards], pa.string())


def is_index(path: str | Path) -> bool:
    """Whether a folder holds an index."""
    return (Path(path) / INDEX_NAME).is_file()


def read_state(folder: Path, known: Iterable[Shard] = ()) -> State:
    """Reads an index folder.

    Args:
        folder: The index.
        known: Shards that are open already.

    Raises:
        FileNotFoundError: There is no index.
        InputError: It is damaged.
    """
    path = folder / INDEX_NAME
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}; `twhin-hf index` makes it.")
    told = read_json_object(path)
    with reading(path, ADVICE):
        if told["format"] != _FORMAT:
            raise ValueError(f"format {told['format']} is unknown")
        state = State(
            dimension=int(told["dimension"]),
            config=IndexConfig(**told["config"]),
            made_with=dict(told["made_with"]),
            next_number=int(told["next_number"]),
        )
        opened = {shard.number: shard for shard in known}
        shards = []
        for own in told["shards"]:
            shard = opened.get(int(own["number"]))
            if shard is None or shard.told != own:  # an index made anew has the same numbers
                shard = open_shard(folder, own, state.dimension)
            shards.append(shard)
        if told["deleted"] is None:
            return state._replace(shards=tuple(shards))
        number = int(told["deleted"]["number"])
        name = _deleted_file(number)
        check_file(folder / name, told["deleted"]["files"][name])
        deleted = read_ids(folder / name, _DELETED.names).cast(_DELETED)
        return state._replace(
            shards=tuple(_without_deleted(shard, deleted) for shard in shards),
            deleted=deleted,
            deleted_number=number,
        )


def write_state(folder: Path, state: State, before: State | None) -> State:
    """Makes a state the index's own, and removes the files that it no longer needs.

    Args:
        folder: The index, which no other process writes.
        state: Its shards are written already.
        before: The state that it follows.
    """
    if before is not None and state.deleted is not before.deleted:
        number = None
        if state.deleted.num_rows:
            number = state.next_number
            with new_file(folder / _deleted_file(number)) as partial:
                pq.write_table(state.deleted, partial)
            state = state._replace(next_number=number + 1)
        state = state._replace(deleted_number=number)
    deleted = None
    names = {name for shard in state.shards for name in shard_files(shard.number)}
    if state.deleted_number is not None:
        name = _deleted_file(state.deleted_number)
        names.add(name)
        deleted = {
            "number": state.deleted_number,
            "count": state.deleted.num_rows,
            "files": {name: describe_file(folder / name)},
        }
    write_json(
        folder / INDEX_NAME,
        {
            "format": _FORMAT,
            "dimension": state.dimension,
            "count": state.num_alive,
            "config": asdict(state.config),
            "made_with": dict(state.made_with),
            "next_number": state.next_number,
            "shards": [dict(shard.told) for shard in state.shards],
            "deleted": deleted,
        },
    )
    for pattern in ("shard-*", "deleted-*"):
        for path in folder.glob(pattern):
            if path.name not in names:
                path.unlink()
    return state


def _deleted_file(number: int) -> str:
    return f"deleted-{number:06}.parquet"


def _without_deleted(shard: Shard, deleted: pa.Table) -> Shard:
    rows = deleted.filter(pc.equal(deleted["shard"], shard.number))["row"].to_numpy()
    if not len(rows) and shard.num_alive == len(shard.ids):
        return shard
    is_alive = np.ones(len(shard.ids), bool)
    is_alive[rows] = False
    return Shard(shard.number, shard.told, shard.index, shard.ids, is_alive)
