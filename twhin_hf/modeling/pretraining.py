"""Pretraining objectives over any encoder: MLM, the social loss, Translation Pair Prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from transformers.utils import ModelOutput

from .heads import ProjectionHead, TranslationPairHead
from .losses import masked_lm_loss, nt_xent_loss, social_exclusions
from .saving import SavingMixin
from .translation_losses import (
    translation_bce_loss,
    translation_contrastive_loss,
    translation_cosine_loss,
    translation_exclusions,
)


@dataclass
class PreTrainingOutput(ModelOutput):
    """Output of a `Twhin…ForPreTraining`.

    Attributes:
        loss: the weighted sum of the objectives that took part.
        mlm_loss: cross entropy of the masked tokens, before its weight.
        social_loss: NT-Xent, before its weight.
        social_accuracy: share of the posts whose positive scores highest in the batch.
        last_hidden_state: `[rows, width, hidden]`.
        social_projections: `[num_posts, size]`, output of the social head.
        tpp_loss: of Translation Pair Prediction (TPP), before its weight.
        tpp_accuracy: share of the pairs that are labelled rightly; with the contrastive loss, of
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
    def encode(self, texts: Sequence[str], objective: str, **options: Any) -> Tensor:
        """Texts in the space where an objective compares them: what its head makes of them.

        Args:
            texts: the posts.
            objective: `social` or `tpp`.
            **options: as `encode` of the `Twhin…Model` takes (`batch_size`, `max_length`,
                `normalize`, which is of the pooled vectors, and `tokenizer`).

        Returns:
            float32 `[len(texts), size of the head]` on the CPU, in the order of `texts`.

        Raises:
            ValueError: the model has no head of that objective, or as the `Twhin…Model` says.
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
        pooled = encoder.encode(texts, pooling=pooling, **options)
        device, dtype = next((p.device, p.dtype) for p in head.parameters())
        return torch.cat(
            [head(block.to(device, dtype)).float().cpu() for block in pooled.split(2**14)]
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
            segment_ids: `[rows, width]` of a packed batch, with `position_ids` (see `…Model`).
            num_posts: how many posts there are.
            labels: `[rows, width]`, the token where one was masked and -100 elsewhere; for MLM.
            post_ids: `[num_posts]` integer ids; for the social loss. The first half of the posts
                are anchors, the second half their positives in the same order.
            positive_ids: `[num_posts, max_positives]`, all known positives of each post, filled up
                with -1: none of them is a negative.
            pair_labels: `[num_posts // 2]`, 1 for a translation and 0 for none; for TPP. The first
                half of the posts are sides a, the second half sides b in the same order.
            item_ids: `[num_posts]` integer ids; texts of one item are translations of each other,
                and so no negatives in the contrastive loss. By default each pair is an item.
            num_masked: what the MLM loss is divided by, in place of the batch's own number.

        Raises:
            ValueError: both `post_ids` and `pair_labels`, an odd number of posts with `post_ids`,
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
            loss, accuracy = self._social_loss(projections, post_ids, positive_ids)
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

    def _social_loss(
        self, projections: Tensor, post_ids: Tensor, positive_ids: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        num_posts = len(post_ids)
        if num_posts % 2:
            raise ValueError(f"the social loss takes pairs; the batch has {num_posts} posts")
        keys, key_ids, first = gather_from_processes(projections, post_ids)
        if len(key_ids) < 4:
            raise ValueError(
                "a batch of one pair has no negatives; the social loss needs at least two pairs "
                "(raise per_device_train_batch_size)"
            )
        own = torch.arange(num_posts, device=post_ids.device)
        partners = first + (own + num_posts // 2) % num_posts
        if positive_ids is None:
            positive_ids = post_ids.new_empty(num_posts, 0)
        exclusion_mask = social_exclusions(post_ids, positive_ids, key_ids)
        return nt_xent_loss(
            projections, keys, partners, exclusion_mask, self.config.social_temperature
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
        own = torch.arange(num_posts, device=projections.device)
        if item_ids is None:
            item_ids = process_rank() * num_pairs + own % num_pairs
        keys, key_item_ids, first = gather_from_processes(projections, item_ids)
        if len(keys) < 4:
            raise ValueError(
                "a batch of one pair has no negatives; the contrastive loss needs at least two "
                "pairs (raise per_device_train_batch_size)"
            )
        # Every process brings its sides a and then its sides b.
        key_sides = torch.arange(len(keys), device=own.device) % num_posts // num_pairs
        exclusion_mask = translation_exclusions(item_ids, own // num_pairs, key_item_ids, key_sides)
        return translation_contrastive_loss(
            projections,
            keys,
            first + (own + num_pairs) % num_posts,
            exclusion_mask,
            config.tpp_temperature,
            config.tpp_margin,
        )


def process_rank() -> int:
    """The number of this process among those that train together; 0 where it is alone."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather_from_processes(projections: Tensor, post_ids: Tensor) -> tuple[Tensor, Tensor, int]:
    """The projections and ids of all processes' posts, and where this process's begin.

    Gradients flow back to the process that made a projection, so that the average of the
    processes' losses has the gradients of the joint batch. Every process must bring as many posts.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return projections, post_ids, 0
    ids = [torch.empty_like(post_ids) for _ in range(dist.get_world_size())]
    dist.all_gather(ids, post_ids)
    return _GatherWithGradient.apply(projections), torch.cat(ids), dist.get_rank() * len(post_ids)


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        everyone = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(everyone, own.contiguous())
        ctx.count = len(own)
        return torch.cat(everyone)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        gradient = grad_outputs[0].contiguous()
        dist.all_reduce(gradient)
        first = dist.get_rank() * ctx.count
        return gradient[first : first + ctx.count]
