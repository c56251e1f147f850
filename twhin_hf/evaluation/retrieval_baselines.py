"""What an encoder must beat at finding translations: chance, and the characters of the texts.

Names, numbers and words of one origin are written alike in many languages, and find translations
without any encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from twhin_hf.errors import InputError
from twhin_hf.evaluation.retrieval import (
    MARGIN_NEIGHBOURS,
    RETRIEVAL_METRICS,
    RetrievalResult,
    retrieve_texts,
    texts_by_languages,
)
from twhin_hf.results import CHANCE

if TYPE_CHECKING:
    from datasets import Dataset

CHARACTERS = "characters"
DIMENSION = 256
_LENGTHS = (2, 4)
"""Of the sequences of characters, within words."""


def retrieval_baselines(
    judged: Mapping[str, RetrievalResult],
    pairs: Dataset,
    *,
    neighbours: int = MARGIN_NEIGHBOURS,
    device: str | torch.device | None = None,
) -> dict[str, dict[str, RetrievalResult]]:
    """Results of the baselines on the pairs that an encoder was judged on.

    Args:
        judged: Of `evaluate_retrieval`, by direction.
        pairs: As `evaluate_retrieval` takes.
        neighbours: K of the margin score (paper: 4).
        device: Where the scores are computed; the CPU by default.

    Returns:
        Results by direction by name: chance, and TF-IDF + SVD of characters, learnt from the texts
        of each two languages (left out altogether where those of any two hold fewer than two
        sequences that stand in two texts).

    Raises:
        InputError: Results that do not say how many translations each text has.
    """
    found = {CHANCE: {direction: chance_retrieval(one) for direction, one in judged.items()}}
    characters: dict[str, RetrievalResult] = {}
    for languages, texts in texts_by_languages(pairs).items():
        try:
            encoder = CharacterEncoder(np.concatenate(texts))
        except InputError:
            return found
        characters |= retrieve_texts(
            encoder, languages, texts, neighbours=neighbours, device=device
        )
    return found | {CHARACTERS: characters}


def chance_retrieval(judged: RetrievalResult) -> RetrievalResult:
    """What a random order of the candidates brings in the mean.

    The best of m right ones among n candidates has rank r with probability
    C(n − r, m − 1) / C(n, m).

    Args:
        judged: Of any encoder, on the same texts.

    Returns:
        The same figures for the cosine and the margin score.

    Raises:
        InputError: It does not say how many translations each text has.

    Example:
        >>> one = RetrievalResult(*[1.0] * 6, 1, 3, num_right=np.array([1]))
        >>> chance = chance_retrieval(one)
        >>> round(chance.accuracy_at_1, 4), round(chance.mrr, 4)  # 1 / 3, (1 + 1 / 2 + 1 / 3) / 3
        (0.3333, 0.6111)
    """
    if len(judged.num_right) != judged.num_queries:
        raise InputError(
            f"num_right is of {len(judged.num_right)} texts, the result of {judged.num_queries}; "
            "give one that evaluate_retrieval or bitext_retrieval made."
        )
    n = judged.num_candidates
    ranks = np.arange(1, n + 1)
    totals = np.zeros(3)
    for m, queries in zip(*np.unique(judged.num_right, return_counts=True), strict=True):
        # P(rank > r) = C(n − r, m) / C(n, m), a product of m shares.
        worse = np.ones(n)
        for i in range(m):
            worse *= (n - i - ranks).clip(0) / (n - i)
        is_rank = np.diff(-worse, prepend=-1.0)
        shares = [1 - worse[0], 1 - worse[min(10, n) - 1], (is_rank / ranks).sum()]
        totals += queries * np.array(shares)
    figures = (totals / len(judged.num_right)).tolist() * 2
    return RetrievalResult(
        **dict(zip(RETRIEVAL_METRICS, figures, strict=True)),
        num_queries=judged.num_queries,
        num_candidates=n,
        num_right=judged.num_right,
    )


class CharacterEncoder:
    """Sequences of two to four characters weighed by TF-IDF, projected on their main directions.

    scikit-learn's `TfidfVectorizer` within words, with sublinear frequencies, and `TruncatedSVD`.

    Args:
        texts: Of both languages, from which sequences and directions are learnt.

    Raises:
        InputError: Fewer than two sequences of characters stand in two of the texts.
    """

    def __init__(self, texts: Sequence[str] | np.ndarray):
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(
            analyzer="char_wb", ngram_range=_LENGTHS, sublinear_tf=True, min_df=2, dtype=np.float32
        )
        texts = np.unique(np.asarray(texts, dtype=object)).tolist()
        try:
            learnt = self._vectorizer.fit_transform(texts)
            if learnt.shape[1] < 2:
                raise ValueError("one sequence has no direction")
        except ValueError as error:
            raise InputError(
                f"fewer than two sequences of characters stand in two of {len(texts):,} texts"
            ) from error
        self._svd = TruncatedSVD(min(DIMENSION, *learnt.shape), random_state=0).fit(learnt)

    def encode(self, texts: Sequence[str], **options: Any) -> np.ndarray:
        """Vectors of texts, float32 `[texts, at most 256]`."""
        return self._svd.transform(self._vectorizer.transform(texts)).astype(np.float32)
