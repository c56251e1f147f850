"""The social loss and Translation Pair Prediction as losses of sentence-transformers.

| loss | columns of the data set | `label` |
| --- | --- | --- |
| `SocialLoss` | `anchor`, `positive`, `label` (`social_sentences`) | number of the pair |
| `TranslationPairLoss`, `bce` or `cosine` | `text_a`, `text_b`, `label` | 1 translation, 0 none |
| `TranslationPairLoss`, `contrastive` | `text_a`, `text_b`, `label` | the pair's item |

`social_sentences` and `translation_sentences` make these data sets. The losses are the functions of
`twhin_hf.modeling`, and give the same numbers. The trainer of sentence-transformers takes a mean
over batches: its `eval_loss` of the losses over a batch follows `per_device_eval_batch_size`.
Compare by `twhin_hf.evaluation.sentence_evaluators`, whose figures do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, concatenate_datasets
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from twhin_hf.data.translation.pairs import translation_items
from twhin_hf.errors import InputError
from twhin_hf.modeling.heads import ProjectionHead
from twhin_hf.modeling.in_batch_losses import in_batch_social_loss, in_batch_translation_loss
from twhin_hf.modeling.settings import TPP_LOSSES
from twhin_hf.modeling.translation_losses import translation_bce_loss, translation_cosine_loss
from twhin_hf.training.batches import PairBatches, pair_rows
from twhin_hf.training.negatives import NegativeSampler
from twhin_hf.training.translation_pair import text_languages

_TEXTS = ("text_a", "text_b")


class SocialSentences(NamedTuple):
    """Mined pairs for the trainer of sentence-transformers.

    Args:
        dataset: Columns `anchor` and `positive`, texts, and `label`, the number of the pair.
        rows: int64 `[num_pairs, 2]`, the posts of each pair; `SocialLoss` knows by them which
            posts of a batch are positives of each other.
    """

    dataset: Dataset
    rows: np.ndarray


def social_sentences(
    posts: Dataset, pairs: Dataset | pa.Table, max_missing: float = 0.0
) -> SocialSentences:
    """Mined pairs with their texts.

    Args:
        posts: Columns `post_id` and `text`.
        pairs: Columns `anchor_id` and `positive_id`.
        max_missing: Share of the pairs that may lack a post, and are left out.

    Raises:
        InputError: A missing column, no pairs, too many pairs without their posts.
    """
    table = pairs.with_format("arrow")[:] if isinstance(pairs, Dataset) else pairs
    rows, _ = pair_rows(posts, table, max_missing)
    return SocialSentences(_texts_side_by_side(posts, rows.T, ("anchor", "positive")), rows)


def translation_sentences(
    pairs: Dataset, tpp_loss: str = "bce", *, num_negatives: int = 1, seed: int = 0
) -> Dataset:
    """Translation pairs with the labels that a loss takes.

    Args:
        pairs: Columns `text_a`, `text_b`, `lang_a`, `lang_b`.
        tpp_loss: `bce` or `cosine`: the label is 1 for a translation, and 0 for each of its
            negatives, in which one side is replaced by another text of its language.
            `contrastive`: translations alone; the label is the number of the pair's item.
        num_negatives: Of each pair. They are drawn once; `TPPTrainer` draws anew in every epoch.
        seed: Seed of the negatives.

    Returns:
        Columns `text_a`, `text_b` and `label`.

    Raises:
        InputError: An unknown loss, a missing column, pairs in one language, or a language whose
            texts cannot be replaced.
    """
    _check_loss(tpp_loss)
    names, languages = text_languages(pairs)
    items, numbers = translation_items(pairs), np.arange(len(pairs))
    sides = [pairs.select_columns(name).rename_column(name, "text") for name in _TEXTS]
    texts = concatenate_datasets(sides)
    rows = np.stack([numbers, numbers + len(pairs)])
    if tpp_loss == "contrastive":
        return _texts_side_by_side(texts, rows, _TEXTS, items)
    sampler = NegativeSampler(languages, items, seed, names)
    repeated = np.repeat(numbers, num_negatives)
    negatives = sampler.replace(repeated, np.zeros_like(repeated), np.arange(len(repeated)))
    labels = np.concatenate([np.ones_like(numbers), np.zeros_like(repeated)])
    rows = np.concatenate([rows, negatives], axis=1)
    return _texts_side_by_side(texts, rows, _TEXTS, labels)


class SocialLoss(nn.Module):
    """NT-Xent over pairs of posts that the same users like (TwHIN-BERT, Section 2.2.2).

    Every post looks for its partner among all posts of the batch, anchors and positives, on all
    processes; posts that are known positives of each other are never negatives.
    `MultipleNegativesRankingLoss` looks from anchors to positives alone and takes all others for
    negatives.

    Args:
        model: A SentenceTransformer.
        rows: Of `social_sentences`. Without it, and for batches without `label`, a post's one
            known positive is its partner.
        temperature: τ (paper: 0.1).
        projection_sizes: Sizes of the layers of an MLP between embedding and loss, trained with the
            model and thrown away with the loss (paper: `[768, 768]`); none by default, so that the
            embeddings themselves are compared.

    Inputs: `anchor` and `positive`, texts, and `label` of `social_sentences`.

    Example:
        pairs = social_sentences(posts, mined)
        loss = SocialLoss(model, pairs.rows)
        SentenceTransformerTrainer(model, args, train_dataset=pairs.dataset, loss=loss).train()
    """

    def __init__(
        self,
        model: SentenceTransformer,
        rows: np.ndarray | None = None,
        temperature: float = 0.1,
        projection_sizes: Sequence[int] | None = None,
    ):
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.projection_sizes = projection_sizes
        self.rows = rows
        self.known = None
        if rows is not None:
            # What it looks up has as many rows as posts; their texts are not needed.
            self.known = PairBatches(cast(Any, range(int(rows.max()) + 1)), rows)
        self.head: nn.Module = nn.Identity()
        if projection_sizes:
            width = cast(int, model.get_embedding_dimension())
            self.head = ProjectionHead(width, projection_sizes).to(model.device)

    def forward(
        self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None
    ) -> Tensor:
        """The loss of a batch, scalar; `labels` are `[num_pairs]`."""
        projections = self.head(_embeddings(self.model, sentence_features))
        post_ids = positive_ids = None
        if self.rows is not None and self.known is not None and labels is not None:
            posts, device = self.rows[labels.cpu().numpy()].T.reshape(-1), projections.device
            post_ids = torch.from_numpy(posts).to(device)
            positive_ids = torch.from_numpy(self.known.known_positives(posts)).to(device)
        return in_batch_social_loss(projections, post_ids, positive_ids, self.temperature)[0]

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card tells of the loss."""
        return {
            "temperature": self.temperature,
            "projection_sizes": self.projection_sizes,
            "known_positives": self.rows is not None,
        }


class TranslationPairLoss(nn.Module):
    """Are two texts translations of each other?

    Translation Pair Prediction (arXiv 2110.10318).

    Args:
        model: A SentenceTransformer.
        tpp_loss: `bce` (the paper's: σ of the dot product), `cosine`, or `contrastive` (softmax
            over the batch's other side); see `twhin_hf.modeling.translation_losses`.
        margin: Of `cosine` and `contrastive`.
        temperature: Of `contrastive`.
        projection_size: Of a linear layer between embedding and loss, the same for both sides,
            trained with the model and thrown away with the loss (paper: 768); none by default.

    Inputs: two texts, and `label` of `translation_sentences`. `contrastive` does without a label:
    each pair is an item then.

    Raises:
        InputError: An unknown loss.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        tpp_loss: str = "bce",
        margin: float = 0.0,
        temperature: float = 0.05,
        projection_size: int | None = None,
    ):
        super().__init__()
        _check_loss(tpp_loss)
        self.model = model
        self.tpp_loss, self.margin, self.temperature = tpp_loss, margin, temperature
        self.projection_size = projection_size
        self.head: nn.Module = nn.Identity()
        if projection_size:
            width = cast(int, model.get_embedding_dimension())
            self.head = nn.Linear(width, projection_size).to(model.device)

    def forward(
        self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None
    ) -> Tensor:
        """The loss of a batch, scalar; `labels` are `[num_pairs]`."""
        projections = self.head(_embeddings(self.model, sentence_features))
        if self.tpp_loss == "contrastive":
            item_ids = None if labels is None else labels.repeat(2)
            return in_batch_translation_loss(projections, item_ids, self.temperature, self.margin)[
                0
            ]
        if labels is None:
            raise InputError(
                f"{self.tpp_loss} needs a column `label`: 1 for a translation and 0 for none; "
                "translation_sentences makes it"
            )
        if self.tpp_loss == "bce":
            return translation_bce_loss(projections, labels)[0]
        return translation_cosine_loss(projections, labels, self.margin)[0]

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card tells of the loss."""
        names = ("tpp_loss", "margin", "temperature", "projection_size")
        return {name: getattr(self, name) for name in names}


def _embeddings(
    model: SentenceTransformer, sentence_features: Iterable[dict[str, Tensor]]
) -> Tensor:
    """Of both columns, `[2 · num_pairs, width]`, first one column, then the other."""
    sides = [model(features)["sentence_embedding"] for features in sentence_features]
    if len(sides) != 2:
        raise InputError(
            f"the data set has {len(sides)} columns of texts; this loss takes two, and a label"
        )
    return torch.cat(sides)


def _texts_side_by_side(
    texts: Dataset, rows: np.ndarray, names: tuple[str, str], labels: np.ndarray | None = None
) -> Dataset:
    sides = [
        texts.select_columns("text").select(side).rename_column("text", name)
        for side, name in zip(rows, names, strict=True)
    ]
    labels = np.arange(rows.shape[1]) if labels is None else labels
    return concatenate_datasets(sides, axis=1).add_column("label", labels)


def _check_loss(tpp_loss: str) -> None:
    if tpp_loss not in TPP_LOSSES:
        raise InputError(f"tpp_loss is {tpp_loss!r}; choose one of {TPP_LOSSES}")
