"""Pretraining objectives over any encoder: MLM, social, engagement, distillation and TPP."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.utils import ModelOutput, can_return_tuple

from .heads import EngagementHead, ProjectionHead, TranslationPairHead, pooled_width
from .in_batch_losses import (
    in_batch_engagement_loss,
    in_batch_social_loss,
    in_batch_translation_loss,
)
from .linear_cross_entropy import IGNORED
from .losses import masked_lm_loss
from .network_losses import (
    cosine_distillation_loss,
    nearest_vector_accuracy,
    neighbour_distillation_loss,
)
from .pooling import pool, segment_ids_of_rows, token_mask
from .post_encoder import (
    check_not_prompted,
    finish_embeddings,
    input_device,
    list_of_texts,
    renamed_option,
)
from .saving import SavingMixin
from .settings import HEAD_NAMES
from .tied_words import joint_gradient
from .translation_losses import translation_bce_loss, translation_cosine_loss


@dataclass
class PreTrainingOutput(ModelOutput):
    """Output of a `Twhin…ForPreTraining`.

    Args:
        loss: The weighted sum of the objectives that took part.
        logits: `[rows, width, vocabulary]`, of the MLM head; where they were asked for.
        mlm_loss: Cross entropy of the masked tokens, before its weight.
        social_loss: NT-Xent, before its weight.
        social_accuracy: Share of the posts whose positive scores highest in the batch.
        last_hidden_state: `[rows, width, hidden]`; none with cached gradients.
        social_projections: `[num_posts, size]`, output of the social head.
        engagement_loss: Of users who find the posts they engaged with, before its weight.
        engagement_accuracy: Share of the engagements whose post scores highest in the batch.
        engagement_projections: `[num_posts, size]`, output of the engagement head.
        distillation_loss: Of network distillation, before its weight.
        distillation_accuracy: Share of the posts whose network vector is nearest in the batch.
        distillation_projections: `[num_posts, size]`, output of the distillation head.
        tpp_loss: Of Translation Pair Prediction (TPP), before its weight.
        tpp_accuracy: Share of the pairs that are labelled rightly; with the contrastive loss, of
            the texts whose translation scores highest in the batch.
        tpp_projections: `[num_posts, size]`, output of the TPP head.
        hidden_states: `[rows, width, hidden]` of the embeddings and of each layer; on request.
        attentions: `[rows, heads, width, width]` of each layer; on request.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    mlm_loss: Tensor | None = None
    social_loss: Tensor | None = None
    social_accuracy: Tensor | None = None
    last_hidden_state: Tensor | None = None
    social_projections: Tensor | None = None
    engagement_loss: Tensor | None = None
    engagement_accuracy: Tensor | None = None
    engagement_projections: Tensor | None = None
    distillation_loss: Tensor | None = None
    distillation_accuracy: Tensor | None = None
    distillation_projections: Tensor | None = None
    tpp_loss: Tensor | None = None
    tpp_accuracy: Tensor | None = None
    tpp_projections: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class PreTrainingMixin(SavingMixin):
    """The forward of every `Twhin…ForPreTraining`.

    A class that uses it holds its encoder (a `Twhin…Model`) under its `base_model_prefix`, calls
    `add_heads`, and says by `mlm_transform` and `get_output_embeddings` what stands between a
    hidden state and the vocabulary.
    """

    accepts_loss_kwargs = False

    num_blocks: int | None = None
    """Blocks in which a batch goes through the encoder; see `cache_gradients`."""

    _keeps_gradient = False
    _spare: Tensor | None = None

    def add_heads(self) -> None:
        """Adds a head for each objective; one whose weight is 0 has none."""
        config, hidden = self.config, self.config.hidden_size
        self.social_head = self.tpp_head = self.engagement_head = self.distillation_head = None
        if config.social_weight > 0:
            width = pooled_width(hidden, config.social_pooling)
            self.social_head = ProjectionHead(width, config.social_projection_sizes)
        if config.tpp_weight > 0:
            width = pooled_width(hidden, config.tpp_pooling)
            self.tpp_head = TranslationPairHead(width, config.tpp_projection_size)
        if config.engagement_weight > 0:
            width = pooled_width(hidden, config.engagement_pooling)
            sizes, dimension = config.engagement_projection_sizes, config.network_dimension
            self.engagement_head = EngagementHead(width, sizes, dimension)
        if config.distillation_weight > 0:
            width = pooled_width(hidden, config.distillation_pooling)
            sizes = [*config.distillation_hidden_sizes, config.network_dimension]
            self.distillation_head = ProjectionHead(width, sizes, normalize=True)

    def heads(self) -> dict[str, nn.Module]:
        """The heads that the model has, by their objective."""
        found = {name: getattr(self, f"{name}_head") for name in HEAD_NAMES}
        return {name: head for name, head in found.items() if head is not None}

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, EngagementHead):
            size = module.user_mean.shape
            module.standardize_by(torch.zeros(size), torch.ones(size))

    def cache_gradients(self, num_blocks: int | None) -> None:
        """Lets large batches fit: activations of a part of the batch are held at a time.

        The rows of a batch go through the encoder in blocks, of which only the pooled posts and the
        masked tokens are kept for the losses, which see the whole batch; the backward pass runs
        each block once more, with the same dropout (GradCache, Gao et al., 2021, by torch's
        activation checkpointing). Losses and gradients are those of the whole batch at once.

        Args:
            num_blocks: In how many blocks; fewer where there are not as many rows. None holds the
                whole batch, as usual.
        """
        self.num_blocks = num_blocks

    def keep_gradient(self, is_kept: bool) -> None:
        """Lets the decoder's gradient leave its memory to that of the next step.

        For training on a CPU: else the system clears as many pages in each step as it fills.

        Args:
            is_kept: From now on, or not any more.
        """
        self._keeps_gradient, self._spare = is_kept, None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch's; see `keep_gradient`."""
        if self._keeps_gradient and set_to_none:
            self._spare = cast(Any, self.get_output_embeddings()).weight.grad
        super().zero_grad(set_to_none)

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
            objective: `social`, `engagement`, `distillation` or `tpp`.
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
        heads: Any = self.heads()
        if objective not in heads:
            raise ValueError(
                f"objective is {objective!r}; this model has the heads of {list(heads)}. A head is "
                "made by training with its weight (as social_weight) above 0"
            )
        check_not_prompted(self)
        head = heads[objective]
        encoder: Any = getattr(self, self.base_model_prefix)
        pooling = getattr(self.config, f"{objective}_pooling")
        posts = list_of_texts(texts)
        # As in training: the heads read vectors of any length.
        pooled = encoder.encode(posts, pooling=pooling, normalize_embeddings=False, **options)
        device, dtype = input_device(head), next(head.parameters()).dtype
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

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
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
        engagements: dict[str, Any] | None = None,
        distillation: dict[str, Any] | None = None,
        compare: bool = True,
        inputs_embeds: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        output_logits: bool | None = None,
        boundaries: Tensor | None = None,
        longest: int | None = None,
        masked_positions: Tensor | None = None,
        num_translations: int | None = None,
        **kwargs: Any,
    ) -> PreTrainingOutput:
        """Computes the objectives for which the batch brings what they need.

        L = social_weight · L_social + mlm_weight · L_MLM (TwHIN-BERT, Equation 4) +
        engagement_weight · L_engagement + distillation_weight · L_distillation +
        tpp_weight · L_TPP; an objective whose weight is 0 takes no part.

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
            engagements: Who engaged with the posts: `user_vectors` `[num_users, dimension]`, and
                what `in_batch_engagement_loss` takes (`content_ids`, `pair_users`, `pair_posts`,
                `user_posts`, `user_post_counts`, `log_frequencies`, `num_items`).
            distillation: The posts' network vectors: `posts` `[num_known]`, which of the batch's
                posts have one, `vectors` `[num_known, dimension]`, `all_vectors`
                `[num_targets, dimension]` for the neighbours, and perhaps `num_items`.
            compare: False gives the heads' outputs without their losses, for who compares the posts
                of many batches.
            inputs_embeds: `[rows, width, hidden]`, vectors of the tokens in place of `input_ids`.
            token_type_ids: `[rows, width]`, where the encoder takes them.
            output_logits: Give the MLM logits of all tokens. By default only where the batch brings
                nothing to learn from: training makes those of the masked tokens alone.
            boundaries: As the encoder takes, and so is `longest`. Where a batch brings these and
                the two that follow, as those of `PackingCollator` do, nothing has to be read from
                its tensors, and a GPU need not be waited for.
            longest: Tokens of the longest post, or more.
            masked_positions: int64 `[num_masked]`, places in the flattened rows of the tokens to
                predict; perhaps filled up with places whose label is -100. By default all whose
                label is another.
            num_translations: How many of `pair_labels` are 1, if all others are known to be 0; by
                default they are looked at.
            **kwargs: As the encoder takes (`output_hidden_states`, `output_attentions`, …);
                `return_dict=False` gives a tuple.

        Raises:
            ValueError: Both `post_ids` and `pair_labels`, an odd number of posts with `post_ids`,
                `pair_labels` that are not 0 or 1 or not as many as pairs, `labels` that are not as
                many as tokens, a batch of one pair where it needs negatives, or as the encoder
                says.
        """
        if post_ids is not None and pair_labels is not None:
            raise ValueError(
                "a batch brings post_ids (social loss) or pair_labels (TPP), not both: its posts "
                "are pairs of one kind; give them in two batches"
            )
        config = self.config
        brought: dict[str, Any] = {
            "social": post_ids,
            "tpp": pair_labels,
            "engagement": engagements,
            "distillation": distillation,
        }
        heads = {name: head for name, head in self.heads().items() if brought[name] is not None}
        tokens = inputs_embeds if input_ids is None else input_ids
        if tokens is None:
            # The stock class says what is missing.
            return self.base_model()
        if labels is not None and labels.shape != tokens.shape[:2]:
            raise ValueError(
                f"labels are {list(labels.shape)} and the tokens {list(tokens.shape[:2])}: give "
                "one for each token, virtual ones too, and -100 where nothing was masked"
            )
        if segment_ids is None:
            real = token_mask(attention_mask, tokens, kwargs.get("num_virtual_tokens") or 0)
            numbers, num_posts = segment_ids_of_rows(real), tokens.shape[0]
        else:
            numbers = segment_ids
            num_posts = int(segment_ids.max()) if num_posts is None else num_posts
        mlm_labels = labels if config.mlm_weight > 0 else None
        rows = {"input_ids": input_ids, "attention_mask": attention_mask}
        rows |= {"segment_ids": segment_ids, "position_ids": position_ids}
        rows |= {"inputs_embeds": inputs_embeds, "token_type_ids": token_type_ids}
        if output_logits is None:
            output_logits = labels is None and all(given is None for given in brought.values())
        asked = ("output_hidden_states", "output_attentions")
        with self._joint_gradient(mlm_labels is not None and input_ids is not None) as weights:
            found, masked, pooled = self._encode_rows(
                {name: values for name, values in rows.items() if values is not None},
                numbers,
                num_posts,
                mlm_labels,
                sorted({getattr(config, f"{name}_pooling") for name in heads}),
                kwargs,
                is_whole=output_logits or any(kwargs.get(name) for name in asked),
                layout={"boundaries": boundaries, "longest": longest},
                masked_positions=masked_positions,
            )
        losses = []
        if output_logits:
            decoder: Any = self.get_output_embeddings()
            found["logits"] = decoder(self.mlm_transform(found["last_hidden_state"]))
        if mlm_labels is not None:
            # Cached gradients look for them themselves, block by block.
            if masked_positions is None or len(masked_positions) != len(cast(Tensor, masked)):
                masked_positions = _masked_positions(mlm_labels)
            targets = mlm_labels.flatten()[masked_positions]
            found["mlm_loss"] = self._mlm_loss(masked, targets, num_masked, *weights)
            losses.append(config.mlm_weight * found["mlm_loss"])
        for name, targets in brought.items():
            if name not in heads:
                continue
            if not compare:
                own = pooled[getattr(config, f"{name}_pooling")]
                found[f"{name}_projections"] = heads[name](own)
                continue
            projections, loss, accuracy = self.head_loss(
                name, pooled, targets, positive_ids, item_ids, num_translations
            )
            found |= {
                f"{name}_loss": loss,
                f"{name}_accuracy": accuracy,
                f"{name}_projections": projections,
            }
            losses.append(getattr(config, f"{name}_weight") * loss)
        total = torch.stack(losses).sum() if losses else None
        return PreTrainingOutput(loss=total, **found)

    def _joint_gradient(self, has_mlm: bool) -> AbstractContextManager[list[Tensor]]:
        """`joint_gradient`, where the decoder shares the words and each is used once."""
        words, decoder = self.get_input_embeddings(), cast(Any, self.get_output_embeddings())
        is_compiled = getattr(self, self.base_model_prefix)._compiled_call_impl is not None
        is_joint = (
            has_mlm
            and torch.is_grad_enabled()
            and not is_compiled
            and self.num_blocks is None
            and isinstance(words, nn.Embedding)
            and words.weight is decoder.weight
            and words.weight.requires_grad
            and words.weight.device.type == "cpu"
        )
        return joint_gradient(cast(nn.Embedding, words)) if is_joint else nullcontext([])

    def pooled_posts(self, inputs: dict[str, Any], poolings: Sequence[str]) -> dict[str, Tensor]:
        """Posts of a packed batch, `[num_posts, width]` by pooling, without any head.

        Args:
            inputs: `input_ids`, `segment_ids`, `position_ids`, `num_posts` and perhaps `boundaries`
                and `longest`, as `forward` takes.
            poolings: Which.
        """
        names = ("input_ids", "segment_ids", "position_ids")
        rows = {name: inputs[name] for name in names}
        layout: dict[str, Any] = {
            name: inputs[name] for name in ("boundaries", "longest") if name in inputs
        }
        numbers, num_posts = inputs["segment_ids"], inputs["num_posts"]
        parts = self._encode_rows(rows, numbers, num_posts, None, list(poolings), {}, layout=layout)
        return parts[2]

    def head_loss(
        self,
        objective: str,
        pooled: dict[str, Tensor],
        targets: Any,
        positive_ids: Tensor | None = None,
        item_ids: Tensor | None = None,
        num_translations: int | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss of an objective on posts that are pooled already.

        Args:
            objective: `social`, `engagement`, `distillation` or `tpp`.
            pooled: `[num_posts, width]` by pooling.
            targets: What the objective needs, as `forward` takes it: `post_ids`, `engagements`,
                `distillation` or `pair_labels`.
            positive_ids: As `forward` takes.
            item_ids: As `forward` takes.
            num_translations: As `forward` takes.

        Returns:
            The head's outputs `[num_posts, size]`, the loss before its weight, and the accuracy.
        """
        config = self.config
        head: Any = self.heads()[objective]
        projections = head(pooled[getattr(config, f"{objective}_pooling")])
        if objective == "social":
            loss, accuracy = in_batch_social_loss(
                projections, targets, positive_ids, config.social_temperature
            )
        elif objective == "tpp":
            loss, accuracy = self._tpp_loss(projections, targets, item_ids, num_translations)
        elif objective == "engagement":
            loss, accuracy = self._engagement_loss(projections, **targets)
        else:
            loss, accuracy = self._distillation_loss(projections, **targets)
        return projections, loss, accuracy

    def _encode_rows(
        self,
        rows: dict[str, Tensor],
        segment_ids: Tensor,
        num_posts: int,
        labels: Tensor | None,
        poolings: list[str],
        kwargs: dict[str, Any],
        is_whole: bool = False,
        layout: dict[str, Any] | None = None,
        masked_positions: Tensor | None = None,
    ) -> tuple[dict[str, Any], Tensor | None, dict[str, Tensor]]:
        """The encoder's output, masked tokens as the decoder takes them, and the pooled posts.

        With cached gradients there is no output of the encoder, unless `is_whole` is set.
        """
        encoder: Any = getattr(self, self.base_model_prefix)

        def encode(
            rows: dict,
            segment_ids: Tensor,
            num_posts: int,
            labels: Any,
            layout: dict[str, Any] | None = None,
            positions: Tensor | None = None,
        ) -> tuple:
            count: dict[str, Any] = {"num_posts": num_posts} if "segment_ids" in rows else {}
            first, *others = poolings or ["cls"]
            ids = rows.get("input_ids")
            count |= layout or {}
            output = encoder(**rows, **count, pooling=first, return_dict=True, **kwargs)
            hidden = output.last_hidden_state
            pooled = [
                output.embeddings,
                *(pool(hidden, segment_ids, name, num_posts, ids) for name in others),
            ]
            masked = None
            if labels is not None:
                positions = _masked_positions(labels) if positions is None else positions
                masked = self.mlm_transform(hidden.flatten(0, 1)[positions])
            names = ("last_hidden_state", "hidden_states", "attentions")
            return {name: output.get(name) for name in names}, masked, *pooled

        if self.num_blocks is None or is_whole or not torch.is_grad_enabled():
            output, masked, *pooled = encode(
                rows, segment_ids, num_posts, labels, layout, masked_positions
            )
            return output, masked, dict(zip(poolings, pooled, strict=False))
        parts = []
        order = []
        num_rows = len(segment_ids)
        num_blocks = min(self.num_blocks, num_rows)
        for number in range(num_blocks):
            # Rows are about equally full, and so are blocks of about as many rows.
            block = slice(num_rows * number // num_blocks, num_rows * (number + 1) // num_blocks)
            posts, inverse = segment_ids[block].unique(return_inverse=True)
            # Numbers of the block's own posts, from 1 on; 0 stays padding.
            own = inverse + (posts[0] > 0)
            posts = posts[posts > 0]
            block_rows = {name: values[block] for name, values in rows.items()}
            if "segment_ids" in rows:
                block_rows["segment_ids"] = own
            block_labels = None if labels is None else labels[block]
            _, *part = checkpoint(
                encode, block_rows, own, len(posts), block_labels, use_reentrant=False
            )
            parts.append(part)
            order.append(posts - 1)
        masked, *pooled = (
            None if values[0] is None else torch.cat(values) for values in zip(*parts, strict=True)
        )
        places = torch.cat(order).argsort()
        in_order = [cast(Tensor, posts)[places] for posts in pooled]
        return {}, masked, dict(zip(poolings, in_order, strict=False))

    def _engagement_loss(
        self, projections: Tensor, user_vectors: Tensor, **engagements: Any
    ) -> tuple[Tensor, Tensor]:
        head: Any = self.engagement_head
        return in_batch_engagement_loss(
            user_vectors,
            projections,
            temperature=self.config.engagement_temperature,
            project_users=head.project_users,
            **engagements,
        )

    def _distillation_loss(
        self,
        projections: Tensor,
        posts: Tensor,
        vectors: Tensor,
        all_vectors: Tensor | None = None,
        num_items: Tensor | int | None = None,
    ) -> tuple[Tensor, Tensor]:
        config, known = self.config, projections[posts]
        accuracy = nearest_vector_accuracy(known.detach(), vectors)
        if config.distillation_loss == "cosine":
            return cosine_distillation_loss(known, vectors, num_items), accuracy
        if all_vectors is None:
            raise ValueError("the neighbours of distillation need all_vectors")
        loss = neighbour_distillation_loss(
            known,
            vectors,
            all_vectors,
            config.distillation_temperature,
            config.distillation_target_temperature,
            num_items,
        )
        return loss, accuracy

    def _mlm_loss(
        self,
        transformed: Any,
        targets: Tensor,
        num_masked: Tensor | int | None,
        weight: Tensor | None = None,
    ) -> Tensor:
        decoder: Any = self.get_output_embeddings()
        spare, self._spare = self._spare, None
        return masked_lm_loss(
            transformed,
            decoder.weight if weight is None else weight,
            decoder.bias,
            targets,
            num_masked,
            rows_at_once=-(-len(targets) // (self.num_blocks or 1)),
            spare=spare,
        )

    def _tpp_loss(
        self,
        projections: Tensor,
        pair_labels: Tensor,
        item_ids: Tensor | None,
        num_translations: int | None,
    ) -> tuple[Tensor, Tensor]:
        num_posts, num_pairs = len(projections), len(pair_labels)
        if num_posts != 2 * num_pairs:
            raise ValueError(
                f"there are {num_posts} posts and {num_pairs} pair_labels; give one for each pair: "
                "sides a are the first half of the posts, sides b the second"
            )
        if num_translations is None:
            found = pair_labels.unique().tolist()
            if not set(found) <= {0, 1}:
                raise ValueError(
                    f"pair_labels hold {found}; a label is 1 (translation) or 0 (none)"
                )
            num_translations = int(pair_labels.sum())
        config = self.config
        if config.tpp_loss == "bce":
            return translation_bce_loss(projections, pair_labels)
        if config.tpp_loss == "cosine":
            return translation_cosine_loss(projections, pair_labels, config.tpp_margin)
        if num_translations < num_pairs:
            raise ValueError(
                "the contrastive loss takes translations alone, it draws negatives from the batch; "
                "leave out the pairs labelled 0"
            )
        return in_batch_translation_loss(
            projections, item_ids, config.tpp_temperature, config.tpp_margin
        )


def _masked_positions(labels: Tensor) -> Tensor:
    """`[num_masked]`, where a token of flattened rows has to be predicted."""
    return (labels.flatten() != IGNORED).nonzero().squeeze(1)
