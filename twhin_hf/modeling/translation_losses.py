"""The losses of Translation Pair Prediction (TPP): are two texts translations of each other?

Projections `[num_posts, size]` hold the texts of a batch of pairs, first all sides a, then all
sides b in the same order; labels `[num_posts // 2]` are 1 for a translation and 0 for none. All
losses are means over the pairs and come with an accuracy, both scalars. A pair counts as a
translation where that is the label with the lower loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .losses import nt_xent_loss


def translation_scores(projections: Tensor, tpp_loss: str) -> Tensor:
    """How alike the sides of each pair are, as a loss sees it: higher is more of a translation.

    Args:
        projections: `[num_posts, size]`.
        tpp_loss: `bce` for the dot product, `cosine` or `contrastive` for the cosine.

    Returns:
        float32 `[num_posts // 2]`.

    Example:
        >>> projections = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
        >>> translation_scores(projections, "bce"), translation_scores(projections, "cosine")
        (tensor([3.]), tensor([0.6000]))
    """
    first, second = projections.float().chunk(2)
    if tpp_loss == "bce":
        return (first * second).sum(dim=-1)
    return F.cosine_similarity(first, second, dim=-1)


def translation_bce_loss(projections: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross entropy of σ(z_a · z_b), the paper's loss (arXiv 2110.10318).

    Returns:
        The loss, and the share of pairs where z_a · z_b is above 0 just if they are translations.

    Example:
        >>> pairs = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        >>> loss, accuracy = translation_bce_loss(pairs, torch.tensor([1, 0]))
        >>> round(loss.item(), 4), accuracy.item()  # (log(1 + e⁻²) + log(1 + e)) / 2
        (0.7201, 0.5)
    """
    scores = translation_scores(projections, "bce")
    loss = F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype))
    return loss, _agreement(scores > 0, labels)


def translation_cosine_loss(
    projections: Tensor, labels: Tensor, margin: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Cosine embedding loss: 1 − s for translations, max(0, s − m) for the others, s the cosine.

    The paper's other loss (arXiv 2110.10318), that of `torch.nn.CosineEmbeddingLoss`, whose labels
    are 1 and -1.

    Args:
        projections: `[num_posts, size]`.
        labels: `[num_posts // 2]`.
        margin: M, in [-1, 1].

    Returns:
        The loss, and the share of pairs where s is above (1 + m) / 2, at which either label costs
        as much, just if they are translations.

    Example:
        >>> pairs = torch.tensor([[1.0, 0.0], [1.0, 0.0], [3.0, 4.0], [4.0, 3.0]])
        >>> loss, accuracy = translation_cosine_loss(pairs, torch.tensor([1, 0]), margin=0.5)
        >>> round(loss.item(), 4), accuracy.item()  # ((1 − 0.6) + (0.8 − 0.5)) / 2
        (0.35, 0.0)
    """
    scores = translation_scores(projections, "cosine")
    loss = torch.where(labels > 0, 1 - scores, (scores - margin).clamp(min=0)).mean()
    return loss, _agreement(scores > (1 + margin) / 2, labels)


def translation_contrastive_loss(
    queries: Tensor,
    keys: Tensor,
    positives: Tensor,
    exclusion_mask: Tensor,
    temperature: float = 0.05,
    margin: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """In-batch softmax from each text to the other side's texts, the mean of both directions.

    NT-Xent whose negatives are the other side alone: translation ranking with additive margin
    softmax (Yang et al. 2019, arXiv 1902.08564, there without temperature).

    Args:
        queries: `[num_posts, size]`, projections of this process's texts of both sides.
        keys: `[num_keys, size]`, projections of the texts of all processes.
        positives: `[num_posts]`, the key that is each text's translation.
        exclusion_mask: `[num_posts, num_keys]`, of `translation_exclusions`.
        temperature: τ.
        margin: Taken off the cosine of a text and its translation.

    Returns:
        The loss, and the share of texts whose translation scores highest, over both directions.

    Example:
        Two pairs, each with equal vectors and at a right angle to the other:

        >>> texts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        >>> sides, items = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
        >>> excluded = translation_exclusions(items, sides, items, sides)
        >>> positives = torch.tensor([2, 3, 0, 1])
        >>> loss, accuracy = translation_contrastive_loss(texts, texts, positives, excluded, 1.0)
        >>> round(loss.item(), 4), accuracy.item()  # log(1 + 1 / e)
        (0.3133, 1.0)
    """
    return nt_xent_loss(queries, keys, positives, exclusion_mask, temperature, margin)


def translation_exclusions(
    item_ids: Tensor, sides: Tensor, key_item_ids: Tensor, key_sides: Tensor
) -> Tensor:
    """Which keys are no negatives of a text: those of its own side, and its translations.

    Args:
        item_ids: `[num_posts]`; texts of one item are translations of each other.
        sides: `[num_posts]`, 0 for side a and 1 for side b.
        key_item_ids: `[num_keys]`.
        key_sides: `[num_keys]`.

    Returns:
        Boolean `[num_posts, num_keys]`.

    Example:
        >>> items, sides = torch.tensor([7, 7, 8, 7, 7, 8]), torch.tensor([0, 0, 0, 1, 1, 1])
        >>> translation_exclusions(items[:1], sides[:1], items, sides).tolist()
        [[True, True, True, True, True, False]]
    """
    same_item = item_ids[:, None] == key_item_ids[None, :]
    return same_item | (sides[:, None] == key_sides[None, :])


def _agreement(predicted: Tensor, labels: Tensor) -> Tensor:
    return (predicted == (labels > 0)).float().mean()
