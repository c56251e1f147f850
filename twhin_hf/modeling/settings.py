"""The keys that twhin_hf adds to an encoder's own config.

They live in the config, so that a saved model reloads with the same heads, pooling and losses,
and the stock classes of transformers, which keep and ignore unknown keys, load the same folder.
"""

from __future__ import annotations

from typing import Any, TypeVar

from transformers import PreTrainedConfig

Config = TypeVar("Config", bound=PreTrainedConfig)

POOLINGS = ("cls", "mean", "combined")
TPP_LOSSES = ("bce", "cosine", "contrastive")

DEFAULTS: dict[str, Any] = {
    "pooling": "combined",
    "social_pooling": "cls",
    "social_projection_sizes": None,
    "social_temperature": 0.1,
    "social_weight": 1.0,
    "mlm_weight": 0.05,
    "tpp_weight": 0.0,
    "tpp_loss": "bce",
    "tpp_pooling": "cls",
    "tpp_projection_size": None,
    "tpp_margin": 0.0,
    "tpp_temperature": 0.05,
}
"""Our config keys and their defaults: the values of TwHIN-BERT (arXiv 2209.07562, Section 2.2) and
of Translation Pair Prediction (TPP, arXiv 2110.10318).

- `pooling`: what `…Model` returns as a post's embedding: `cls`, `mean` (of the non-special
  tokens) or `combined` (both, side by side; the paper's frozen features).
- `social_pooling`: what the social head reads.
- `social_projection_sizes`: output sizes of the social head's layers; `None` is
  `[hidden_size, hidden_size]`, the paper's `[768, 768]` for a base model.
- `social_temperature`: τ of NT-Xent.
- `social_weight`, `mlm_weight`, `tpp_weight`: the loss is the sum of the objectives, each times its
  weight (TwHIN-BERT's λ is the 0.05 of MLM). A weight of 0 turns an objective off, and a model
  without the social objective or TPP has no head for it; the MLM head always stays.
- `tpp_loss`: `bce` (the paper's), `cosine` or `contrastive`; see `translation_losses.py`.
- `tpp_pooling`: what the TPP head reads.
- `tpp_projection_size`: output size of the TPP head; `None` is `hidden_size`, as in the paper.
- `tpp_margin`, in [-1, 1]: for `cosine` the cosine below which pairs that are no translations cost
  nothing (the paper tried 0, 0.5, -0.5 and -1); for `contrastive` what is taken off the cosine of
  a text and its translation.
- `tpp_temperature`: of `contrastive`.
"""


def apply_settings(config: Config, **settings: Any) -> Config:
    """Sets our keys on a config: given values first, those already there next, then the defaults.

    Args:
        config: the config of any encoder; changed in place and returned.
        **settings: keys of `DEFAULTS`.

    Raises:
        ValueError: a key that is not ours, or a value that cannot work.

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


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and value >= 1
