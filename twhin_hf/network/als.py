"""Vectors by alternating least squares (Hu, Koren and Volinsky, ICDM 2008), through `implicit`.

A pair of user and post has preference 1 where there is an engagement and 0 elsewhere; users and
posts minimise `Σ c (preference − u · t)² + l2 (Σ |u|² + Σ |t|²)` over all pairs. The confidence `c`
is 1 where there is none; an engagement has `confidence` times the weight of its relation, and a
pair of several relations their sum. There is no vector of a relation: it is written as 0, so that
`(u + r) · t` ranks as `u · t` does.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
from threadpoolctl import threadpool_limits

from twhin_hf.errors import InputError
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.log import EngagementGraph


def confidences(
    graph: EngagementGraph, training: np.ndarray, config: NetworkEmbeddingConfig
) -> scipy.sparse.csr_matrix:
    """Confidence of each user and post with an engagement, float32 `[num_users, num_posts]`.

    Args:
        graph: Distinct engagements.
        training: Which of them to use, bool `[num_edges]`.
        config: `confidence` and `relation_weights`.

    Raises:
        InputError: `relation_weights` names a relation that the graph has not.
    """
    given = config.relation_weights or {}
    if unknown := sorted(set(given) - set(graph.relations)):
        raise InputError(
            f"relation_weights names {', '.join(map(repr, unknown))}, but the relations of the log "
            f"are {', '.join(map(repr, graph.relations))}. Name these."
        )
    weights = np.array([given.get(name, 1.0) for name in graph.relations], np.float32)
    values = weights[graph.relation[training]] * np.float32(config.option("confidence"))
    places = (graph.lhs[training], graph.rhs[training])
    # Summed where a user engaged with a post in several ways.
    return scipy.sparse.csr_matrix((values, places), shape=(graph.num_users, graph.num_posts))


def als_vectors(
    graph: EngagementGraph, training: np.ndarray, config: NetworkEmbeddingConfig, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """User and post vectors, float32 `[num_users, dimension]` and `[num_posts, dimension]`.

    Args:
        graph: Distinct engagements.
        training: Which of them to use, bool `[num_edges]`.
        config: Dimension, iterations, regularisation, confidences, seed.
        threads: CPU threads.

    Raises:
        InputError: `relation_weights` names a relation that the graph has not.
    """
    from implicit.cpu.als import AlternatingLeastSquares

    values = confidences(graph, training, config)
    with threadpool_limits(limits=1, user_api="blas"):  # its own threads call BLAS
        model = AlternatingLeastSquares(
            factors=config.dimension,
            regularization=config.option("l2"),
            iterations=config.option("epochs"),
            num_threads=threads,
            random_state=config.seed,
        )
        model.fit(values, show_progress=False)
    return np.asarray(model.user_factors), np.asarray(model.item_factors)
