"""The model that a pretraining run starts from: a checkpoint, or a config and random weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from twhin_hf.errors import InputError, reading
from twhin_hf.loading.auto import embedding_sentence, is_adapter
from twhin_hf.loading.families import PRETRAINING_MODELS, model_class, stock_config
from twhin_hf.loading.places import check_place, reading_model
from twhin_hf.loading.pretrained import load_pretrained, read_pretrained
from twhin_hf.loading.quiet import loading_in_words
from twhin_hf.modeling import apply_settings
from twhin_hf.modeling.settings import HEAD_NAMES

logger = logging.getLogger(__name__)

DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "attention_dropout",
    "embedding_dropout",
    "mlp_dropout",
    "dropout",
)
"""What the families' configs call their dropouts."""


def load_pretraining_model(
    name_or_path: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    trainable_adapter: bool = False,
    four_bit: bool = False,
    dropout: float | None = None,
    add_tokens: bool = False,
    **settings: Any,
) -> PreTrainedModel:
    """Loads a checkpoint with our objectives; heads that it lacks are drawn at random.

    Seed before (`transformers.set_seed`): the heads' weights come from the global generator. A
    checkpoint of sentence-transformers keeps its pooling and normalization, and its pooling is that
    of the heads too (`apply_settings`). One without a head for masked language modelling
    has an `mlm_weight` of 0, unless it is given.

    Args:
        name_or_path: A folder or a repository, of ours, of sentence-transformers or of a plain
            encoder, or of an adapter (peft).
        tokenizer: Whose padding token the model takes over.
        trainable_adapter: Give back an adapter as a `PretrainingAdapter` to train it further; by
            default it is merged into the weights.
        four_bit: Hold the encoder's layers in 4 bits, for LoRA beside them (QLoRA).
        dropout: Of the encoder, in place of the checkpoint's.
        add_tokens: The tokenizer has tokens that the checkpoint lacks: it is given embeddings for
            them, drawn around the mean of all.
        **settings: Keys of `twhin_hf.modeling.settings.DEFAULTS`, before the checkpoint's own.

    Raises:
        InputError: An encoder of a family that has no class here, an adapter that does not fit its
            base model, an adapter to train further whose heads are not those of the settings,
            4 bits without bitsandbytes or for an adapter that is to be merged, or a checkpoint that
            leaves no objective with a weight above 0.
    """
    base, revision = name_or_path, None
    adapted = is_adapter(name_or_path)
    if adapted and four_bit and not trainable_adapter:
        raise InputError(f"the adapter {name_or_path} cannot be merged into weights of 4 bits")
    if adapted:
        # peft is an extra, which only adapters need.
        from twhin_hf.loading.adapters import adapter_origin, checked_weights

        base, revision, config = adapter_origin(name_or_path)
    else:
        config = stock_config(name_or_path)
    pretraining_model = model_class(config, PRETRAINING_MODELS)
    config.pad_token_id = tokenizer.pad_token_id
    if dropout is not None:
        _set_dropout(config, dropout)
    options: dict[str, Any] = {}
    if four_bit:
        # peft and bitsandbytes are extras, which only adapters need.
        from twhin_hf.training.lora import four_bit_config

        options["quantization_config"] = four_bit_config(config)
    with reading_model(base):
        config = apply_settings(config, **settings)
    load = load_pretrained
    if adapted:
        checked_weights(name_or_path, config, with_heads=True)
        load = read_pretrained  # the base's files were looked at with it
    model, info = load(
        pretraining_model, base, config, revision, output_loading_info=True, **options
    )
    if adapted:
        heads = tuple(f"{head}." for head in _adapter_heads(name_or_path))
        missing = {key for key in info["missing_keys"] if not key.startswith(heads)}
        info, origin = {**info, "missing_keys": missing}, f"{base} and the adapter {name_or_path}"
    else:
        origin = str(base)
    logger.info("%s", loading_in_words(origin, model, info))
    logger.info("%s: %s", name_or_path, embedding_sentence(model.base_model))
    if not adapted and "mlm_weight" not in settings and _lacks_mlm_head(model, info):
        logger.info(
            "mlm_weight is 0: %s has no head for masked language modelling; give a weight above 0 "
            "to train a new one",
            base,
        )
        apply_settings(model.config, mlm_weight=0.0)
    if adapted:
        model = _with_adapter(model, name_or_path, trainable_adapter)
    if add_tokens and len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    return model


def _set_dropout(config: Any, dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise InputError(f"dropout is {dropout}; it must be in [0, 1)")
    for name in DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, dropout)


def _lacks_mlm_head(model: PreTrainedModel, info: Mapping[str, Any]) -> bool:
    """Whether all weights of the MLM head are new; those tied to the embeddings do not count."""
    others = (f"{model.base_model_prefix}.", *(f"{name}_head." for name in HEAD_NAMES))
    tied = set(model.all_tied_weights_keys)
    own = {n for n in model.state_dict() if not n.startswith(others)} - tied
    return own <= set(info["missing_keys"])


def _adapter_heads(name_or_path: str) -> list[str]:
    """The heads that an adapter brings, trained in full."""
    from twhin_hf.loading.adapters import adapter_config

    return list(getattr(adapter_config(name_or_path), "modules_to_save", None) or ())


def _with_adapter(model: PreTrainedModel, name_or_path: str, trainable: bool) -> Any:
    from twhin_hf.loading.adapters import load_pretraining_adapter, merged
    from twhin_hf.training.lora import heads_to_save

    trained = _adapter_heads(name_or_path)
    heads = heads_to_save(model)
    if trainable and set(trained) != set(heads):
        raise InputError(
            f"the adapter {name_or_path} was trained with the heads {sorted(trained)}, and the "
            f"objectives ask for {sorted(heads)}; merge it first "
            "(load_pretraining_model(…).save_pretrained(…)) and start from that folder"
        )
    adapted = load_pretraining_adapter(model, name_or_path, trainable)
    if trainable:
        return adapted
    model = merged(adapted)
    model.config._name_or_path = name_or_path
    return model


def new_pretraining_model(
    config_name: str,
    tokenizer: PreTrainedTokenizerBase,
    overrides: dict[str, Any] | None = None,
    **settings: Any,
) -> PreTrainedModel:
    """A model with random weights, its vocabulary the tokenizer's.

    Args:
        config_name: A folder or repository with a config, or the name of a family, as `bert`.
        tokenizer: Gives the size of the vocabulary and the ids of the special tokens.
        overrides: Keys of the encoder's config, as `{"hidden_size": 384}`.
        **settings: Keys of `twhin_hf.modeling.settings.DEFAULTS`. `social_pooling` is `mean` where
            neither they nor the config say anything: `cls` has to be learnt first, which takes far
            more steps from random weights.

    Raises:
        InputError: A family that has no class here, or an override that the config does not know.
    """
    config = new_config(config_name, overrides)
    config.vocab_size = len(tokenizer)
    if not hasattr(config, "social_pooling"):
        settings = {"social_pooling": "mean"} | settings
    for key in (f"{token}_token_id" for token in ("pad", "bos", "eos", "cls", "sep")):
        if hasattr(config, key):
            setattr(config, key, getattr(tokenizer, key))
    return model_class(config, PRETRAINING_MODELS)(apply_settings(config, **settings))


def new_config(
    config_name: str, overrides: dict[str, Any] | None = None, name: str = "config_overrides"
) -> Any:
    """The config of an encoder with random weights, of which an encoder can be made.

    Args:
        config_name: A folder or repository with a config, or the name of a family, as `bert`.
        overrides: Keys of the config, as `{"hidden_size": 384}`.
        name: The option that they come from, for the message.

    Raises:
        InputError: A family that has no class here, an override that the config does not know, or
            one that no encoder can be made with.
    """
    overrides = overrides or {}
    if config_name in CONFIG_MAPPING and not Path(config_name).exists():
        config = CONFIG_MAPPING[config_name]()
    else:
        check_place(config_name)
        config = stock_config(config_name)
    unknown = sorted(key for key in overrides if not hasattr(config, key))
    if unknown:
        raise InputError(
            f"{type(config).__name__} has no {unknown}; its keys are {sorted(config.to_dict())}"
        )
    # A new config, so that what follows from a key follows from its override: ModernBERT's kinds of
    # layers from their number.
    values = config.to_dict()
    if "num_hidden_layers" in overrides:
        values.pop("layer_types", None)
    model_class(config, PRETRAINING_MODELS)
    # Libraries raise anything; on the meta device weights take neither memory nor time.
    advice = "Give values that an encoder can be made with."
    given = f"{name} {overrides}" if overrides else f"The config of {config_name}"
    with reading(given, advice, (Exception,)), torch.device("meta"):
        config = type(config).from_dict(values | overrides)
        AutoModel.from_config(config)
    return config
