"""What a search by vectors finds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twhin_hf.errors import InputError


class Hits(NamedTuple):
    """The nearest posts of each query, nearest first.

    Args:
        post_ids: `[queries][k]`; fewer of a query where there are no more.
        scores: float32 `[queries, k]`: cosines, or inner products where these were searched by;
            -inf where there are no more posts.
    """

    post_ids: list[list[str]]
    scores: np.ndarray


def check_queries(queries: np.ndarray, dimension: int, k: int, place: object) -> None:
    """Refuses queries of another shape than `[queries, dimension]`, and a k below 1.

    Args:
        queries: To be searched for.
        dimension: Of the vectors.
        k: Posts to find.
        place: What holds the vectors, for the message.

    Raises:
        InputError: They are of another, or k is less than 1.
    """
    if k < 1:
        raise InputError(f"k is {k}; it must be 1 or more.")
    if queries.ndim != 2 or queries.shape[1] != dimension:
        raise InputError(
            f"The queries are of shape {list(queries.shape)} and the vectors of {place} have "
            f"{dimension} dimensions: embed the queries with the model and pooling of the vectors.",
            faq="vectors-of-another-model",
        )
