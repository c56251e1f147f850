"""What a recommender must beat: chance, popularity, recency, content, factorised engagements."""

from __future__ import annotations

import importlib.util
import logging

import numpy as np
import scipy.sparse

from twhin_hf.errors import InputError
from twhin_hf.evaluation.recommendation.judging import Scorer
from twhin_hf.loading.text_encoders import length_normalized
from twhin_hf.recommendation.model import EngagementModel
from twhin_hf.recommendation.records import Records

logger = logging.getLogger(__name__)

RANDOM = "random"
POPULARITY = "popularity"
RECENCY = "recency"
ALS = "ALS"
MEAN = "mean of history"
ENCODER = "encoder"
"""What is judged, as a baseline of its own."""
TEXT_ALONE, NETWORK_ALONE, HYBRID = "ours: text alone", "ours: network alone", "ours"
_RANDOM_WIDTH = 64


def engagement_matrix(records: Records, shape: tuple[int, int]) -> scipy.sparse.csr_array:
    """1 where a user engaged with a post, float32 `[users, posts]`."""
    ones = np.ones(len(records), np.float32)
    return scipy.sparse.csr_array((ones, (records.users, records.posts)), shape=shape)


def at_random(num_users: int, num_posts: int, seed: int) -> Scorer:
    """Another order of the posts for each user, that tells nothing."""
    rng = np.random.default_rng(seed)
    users, posts = (
        rng.standard_normal((rows, _RANDOM_WIDTH), dtype=np.float32)
        for rows in (num_users, num_posts)
    )
    return Scorer(users, posts)


def by_post(num_users: int, values: np.ndarray) -> Scorer:
    """The same order for everybody: popularity by engagements, recency by times.

    Args:
        num_users: Number of users.
        values: Of each post, `[posts]`; any numbers.
    """
    _, places = np.unique(values, return_inverse=True)
    return Scorer(np.ones((num_users, 1), np.float32), places[:, None].astype(np.float32))


def mean_of_history(history: scipy.sparse.csr_array, features: np.ndarray) -> Scorer:
    """Cosine of a post with the mean of what the user engaged with.

    Args:
        history: Of `engagement_matrix`.
        features: float32 `[posts, width]`; 0 where a post has none.
    """
    posts = length_normalized(features)
    return Scorer(length_normalized(np.asarray(history @ posts)), posts)


def als(
    known: scipy.sparse.csr_array,
    history: scipy.sparse.csr_array,
    dimension: int,
    seed: int,
    *,
    l2: float = 0.01,
    confidence: float = 20.0,
    iterations: int = 15,
) -> Scorer:
    """Alternating least squares (Hu, Koren and Volinsky, ICDM 2008) of the library `implicit`.

    The vectors of all users are those that their histories give; posts nobody engaged with score 0.

    Args:
        known: What posts' vectors are learnt from, of `engagement_matrix`.
        history: What users' vectors are made of.
        dimension: Of the vectors.
        seed: Of the first vectors.
        l2: Regularisation.
        confidence: Weight of an engagement, where a pair without one has 1.
        iterations: Passes over both sides.

    Raises:
        InputError: `implicit` is not installed.
    """
    if importlib.util.find_spec("implicit") is None:
        raise InputError("implicit is not installed: pip install 'twhin_hf[als]'")
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):  # its own threads call BLAS
        model = AlternatingLeastSquares(
            factors=dimension, regularization=l2, iterations=iterations, random_state=seed
        )
        model.fit(scipy.sparse.csr_matrix(known * np.float32(confidence)), show_progress=False)
        everyone = np.arange(history.shape[0])
        own = scipy.sparse.csr_matrix(history * np.float32(confidence))
        users = np.asarray(model.recalculate_user(everyone, own))
    posts = np.asarray(model.item_factors).copy()
    posts[np.asarray(known.sum(axis=0)).ravel() == 0] = 0.0
    return Scorer(users.astype(np.float32), posts.astype(np.float32))


def user_table(
    model: EngagementModel, user_ids: list[str], post_ids: list[str], history: Records
) -> np.ndarray:
    """Of all users, as `fold_in` gives them: those that the model has, the others folded in."""
    rows = model.users.rows(user_ids)
    known = rows >= 0
    parts = [model.users[name][rows[known]] for name in ("vectors", "content")]
    table = np.concatenate(parts, axis=1)
    vectors = np.empty((len(user_ids), table.shape[1]), np.float32)
    vectors[known] = table
    new = np.flatnonzero(rows < 0)
    if len(new):
        own = history.where(np.isin(history.users, new)).sorted_by_user()
        names = np.array(post_ids, object)[own.posts].tolist()
        ends = np.searchsorted(own.users, new, side="right").tolist()
        starts = np.searchsorted(own.users, new, side="left").tolist()
        histories = [names[start:end] for start, end in zip(starts, ends, strict=True)]
        vectors[new] = model.fold_in(histories)
    return vectors


def parts_of_model(
    model: EngagementModel, vectors: np.ndarray, post_ids: list[str]
) -> dict[str, Scorer]:
    """Text alone and network alone, each as it enters the hybrid, unweighted.

    Args:
        model: Fitted.
        vectors: Of `user_table`.
        post_ids: All posts.
    """
    rows = model.posts.rows(post_ids)
    vectors = vectors[:, : model.parameters.dimension]
    text = Scorer(
        model.parameters.project_users(vectors).astype(np.float32), model.posts["text"][rows]
    )
    network = Scorer(vectors + model.parameters.relation, model.posts["network"][rows])
    return {TEXT_ALONE: text, NETWORK_ALONE: network}
