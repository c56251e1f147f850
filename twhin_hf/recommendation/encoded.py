"""What the texts of posts tell, computed once and used in several questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class EncodedTexts(NamedTuple):
    """Texts as an encoder and a model read them.

    Args:
        vectors: Of the encoder, float32 `[texts, width]`.
        text: Projected features, float32 `[texts, projection]`.
        predicted: Network vectors that they let expect, float32 `[texts, dimension]`.
        content: What they are compared with other texts by, float32 `[texts, content]`.
    """

    vectors: np.ndarray
    text: np.ndarray
    predicted: np.ndarray
    content: np.ndarray

    def take(self, rows: slice | Sequence[int] | np.ndarray) -> EncodedTexts:
        """Some of them."""
        return EncodedTexts(*(values[rows] for values in self))


class EncodedPosts(NamedTuple):
    """Posts whose texts are encoded already.

    Args:
        ids: `[posts]`.
        texts: Of the posts, in the same order.
    """

    ids: Sequence[str]
    texts: EncodedTexts
