"""Near-duplicate texts, found from sketches that are computed for whole columns at once.

A copy of a post is no positive for it: the pair would teach nothing but that equal texts are
equal. Texts are compared by the Jaccard similarity of their sets of character trigrams, estimated
from one-permutation MinHash sketches (Li, Owen and Zhang, "One Permutation Hashing", NeurIPS
2012): each trigram is hashed once, the hash picks one of 64 buckets, and each bucket keeps the
smallest value, one byte.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NUM_BUCKETS = 64
_EMPTY = np.uint8(255)
_MULTIPLIERS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64
)
_REPLACEMENTS = (
    (r"^\s*rt\s*@\S+", ""),
    (r"(?:https?://|www\.)\S+", ""),
    (r"@[\p{L}\p{N}_]+", ""),
    (r"[\s\p{Z}\p{C}]+", " "),
)


def normalize_texts(texts: pa.Array) -> pa.Array:
    """Texts without what a repost changes: case, width, URLs, mentions, white space.

    Args:
        texts: Strings without nulls.

    Example:
        >>> normalize_texts(pa.array(["RT @a: Ｈello   WORLD https://t.co/x"])).to_pylist()
        ['hello world']
    """
    texts = pc.utf8_lower(pc.utf8_normalize(texts, form="NFKC"))
    for pattern, replacement in _REPLACEMENTS:
        texts = pc.replace_substring_regex(texts, pattern=pattern, replacement=replacement)
    return pc.utf8_trim_whitespace(texts)


def sketch_texts(texts: pa.Array) -> np.ndarray:
    """Sketches of the normalised texts; equal texts have equal sketches.

    Args:
        texts: Strings without nulls, `[num_texts]`.

    Returns:
        uint8 `[num_texts, 64]`. A bucket that no trigram fell into holds 255.
    """
    # The marks give every text, the empty one too, at least one trigram.
    texts = pc.binary_join_element_wise("\x02", normalize_texts(texts), "\x03\x03", "")
    sketches = np.full((len(texts), NUM_BUCKETS), _EMPTY)
    if not len(texts):
        return sketches
    lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    characters = np.frombuffer(_concatenate(texts).encode("utf-32-le"), np.uint32)
    codes = characters.astype(np.uint64)
    hashes = sum(
        codes[i : len(codes) - 2 + i] * multiplier for i, multiplier in enumerate(_MULTIPLIERS)
    )
    hashes ^= hashes >> np.uint64(29)
    hashes *= _MULTIPLIERS[0]
    ends = np.cumsum(lengths)
    inside = np.ones(len(codes), bool)
    inside[ends - 1] = inside[ends - 2] = False
    hashes = hashes[inside[:-2]]
    rows = np.repeat(np.arange(len(texts)) * NUM_BUCKETS, lengths - 2)
    buckets = (hashes >> np.uint64(58)).astype(np.int64)
    values = ((hashes >> np.uint64(50)) & np.uint64(0xFF)).astype(np.uint8)
    np.minimum.at(sketches.reshape(-1), rows + buckets, np.minimum(values, _EMPTY - 1))
    return sketches


def text_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Estimated Jaccard similarity of texts from their sketches.

    Args:
        first: uint8 `[..., 64]`.
        second: uint8 of a shape that broadcasts with it.

    Returns:
        float64 of the broadcast shape without its last dimension, in [0, 1].
    """
    # At most 64 buckets are counted, so one byte holds the sums, which is several times faster.
    equal = (first == second).sum(axis=-1, dtype=np.uint8)
    in_neither = (np.minimum(first, second) == _EMPTY).sum(axis=-1, dtype=np.uint8)
    return (equal - in_neither) / (NUM_BUCKETS - in_neither)


def _concatenate(texts: pa.Array) -> str:
    """One string of all texts, straight from Arrow's buffer."""
    _, offsets, data = texts.buffers()
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    bounds = np.frombuffer(offsets, width)[[texts.offset, texts.offset + len(texts)]]
    return data[int(bounds[0]) : int(bounds[1])].to_pybytes().decode()
