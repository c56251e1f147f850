"""Which classes an encoder family has, by the `model_type` of its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from twhin_hf.errors import InputError
from twhin_hf.loading.places import reading_model
from twhin_hf.modeling import (
    TwhinBertForPreTraining,
    TwhinBertModel,
    TwhinModernBertForPreTraining,
    TwhinModernBertModel,
    TwhinRobertaForPreTraining,
    TwhinRobertaModel,
    TwhinXLMRobertaForPreTraining,
    TwhinXLMRobertaModel,
)

MODELS = {
    "bert": TwhinBertModel,
    "modernbert": TwhinModernBertModel,
    "roberta": TwhinRobertaModel,
    "xlm-roberta": TwhinXLMRobertaModel,
}
"""The encoder of each family, by the `model_type` of its config."""

PRETRAINING_MODELS = {
    "bert": TwhinBertForPreTraining,
    "modernbert": TwhinModernBertForPreTraining,
    "roberta": TwhinRobertaForPreTraining,
    "xlm-roberta": TwhinXLMRobertaForPreTraining,
}
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
