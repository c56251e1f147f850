"""Pretraining objectives over any encoder: MLM, the social loss, Translation Pair Prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.utils import ModelOutput

from .heads import ProjectionHead, TranslationPairHead
from .in_batch_losses import in_batch_social_loss, in_batch_translation_loss
from .losses import masked_lm_loss
from .post_encoder import finish_embeddings, list_of_texts, renamed_option
from .saving import SavingMixin
from .translation_losses import translation_bce_loss, translation_cosine_loss


@dataclass
class PreTrainingOutput(ModelOutput):
    """Output of a `Twhin…ForPreTraining`.

    Args:
        loss: The weighted sum of the objectives that took part.
        mlm_loss: Cross entropy of the masked tokens, before its weight.
        social_loss: NT-Xent, before its weight.
        social_accuracy: Share of the posts whose positive scores highest in the batch.
        last_hidden_state: `[rows, width, hidden]`.
        social_projections: `[num_posts, size]`, output of the social head.
        tpp_loss: Of Translation Pair Prediction (TPP), before its weight.
        tpp_accuracy: Share of the pairs that are labelled rightly; with the contrastive loss, of
            the texts whose translation scores highest in the batch.
        tpp_projections: `[num_posts, size]`, output of the TPP head.
    """

    loss: Tensor | None = None
    mlm_loss: Tensor | None = None
    social_loss: Tensor | None = None
    social_accuracy: Tensor | None = None
    last_hidden_state: Tensor | None = None
    social_projections: Tensor | None = None
    tpp_loss: Tensor | None = None
    tpp_accuracy: Tensor | None = None
    tpp_projections: Tensor | None = None


class PreTrainingMixin(SavingMixin):
    """The forward of every `Twhin…ForPreTraining`.

    A class that uses it holds its encoder (a `Twhin…Model`) under its `base_model_prefix`, calls
    `add_heads`, and says by `mlm_transform` and `get_output_embeddings` what stands between a
    hidden state and the vocabulary.
    """

    accepts_loss_kwargs = False

    def add_heads(self) -> None:
        """Adds `social_head` and `tpp_head`; an objective whose weight is 0 has none."""
        config = self.config
        self.social_head = ProjectionHead(config) if config.social_weight > 0 else None
        self.tpp_head = TranslationPairHead(config) if config.tpp_weight > 0 else None

    @torch.inference_mode()
    def encode(
        self,
        texts: str | Sequence[str],
        objective: str,
        *,
        normalize_embeddings: bool = False,
        convert_to_numpy: bool = False,
        convert_to_tensor: bool = True,
        normalize: bool | None = None,
        **options: Any,
    ) -> Any:
        """Texts in the space where an objective compares them: the outputs of its head.

        Args:
            texts: The posts, or a single one.
            objective: `social` or `tpp`.
            normalize_embeddings: Scale the outputs to length 1.
            convert_to_numpy: Give a NumPy array.
            convert_to_tensor: Give a tensor (the default), unless `convert_to_numpy` is set.
            normalize: Old name of `normalize_embeddings`.
            **options: As `encode` of the `Twhin…Model` takes (`batch_size`, `max_length`,
                `show_progress_bar`, `tokenizer`).

        Returns:
            float32 `[len(texts), size of the head]` on the CPU, in the order of `texts`;
            `[size of the head]` for a single text.

        Raises:
            ValueError: The model has no head of that objective, or as the `Twhin…Model` says.
        """
        heads = {"social": self.social_head, "tpp": self.tpp_head}
        head = heads.get(objective)
        if head is None:
            present = [name for name, module in heads.items() if module is not None]
            raise ValueError(
                f"objective is {objective!r}; this model has the heads of {present}. A head is "
                "made by training with its weight (social_weight, tpp_weight) above 0"
            )
        encoder: Any = getattr(self, self.base_model_prefix)
        pooling = getattr(self.config, f"{objective}_pooling")
        posts = list_of_texts(texts)
        # As in training: the heads read vectors of any length.
        pooled = encoder.encode(posts, pooling=pooling, normalize_embeddings=False, **options)
        device, dtype = next((p.device, p.dtype) for p in head.parameters())
        return finish_embeddings(
            torch.cat(
                [head(block.to(device, dtype)).float().cpu() for block in pooled.split(2**14)]
            ),
            is_single=isinstance(texts, str),
            normalize_embeddings=bool(renamed_option(normalize, normalize_embeddings)),
            convert_to_numpy=convert_to_numpy or not convert_to_tensor,
        )

    def mlm_transform(self, hidden_states: Tensor) -> Tensor:
        """`[num_masked, hidden]` → the decoder's input of the same shape."""
        raise NotImplementedError(f"{type(self).__name__} must say how its MLM head begins")

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        num_posts: int | None = None,
        labels: Tensor | None = None,
        post_ids: Tensor | None = None,
        positive_ids: Tensor | None = None,
        pair_labels: Tensor | None = None,
        item_ids: Tensor | None = None,
        num_masked: Tensor | int | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> PreTrainingOutput | tuple:
        """Computes the objectives for which the batch brings what they need.

        L = social_weight · L_social + mlm_weight · L_MLM + tpp_weight · L_TPP (TwHIN-BERT,
        Equation 4, with TPP added); an objective whose weight is 0 takes no part.

        Args:
            input_ids: `[rows, width]`.
            attention_mask: `[rows, width]` of a padded batch.
            segment_ids: `[rows, width]` of a packed batch (see `…Model`).
            position_ids: `[rows, width]` of a packed batch.
            num_posts: How many posts there are.
            labels: `[rows, width]`, the token where one was masked and -100 elsewhere; for MLM.
            post_ids: `[num_posts]` integer ids; for the social loss. The first half of the posts
                are anchors, the second half their positives in the same order.
            positive_ids: `[num_posts, max_positives]`, all known positives of each post, filled up
                with -1: none of them is a negative.
            pair_labels: `[num_posts // 2]`, 1 for a translation and 0 for none; for TPP. The first
                half of the posts are sides a, the second half sides b in the same order.
            item_ids: `[num_posts]` integer ids; texts of one item are translations of each other,
                and so no negatives in the contrastive loss. By default each pair is an item.
            num_masked: What the MLM loss is divided by, in place of the batch's own number.
            return_dict: False gives a tuple.
            **kwargs: As the encoder takes.

        Raises:
            ValueError: Both `post_ids` and `pair_labels`, an odd number of posts with `post_ids`,
                labels that are not 0 or 1 or not as many as pairs, or a batch of one pair where it
                needs negatives.
        """
        if post_ids is not None and pair_labels is not None:
            raise ValueError(
                "a batch brings post_ids (social loss) or pair_labels (TPP), not both: its posts "
                "are pairs of one kind; give them in two batches"
            )
        encoder: Any = getattr(self, self.base_model_prefix)
        config = self.config
        pooling = config.social_pooling if pair_labels is None else config.tpp_pooling
        output = encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            segment_ids=segment_ids,
            position_ids=position_ids,
            num_posts=num_posts,
            pooling=pooling,
            **kwargs,
        )
        hidden = output.last_hidden_state
        found: dict[str, Tensor] = {"last_hidden_state": hidden}
        losses = []
        if labels is not None and config.mlm_weight > 0:
            found["mlm_loss"] = self._mlm_loss(hidden, labels, num_masked)
            losses.append(config.mlm_weight * found["mlm_loss"])
        if post_ids is not None and self.social_head is not None:
            projections = self.social_head(output.embeddings)
            loss, accuracy = in_batch_social_loss(
                projections, post_ids, positive_ids, config.social_temperature
            )
            found |= {
                "social_loss": loss,
                "social_accuracy": accuracy,
                "social_projections": projections,
            }
            losses.append(config.social_weight * loss)
        if pair_labels is not None and self.tpp_head is not None:
            projections = self.tpp_head(output.embeddings)
            loss, accuracy = self._tpp_loss(projections, pair_labels, item_ids)
            found |= {"tpp_loss": loss, "tpp_accuracy": accuracy, "tpp_projections": projections}
            losses.append(config.tpp_weight * loss)
        total = torch.stack(losses).sum() if losses else None
        result = PreTrainingOutput(loss=total, **found)
        return result.to_tuple() if return_dict is False else result

    def _mlm_loss(self, hidden: Tensor, labels: Tensor, num_masked: Tensor | int | None) -> Tensor:
        masked = (labels.flatten() != -100).nonzero().squeeze(1)
        transformed = self.mlm_transform(hidden.flatten(0, 1)[masked])
        decoder = self.get_output_embeddings()
        return masked_lm_loss(
            transformed, decoder.weight, decoder.bias, labels.flatten()[masked], num_masked
        )

    def _tpp_loss(
        self, projections: Tensor, pair_labels: Tensor, item_ids: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        num_posts, num_pairs = len(projections), len(pair_labels)
        if num_posts != 2 * num_pairs:
            raise ValueError(
                f"there are {num_posts} posts and {num_pairs} pair_labels; give one for each pair: "
                "sides a are the first half of the posts, sides b the second"
            )
        if not ((pair_labels == 0) | (pair_labels == 1)).all():
            raise ValueError(
                f"pair_labels hold {pair_labels.unique().tolist()}; a label is 1 (translation) or "
                "0 (none)"
            )
        config = self.config
        if config.tpp_loss == "bce":
            return translation_bce_loss(projections, pair_labels)
        if config.tpp_loss == "cosine":
            return translation_cosine_loss(projections, pair_labels, config.tpp_margin)
        if not pair_labels.all():
            raise ValueError(
                "the contrastive loss takes translations alone, it draws negatives from the batch; "
                "leave out the pairs labelled 0"
            )
        return in_batch_translation_loss(
            projections, item_ids, config.tpp_temperature, config.tpp_margin
        )
