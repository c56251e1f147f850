"""What the words of a post tell without any encoder: TF-IDF, projected on its main directions."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twhin_hf.errors import InputError, reading
from twhin_hf.files import new_file, read_json, write_json

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

DIMENSION = 256
_WORDS_FILE = "words.json"
_WEIGHTS_FILE = "words.safetensors"

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese letters: no spaces between words."""


@dataclass(frozen=True)
class WordFeatures:
    """TF-IDF (`1 + ln tf`) of words that two training posts hold, then a truncated SVD.

    Args:
        words: The vocabulary, `[num_words]`.
        idf: Inverse document frequencies, float32 `[num_words]`.
        directions: float32 `[dimension, num_words]`.
    """

    words: list[str]
    idf: np.ndarray
    directions: np.ndarray

    @property
    def dimension(self) -> int:
        """Width of the features."""
        return len(self.directions)

    @classmethod
    def fit(cls, texts: Sequence[str], dimension: int = DIMENSION) -> WordFeatures:
        """Learns words and directions.

        Args:
            texts: Training posts.
            dimension: Most dimensions; there are fewer where there are fewer words or posts.

        Raises:
            InputError: No word stands in two of the posts.
        """
        from sklearn.decomposition import TruncatedSVD

        vectorizer = _vectorizer(min_df=2)
        try:
            learnt = vectorizer.fit_transform(texts)
        except ValueError as error:
            raise InputError(
                f"no word stands in two of {len(texts):,} training posts; give more posts, or "
                "posts whose words recur."
            ) from error
        svd = TruncatedSVD(min(dimension, *learnt.shape), random_state=0).fit(learnt)
        words = vectorizer.get_feature_names_out().tolist()
        return cls(words, vectorizer.idf_.astype(np.float32), svd.components_.astype(np.float32))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Features of posts, float32 `[texts, dimension]`, rows as long as they come out."""
        counts = self._vectorizer.transform(texts)
        return np.asarray(counts @ self._by_word, dtype=np.float32)

    @cached_property
    def _by_word(self) -> np.ndarray:
        """The directions in the order that a product reads, which would else copy all of them."""
        return np.ascontiguousarray(self.directions.T)

    @cached_property
    def _vectorizer(self) -> TfidfVectorizer:
        vectorizer = _vectorizer(vocabulary=self.words)
        vectorizer.idf_ = self.idf
        return vectorizer

    def save(self, folder: str | Path) -> None:
        """Writes `words.json` and `words.safetensors`."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        with new_file(folder / _WEIGHTS_FILE) as path:
            save_file({"idf": self.idf, "directions": np.ascontiguousarray(self.directions)}, path)
        write_json(folder / _WORDS_FILE, self.words)

    @classmethod
    def load(cls, folder: str | Path) -> WordFeatures:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: A file is missing.
            InputError: A file is damaged, or words and weights do not agree.
        """
        from safetensors.numpy import load_file

        words = read_json(Path(folder) / _WORDS_FILE)
        path = Path(folder) / _WEIGHTS_FILE
        with reading(path, "Fit the model again.", (Exception,)):
            tensors = load_file(path)
            idf, directions = tensors["idf"], tensors["directions"]
            counts = {len(words), len(idf), directions.shape[1]}
            if len(counts) != 1 or not all(isinstance(word, str) for word in words):
                raise ValueError(f"{len(words)} words, weights of {sorted(counts)}")
        return cls(words, idf, directions)


def _vectorizer(**options: object) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer=words_of, sublinear_tf=True, dtype=np.float32, **options)


def words_of(text: str) -> list[str]:
    """Words of two letters or more, in lower case; pairs of letters where a script has no spaces.

    Example:
        >>> words_of("A red Bus"), words_of("नमस्ते दुनिया"), words_of("東京へ行く")
        (['red', 'bus'], ['नमस्ते', 'दुनिया'], ['東京', '京へ', 'へ行', '行く'])
    """
    found = []
    for run in _words().findall(text.lower()):
        if _is_unspaced().match(run):
            found += [run[place : place + 2] for place in range(max(1, len(run) - 1))]
        elif len(run) > 1:
            found.append(run)
    return found


@cache
def _words() -> re.Pattern[str]:
    # Vowel signs belong to the words of many scripts, but not to `\w`.
    points = map(chr, range(sys.maxunicode + 1))
    marks = "".join(mark for mark in points if unicodedata.category(mark)[0] == "M")
    letter = rf"\w{re.escape(marks)}"
    return re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])[{letter}])+")


@cache
def _is_unspaced() -> re.Pattern[str]:
    return re.compile(rf"[{_UNSPACED}]")
