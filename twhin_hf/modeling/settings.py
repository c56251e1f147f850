"""The keys that twhin_hf adds to an encoder's own config.

They live in the config, so that a saved model reloads with the same heads, pooling and losses,
and the stock classes of transformers, which keep and ignore unknown keys, load the same folder.
"""

from __future__ import annotations

from typing import Any, TypeVar

from transformers import PreTrainedConfig

Config = TypeVar("Config", bound=PreTrainedConfig)

POOLINGS = ("cls", "mean", "combined")

DEFAULTS: dict[str, Any] = {
    "pooling": "combined",
    "social_pooling": "cls",
    "social_projection_sizes": None,
    "social_temperature": 0.1,
    "social_weight": 1.0,
    "mlm_weight": 0.05,
}
"""Our config keys and their defaults: the values of TwHIN-BERT (arXiv 2209.07562, Section 2.2).

- `pooling`: what `…Model` returns as a post's embedding: `cls`, `mean` (of the non-special
  tokens) or `combined` (both, side by side; the paper's frozen features).
- `social_pooling`: what the social head reads.
- `social_projection_sizes`: output sizes of the social head's layers; `None` is
  `[hidden_size, hidden_size]`, the paper's `[768, 768]` for a base model.
- `social_temperature`: τ of NT-Xent.
- `social_weight`, `mlm_weight`: L = social_weight · L_social + mlm_weight · L_MLM, the paper's
  λ = 0.05. A weight of 0 turns an objective off; a model with `social_weight` 0 has no social head.
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
    _check_settings(config)
    return config


def _check_settings(config: PreTrainedConfig) -> None:
    for key in ("pooling", "social_pooling"):
        if getattr(config, key) not in POOLINGS:
            raise ValueError(f"{key} is {getattr(config, key)!r}; choose one of {POOLINGS}")
    sizes = config.social_projection_sizes
    if not sizes or any(not isinstance(size, int) or size < 1 for size in sizes):
        raise ValueError(
            f"social_projection_sizes is {sizes}; give one positive size a layer, as [768, 768]"
        )
    if not config.social_temperature > 0:
        raise ValueError(f"social_temperature is {config.social_temperature}; it must be above 0")
    for key in ("social_weight", "mlm_weight"):
        if getattr(config, key) < 0:
            raise ValueError(f"{key} is {getattr(config, key)}; it must be 0 or more")
    if config.social_weight == 0 and config.mlm_weight == 0:
        raise ValueError("social_weight and mlm_weight are both 0: there is nothing to learn")
