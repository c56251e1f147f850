"""Pretraining on posts or on pairs of posts, with what a network says of them.

On posts MLM (stage 1 of TwHIN-BERT), on mined pairs MLM and the social loss (stage 2). With a
network the engagement objective and network distillation join either, and batches of translation
pairs can be mixed into either.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_utils import unwrap_peft_model

from twhin_hf.data.splits import check_no_leak
from twhin_hf.data.tokenization import language_codes
from twhin_hf.errors import InputError
from twhin_hf.id_rows import rows_of_ids
from twhin_hf.modeling.heads import EngagementHead
from twhin_hf.network.folder import Network
from twhin_hf.training.batches import LanguageSampler, PairBatches, PostBatches, pair_rows
from twhin_hf.training.collators import PackingCollator
from twhin_hf.training.head_training import train_heads
from twhin_hf.training.mixing import BatchSource, MixedBatches
from twhin_hf.training.network_targets import NetworkTargets, user_statistics
from twhin_hf.training.pretraining import (
    PretrainingConfig,
    PretrainingTrainer,
    check_model,
    tokenize,
)
from twhin_hf.training.record import language_shares
from twhin_hf.training.streaming import StreamedPairs, StreamSampler, TokenStream
from twhin_hf.training.translation_pair import (
    eval_metrics,
    eval_translations,
    translation_source,
)
from twhin_hf.value_checks import check_least

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
        head_steps: Steps that train the engagement and distillation heads alone at first, on the
            encoder as it is.
        head_steps_learning_rate: Peak learning rate of these steps.
        max_users_per_post: Maximum number of users of a post that the engagement objective takes at
            once; a post with more brings others each time.
        distillation_targets: Maximum number of posts that neighbours are looked for among, with the
            distillation loss neighbours; of more a sample is drawn in each epoch.

    Raises:
        InputError: A number below 1, a proportion that is not between 0 and 1, or as
            `PretrainingConfig`.
    """

    learning_rate: float = 2e-4
    weight_decay: float = 0.01
    adam_beta2: float = 0.98
    adam_epsilon: float = 1e-6
    language_exponent: float = 0.7
    max_missing_pairs: float = 0.0
    translation_proportion: float = 0.5
    head_steps: int = 0
    head_steps_learning_rate: float = 3e-3
    max_users_per_post: int = 64
    distillation_targets: int = 16_384

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 1, "max_users_per_post", "distillation_targets")
        check_least(self, 0, "head_steps", "head_steps_learning_rate")
        if not 0 < self.translation_proportion < 1:
            raise InputError(
                f"translation_proportion is {self.translation_proportion}; it must be between 0 "
                "and 1 (for translation pairs alone there is `twhin-hf tpp`)"
            )


class SocialPretrainingTrainer(PretrainingTrainer):
    """Trains a `Twhin…ForPreTraining` on posts, or on pairs of posts; beside them on translations.

    A batch brings what its objectives need: posts for MLM, pairs for the social loss, a network's
    users and vectors for the engagement objective and distillation, translation pairs for TPP.

    Args:
        model: With the weights of its objectives in its config.
        args: The configuration.
        train_dataset: Posts, with the columns `post_id`, `text` and, if wanted, `lang`; or the
            token shards of `open_stream`, with their pairs if they have any.
        pairs: Mined pairs, `anchor_id` and `positive_id`; without them the posts alone are trained
            on (stage 1).
        eval_dataset: Held-out posts.
        eval_pairs: Pairs among `eval_dataset`.
        processing_class: The tokenizer.
        translation_pairs: As `TPPTrainer` takes; a `translation_proportion` of the batches.
        eval_translation_pairs: Held-out ones; evaluation then gives the figures of `TPPTrainer`
            too, and `eval_loss` is the weighted sum of the objectives' losses, each a mean over its
            held-out items.
        network: Of users and posts, for the engagement objective and distillation; no held-out post
            may be in it.
        **kwargs: As `Trainer` takes.

    Raises:
        InputError: A model whose objectives do not fit the data, a tokenizer that does not fit the
            model, no posts, pairs without their posts, fewer of them than a batch holds, a network
            of other posts, of another dimension or without engagements, or one with a held-out
            post.
    """

    args: SocialPretrainingConfig

    def __init__(
        self,
        model: PreTrainedModel,
        args: SocialPretrainingConfig,
        train_dataset: Dataset | TokenStream,
        pairs: Dataset | pa.Table | None = None,
        eval_dataset: Dataset | None = None,
        eval_pairs: Dataset | pa.Table | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        translation_pairs: Dataset | None = None,
        eval_translation_pairs: Dataset | None = None,
        network: Network | None = None,
        **kwargs: Any,
    ):
        tokenizer = check_model(
            model,
            args,
            processing_class,
            has_pairs=pairs is not None or _has_pairs(train_dataset),
            has_translation_pairs=translation_pairs is not None,
        )
        check_network(model, network)
        if eval_dataset is not None:
            if network is not None:
                check_no_leak(network.post_ids, eval_dataset["post_id"], what="The network")
            if model.config.mlm_weight == 0 and eval_pairs is None:
                raise InputError(
                    "there is nothing to evaluate on held-out posts: the model's mlm_weight is 0, "
                    "and who engaged with them must not be in the network. Leave eval_dataset out, "
                    "and judge the trained model by `twhin-hf evaluate engagement`"
                )
        sources = [_source(model, train_dataset, pairs, network, tokenizer, args)]
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
                raise InputError(
                    "there are held-out translation pairs and none to train on; give both, or none"
                )
            tpp_loss = model.config.tpp_loss
            translations = eval_translations(eval_translation_pairs, tokenizer, args, tpp_loss)
            held_out.append(translations)
            kwargs["compute_metrics"] = partial(eval_metrics, translations, tpp_loss)
        evaluated = MixedBatches(held_out) if len(held_out) > 1 else next(iter(held_out), None)
        super().__init__(model, args, sources, evaluated, tokenizer, **kwargs)
        self._first_source = sources[0]
        is_stream = isinstance(train_dataset, TokenStream)
        posts = train_dataset.posts if is_stream else train_dataset
        self._languages = language_shares(posts)
        self._data |= _posts_of_pairs(sources[0].batches) | _counts_of(network)

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's; the heads are trained alone first where `head_steps` says so."""
        if self.args.head_steps and not resume_from_checkpoint:
            self._train_heads()
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _train_heads(self) -> None:
        model: Any = unwrap_peft_model(cast(Any, self.model))
        batches = self._first_source.batches
        posts = getattr(batches, "posts", batches)
        if posts.targets is None:
            raise InputError(
                f"head_steps is {self.args.head_steps} and there is no network: it is for the "
                "engagement and distillation heads. Give a network, or set it to 0"
            )
        tokenizer = cast(Any, self.processing_class)
        sampler = LanguageSampler(np.zeros(len(posts), np.int32), 1.0, self.args.seed)
        model.to(self.args.device)
        with self.compute_loss_context_manager():
            train_heads(
                model,
                posts,
                sampler,
                PackingCollator(tokenizer, self.args.row_length, 0.0),
                num_steps=self.args.head_steps,
                batch_size=min(self.args.train_batch_size * self.args.world_size, len(posts)),
                learning_rate=self.args.head_steps_learning_rate,
                max_grad_norm=self.args.max_grad_norm or float("inf"),
                show_progress_bar=not self.args.disable_tqdm,
            )


def check_network(model: PreTrainedModel, network: Network | None) -> None:
    """Checks that a model's objectives and a network fit, before any work.

    Raises:
        InputError: An objective that learns from a network and none, a network that no objective
            learns from, or vectors of another dimension.
    """
    config = model.config
    weights = {
        key: weight
        for key in ("engagement_weight", "distillation_weight")
        if (weight := getattr(config, key)) > 0
    }
    if network is None:
        for key, weight in weights.items():
            raise InputError(
                f"the model's {key} is {weight} and there is no network; give one, or set it to 0",
                faq="objectives-without-data",
            )
    elif not weights:
        raise InputError(
            "there is a network, and the model's engagement_weight and distillation_weight are 0; "
            "set one of them, as to 1, or give no network",
            faq="objectives-without-data",
        )
    elif network.dimension != config.network_dimension:
        raise InputError(
            f"the model's network_dimension is {config.network_dimension} and the network's "
            f"vectors have {network.dimension}; give the network that its heads were trained with, "
            "or start from an encoder that has no such heads yet"
        )


def _source(
    model: PreTrainedModel,
    posts: Dataset | TokenStream,
    pairs: Dataset | pa.Table | None,
    network: Network | None,
    tokenizer: PreTrainedTokenizerBase,
    args: SocialPretrainingConfig,
) -> BatchSource:
    batches: PostBatches | PairBatches | StreamedPairs
    sampler: LanguageSampler | StreamSampler
    if isinstance(posts, TokenStream):
        if pairs is not None:
            raise InputError("token shards bring their own pairs: give no others beside them")
        batches = PostBatches(posts.posts)
        if posts.pairs is not None:
            batches = StreamedPairs(batches, posts.pairs)
        languages = language_codes(posts.posts if posts.pairs is None else posts.pairs)
        sampler = StreamSampler(languages, args.language_exponent, args.seed)
    else:
        if network is not None and pairs is None and model.config.mlm_weight == 0:
            posts = _posts_of(network, posts)
        batches = _batches(posts, pairs, tokenizer, args)
        of_posts = batches.posts if isinstance(batches, PairBatches) else batches
        languages = language_codes(of_posts.tokenized)
        if isinstance(batches, PairBatches):
            languages = languages[batches.pairs[:, 0]]
        sampler = LanguageSampler(languages, args.language_exponent, args.seed)
    if network is not None:
        if isinstance(batches, PostBatches):
            of_posts, rows = batches, np.arange(len(batches))[:, None]
        else:
            of_posts, rows = batches.posts, batches.pairs
        config = model.config
        of_posts.targets = NetworkTargets(
            network,
            of_posts.tokenized,
            engagements=config.engagement_weight > 0,
            vectors=config.distillation_weight > 0,
            max_users_per_post=args.max_users_per_post,
            num_targets=args.distillation_targets if config.distillation_loss != "cosine" else 0,
            log_frequencies=log_frequencies(rows, languages, args.language_exponent, len(of_posts)),
            seed=args.seed,
        )
        mean, deviation = map(torch.from_numpy, user_statistics(network))
        for module in model.modules():
            if isinstance(module, EngagementHead):
                module.standardize_by(mean, deviation)
    name = "posts" if isinstance(batches, PostBatches) else "pairs"
    return BatchSource(name, batches, sampler)


def _posts_of_pairs(batches: Any) -> dict[str, int]:
    if not isinstance(batches, PairBatches):
        return {}
    is_there = np.zeros(len(batches.posts), bool)
    is_there[batches.pairs] = True
    return {"posts": int(is_there.sum())}


def _counts_of(network: Network | None) -> dict[str, int]:
    if network is None:
        return {}
    engaged = network.engagements
    counts = {"users": len(network.user_ids)}
    return counts | ({"engagements": len(engaged.users_of_posts.others)} if engaged else {})


def _has_pairs(posts: Dataset | TokenStream) -> bool:
    return isinstance(posts, TokenStream) and posts.pairs is not None


def _posts_of(network: Network, posts: Dataset) -> Dataset:
    """The posts that a network has; the others bring nothing to learn from."""
    ids = posts.select_columns("post_id").with_format("arrow")[:].column("post_id")
    rows = np.flatnonzero(rows_of_ids(ids, network.post_ids) >= 0)
    if len(rows) and len(rows) < len(posts):
        logger.warning(
            "%s of %s posts are not in the network and are left out: they bring no engagement and "
            "no vector",
            f"{len(posts) - len(rows):,}",
            f"{len(posts):,}",
        )
        return posts.select(rows)
    return posts


def log_frequencies(
    rows: np.ndarray, languages: np.ndarray, exponent: float, num_posts: int
) -> np.ndarray:
    """Logarithm of how often each post is drawn, relative to the mean.

    Args:
        rows: int64 `[num_keys, posts of a key]`, the posts that come with each key of a sampler.
        languages: Int `[num_keys]`.
        exponent: Of `resample_languages`.
        num_posts: Number of posts.

    Returns:
        float32 `[num_posts]`; 0 for posts that no key has.

    Example:
        Two languages drawn alike, one of them with two posts:

        >>> rows, languages = np.array([[0], [1], [2]]), np.array([0, 0, 1])
        >>> np.exp(log_frequencies(rows, languages, 0.0, 3)).round(2).tolist()
        [0.75, 0.75, 1.5]
    """
    counts = np.bincount(languages).astype(np.float64)
    shares = (np.where(counts > 0, counts, 1.0) ** (exponent - 1)).astype(np.float32)
    frequencies = np.zeros(num_posts, np.float32)
    for posts in rows.T:
        np.add.at(frequencies, posts, shares[languages])
    drawn = frequencies > 0
    frequencies[~drawn] = 1.0
    logarithms = np.log(frequencies)
    logarithms[drawn] -= np.log(frequencies[drawn].mean())
    return logarithms


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
