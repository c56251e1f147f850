"""`from_pretrained` of files that anybody may have made."""

from __future__ import annotations

from typing import Any

from safetensors import safe_open
from transformers import PreTrainedConfig

from twhin_hf.errors import InputError
from twhin_hf.loading.families import MODELS
from twhin_hf.loading.places import reading_model
from twhin_hf.loading.quiet import quiet_loading
from twhin_hf.loading.weights import weight_files

_WEIGHTS_PER_BYTE = 2
"""Of a file at most: 4 bits each."""
_BYTES_PER_LAYER = 256
"""Of a file at least, whatever the sizes: the names of a layer's weights."""


def load_pretrained(
    model: Any,
    name_or_path: str,
    config: PreTrainedConfig,
    revision: str | None = None,
    **kwargs: Any,
) -> Any:
    """`from_pretrained`, once the config was found to speak of no more than the files hold.

    transformers makes room for all that a config speaks of before it looks at the shapes in the
    files, and some hundred bytes can ask for any memory.

    Args:
        model: The class.
        name_or_path: Folder or repository.
        config: Of the model.
        revision: Revision of the repository; `main` by default.
        **kwargs: As `from_pretrained` takes.

    Raises:
        InputError: The config speaks of more weights than the files hold, or what libraries raise.
    """
    check_files(name_or_path, config, revision)
    with quiet_loading(), reading_model(name_or_path):
        return model.from_pretrained(
            name_or_path, config=config, revision=revision or "main", **kwargs
        )


def check_files(name_or_path: str, config: PreTrainedConfig, revision: str | None = None) -> None:
    """Checks that the files of a model are whole, and can hold all that a config speaks of.

    Each file in safetensors is looked at, so that the last of many is not missed after the others
    were read.

    Args:
        name_or_path: Folder or repository, whose weights are fetched.
        config: Of the model; of a family that has no class here, its sizes are not looked at.
        revision: Revision of the repository.

    Raises:
        InputError: They are not, or cannot.
    """
    with reading_model(name_or_path):
        paths = weight_files(name_or_path, revision)
        held = sum(path.stat().st_size for path in paths)
        if held and config.model_type in MODELS:
            check_size(config, held, name_or_path)
        for path in paths:
            if path.suffix == ".safetensors":
                # Opening it reads its header, and compares that with the file's size.
                with safe_open(path, framework="pt"):
                    pass


def check_size(config: PreTrainedConfig, held: int, name: object) -> None:
    """Checks that weights of so many bytes can be all that a config speaks of.

    Args:
        config: Of an encoder of one of our families.
        held: Bytes of the weights.
        name: Of the model, for the message.

    Raises:
        InputError: They cannot.

    Example:
        >>> from transformers import BertConfig
        >>> check_size(BertConfig(vocab_size=10**9), 400_000_000, "me/model")
        Traceback (most recent call last):
        twhin_hf.errors.InputError: the config of me/model speaks of 768,...
    """
    needed = least_weights(config)
    if needed > _WEIGHTS_PER_BYTE * held:
        raise InputError(
            f"the config of {name} speaks of {needed:,} weights or more (vocab_size "
            f"{config.vocab_size:,}, hidden_size {config.hidden_size:,}, num_hidden_layers "
            f"{config.num_hidden_layers:,}), and its files hold {held:,} bytes of weights. One of "
            "them is damaged or of another model; fetch both again"
        )


def least_weights(config: PreTrainedConfig) -> int:
    """How many weights an encoder has at least: embeddings, attention and feed-forward layers.

    Args:
        config: Of an encoder of one of our families.

    Example:
        >>> from transformers import BertConfig
        >>> least_weights(BertConfig())  # of 108,891,648
        108770304
    """
    width = config.hidden_size
    # DistilBERT's own name; rotary positions have no weights.
    inner = getattr(config, "intermediate_size", None) or config.hidden_dim
    positions = 0 if config.model_type == "modernbert" else config.max_position_embeddings
    embedded = config.vocab_size + positions + getattr(config, "type_vocab_size", 0)
    layer = max(4 * width**2 + 2 * width * inner, _WEIGHTS_PER_BYTE * _BYTES_PER_LAYER)
    return embedded * width + config.num_hidden_layers * layer
