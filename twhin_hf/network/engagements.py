"""Who engaged with which post, to be looked up from either side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array


class Neighbours(NamedTuple):
    """What each row of one side is connected to on the other, one row after the other.

    Args:
        offsets: int64 `[num_rows + 1]`, where each row's part begins.
        others: int32 `[num_engagements]`, rows of the other side, rising within a row.
    """

    offsets: np.ndarray
    others: np.ndarray

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of some rows.

        Args:
            rows: Int `[num_chosen]`.

        Returns:
            int32 `[total]`, the other side's rows of each chosen row, one after the other; and
            int64 `[num_chosen]`, how many each has.

        Example:
            >>> posts = Neighbours(np.array([0, 2, 2, 3]), np.array([4, 7, 5], np.int32))
            >>> [part.tolist() for part in posts.of(np.array([2, 0, 1]))]
            [[5, 4, 7], [1, 2, 0]]
        """
        starts = np.asarray(self.offsets[rows])
        counts = np.asarray(self.offsets[np.asarray(rows) + 1]) - starts
        ends = np.cumsum(counts)
        places = np.repeat(starts - (ends - counts), counts) + np.arange(counts.sum())
        return np.asarray(self.others[places]), counts


class Engagements(NamedTuple):
    """The distinct engagements of a network, all relations together.

    Args:
        users_of_posts: The user rows of each post.
        posts_of_users: The post rows of each user.
    """

    users_of_posts: Neighbours
    posts_of_users: Neighbours

    @classmethod
    def from_edges(
        cls, users: np.ndarray, posts: np.ndarray, num_users: int, num_posts: int
    ) -> Engagements:
        """From edges in any order, some perhaps there several times.

        Args:
            users: Int `[num_edges]`, rows of users.
            posts: Int `[num_edges]`, rows of posts.
            num_users: Number of users.
            num_posts: Number of posts.
        """
        ones = np.ones(len(users), np.int8)
        by_user = csr_array((ones, (users, posts)), shape=(num_users, num_posts))
        by_user.sum_duplicates()
        by_post = by_user.T.tocsr()
        by_post.sort_indices()
        return cls(_neighbours(by_post), _neighbours(by_user))

    @property
    def num_engagements(self) -> int:
        """Distinct pairs of a user and a post."""
        return len(self.users_of_posts.others)


def _neighbours(matrix: csr_array) -> Neighbours:
    return Neighbours(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32))
