"""The model that a pretraining run starts from: a checkpoint, or a config and random weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from twhin_hf.modeling import PRETRAINING_MODELS, apply_settings, model_class

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
    pretraining_model = model_class(config, PRETRAINING_MODELS)
    config.pad_token_id = tokenizer.pad_token_id
    return pretraining_model.from_pretrained(
        name_or_path, config=apply_settings(config, **settings)
    )


def new_pretraining_model(
    config_name: str,
    tokenizer: PreTrainedTokenizerBase,
    overrides: dict[str, Any] | None = None,
    **settings: Any,
) -> PreTrainedModel:
    """A model with random weights, its vocabulary the tokenizer's.

    Args:
        config_name: a folder or repository with a config, or the name of a family, as `bert`.
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
    # A new config, so that what follows from a key follows from its override: ModernBERT's kinds of
    # layers from their number.
    values = config.to_dict()
    if "num_hidden_layers" in overrides:
        values.pop("layer_types", None)
    config = type(config).from_dict(values | overrides)
    config.vocab_size = len(tokenizer)
    for key in (f"{token}_token_id" for token in ("pad", "bos", "eos", "cls", "sep")):
        if hasattr(config, key):
            setattr(config, key, getattr(tokenizer, key))
    return model_class(config, PRETRAINING_MODELS)(apply_settings(config, **settings))
