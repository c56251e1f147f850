"""Where the posts stand on the map, before training and after it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from twhin_hf.evaluation.alignment import project

SIDE = 4095
"""Places are whole numbers from 0 to this: fewer bytes than a screen could show."""


def layouts(vectors: Mapping[str, np.ndarray], method: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Places of the same posts by each encoder, int `[posts, 2]` from 0 to `SIDE`.

    A projection is as good turned or mirrored, so each is turned to lie on the first as well as it
    can (orthogonal Procrustes): what moves from one to the other has moved.

    Args:
        vectors: By the name of the encoder, `[posts, width]` each.
        method: `t-SNE` or `UMAP`.
        seed: Seed of the projection; the same gives the same places, whatever the processors.

    Raises:
        ImportError: UMAP without umap-learn.
    """
    from scipy.linalg import orthogonal_procrustes
    from threadpoolctl import threadpool_limits

    found: dict[str, np.ndarray] = {}
    first = None
    with threadpool_limits(1):  # several threads add up in no fixed order
        for name, own in vectors.items():
            places = project(np.asarray(own, np.float32), method, seed).astype(np.float64)
            places -= places.mean(axis=0)
            places /= np.abs(places).max() or 1.0
            first = places if first is None else first
            places = places @ orthogonal_procrustes(places, first)[0]
            found[name] = _on_the_map(places)
    return found


def _on_the_map(places: np.ndarray) -> np.ndarray:
    low, high = places.min(axis=0), places.max(axis=0)
    middle, half = (low + high) / 2, max((high - low).max() / 2, 1e-12)
    return np.rint((places - middle) / half * (SIDE / 2) + SIDE / 2).astype(int)
