"""LoRA by peft: few weights to train beside a frozen checkpoint, and the heads in full."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from peft import LoraConfig, TaskType, prepare_model_for_kbit_training
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import is_bitsandbytes_available
from transformers.utils.peft_utils import find_adapter_config_file

from twhin_hf.errors import InputError
from twhin_hf.loading.adapters import PretrainingAdapter
from twhin_hf.loading.families import PRETRAINING_MODELS, model_class
from twhin_hf.modeling.settings import HEAD_NAMES

LORA_TARGETS = {
    "bert": ["query", "value"],
    "distilbert": ["q_lin", "v_lin"],
    "modernbert": ["Wqkv"],
    "roberta": ["query", "value"],
    "xlm-roberta": ["query", "value"],
}
"""The layers of a family that are adapted: the attention's queries and values (LoRA, arXiv
2106.09685, Section 7.1). ModernBERT makes them, and the keys, in one layer."""


def four_bit_config(config: PreTrainedConfig) -> BitsAndBytesConfig:
    """How QLoRA holds the frozen layers of the encoder.

    NF4 with double quantisation, computed in bfloat16 (arXiv 2305.14314, Section 3). The heads are
    trained in full, and so they are left as they are.

    Args:
        config: Of the encoder, with our settings or without.

    Raises:
        InputError: Bitsandbytes is not installed.
    """
    if not is_bitsandbytes_available():
        raise InputError("4 bits (QLoRA) need bitsandbytes: `pip install bitsandbytes`")
    with torch.device("meta"):
        model = model_class(config, PRETRAINING_MODELS)(copy.deepcopy(config))
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=[
            *(f"{name}_head" for name in HEAD_NAMES),
            *(name for name, _ in model.named_children() if name != model.base_model_prefix),
        ],
    )


def heads_to_save(model: PreTrainedModel) -> list[str]:
    """The modules that are trained in full and saved with the adapter.

    The checkpoint may hold none of them: left frozen they would be noise.

    Args:
        model: A `Twhin…ForPreTraining`; an objective whose weight is 0 has no part in it.
    """
    heads = [f"{name}_head" for name in cast(Any, model).heads()]
    if model.config.mlm_weight > 0:
        heads += _mlm_transform(model)
    return heads


def _mlm_transform(model: PreTrainedModel) -> list[str]:
    """What an MLM head has of its own; its decoder is tied to the embeddings, which stay frozen."""
    decoder = model.get_output_embeddings()
    others = (f"{model.base_model_prefix}.", *(f"{name}_head." for name in HEAD_NAMES))
    parts = [
        name
        for name, module in model.named_modules()
        if not f"{name}.".startswith(others)
        and decoder not in module.modules()
        and next(module.parameters(), None) is not None
    ]
    return [name for name in parts if not name.startswith(tuple(f"{part}." for part in parts))]


def lora_config(
    model: PreTrainedModel,
    *,
    r: int = 16,
    alpha: int = 32,
    dropout: float = 0.05,
    target_modules: Sequence[str] | None = None,
) -> LoraConfig:
    """What is adapted, and how: the encoder's layers by LoRA, the heads in full.

    Args:
        model: A `Twhin…ForPreTraining`.
        r: Rank of the two factors.
        alpha: Their product is scaled by alpha / r.
        dropout: Of their input.
        target_modules: Ends of the names of the encoder's linear layers; `LORA_TARGETS` by
            default.

    Raises:
        InputError: A rank below 1, or a dropout outside [0, 1).
    """
    if r < 1:
        raise InputError(f"lora_r is {r}; it must be 1 or more")
    if not 0 <= dropout < 1:
        raise InputError(f"lora_dropout is {dropout}; it must be in [0, 1)")
    targets = tuple(target_modules or LORA_TARGETS[model.config.model_type])
    encoder = f"{model.base_model_prefix}."
    heads = [name for name, _ in model.named_modules() if not name.startswith(encoder)]
    # An adapter of the encoder has no layer outside of it, nor in the pooler of a stock one.
    excluded = [name for name in (*heads, "pooler.dense") if f".{name}".endswith(targets)]
    return LoraConfig(
        task_type=TaskType.FEATURE_EXTRACTION,
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(targets),
        exclude_modules=excluded or None,
        modules_to_save=heads_to_save(model),
    )


def add_lora(model: PreTrainedModel, config: LoraConfig | None = None) -> PretrainingAdapter:
    """Freezes a model and puts LoRA beside its layers; the trainers take what comes back.

    Args:
        model: A `Twhin…ForPreTraining` that was loaded from a checkpoint, its encoder perhaps in 4
            bits (`four_bit_config`); changed in place.
        config: Of `lora_config`; its defaults without one.

    Raises:
        InputError: A model that is no checkpoint, or that has an adapter merged into it: whoever
            loads the new adapter could not find the weights it stands on.
    """
    name = model.config._name_or_path
    if not name:
        raise InputError(
            "LoRA adapts a checkpoint, and this model has random weights: train it in full first, "
            "save it, and load it"
        )
    if find_adapter_config_file(name) is not None:
        raise InputError(
            f"this model has the adapter {name} merged into it; save it (save_pretrained) and load "
            "it from there, or train that adapter further (load_pretraining_model with "
            "trainable_adapter=True)"
        )
    config = config or lora_config(model)
    if getattr(model, "is_loaded_in_4bit", False):
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    config.base_model_name_or_path = name
    return PretrainingAdapter(model, config)
