"""The keys that twhin_hf adds to an encoder's own config.

They live in the config, so that a saved model reloads with the same heads, pooling and losses,
and the stock classes of transformers, which keep and ignore unknown keys, load the same folder.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, TypeVar, get_args

from transformers import PreTrainedConfig

from .heads import pooled_width
from .sentence_transformer_settings import (
    HEAD_NAMES,
    POOLED,
    SentenceEmbedding,
    adopt_checkpoint_pooling,
)

Config = TypeVar("Config", bound=PreTrainedConfig)

Pooling = Literal["cls", "mean", "mean_all", "combined"]
TPPLoss = Literal["bce", "cosine", "contrastive"]
DistillationLoss = Literal["cosine", "neighbours"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
TPP_LOSSES: tuple[str, ...] = get_args(TPPLoss)
DISTILLATION_LOSSES: tuple[str, ...] = get_args(DistillationLoss)
OBJECTIVES = ("mlm", *HEAD_NAMES)
"""Objectives; each has a weight, and all but MLM a head that reads a pooled post."""


@dataclass
class ObjectiveSettings:
    """Objectives of the model, kept in its config.

    The defaults are the values of TwHIN-BERT (arXiv 2209.07562, Section 2.2) and of Translation
    Pair Prediction (TPP, arXiv 2110.10318). The loss is the sum of the objectives, each times its
    weight; a weight of 0 turns an objective off, and a model without the social objective or TPP
    has no head for it. The MLM head always stays.

    Args:
        pooling: Pooling of a post's embedding: first token, mean of the non-special tokens, mean of
            all tokens (as in sentence-transformers), or the first two side by side (the paper's
            frozen features).
        normalize_embeddings: Scale embeddings to length 1, unless `encode` is told otherwise.
        max_seq_length: Maximum sequence length of `encode`, unless it is told otherwise (128, or
            what the model reads if less, if not given).
        sentence_embedding: Sentence embedding of a saved pretraining model: the pooled tokens, or
            the output of a head, scaled to length 1 (that head's pooling cannot be combined).
        social_pooling: Pooling that the social head reads.
        social_projection_sizes: Layer sizes of the social head; hidden size twice if not given
            (paper: 768 768 for a base model).
        social_temperature: Temperature of the social loss, NT-Xent (paper: 0.1).
        social_weight: Weight of the social loss.
        mlm_weight: Weight of the MLM loss (paper: 0.05 beside the social loss).
        tpp_weight: Weight of translation pair prediction.
        tpp_loss: Loss of translation pair prediction (paper: bce).
        tpp_pooling: Pooling that the TPP head reads.
        tpp_projection_size: Output size of the TPP head; hidden size if not given.
        tpp_margin: Margin of the TPP losses cosine and contrastive, in [-1, 1]: the cosine below
            which random pairs cost nothing (paper: 0, 0.5, -0.5 and -1), or what is taken off
            the cosine of a translation pair.
        tpp_temperature: Temperature of the contrastive TPP loss.
        engagement_weight: Weight of the engagement objective: users of the network find the posts
            that they engaged with among the batch's.
        engagement_pooling: Pooling that the engagement head reads.
        engagement_projection_sizes: Layer sizes of the engagement head; 512 and the network's
            dimension if not given.
        engagement_temperature: Temperature of the engagement loss.
        distillation_weight: Weight of network distillation: a post's text tells its network vector.
        distillation_pooling: Pooling that the distillation head reads.
        distillation_hidden_sizes: Hidden layer sizes of the distillation head; 512 if not given.
        distillation_loss: Cosine to the post's own network vector, or cross entropy between its
            neighbours in the network and those of the head's output.
        distillation_temperature: Temperature of the predicted neighbours.
        distillation_target_temperature: Temperature of the network's neighbours.
        network_dimension: Dimension of the network's vectors; needed for the last two objectives.
    """

    pooling: Pooling = "combined"
    normalize_embeddings: bool = False
    max_seq_length: int | None = None
    sentence_embedding: SentenceEmbedding = "pooled"
    social_pooling: Pooling = "cls"
    social_projection_sizes: list[int] | None = None
    social_temperature: float = 0.1
    social_weight: float = 1.0
    mlm_weight: float = 0.05
    tpp_weight: float = 0.0
    tpp_loss: TPPLoss = "bce"
    tpp_pooling: Pooling = "cls"
    tpp_projection_size: int | None = None
    tpp_margin: float = 0.0
    tpp_temperature: float = 0.05
    engagement_weight: float = 0.0
    engagement_pooling: Pooling = "mean"
    engagement_projection_sizes: list[int] | None = None
    engagement_temperature: float = 0.1
    distillation_weight: float = 0.0
    distillation_pooling: Pooling = "mean"
    distillation_hidden_sizes: list[int] | None = None
    distillation_loss: DistillationLoss = "cosine"
    distillation_temperature: float = 0.05
    distillation_target_temperature: float = 0.1
    network_dimension: int | None = None


_MOST_HEAD_WEIGHTS = 2**28
"""Of one head: 1 GiB in float32. Configs come from strangers, and a head is made before weights are
read, which it may lack."""
_MOST_HEAD_LAYERS = 64
"""Of one head: a layer of one weight takes kilobytes too."""

DEFAULTS: dict[str, Any] = asdict(ObjectiveSettings())
"""Our config keys and their defaults."""


def apply_settings(config: Config, **settings: Any) -> Config:
    """Sets our keys on a config: given values first, those already there next, then the defaults.

    A config that was loaded with a checkpoint of sentence-transformers has the checkpoint's own
    pooling, normalization and length as defaults (`adopt_checkpoint_pooling`).

    Args:
        config: The config of any encoder; changed in place and returned.
        **settings: Fields of `ObjectiveSettings`.

    Raises:
        TypeError: A key that is not ours.
        ValueError: A value that cannot work.

    Example:
        >>> from transformers import BertConfig
        >>> config = apply_settings(BertConfig(hidden_size=768), social_temperature=0.2)
        >>> config.social_temperature, config.social_projection_sizes
        (0.2, [768, 768])
    """
    unknown = sorted(set(settings) - set(DEFAULTS))
    if unknown:
        raise TypeError(f"unknown settings {unknown}; the settings are {sorted(DEFAULTS)}")
    if origin := getattr(config, "_name_or_path", None):
        adopt_checkpoint_pooling(config, str(origin), getattr(config, "_commit_hash", None))
    for key, default in DEFAULTS.items():
        setattr(config, key, settings.get(key, getattr(config, key, default)))
    hidden, dimension = config.hidden_size, config.network_dimension
    derived = {
        "social_projection_sizes": [hidden, hidden],
        "tpp_projection_size": hidden,
        "engagement_projection_sizes": dimension and [512, dimension],
        "distillation_hidden_sizes": [512],
    }
    for key, value in derived.items():
        if getattr(config, key) is None:
            setattr(config, key, value)
    _check_settings(config)
    _check_head_sizes(config)
    _check_sentence_embedding(config)
    return config


def _check_settings(config: PreTrainedConfig) -> None:
    choices = {f"{objective}_pooling": POOLINGS for objective in HEAD_NAMES}
    choices |= {"pooling": POOLINGS, "tpp_loss": TPP_LOSSES}
    for key, allowed in (choices | {"distillation_loss": DISTILLATION_LOSSES}).items():
        if getattr(config, key) not in allowed:
            raise ValueError(f"{key} is {getattr(config, key)!r}; choose one of {allowed}")
    weights = {f"{name}_weight": getattr(config, f"{name}_weight") for name in OBJECTIVES}
    for key, weight in weights.items():
        if not weight >= 0:
            raise ValueError(f"{key} is {weight}; it must be 0 or more")
    if not any(weights.values()):
        raise ValueError(f"{', '.join(weights)} are all 0: there is nothing to learn")
    if config.network_dimension is None:
        for key in ("engagement_weight", "distillation_weight"):
            if weights[key] > 0:
                raise ValueError(
                    f"{key} is {weights[key]} and network_dimension is not given; give the "
                    "dimension of the network's vectors, as 256"
                )
    elif not _is_size(config.network_dimension):
        raise ValueError(
            f"network_dimension is {config.network_dimension}; give a positive size, as 256"
        )
    for key in ("social_projection_sizes", "engagement_projection_sizes"):
        sizes = getattr(config, key)
        is_needed = key.startswith("social") or config.network_dimension
        if is_needed and (not sizes or not all(_is_size(size) for size in sizes)):
            raise ValueError(f"{key} is {sizes}; give one positive size a layer, as [768, 768]")
    if config.max_seq_length is not None and not _is_size(config.max_seq_length):
        raise ValueError(
            f"max_seq_length is {config.max_seq_length}; give a number of tokens, as 128"
        )
    if not all(_is_size(size) for size in config.distillation_hidden_sizes):
        raise ValueError(
            f"distillation_hidden_sizes is {config.distillation_hidden_sizes}; give positive "
            "sizes, as [512], or none for a linear head"
        )
    if not _is_size(config.tpp_projection_size):
        raise ValueError(
            f"tpp_projection_size is {config.tpp_projection_size}; give a positive size, as 768"
        )
    for key in (
        "social_temperature",
        "tpp_temperature",
        "engagement_temperature",
        "distillation_temperature",
        "distillation_target_temperature",
    ):
        if not getattr(config, key) > 0:
            raise ValueError(f"{key} is {getattr(config, key)}; it must be above 0")
    if not -1 <= config.tpp_margin <= 1:
        raise ValueError(
            f"tpp_margin is {config.tpp_margin}; it is compared with cosines: give one in [-1, 1]"
        )


def _check_head_sizes(config: PreTrainedConfig) -> None:
    dimension = config.network_dimension
    sizes = {
        "social": config.social_projection_sizes,
        "tpp": [config.tpp_projection_size],
        "engagement": [*(config.engagement_projection_sizes or ()), dimension],
        "distillation": [*config.distillation_hidden_sizes, dimension],
    }
    for name in HEAD_NAMES:
        if not getattr(config, f"{name}_weight") > 0:
            continue
        if len(sizes[name]) > _MOST_HEAD_LAYERS:
            raise ValueError(
                f"the {name} head has {len(sizes[name]):,} layers; at most {_MOST_HEAD_LAYERS} are "
                "made. Give fewer sizes"
            )
        width = pooled_width(config.hidden_size, getattr(config, f"{name}_pooling"))
        num_weights = sum(start * end for start, end in pairwise([width, *sizes[name]]))
        if num_weights > _MOST_HEAD_WEIGHTS:
            raise ValueError(
                f"the {name} head has {num_weights:,} weights with layers of {sizes[name]}; at "
                f"most {_MOST_HEAD_WEIGHTS:,} are made. Give smaller sizes"
            )


def _check_sentence_embedding(config: PreTrainedConfig) -> None:
    head = config.sentence_embedding
    if head == POOLED:
        return
    if head not in HEAD_NAMES:
        raise ValueError(f"sentence_embedding is {head!r}; choose one of {(POOLED, *HEAD_NAMES)}")
    weight = getattr(config, f"{head}_weight", 0)
    if not weight > 0:
        raise ValueError(
            f"sentence_embedding is {head!r} and {head}_weight is {weight}: there is no such head; "
            f"give {head}_weight above 0, or set sentence_embedding to {POOLED!r}"
        )
    if getattr(config, f"{head}_pooling") == "combined":
        raise ValueError(
            f"sentence_embedding is {head!r} and {head}_pooling is 'combined', which no module of "
            "sentence-transformers does; the head must read cls, mean or mean_all"
        )


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and value >= 1
