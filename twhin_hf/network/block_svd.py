"""The SVD of `warm_start.py` of a matrix in blocks, whose factors no process need hold whole.

Subspace iteration needs of the factors, users `[num_users, rank]` and posts `[num_posts, rank]`,
only products with the matrix, Gram matrices `[rank, rank]` and products with small matrices. Each
is a sum or a loop over blocks of rows, on files of one machine or among processes.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import scipy.sparse

from twhin_hf.network.warm_start import DEGREE_POWER, ITERATIONS, MEAN_SCORE, OVERSAMPLES

_LEAST = 1e-10  # of the largest eigenvalue of a Gram matrix; what is below is noise


class Factors(Protocol):
    """Factors of the normalised adjacency matrix, in blocks of rows; posts begin as noise."""

    def to_users(self) -> None:
        """Makes users = matrix @ posts."""

    def to_posts(self) -> None:
        """Makes posts = matrix.T @ users."""

    def gram(self, side: str) -> np.ndarray:
        """Products of the columns of a side, float64 `[rank, rank]`."""

    def multiply(self, side: str, by: np.ndarray) -> None:
        """Replaces the rows of a side by their product with a matrix `[rank, new_rank]`."""

    def score_sum(self) -> float:
        """Sum of `u · t` over all training edges."""


def factorise(factors: Factors, shape: tuple[int, int], dimension: int, num_edges: int) -> None:
    """Leaves the vectors of `warm_start.svd_vectors` in the factors.

    Args:
        factors: With `factor_rank` columns.
        shape: Numbers of users and posts.
        dimension: Of the vectors; the factors have fewer columns in the end where the rank is less.
        num_edges: Training edges.
    """
    factors.to_users()
    _orthonormalise(factors, "users")
    for _ in range(ITERATIONS):
        factors.to_posts()
        _orthonormalise(factors, "posts")
        factors.to_users()
        _orthonormalise(factors, "users")
    factors.to_posts()
    # The posts are V S of the SVD, turned by the orthogonal matrix of the users.
    squares, turn = _largest(factors.gram("posts"), min(dimension, *shape))
    root = squares**0.25  # of the singular values
    factors.multiply("users", turn * root)
    factors.multiply("posts", turn / root)
    mean = max(factors.score_sum() / num_edges, 1e-6)
    # Both sides have the same sum of squares, that of the singular values.
    balance = np.sqrt(shape[0] / shape[1])
    scale = np.sqrt(MEAN_SCORE / mean)
    factors.multiply("users", np.eye(len(root), dtype=np.float32) * (scale * np.sqrt(balance)))
    factors.multiply("posts", np.eye(len(root), dtype=np.float32) * (scale / np.sqrt(balance)))


def factor_rank(shape: tuple[int, int], dimension: int) -> int:
    """Columns that the factors begin with."""
    return min(dimension + OVERSAMPLES, *shape)


def degree_weights(degrees: np.ndarray) -> np.ndarray:
    """What each row of the adjacency matrix is multiplied by, float32."""
    return np.maximum(degrees, 1).astype(np.float32) ** -DEGREE_POWER


def weighted_block(
    lhs: np.ndarray, rhs: np.ndarray, user_weights: np.ndarray, post_weights: np.ndarray
) -> scipy.sparse.csr_matrix:
    """A block of the normalised adjacency matrix, float32.

    Args:
        lhs: User of each edge, as a row of the block.
        rhs: Post of each edge, as a column of the block.
        user_weights: `degree_weights` of the rows.
        post_weights: `degree_weights` of the columns.
    """
    values = user_weights[lhs] * post_weights[rhs]
    return scipy.sparse.csr_matrix((values, (lhs, rhs)), (len(user_weights), len(post_weights)))


def _orthonormalise(factors: Factors, side: str) -> None:
    """Makes the columns orthonormal, twice because the first time is inexact; some may be lost."""
    for _ in range(2):
        squares, turn = _largest(factors.gram(side))
        factors.multiply(side, turn / np.sqrt(squares))


def _largest(gram: np.ndarray, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues of a Gram matrix, falling, and their vectors as columns."""
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    kept = values > max(values[0], np.finfo(np.float64).tiny) * _LEAST
    return values[kept], vectors[:, kept]
