"""Options that the training commands share, and the model that they describe."""

from __future__ import annotations

import logging
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twhin_hf.commands.declared import optional_fields
from twhin_hf.data.text_normalization import Normalization
from twhin_hf.errors import InputError
from twhin_hf.modeling.settings import ObjectiveSettings
from twhin_hf.remote import is_remote, remote_files

logger = logging.getLogger(__name__)


@dataclass
class ModelOptions:
    """Model to start from.

    Args:
        model_name_or_path: Checkpoint to start from: folder or Hub repository.
        config_name: Config to start from scratch with: an encoder family such as bert, a folder or
            a Hub repository.
        config_overrides: Values of the new config, such as hidden_size=384.
        tokenizer_name: Tokenizer (default: that of model_name_or_path).
        dropout: Dropout of the encoder (default: the checkpoint's).
        add_tokens: Tokens to add to the tokenizer, with new embeddings, such as @user HTTPURL.
        normalize_texts: Let the tokenizer normalize users and links as XLM-T or BERTweet does.
    """

    model_name_or_path: str | None = None
    config_name: str | None = None
    config_overrides: dict[str, Any] | None = None
    tokenizer_name: str | None = None
    dropout: float | None = None
    add_tokens: list[str] | None = None
    normalize_texts: Normalization | None = None

    def __post_init__(self) -> None:
        if bool(self.model_name_or_path) == bool(self.config_name):
            raise InputError(
                "give model_name_or_path (continue from a checkpoint) or config_name (start from "
                "scratch): one of them",
                faq="where-to-start",
            )
        if self.config_name and not self.tokenizer_name:
            raise InputError(
                "config_name needs tokenizer_name; `twhin-hf tokenizer` trains one from posts",
                faq="where-to-start",
            )
        if self.dropout is not None and self.config_name:
            raise InputError(
                "dropout goes with model_name_or_path; a new config has it in config_overrides"
            )
        if self.config_overrides and not self.config_name:
            raise InputError(
                "config_overrides goes with config_name: a checkpoint's sizes are fixed"
            )


@dataclass
class LoraOptions:
    """LoRA (needs twhin_hf[peft]).

    Args:
        lora: Train LoRA beside the frozen checkpoint, and the heads in full. An adapter as
            checkpoint is trained further, with the rank and layers it has.
        lora_r: Rank.
        lora_alpha: Scale: the update is multiplied by lora_alpha / lora_r.
        lora_dropout: Dropout of the input.
        lora_4bit: Hold the frozen checkpoint in 4 bits (QLoRA; needs bitsandbytes).
        lora_target_modules: Layers to adapt, by the ends of their names (default: the attention's
            queries and values).
    """

    lora: bool = False
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    lora_4bit: bool = False
    lora_target_modules: list[str] | None = None

    def __post_init__(self) -> None:
        if self.lora_4bit and not self.lora:
            raise InputError("lora_4bit goes with lora: weights of 4 bits cannot be trained")
        if self.lora:
            from transformers.utils import is_bitsandbytes_available, is_peft_available

            if not is_peft_available():
                raise InputError("lora needs peft: `pip install 'twhin_hf[peft]'`")
            if self.lora_4bit and not is_bitsandbytes_available():
                raise InputError("lora_4bit needs bitsandbytes: `pip install bitsandbytes`")


if typing.TYPE_CHECKING:

    class ObjectiveOptions(ObjectiveSettings):
        """`ObjectiveSettings` whose fields may be left out."""

        def given(self) -> dict[str, Any]:
            """The fields that were given."""

else:
    ObjectiveOptions = optional_fields(ObjectiveSettings, "Objectives", "the checkpoint's")


def load_model(
    model: ModelOptions,
    objectives: ObjectiveOptions,
    lora: LoraOptions,
    seed: int,
    **defaults: Any,
) -> tuple[Any, Any]:
    """Loads or makes the model and tokenizer that a run starts from.

    Args:
        model: Which.
        objectives: Settings that take precedence over the checkpoint's.
        lora: Adapter, if any.
        seed: Seed of the weights that no checkpoint brings.
        **defaults: Settings where neither `objectives` nor the user says anything.

    Returns:
        Model, tokenizer.

    Raises:
        InputError: Options that do not fit together.
    """
    from transformers import set_seed

    from twhin_hf.data.text_normalization import prepare_tokenizer
    from twhin_hf.loading.auto import load_tokenizer
    from twhin_hf.training.initialization import load_pretraining_model, new_pretraining_model

    check_lora(model, lora)
    origin = model.tokenizer_name or str(model.model_name_or_path)
    tokenizer = prepare_tokenizer(load_tokenizer(origin), model.add_tokens, model.normalize_texts)
    given = objectives.given()
    # Before the model: heads that a checkpoint lacks are drawn from the global generator.
    set_seed(seed)
    if not model.model_name_or_path:
        return (
            new_pretraining_model(
                str(model.config_name), tokenizer, model.config_overrides, **defaults | given
            ),
            tokenizer,
        )
    loaded = load_pretraining_model(
        model.model_name_or_path,
        tokenizer,
        trainable_adapter=lora.lora,
        four_bit=lora.lora_4bit,
        dropout=model.dropout,
        add_tokens=bool(model.add_tokens),
        **defaults | given,
    )
    return (_with_lora(loaded, lora) if lora.lora else loaded), tokenizer


def model_fingerprints(model: ModelOptions) -> dict[str, str]:
    """A fingerprint of what a run starts from, by the option that names it."""
    from twhin_hf.data_fingerprint import data_fingerprint
    from twhin_hf.loading.fingerprint import model_fingerprint

    found = {}
    if model.model_name_or_path:
        found["model_name_or_path"] = model_fingerprint(model.model_name_or_path)
    for name in ("tokenizer_name", "config_name"):
        path = getattr(model, name)
        if path and Path(path).exists():
            found[name] = data_fingerprint(path)
    return found


def _with_lora(model: Any, options: LoraOptions) -> Any:
    """The model with new LoRA; one that has an adapter goes on with it."""
    from twhin_hf.loading.adapters import PretrainingAdapter
    from twhin_hf.training.lora import add_lora, lora_config

    if not isinstance(model, PretrainingAdapter):
        config = lora_config(
            model,
            r=options.lora_r,
            alpha=options.lora_alpha,
            dropout=options.lora_dropout,
            target_modules=options.lora_target_modules,
        )
        model = add_lora(model, config)
    trained, total = model.get_nb_trainable_parameters()
    logger.info("LoRA: %s of %s parameters are trained", f"{trained:,}", f"{total:,}")
    return model


def check_lora(model: ModelOptions, lora: LoraOptions) -> None:
    """Checks that there is something to adapt.

    Raises:
        InputError: LoRA is asked for beside a model from scratch.
    """
    if lora.lora and not model.model_name_or_path:
        raise InputError("lora adapts a checkpoint; give model_name_or_path, not config_name")
    if lora.lora and model.add_tokens:
        raise InputError(
            "add_tokens makes new embeddings, which LoRA would leave untrained and not save; train "
            "in full with add_tokens first, and start from that folder"
        )


def check_paths(owner: Any, *names: str) -> None:
    """Checks that files and folders exist.

    Args:
        owner: Holds the paths.
        *names: Its attributes; one that is None is skipped.

    Raises:
        FileNotFoundError: One does not.
    """
    for name in names:
        path = getattr(owner, name)
        if is_remote(path):
            remote_files(path)
        elif path and not Path(path).exists():
            raise FileNotFoundError(f"{name}: there is no {path}")
