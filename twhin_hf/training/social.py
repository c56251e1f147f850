"""Pretraining with MLM (stage 1) and with MLM and the social loss (stage 2).

Batches of translation pairs can be mixed into either.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from twhin_hf.data.tokenization import language_codes
from twhin_hf.training.batches import LanguageSampler, PairBatches, PostBatches, pair_rows
from twhin_hf.training.mixing import BatchSource, MixedBatches
from twhin_hf.training.pretraining import (
    PretrainingConfig,
    PretrainingTrainer,
    check_model,
    tokenize,
)
from twhin_hf.training.translation_pair import (
    eval_metrics,
    eval_translations,
    translation_source,
)

logger = logging.getLogger(__name__)


@dataclass
class SocialPretrainingConfig(PretrainingConfig):
    """Options of `SocialPretrainingTrainer`.

    The weights, the temperature and the head of the objectives belong to the model, and so to its
    config (`twhin_hf.modeling.apply_settings`). `per_device_train_batch_size` counts posts in
    stage 1, pairs, two posts each, in stage 2, and labelled pairs in batches of translation pairs.
    Defaults that differ from `TrainingArguments`' are RoBERTa's where the paper names none.

    Args:
        learning_rate: Peak learning rate (linear decay).
        weight_decay: Weight decay of AdamW.
        adam_beta2: Beta2 of AdamW (RoBERTa's).
        adam_epsilon: Epsilon of AdamW (RoBERTa's).
        language_exponent: Languages are sampled by frequency to this power (paper: 0.7; 1 leaves
            them as they are).
        max_missing_pairs: Maximum share of pairs that name a missing post; more is an error.
        translation_proportion: Share of the batches that hold translation pairs, if there are any.

    Raises:
        ValueError: A proportion that is not between 0 and 1, or as `PretrainingConfig`.
    """

    learning_rate: float = 2e-4
    weight_decay: float = 0.01
    adam_beta2: float = 0.98
    adam_epsilon: float = 1e-6
    language_exponent: float = 0.7
    max_missing_pairs: float = 0.0
    translation_proportion: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.translation_proportion < 1:
            raise ValueError(
                f"translation_proportion is {self.translation_proportion}; it must be between 0 "
                "and 1 (for translation pairs alone there is `twhin-hf tpp`)"
            )


class SocialPretrainingTrainer(PretrainingTrainer):
    """Trains a `Twhin…ForPreTraining` on posts, or on pairs of posts; beside them on translations.

    Args:
        model: With the weights of its objectives in its config.
        args: The configuration.
        train_dataset: Posts, with the columns `post_id`, `text` and, if wanted, `lang`.
        pairs: Mined pairs, `anchor_id` and `positive_id`; without them the posts alone are trained
            on (stage 1).
        eval_dataset: Held-out posts.
        eval_pairs: Pairs among `eval_dataset`.
        processing_class: The tokenizer.
        translation_pairs: As `TPPTrainer` takes; a `translation_proportion` of the batches.
        eval_translation_pairs: Held-out ones; evaluation then gives the figures of `TPPTrainer`
            too, and `eval_loss` is the mean over all held-out batches.
        **kwargs: As `Trainer` takes.

    Raises:
        ValueError: A model whose objectives do not fit the data, a tokenizer that does not fit the
            model, no posts, pairs without their posts, or fewer of them than a batch holds.
    """

    args: SocialPretrainingConfig

    def __init__(
        self,
        model: PreTrainedModel,
        args: SocialPretrainingConfig,
        train_dataset: Dataset,
        pairs: Dataset | pa.Table | None = None,
        eval_dataset: Dataset | None = None,
        eval_pairs: Dataset | pa.Table | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        translation_pairs: Dataset | None = None,
        eval_translation_pairs: Dataset | None = None,
        **kwargs: Any,
    ):
        tokenizer = check_model(
            model,
            args,
            processing_class,
            has_pairs=pairs is not None,
            has_translation_pairs=translation_pairs is not None,
        )
        sources = [_source(train_dataset, pairs, tokenizer, args)]
        if translation_pairs is not None:
            share = args.translation_proportion
            sources = [
                sources[0]._replace(proportion=1 - share),
                translation_source(
                    translation_pairs, tokenizer, args, model.config.tpp_loss, share
                ),
            ]
        held_out: list[Any] = []
        if eval_dataset is not None:
            held_out.append(_batches(eval_dataset, eval_pairs, tokenizer, args))
        if eval_translation_pairs is not None:
            if translation_pairs is None:
                raise ValueError(
                    "there are held-out translation pairs and none to train on; give both, or none"
                )
            tpp_loss = model.config.tpp_loss
            translations = eval_translations(eval_translation_pairs, tokenizer, args, tpp_loss)
            held_out.append(translations)
            kwargs["compute_metrics"] = partial(eval_metrics, translations, tpp_loss)
        evaluated = MixedBatches(held_out) if len(held_out) > 1 else next(iter(held_out), None)
        super().__init__(model, args, sources, evaluated, tokenizer, **kwargs)


def _source(
    posts: Dataset,
    pairs: Dataset | pa.Table | None,
    tokenizer: PreTrainedTokenizerBase,
    args: SocialPretrainingConfig,
) -> BatchSource:
    batches = _batches(posts, pairs, tokenizer, args)
    if isinstance(batches, PairBatches):
        languages = language_codes(batches.posts.tokenized)[batches.pairs[:, 0]]
    else:
        languages = language_codes(batches.tokenized)
    sampler = LanguageSampler(languages, args.language_exponent, args.seed)
    return BatchSource("posts" if pairs is None else "pairs", batches, sampler)


def _batches(
    posts: Dataset,
    pairs: Dataset | pa.Table | None,
    tokenizer: PreTrainedTokenizerBase,
    args: SocialPretrainingConfig,
) -> PostBatches | PairBatches:
    tokenized = tokenize(posts, tokenizer, args)
    if pairs is None:
        return PostBatches(tokenized)
    table = pairs.with_format("arrow")[:] if isinstance(pairs, Dataset) else pairs
    rows, left_out = pair_rows(tokenized, table, args.max_missing_pairs)
    if left_out:
        logger.warning("%d pairs were left out: a post of theirs is not there", left_out)
    return PairBatches(PostBatches(tokenized), rows)
