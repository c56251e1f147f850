"""A published benchmark as anybody sees it, and what can be told from it alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twhin_hf.errors import InputError
from twhin_hf.files import list_files
from twhin_hf.privacy.keys import HASH_PATTERN
from twhin_hf.privacy.people import names_people
from twhin_hf.privacy.vectors import row_bytes, vector_column
from twhin_hf.tables import read_errors

_ROWS_PER_BLOCK = 10_000


@dataclass(frozen=True)
class PublishedRecords:
    """Records of an engagement benchmark, equal vectors taken for one user.

    Args:
        vectors: Distinct vectors of users, float32 `[num_users, dimension]`.
        users: Row of the vector of each record, int64 `[num_records]`.
        posts: Row of the post, int64 `[num_records]`.
        configs: Number of the config, int64 `[num_records]`.
        post_ids: Distinct ids as published, strings `[num_posts]`.
    """

    vectors: np.ndarray
    users: np.ndarray
    posts: np.ndarray
    configs: np.ndarray
    post_ids: pa.Array


def read_published(folder: str | Path) -> tuple[dict[str, Any], PublishedRecords | None]:
    """Looks through a benchmark that a `twhin-hf data` command has written.

    Args:
        folder: With Parquet files whose columns are `id`, `text` or `user` (a vector).

    Returns:
        Counts of what its ids and texts tell of people: `posts`, `ids_that_name_people`,
        `ids_neither_hashed_nor_numbers` and `texts_that_name_people`; and its records, None where
        it has none.

    Raises:
        FileNotFoundError: No such folder, or no Parquet file in it.
        InputError: A file is damaged, or none has a column `id`.
    """
    files = [path for path in list_files(folder) if path.suffix == ".parquet"]
    if not files:
        raise FileNotFoundError(
            f"{folder} holds no Parquet file. Give the folder that `twhin-hf data` has written."
        )
    counts = dict.fromkeys(
        ("posts", "ids_that_name_people", "ids_neither_hashed_nor_numbers"), 0
    ) | {"texts_that_name_people": 0}
    parts: list[tuple[np.ndarray, pa.Array, int]] = []
    places: dict[Path, int] = {}
    has_ids = False
    for path in files:
        with read_errors(path, has_memory_limit=False), pq.ParquetFile(path) as file:
            names = [name for name in ("id", "text", "user") if name in file.schema_arrow.names]
            has_ids |= "id" in names
            for block in file.iter_batches(_ROWS_PER_BLOCK, columns=names):
                _count(block, counts)
                if {"id", "user"} <= set(names):
                    config = places.setdefault(path.parent, len(places))
                    parts.append((_matrix(block["user"], path), block["id"], config))
    if not has_ids:
        raise InputError(f"{folder} holds no column id in any Parquet file; is it a benchmark?")
    return counts, _records(parts) if parts else None


def describe_records(records: PublishedRecords) -> dict[str, Any]:
    """How many people stand together, by what is published alone.

    Args:
        records: Of `read_published`.

    Returns:
        `records` and `users` (distinct vectors); `users_in_several_records`, whose records can be
        put together, as over languages; `smallest_config`, its users; `smallest_group`, the fewest
        users recorded with one post (k of k-anonymity, where an attacker knows one engagement);
        `groups_of_one`, posts recorded of one user alone; and `users_unique_by_their_posts`, whose
        recorded posts are, together, those of nobody else.

    Example:
        >>> users, posts = np.array([0, 1, 2, 3, 3]), np.array([0, 0, 1, 0, 1])
        >>> ids = pa.array(["a", "b"])
        >>> found = describe_records(PublishedRecords(np.eye(4), users, posts, 0 * users, ids))
        >>> found["smallest_group"], found["users_unique_by_their_posts"]
        (2, 2)
    """
    pairs = np.unique(np.stack([records.users, records.posts], axis=1), axis=0)
    groups = np.bincount(pairs[:, 1])
    groups = groups[groups > 0]
    times = np.bincount(records.users)
    # The sum of random numbers, one a post, tells a set of posts from another.
    numbers = np.random.default_rng(0).integers(
        2**63, size=(len(records.post_ids), 2), dtype=np.uint64
    )
    sets = np.zeros((len(records.vectors), 2), np.uint64)
    np.add.at(sets, pairs[:, 0], numbers[pairs[:, 1]])
    _, sharing = np.unique(sets, axis=0, return_counts=True)
    per_config = np.unique(np.stack([records.configs, records.users], axis=1), axis=0)[:, 0]
    return {
        "records": len(records.users),
        "users": len(records.vectors),
        "users_in_several_records": int((times > 1).sum()),
        "smallest_config": int(np.unique(per_config, return_counts=True)[1].min()),
        "smallest_group": int(groups.min()),
        "groups_of_one": int((groups == 1).sum()),
        "users_unique_by_their_posts": int((sharing == 1).sum()),
    }


def _count(block: pa.RecordBatch, counts: dict[str, int]) -> None:
    """Adds what a block of rows tells of people."""
    if "text" in block.schema.names:
        counts["posts"] += len(block)
        counts["texts_that_name_people"] += _sum(names_people(block["text"].cast(pa.string())))
    if "id" in block.schema.names:
        ids = block["id"].cast(pa.string())
        is_plain = pc.match_substring_regex(ids, f"^({HASH_PATTERN}|[0-9]+)$")
        counts["ids_that_name_people"] += _sum(names_people(ids))
        counts["ids_neither_hashed_nor_numbers"] += _sum(pc.invert(is_plain))


def _sum(values: pa.Array) -> int:
    return pc.sum(values).as_py() or 0


def _matrix(column: pa.Array, path: Path) -> np.ndarray:
    try:
        return vector_column(column)
    except ValueError as error:
        raise InputError(f"{path} holds {error}; needed is one of a user in each row.") from error


def _records(parts: list[tuple[np.ndarray, pa.Array, int]]) -> PublishedRecords:
    vectors = np.concatenate([part[0] for part in parts])
    encoded = pa.concat_arrays([part[1].cast(pa.string()) for part in parts]).dictionary_encode()
    _, first, users = np.unique(row_bytes(vectors), return_index=True, return_inverse=True)
    return PublishedRecords(
        vectors=vectors[first],
        users=users.astype(np.int64),
        posts=encoded.indices.to_numpy().astype(np.int64),
        configs=np.repeat([part[2] for part in parts], [len(part[0]) for part in parts]),
        post_ids=encoded.dictionary,
    )
