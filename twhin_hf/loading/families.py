"""Which classes an encoder family has, by the `model_type` of its config."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from twhin_hf import modeling
from twhin_hf.errors import InputError
from twhin_hf.loading.places import reading_model


def _by_family(suffix: str) -> dict[str, Any]:
    names = [name for name in modeling.__all__ if name.endswith(suffix)]
    classes: list[Any] = [getattr(modeling, name) for name in names]
    return {one.config_class.model_type: one for one in classes}


MODELS = _by_family("Model")
"""The encoder of each family, by the `model_type` of its config: all that `modeling` exports."""

PRETRAINING_MODELS = _by_family("ForPreTraining")
"""The pretraining class of each family, by the `model_type` of its config."""


def stock_config(name_or_path: str | Path, revision: str | None = None) -> PreTrainedConfig:
    """The config of a folder or repository that holds a model.

    Args:
        name_or_path: Folder or repository.
        revision: Revision of the repository; `main` by default.

    Raises:
        InputError: It holds no config, or one that transformers cannot use.
    """
    with reading_model(name_or_path):
        return AutoConfig.from_pretrained(
            name_or_path, revision=revision or "main", trust_remote_code=False
        )


def stock_encoder(config: PreTrainedConfig) -> Any:
    """The class of transformers that a family's encoder is made of, as `BertModel`.

    Raises:
        InputError: A family that has no class here.
    """
    bases = model_class(config, MODELS).__mro__
    return next(base for base in bases if base.__module__.startswith("transformers.models."))


def may_have_pooler(config: PreTrainedConfig) -> bool:
    """Whether the stock encoder of a family has a pooler, unless it is told otherwise.

    Raises:
        InputError: A family that has no class here.
    """
    return "add_pooling_layer" in inspect.signature(stock_encoder(config).__init__).parameters


def model_class(config: PreTrainedConfig, classes: dict[str, Any]) -> Any:
    """The class of a config's family.

    Args:
        config: Of any encoder.
        classes: `MODELS` or `PRETRAINING_MODELS`.

    Raises:
        InputError: A family that has none.
    """
    if config.model_type not in classes:
        raise InputError(
            f"this is a {config.model_type!r} model; the families that have a class here are "
            f"{sorted(classes)}",
            faq="families",
        )
    return classes[config.model_type]
