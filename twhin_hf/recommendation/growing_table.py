"""Rows by id, with columns that grow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class GrowingTable:
    """Ids with rows of arrays; adding rows costs what is added, as room is made ahead.

    Args:
        ids: `[rows]`, all different.
        **columns: Arrays `[rows, …]`.
    """

    def __init__(self, ids: Sequence[str], **columns: np.ndarray):
        self.ids = list(ids)
        self._rows = {name: row for row, name in enumerate(self.ids)}
        self._columns = columns

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, name: str) -> np.ndarray:
        """A column, `[rows, …]`; to be read and written in place."""
        return self._columns[name][: len(self.ids)]

    def add_column(self, name: str, values: np.ndarray) -> None:
        """Adds a column, `[rows, …]`, or replaces it."""
        room = len(next(iter(self._columns.values()), values))
        column = np.empty((room, *values.shape[1:]), values.dtype)
        column[: len(values)] = values
        self._columns[name] = column

    def rows(self, ids: Iterable[str]) -> np.ndarray:
        """Row of each id, int64; −1 where it is not there."""
        find = self._rows.get
        return np.fromiter((find(name, -1) for name in ids), np.int64)

    def add(self, ids: Sequence[str], **columns: Any) -> None:
        """Appends rows of new ids, with values (or one for all) for every column."""
        if columns.keys() != self._columns.keys():
            raise ValueError(f"columns {sorted(columns)}, the table has {sorted(self._columns)}")
        before, after = len(self.ids), len(self.ids) + len(ids)
        for name, values in columns.items():
            column = self._columns[name]
            if after > len(column):
                room = np.zeros((max(after, 2 * before, 1024), *column.shape[1:]), column.dtype)
                room[:before] = column[:before]
                self._columns[name] = column = room
            elif not column.flags.writeable:
                self._columns[name] = column = column.copy()
            column[before:after] = values
        self._rows.update(zip(ids, range(before, after), strict=True))
        self.ids.extend(ids)
