"""How well projections tell translations from other pairs, while a model trains."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor

from twhin_hf.modeling.translation_losses import translation_scores

BLOCK = 1024
"""Texts that look for their translations at once: memory is `BLOCK · num_pairs` cosines."""


def pair_metrics(
    projections: Tensor,
    items: np.ndarray,
    languages: np.ndarray,
    negatives: np.ndarray,
    tpp_loss: str,
) -> dict[str, float]:
    """Metrics of held-out translation pairs.

    Args:
        projections: `[num_pairs, 2, size]`, of side a and side b.
        items: Integers `[num_pairs]`; pairs of one item hold translations of the same text.
        languages: Integers `[2, num_pairs]`, of the sides.
        negatives: int64 `[2, num_negatives]`, texts that make pairs that are no translations;
            numbers below `num_pairs` are sides a, those above sides b.
        tpp_loss: Whose scores tell translations from negatives.

    Returns:
        `tpp_auc`, the area under the ROC curve: the chance that a translation scores above a
        negative; `retrieval_a_to_b` and `retrieval_b_to_a`, the share of texts whose nearest text
        on the other side, by cosine and among the pairs of the same two languages, is a
        translation (accuracy@1).

    Example:
        >>> sides = torch.eye(2).repeat_interleave(2, dim=0).view(2, 2, 2)
        >>> languages, negatives = np.array([[0, 0], [1, 1]]), np.array([[0], [3]])
        >>> pair_metrics(sides, np.arange(2), languages, negatives, "cosine")
        {'tpp_auc': 1.0, 'retrieval_a_to_b': 1.0, 'retrieval_b_to_a': 1.0}
    """
    num_pairs = len(projections)
    texts = projections.transpose(0, 1).flatten(0, 1)
    wrong = texts[torch.from_numpy(negatives.reshape(-1))]
    scores = torch.cat([translation_scores(pairs, tpp_loss) for pairs in (texts, wrong)])
    labels = np.repeat([1, 0], [num_pairs, len(scores) - num_pairs])
    found = np.zeros(2)
    groups = np.unique(languages, axis=1, return_inverse=True)[1].reshape(-1)
    for group in range(groups.max() + 1):
        rows = np.flatnonzero(groups == group)
        first, second = F.normalize(projections[torch.from_numpy(rows)], dim=-1).unbind(dim=1)
        found += [
            _found(first, second, items[rows]),
            _found(second, first, items[rows]),
        ]
    return {
        "tpp_auc": float(roc_auc_score(labels, scores.numpy())),
        "retrieval_a_to_b": float(found[0] / num_pairs),
        "retrieval_b_to_a": float(found[1] / num_pairs),
    }


def _found(queries: Tensor, keys: Tensor, items: np.ndarray) -> int:
    """How many queries have a key of their item nearest."""
    nearest = [(block @ keys.T).argmax(dim=1) for block in queries.split(BLOCK)]
    return int((items[torch.cat(nearest).numpy()] == items).sum())
