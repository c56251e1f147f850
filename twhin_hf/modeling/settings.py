"""The keys that twhin_hf adds to an encoder's own config.

They live in the config, so that a saved model reloads with the same heads, pooling and losses,
and the stock classes of transformers, which keep and ignore unknown keys, load the same folder.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar, get_args

from transformers import PreTrainedConfig

Config = TypeVar("Config", bound=PreTrainedConfig)

Pooling = Literal["cls", "mean", "mean_all", "combined"]
TPPLoss = Literal["bce", "cosine", "contrastive"]
SentenceEmbedding = Literal["pooled", "social", "engagement", "distillation", "tpp"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
POOLED, *HEAD_NAMES = get_args(SentenceEmbedding)
"""What a sentence embedding may be: the pooled tokens, or the output of an objective's head."""
TPP_LOSSES: tuple[str, ...] = get_args(TPPLoss)


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
    """

    pooling: Pooling = "combined"
    normalize_embeddings: bool = False
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


DEFAULTS: dict[str, Any] = asdict(ObjectiveSettings())
"""Our config keys and their defaults."""


def apply_settings(config: Config, **settings: Any) -> Config:
    """Sets our keys on a config: given values first, those already there next, then the defaults.

    Args:
        config: The config of any encoder; changed in place and returned.
        **settings: Fields of `ObjectiveSettings`.

    Raises:
        ValueError: A key that is not ours, or a value that cannot work.

    Example:
        >>> from transformers import BertConfig
        >>> config = apply_settings(BertConfig(hidden_size=768), social_temperature=0.2)
        >>> config.social_temperature, config.social_projection_sizes
        (0.2, [768, 768])
    """
    unknown = sorted(set(settings) - set(DEFAULTS))
    if unknown:
        raise ValueError(f"unknown settings {unknown}; the settings are {sorted(DEFAULTS)}")
    for key, default in DEFAULTS.items():
        setattr(config, key, settings.get(key, getattr(config, key, default)))
    if config.social_projection_sizes is None:
        config.social_projection_sizes = [config.hidden_size, config.hidden_size]
    if config.tpp_projection_size is None:
        config.tpp_projection_size = config.hidden_size
    _check_settings(config)
    _check_sentence_embedding(config)
    return config


def _check_settings(config: PreTrainedConfig) -> None:
    choices = {"pooling": POOLINGS, "social_pooling": POOLINGS, "tpp_pooling": POOLINGS}
    for key, allowed in (choices | {"tpp_loss": TPP_LOSSES}).items():
        if getattr(config, key) not in allowed:
            raise ValueError(f"{key} is {getattr(config, key)!r}; choose one of {allowed}")
    sizes = config.social_projection_sizes
    if not sizes or not all(_is_size(size) for size in sizes):
        raise ValueError(
            f"social_projection_sizes is {sizes}; give one positive size a layer, as [768, 768]"
        )
    if not _is_size(config.tpp_projection_size):
        raise ValueError(
            f"tpp_projection_size is {config.tpp_projection_size}; give a positive size, as 768"
        )
    for key in ("social_temperature", "tpp_temperature"):
        if not getattr(config, key) > 0:
            raise ValueError(f"{key} is {getattr(config, key)}; it must be above 0")
    if not -1 <= config.tpp_margin <= 1:
        raise ValueError(
            f"tpp_margin is {config.tpp_margin}; it is compared with cosines: give one in [-1, 1]"
        )
    weights = {key: getattr(config, key) for key in ("social_weight", "mlm_weight", "tpp_weight")}
    for key, weight in weights.items():
        if not weight >= 0:
            raise ValueError(f"{key} is {weight}; it must be 0 or more")
    if not any(weights.values()):
        raise ValueError(f"{', '.join(weights)} are all 0: there is nothing to learn")


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
