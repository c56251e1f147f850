"""Groups of near-duplicate texts, so that copies never stand on both sides of a split."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from twhin_hf.network.near_duplicates import NUM_BUCKETS, sketch_texts, text_similarity

_EMPTY = 255
_ROWS_PER_BAND = 4


def group_near_duplicates(texts: pa.Array, min_similarity: float = 0.8) -> np.ndarray:
    """Which texts are copies of each other, directly or over others.

    Texts are compared as in `twhin_hf.network.near_duplicates` (Jaccard similarity of character
    trigrams, from MinHash sketches). Candidates share one of 16 bands of their sketch, whose empty
    buckets borrow from the next filled one (Shrivastava and Li, "Densifying One Permutation
    Hashing", ICML 2014), so that two texts of similarity s meet with probability
    1 − (1 − s⁴)¹⁶, 0.9998 at 0.8. Within a band each text is compared with the one before it and
    with the first: time and memory grow with the number of texts, not of pairs.

    Args:
        texts: Strings without nulls, `[num_texts]`.
        min_similarity: From this on two texts are copies (mining's default).

    Returns:
        int64 `[num_texts]`: the row of the first text of each one's group.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(texts):
        return np.empty(0, np.int64)
    sketches = sketch_texts(texts)
    bands = _densify(sketches).reshape(len(sketches), -1, _ROWS_PER_BAND)
    keys = np.ascontiguousarray(bands).view(np.uint32)[:, :, 0]
    # Equal sketches stand side by side.
    whole = np.ascontiguousarray(sketches).view(f"V{NUM_BUCKETS}")[:, 0]
    _, order_of = np.unique(whole, return_inverse=True)
    num_texts = len(sketches)
    pairs = np.concatenate(
        [
            _copies(sketches, keys[:, band], order_of, min_similarity)
            for band in range(keys.shape[1])
        ],
        axis=1,
    )
    edges = coo_array((np.ones(pairs.shape[1], bool), pairs), shape=(num_texts, num_texts))
    _, components = connected_components(edges, directed=False)
    _, leaders = np.unique(components, return_index=True)
    return leaders[components].astype(np.int64)


def _densify(sketches: np.ndarray) -> np.ndarray:
    """Sketches whose empty buckets hold that of the next filled one, moved by the distance."""
    buckets = np.arange(2 * NUM_BUCKETS, dtype=np.uint8)
    filled = np.where(np.tile(sketches != _EMPTY, 2), buckets, _EMPTY)
    following = np.minimum.accumulate(filled[:, ::-1], axis=1)[:, ::-1][:, :NUM_BUCKETS]
    distance = following - buckets[:NUM_BUCKETS]
    values = np.take_along_axis(sketches, (following % NUM_BUCKETS).astype(np.intp), axis=1)
    return values + distance * np.uint8(97)


def _copies(
    sketches: np.ndarray, keys: np.ndarray, order_of: np.ndarray, min_similarity: float
) -> np.ndarray:
    """Pairs of rows `[2, pairs]` of one band that are copies."""
    order = np.lexsort((order_of, keys))
    keys = keys[order]
    is_first = np.diff(keys, prepend=keys[:1] + 1) != 0
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(keys)), 0))
    place = np.flatnonzero(~is_first)
    later = place[first[place] < place - 1]
    before = np.concatenate([place - 1, first[later]])
    pairs = np.stack([order[before], order[np.concatenate([place, later])]])
    return pairs[:, text_similarity(sketches[pairs[0]], sketches[pairs[1]]) >= min_similarity]
