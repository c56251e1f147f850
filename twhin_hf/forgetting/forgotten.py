"""Who and what is to be forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.errors import InputError
from twhin_hf.lines import iterate_lines
from twhin_hf.privacy.keys import hash_ids
from twhin_hf.privacy.vectors import row_bytes, vector_column
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import read_ids

_AUTHOR = "^at://(?P<author>[^/]+)/"  # of a post's address in the AT protocol (Bluesky)
_NO_IDS = pa.array([], pa.string())


@dataclass(frozen=True)
class Forgotten:
    """Ids to take out; a user's posts go too where their ids name the user, as Bluesky's do.

    Args:
        users: Distinct strings.
        posts: Distinct strings.
        vectors: Published vectors of the users, of each network as `row_bytes` gives them, sorted.
    """

    users: pa.Array = field(default_factory=lambda: _NO_IDS)
    posts: pa.Array = field(default_factory=lambda: _NO_IDS)
    vectors: tuple[np.ndarray, ...] = ()

    def is_user(self, ids: pa.Array) -> np.ndarray:
        """Whether each id, a string, is that of a user to be forgotten, bool."""
        return _is_in(ids, self.users)

    def is_post(self, ids: pa.Array) -> np.ndarray:
        """Whether each id is that of a post to be forgotten, or of one of such a user, bool."""
        authors = pc.struct_field(pc.extract_regex(ids, _AUTHOR), "author")
        return _is_in(ids, self.posts) | _is_in(authors, self.users)

    def is_vector(self, column: pa.Array) -> np.ndarray:
        """Whether each list of numbers is the vector of such a user, bool."""
        rows = row_bytes(vector_column(column))
        found = np.zeros(len(rows), bool)
        for vectors in self.vectors:
            if vectors.dtype == rows.dtype:  # of one dimension
                places = np.minimum(np.searchsorted(vectors, rows), len(vectors) - 1)
                found |= vectors[places] == rows
        return found

    def matches(self, ids: Mapping[str, tuple[str, pa.Array]], num_rows: int) -> np.ndarray:
        """Whether each row goes, bool `[num_rows]`.

        Args:
            ids: Kind (`user`, `post` or `vector`; `users` or `posts` of lists) and values of each
                column of ids.
            num_rows: Number of rows.
        """
        tests: dict[str, Callable[[Any], np.ndarray]] = {
            "user": self.is_user,
            "post": self.is_post,
            "vector": self.is_vector,
            "users": partial(_any_in, self.is_user),
            "posts": partial(_any_in, self.is_post),
        }
        goes = np.zeros(num_rows, bool)
        if num_rows:
            for kind, values in ids.values():
                goes |= tests[kind](values)
        return goes

    def with_hashes(self, posts: Iterable[str], key: bytes) -> Forgotten:
        """With the keyed hashes of posts too."""
        return replace(self, posts=pa.concat_arrays([self.posts, pa.array(hash_ids(posts, key))]))


def read_forgotten(
    users: str | Path | None,
    posts: str | Path | None = None,
    table_format: TableFormat | None = None,
    memory_limit: str = "1GB",
) -> Forgotten:
    """Reads ids from files.

    Args:
        users: Table with the column `user_id`, or text (`.txt`) with an id a line.
        posts: Table with the column `post_id`, or text with an id a line.
        table_format: How text tables are written.
        memory_limit: Most memory of the reader.

    Raises:
        FileNotFoundError: A file is missing.
        InputError: A file cannot be read, or neither names anybody or anything.
    """
    found = Forgotten(
        *(
            _NO_IDS if path is None else _read(Path(path), name, table_format, memory_limit)
            for path, name in ((users, "user_id"), (posts, "post_id"))
        )
    )
    if not len(found.users) and not len(found.posts):
        raise InputError(
            "There is nothing to forget: give ids of users (`--users FILE`) or posts "
            "(`--posts FILE`), in a table with the column user_id or post_id, or one a line."
        )
    return found


def _read(path: Path, name: str, table_format: TableFormat | None, memory_limit: str) -> pa.Array:
    if path.suffix == ".txt":
        ids = pa.array([line.strip() for line in iterate_lines(path)], pa.string())
    else:
        chunks = read_ids(path, name, table_format=table_format, memory_limit=memory_limit)
        ids = pa.concat_arrays([_NO_IDS, *chunks.cast(pa.string()).chunks])
    ids = pc.drop_null(pc.unique(ids))
    return ids.filter(pc.not_equal(ids, ""))


def _any_in(test: Callable[[pa.Array], np.ndarray], lists: pa.ListArray) -> np.ndarray:
    """Whether a test is true of any item of each list, bool."""
    found = np.zeros(len(lists), bool)
    found[pc.list_parent_indices(lists).to_numpy()[test(lists.flatten())]] = True
    return found


def _is_in(ids: pa.Array, among: pa.Array) -> np.ndarray:
    return pc.is_in(ids, value_set=among, skip_nulls=True).to_numpy(zero_copy_only=False)
