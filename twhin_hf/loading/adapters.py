"""Adapters of peft on our models: loaded with a check of every weight, saved as the encoder's.

An adapter that was trained on a `Twhin…ForPreTraining` is saved under the names that its weights
have in the encoder alone, and as one for feature extraction: `AutoPeftModelForFeatureExtraction`
loads it onto the stock encoder. The heads lie in the same file, and the config with their settings
beside it. Needs peft, which is an extra.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from peft import (
    PeftConfig,
    PeftModel,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from peft.utils import SAFETENSORS_WEIGHTS_NAME, load_peft_weights
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.utils.peft_utils import find_adapter_config_file

from twhin_hf.errors import InputError
from twhin_hf.files import new_file, read_json_object
from twhin_hf.loading.families import MODELS, PRETRAINING_MODELS, model_class, stock_config
from twhin_hf.loading.fingerprint import weights_fingerprint
from twhin_hf.loading.places import check_place, reading_model
from twhin_hf.loading.pretrained import check_files, read_pretrained
from twhin_hf.loading.weights import safe_weights
from twhin_hf.modeling.sentence_transformer_files import (
    TOKENIZER_CONFIG_NAME,
    write_sentence_transformer_files,
)
from twhin_hf.modeling.sentence_transformer_settings import (
    adopt_checkpoint_pooling,
    checkpoint_file,
)

PREFIX = "base_model.model."
"""What peft puts before the name of every weight."""

ENCODER_CONFIG_NAME = "encoder_config.json"
"""The config that the adapter was trained with. A `config.json` beside an adapter would make
transformers look for the base model's weights there."""


_LOOKING_AT_VALUES = {"ADAMSS", "BOFT", "FROD", "SHIRA", "UNILORA"}
"""Kinds that cannot be made without memory: they look at weights, or draw places among them."""

BASE_FINGERPRINT = "base_weights_fingerprint"
"""Its key for the weights that the adapter was trained on."""


class PretrainingAdapter(PeftModel):
    """A `Twhin…ForPreTraining` with an adapter, in which encoder and heads are adapted together.

    `save_pretrained` writes the adapter under the encoder's own names and `load_adapter` reads it
    back; Trainer's saving and resuming go through them.
    """

    def save_pretrained(  # type: ignore[override] # the rest goes by name
        self, save_directory: str | os.PathLike[str], is_main_process: bool = True, **kwargs: Any
    ) -> None:
        """Saves adapter, heads and config.

        Args:
            save_directory: The folder.
            is_main_process: False on the processes that must not write.
            **kwargs: As `PeftModel.save_pretrained` takes.
        """
        folder = str(save_directory)
        super().save_pretrained(folder, is_main_process=is_main_process, **kwargs)
        if not is_main_process:
            return
        path = Path(folder) / SAFETENSORS_WEIGHTS_NAME
        own, encoders = f"{PREFIX}{self.get_base_model().base_model_prefix}.", PREFIX
        weights = {
            encoders + name.removeprefix(own) if name.startswith(own) else name: weight
            for name, weight in load_file(path).items()
        }
        # A new file in place of the old one, which is mapped to memory.
        with new_file(path) as partial:
            save_file(weights, partial, metadata={"format": "pt"})
        encoder: Any = self.get_base_model().base_model
        config = copy.deepcopy(encoder.config)
        # There is no code beside an adapter that it could name; and whether the base was held in 4
        # bits for training is no matter of the adapter.
        for key in ("auto_map", "quantization_config", "_pre_quantization_dtype"):
            config.__dict__.pop(key, None)
        setattr(config, BASE_FINGERPRINT, self._base_fingerprint())
        config.to_json_file(Path(folder) / ENCODER_CONFIG_NAME)
        encoder._save_tokenizer(Path(folder))
        write_sentence_transformer_files(folder, config, encoder.max_seq_length)

    def _base_fingerprint(self) -> str | None:
        """Of the base's weights, taken once: they are frozen."""
        if self._fingerprint is None:
            adapter = self.active_peft_config
            name = str(adapter.base_model_name_or_path)
            self._fingerprint = weights_fingerprint(name, adapter.revision)
        return self._fingerprint

    _fingerprint: str | None = None

    def load_adapter(self, model_id: Any, adapter_name: str, *args: Any, **kwargs: Any) -> Any:
        """Loads weights that `save_pretrained` wrote, or peft for the encoder alone.

        Raises:
            InputError: Weights that do not fit; see `check_adapter_weights`.
        """
        names = self._own_names(adapter_name)
        if adapter_name in self.peft_config:
            self.check_file(model_id, adapter_name, kwargs.get("revision"))
        kwargs["key_mapping"] = names
        return super().load_adapter(model_id, adapter_name, *args, **kwargs)

    def check_file(self, model_id: Any, adapter_name: str, revision: str | None = None) -> None:
        """Checks that the weights of a file are those that this model needs.

        Raises:
            InputError: They are not; see `check_adapter_weights`.
        """
        hub = {"revision": revision} if revision else {}
        with safe_weights(model_id):
            weights = load_peft_weights(
                model_id, device="cpu", key_mapping=self._own_names(adapter_name), **hub
            )
        check_adapter_weights(self, weights, str(model_id), adapter_name)

    def _own_names(self, adapter_name: str) -> dict[str, str]:
        """From the encoder's names of weights to those of this model, as peft maps them."""
        base = self.get_base_model()
        heads = {name for name, _ in base.named_children() if name != base.base_model_prefix}
        if adapter_name in self.peft_config:
            # Those that the adapter brings and the model has not are no part of the encoder either.
            saved = getattr(self.peft_config[adapter_name], "modules_to_save", None) or ()
            heads |= {module.split(".")[0] for module in saved}
        return {rf"^(?!({'|'.join(sorted(heads))})\.)": f"{base.base_model_prefix}."}


def load_pretraining_adapter(
    model: PreTrainedModel,
    name_or_path: str,
    trainable: bool = False,
    revision: str | None = None,
) -> PretrainingAdapter:
    """Loads an adapter onto a `Twhin…ForPreTraining`.

    Args:
        model: The base model with the heads; changed in place.
        name_or_path: Folder or repository of the adapter.
        trainable: Train it further.
        revision: Of the adapter's repository.

    Raises:
        InputError: Weights that do not fit; see `check_adapter_weights`.
    """
    check_base_weights(name_or_path, revision)
    config = adapter_config(name_or_path, revision)
    config.inference_mode = not trainable
    hub = {"revision": revision} if revision else {}
    with reading_model(name_or_path):
        adapted = PretrainingAdapter(model, config)
        adapted.load_adapter(
            name_or_path, "default", is_trainable=trainable, torch_device="cpu", **hub
        )
    return adapted


def adapter_config(name_or_path: str, revision: str | None = None) -> PeftConfig:
    """What an adapter says of itself.

    Args:
        name_or_path: Folder or repository of the adapter.
        revision: Revision of the repository.

    Raises:
        InputError: Its config is no adapter's, or names no base model.
    """
    with reading_model(name_or_path):
        config = PeftConfig.from_pretrained(name_or_path, revision=revision)
    if not isinstance(config.base_model_name_or_path, str):
        raise InputError(
            f"{name_or_path} names no base model; write it as base_model_name_or_path in the "
            "adapter's adapter_config.json"
        )
    return config


def check_adapter_weights(
    model: PeftModel, weights: Mapping[str, Tensor], name: str, adapter_name: str = "default"
) -> None:
    """Checks that an adapter's weights are those that a model needs.

    peft leaves out what does not fit, with a warning or without one: the model would be as if it
    had no adapter. Heads that the adapter brings and the model has not are no mistake.

    Args:
        model: With an adapter of the same config, whose weights are to be loaded.
        weights: Of the file, by their names in the model.
        name: Of the adapter's folder or repository, for the message.
        adapter_name: Of the adapter in the model.

    Raises:
        InputError: Weights are missing, unknown or of another shape.
    """
    needed = get_peft_model_state_dict(
        model, adapter_name=adapter_name, save_embedding_layers=False
    )
    saved_modules = getattr(model.peft_config[adapter_name], "modules_to_save", None) or ()
    heads = tuple(f"{PREFIX}{module}." for module in saved_modules)
    unknown = [key for key in weights if key not in needed and not key.startswith(heads)]
    missing = [key for key in needed if key not in weights]
    reshaped = [k for k in needed if k in weights and weights[k].shape != needed[k].shape]
    for problem, keys in (
        ("lacks weights that this model needs", missing),
        ("holds weights that this model has no place for", unknown),
        ("holds weights of another shape", reshaped),
    ):
        if keys:
            raise InputError(
                f"the adapter {name} {problem}: {len(keys)} of {len(needed)}, as "
                f"{keys[0].removeprefix(PREFIX)!r}; it was made for another model than "
                f"{type(model.get_base_model()).__name__} of "
                f"{cast(Any, model.get_base_model()).config._name_or_path!r}",
                faq="adapters",
            )


def adapter_origin(
    name_or_path: str, revision: str | None = None
) -> tuple[str, str | None, PreTrainedConfig]:
    """What an adapter stands on.

    Returns:
        The base model, its revision, and the config: the adapter's own where it has one, with the
        pooling and the heads it was trained with, else the base model's, with what modules of
        sentence-transformers beside the adapter say.

    Raises:
        FileNotFoundError: The base model is not there.
        InputError: An adapter that cannot be merged into the weights.
    """
    adapter = adapter_config(name_or_path, revision)
    base, base_revision = str(adapter.base_model_name_or_path), adapter.revision
    if adapter.is_prompt_learning:
        raise InputError(
            f"{name_or_path} is an adapter of the kind {_kind(adapter)}, which puts "
            "virtual tokens before a text and cannot be merged into the weights; load it with peft "
            "(PeftModel.from_pretrained), or train one with LoRA"
        )
    try:
        check_place(base, base_revision)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"the adapter {name_or_path} stands on a model that is not here: {error}. Put the base "
            "model there, or name where it is now as base_model_name_or_path in the adapter's "
            "adapter_config.json"
        ) from error
    if find_adapter_config_file(base, revision=base_revision or "main") is not None:
        raise InputError(
            f"the adapter {name_or_path} stands on {base}, which is an adapter itself; merge that "
            "one first (`twhin-hf convert --merge`), and name what comes of it as "
            "base_model_name_or_path in the adapter's adapter_config.json",
            faq="adapters",
        )
    config = stock_config(base, base_revision)
    own = checkpoint_file(name_or_path, ENCODER_CONFIG_NAME, revision)
    if own is None:
        # An adapter that sentence-transformers has saved brings modules of its own.
        for place, of_place in ((name_or_path, revision), (base, base_revision)):
            with reading_model(place):
                adopt_checkpoint_pooling(config, place, of_place)
        return base, base_revision, config
    with reading_model(own):
        config = type(config).from_json_file(own)
    config.__dict__.pop(BASE_FINGERPRINT, None)
    return base, base_revision, config


def check_base_weights(name_or_path: str, revision: str | None = None) -> None:
    """Checks that the base model is the one that an adapter was trained on; reads all its weights.

    Args:
        name_or_path: Folder or repository of the adapter.
        revision: Of the adapter's repository.

    Raises:
        InputError: It has other weights.
    """
    own = checkpoint_file(name_or_path, ENCODER_CONFIG_NAME, revision)
    trained_on = read_json_object(own).get(BASE_FINGERPRINT) if own else None
    if trained_on is None:
        return
    adapter = adapter_config(name_or_path, revision)
    base = str(adapter.base_model_name_or_path)
    if trained_on != weights_fingerprint(base, adapter.revision):
        raise InputError(
            f"the weights of {base} are not those that the adapter {name_or_path} was trained on: "
            "its vectors would be wrong. Put the base model of that time back, or train the "
            "adapter on this one",
            faq="adapters",
        )


def load_adapted_encoder(
    name_or_path: str, revision: str | None = None, **kwargs: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Loads the encoder that an adapter stands on, with the adapter merged into its weights.

    Args:
        name_or_path: Folder or repository of the adapter.
        revision: Of the adapter's repository.
        **kwargs: As `from_pretrained` takes.

    Returns:
        The model, and what `output_loading_info` tells of its base.

    Raises:
        InputError: Weights that do not fit; see `check_adapter_weights`.
    """
    base, base_revision, config = adapter_origin(name_or_path, revision)
    weights = checked_weights(name_or_path, config, revision)
    check_base_weights(name_or_path, revision)
    encoder, info = read_pretrained(
        model_class(config, MODELS), base, config, base_revision, output_loading_info=True, **kwargs
    )
    with reading_model(name_or_path):
        adapted = PeftModel(encoder, adapter_config(name_or_path, revision))
        check_adapter_weights(adapted, weights, name_or_path)
        set_peft_model_state_dict(adapted, weights)
    return _own(merged(adapted).eval(), name_or_path, revision), info


def load_adapted_model(
    name_or_path: str, revision: str | None = None, **kwargs: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Loads the `Twhin…ForPreTraining` that an adapter stands on, with adapter and heads in it.

    Args:
        name_or_path: Folder or repository of the adapter.
        revision: Of the adapter's repository.
        **kwargs: As `from_pretrained` takes.

    Returns:
        The model, and what `output_loading_info` tells of its base.

    Raises:
        InputError: Weights that do not fit; see `check_adapter_weights`.
    """
    base, base_revision, config = adapter_origin(name_or_path, revision)
    checked_weights(name_or_path, config, revision, with_heads=True)
    pretraining_model = model_class(config, PRETRAINING_MODELS)
    model, info = read_pretrained(
        pretraining_model, base, config, base_revision, output_loading_info=True, **kwargs
    )
    model = merged(load_pretraining_adapter(model, name_or_path, revision=revision)).eval()
    return _own(model, name_or_path, revision), info


def checked_weights(
    name_or_path: str,
    config: PreTrainedConfig,
    revision: str | None = None,
    with_heads: bool = False,
) -> dict[str, Tensor]:
    """An adapter's weights, checked before memory is given to its base or to what its config tells.

    They are read before the base's are fetched, which are many more.

    Args:
        name_or_path: Folder or repository of the adapter.
        config: Of the model that the adapter is put on.
        revision: Of the adapter's repository.
        with_heads: It is put on the model with heads, not on the encoder.

    Returns:
        Those of the file, by its names.

    Raises:
        InputError: Weights that do not fit (see `check_adapter_weights`), or a base whose files
            are damaged.
    """
    with reading_model(name_or_path):
        weights = load_peft_weights(name_or_path, device="cpu", revision=revision)
    own = adapter_config(name_or_path, revision)
    base = str(own.base_model_name_or_path)
    check_files(base, config, own.revision)
    with reading_model(name_or_path):
        if _kind(own) in _LOOKING_AT_VALUES:
            return weights
        if hasattr(own, "init_lora_weights"):
            # Some ways of drawing the first weights look at those of the base.
            own.init_lora_weights = False
        replicated = getattr(own, "layer_replication", None) or ()
        if sum(abs(end - start) for start, end in replicated) > len(weights):
            raise InputError(
                f"the adapter {name_or_path} repeats more layers of its base than it has weights, "
                f"{len(weights)} (layer_replication); its config is damaged or of another adapter"
            )
        config = copy.deepcopy(config)
        config._name_or_path = ""  # else the settings of sentence-transformers are read again
        classes = PRETRAINING_MODELS if with_heads else MODELS
        with torch.device("meta"):
            model = model_class(config, classes)(config)
            model.config._name_or_path = base
            put_on = PretrainingAdapter if with_heads else PeftModel
            adapted: Any = put_on(model, own, low_cpu_mem_usage=True)
        if with_heads:
            adapted.check_file(name_or_path, "default", revision)
        else:
            check_adapter_weights(adapted, weights, name_or_path)
    return weights


def _kind(config: PeftConfig) -> str:
    return str(getattr(config.peft_type, "value", config.peft_type))


def _own(model: PreTrainedModel, name_or_path: str, revision: str | None) -> PreTrainedModel:
    """The model with the adapter's own tokenizer, where it has one."""
    if checkpoint_file(name_or_path, TOKENIZER_CONFIG_NAME, revision) is not None:
        encoder: Any = model.base_model
        with reading_model(name_or_path):
            encoder._tokenizer = AutoTokenizer.from_pretrained(
                name_or_path, revision=revision, trust_remote_code=False
            )
        encoder.check_tokenizer(encoder._tokenizer)
    return model


def merged(adapted: PeftModel) -> PreTrainedModel:
    """The model with the adapter merged into its weights; all of them can be trained again."""
    return adapted.merge_and_unload().requires_grad_(True)
