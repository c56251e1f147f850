"""The model that a pretraining run starts from: a checkpoint, or a config and random weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from twhin_hf.modeling import PRETRAINING_MODELS, apply_settings

logger = logging.getLogger(__name__)


def load_pretraining_model(
    name_or_path: str, tokenizer: PreTrainedTokenizerBase, **settings: Any
) -> PreTrainedModel:
    """Loads a checkpoint with our objectives; heads that it lacks are drawn at random.

    Seed before (`transformers.set_seed`): the heads' weights come from the global generator.

    Args:
        name_or_path: a folder or a repository, of ours or of a plain encoder.
        tokenizer: whose padding token the model takes over.
        **settings: keys of `twhin_hf.modeling.settings.DEFAULTS`, before the checkpoint's own.

    Raises:
        ValueError: an encoder of a family that has no class here.
    """
    config = AutoConfig.from_pretrained(name_or_path)
    model_class = _model_class(config)
    config.pad_token_id = tokenizer.pad_token_id
    return model_class.from_pretrained(name_or_path, config=apply_settings(config, **settings))


def new_pretraining_model(
    config_name: str,
    tokenizer: PreTrainedTokenizerBase,
    overrides: dict[str, Any] | None = None,
    **settings: Any,
) -> PreTrainedModel:
    """A model with random weights, its vocabulary the tokenizer's.

    Args:
        config_name: a folder or repository with a config, or the name of a family, `bert`.
        tokenizer: gives the size of the vocabulary and the ids of the special tokens.
        overrides: keys of the encoder's config, as `{"hidden_size": 384}`.
        **settings: keys of `twhin_hf.modeling.settings.DEFAULTS`.

    Raises:
        ValueError: a family that has no class here, or an override that the config does not know.
    """
    overrides = overrides or {}
    if config_name in CONFIG_MAPPING and not Path(config_name).exists():
        config = CONFIG_MAPPING[config_name]()
    else:
        config = AutoConfig.from_pretrained(config_name)
    unknown = sorted(key for key in overrides if not hasattr(config, key))
    if unknown:
        raise ValueError(
            f"{type(config).__name__} has no {unknown}; its keys are {sorted(config.to_dict())}"
        )
    # A new config, so that what follows from a key follows from its override.
    config = type(config).from_dict(config.to_dict() | overrides)
    config.vocab_size = len(tokenizer)
    for token in ("pad", "bos", "eos"):
        setattr(config, f"{token}_token_id", getattr(tokenizer, f"{token}_token_id"))
    return _model_class(config)(apply_settings(config, **settings))


def _model_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    if config.model_type not in PRETRAINING_MODELS:
        raise ValueError(
            f"this is a {config.model_type!r} model; the families that can be pretrained are "
            f"{sorted(PRETRAINING_MODELS)}"
        )
    return PRETRAINING_MODELS[config.model_type]
