"""Who engaged with which post, as rows of a table of users and one of posts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twhin_hf.errors import InputError
from twhin_hf.network.engagements import pair_keys


@dataclass(frozen=True)
class Records:
    """Engagements as two aligned arrays.

    Args:
        users: Row of the user's vector, int64 [records].
        posts: Row of the post, int64 [records].
    """

    users: np.ndarray
    posts: np.ndarray

    def __post_init__(self) -> None:
        if self.users.shape != self.posts.shape or self.users.ndim != 1:
            raise InputError(
                f"Records have {self.users.shape} users and {self.posts.shape} posts; "
                "two arrays of one length are needed."
            )

    def __len__(self) -> int:
        return len(self.users)

    def where(self, mask: np.ndarray) -> Records:
        """The records that a mask or an index array picks."""
        return Records(self.users[mask], self.posts[mask])

    def keys(self) -> np.ndarray:
        """A number for each user and post, int64 [records]; see `pair_keys`."""
        return pair_keys(self.users, self.posts)

    def restrict_to(self, posts: np.ndarray) -> Records:
        """The records whose post is among these rows."""
        return self.where(np.isin(self.posts, posts))

    def sorted_by_user(self) -> Records:
        """The same records in the order of their users."""
        return self.where(np.argsort(self.users, kind="stable"))

    @staticmethod
    def concatenate(parts: Sequence[Records]) -> Records:
        """All records of several tables."""
        return Records(
            np.concatenate([part.users for part in parts]),
            np.concatenate([part.posts for part in parts]),
        )


def distinct_records(lhs: np.ndarray, rhs: np.ndarray) -> Records:
    """User and post rows without the repeats that several relations give."""
    keys = np.unique(pair_keys(lhs, rhs))
    return Records(keys >> 32, keys & 0xFFFFFFFF)
