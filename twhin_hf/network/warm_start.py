"""Vectors to begin with: a truncated SVD of the normalised adjacency matrix.

`A[u, t]`, the number of relations in which user `u` engaged with post `t`, is divided by powers of
both degrees, so that neither the active nor the popular take all the dimensions. With the rank of
the embedding, `U √S` and `V √S` are vectors whose products are already near the matrix: a fraction
of the time of one epoch puts training where epochs from noise would lead it.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
from threadpoolctl import threadpool_limits

DEGREE_POWER = 0.3  # 0.5 would be the symmetric normalisation; 0.3 ranked best on two logs of three
MEAN_SCORE = 4.0  # of a training edge: logits between flat and saturated
OVERSAMPLES, ITERATIONS = 16, 2


def svd_vectors(
    lhs: np.ndarray,
    rhs: np.ndarray,
    shape: tuple[int, int],
    dimension: int,
    *,
    seed: int,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """User and post vectors whose inner products approximate the normalised adjacency.

    Memory: 8 bytes an edge, and some four times the vectors while they are computed.

    Args:
        lhs: User of every training edge.
        rhs: Post of every training edge.
        shape: Numbers of users and posts.
        dimension: Of the vectors; those beyond the rank of the matrix are 0.
        seed: Of the random projection.
        threads: Threads of the matrix products (default: all cores).

    Returns:
        float32 `[num_users, dimension]` and `[num_posts, dimension]`, of equal mean square, scaled
        so that a training edge scores 4 on average.
    """
    from sklearn.utils.extmath import randomized_svd

    matrix = scipy.sparse.csr_matrix((np.ones(len(lhs), np.float32), (lhs, rhs)), shape=shape)
    by_user, by_post = (
        scipy.sparse.diags_array(
            np.maximum(np.bincount(ids, minlength=count), 1).astype(np.float32) ** -DEGREE_POWER
        )
        for ids, count in ((lhs, shape[0]), (rhs, shape[1]))
    )
    rank = min(dimension, *shape)
    with threadpool_limits(limits=threads):
        left, values, right = randomized_svd(
            (by_user @ matrix @ by_post).tocsr(),
            rank,
            n_oversamples=OVERSAMPLES,
            n_iter=ITERATIONS,
            power_iteration_normalizer="QR",
            random_state=seed,
        )
    users = np.zeros((shape[0], dimension), np.float32)
    posts = np.zeros((shape[1], dimension), np.float32)
    np.multiply(left, np.sqrt(values), out=users[:, :rank])
    np.multiply(right.T, np.sqrt(values), out=posts[:, :rank])
    # The mean score of a training edge is a sum over the matrix: no sample, no second pass.
    mean = max(float(np.vdot(matrix @ posts, users)) / len(lhs), 1e-6)
    balance = np.sqrt(np.square(posts).mean() / np.square(users).mean())
    scale = np.sqrt(MEAN_SCORE / mean)
    users *= scale * np.sqrt(balance)
    posts *= scale / np.sqrt(balance)
    return users, posts
