"""Which classes an encoder family has, by the `model_type` of its config."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from twhin_hf.errors import InputError
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
            f"{sorted(classes)}"
        )
    return classes[config.model_type]
