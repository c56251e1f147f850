"""`from_pretrained` of files that anybody may have made."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedConfig

from twhin_hf.errors import InputError
from twhin_hf.loading.families import MODELS, may_have_pooler, stock_encoder
from twhin_hf.loading.places import reading_model
from twhin_hf.loading.quiet import quiet_loading
from twhin_hf.loading.weights import weight_files

_ADVICE = "One of them is damaged or of another model; fetch both again."
_WEIGHTS_PER_BYTE = 2
"""Of a file at most: 4 bits each."""
_BYTES_PER_LAYER = 256
"""Of a file at least, whatever the sizes: the names of a layer's weights."""
_OTHER_FILES = {
    *("cache_dir", "gguf_file", "local_files_only", "state_dict", "subfolder", "use_safetensors"),
    *("force_download", "variant"),
}
"""Options by which a caller chooses files that are not those of `weight_files`."""


def load_pretrained(
    kind: Any,
    name_or_path: str,
    config: PreTrainedConfig,
    revision: str | None = None,
    **kwargs: Any,
) -> Any:
    """`from_pretrained`, once the config was found to speak of no more than the files hold.

    transformers makes room for all that a config speaks of before it looks at the shapes in the
    files, and some hundred bytes can ask for any memory.

    Args:
        kind: The class.
        name_or_path: Folder or repository.
        config: Of the model.
        revision: Revision of the repository; `main` by default.
        **kwargs: As `from_pretrained` takes. Where they choose other files, these are not looked
            at before they are read.

    Raises:
        InputError: As `check_files`, or what libraries raise.
    """
    if not kwargs.keys() & _OTHER_FILES:
        check_files(name_or_path, config, revision)
    return read_pretrained(kind, name_or_path, config, revision, **kwargs)


def read_pretrained(
    kind: Any,
    name_or_path: str,
    config: PreTrainedConfig,
    revision: str | None = None,
    **kwargs: Any,
) -> Any:
    """`load_pretrained` of files that were checked before."""
    with quiet_loading(), reading_model(name_or_path):
        return kind.from_pretrained(
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
    # A commit is not asked for again.
    revision = getattr(config, "_commit_hash", None) or revision
    with reading_model(name_or_path):
        own = getattr(config, "transformers_weights", None)
        paths = weight_files(name_or_path, revision, own)
    for path in paths:
        if path.suffix == ".safetensors":
            # Opening it reads its header, and compares that with the file's size.
            with reading_model(_shown(path, name_or_path)), safe_open(path, framework="pt"):
                pass
    if paths and config.model_type in MODELS:
        with reading_model(name_or_path):
            check_size(config, sum(path.stat().st_size for path in paths), name_or_path)


def _shown(path: Path, name_or_path: str) -> str:
    return str(path) if Path(name_or_path).is_dir() else f"{name_or_path}/{path.name}"


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
    layers = config.num_hidden_layers
    if not isinstance(layers, int) or not 0 <= layers * _BYTES_PER_LAYER <= held:
        raise InputError(
            f"the config of {name} speaks of {layers} layers, and its files hold {held:,} bytes of "
            f"weights. {_ADVICE}"
        )
    spoken_of = num_weights(config)
    if spoken_of > _WEIGHTS_PER_BYTE * held:
        raise InputError(
            f"the config of {name} speaks of {spoken_of:,} weights, and its files hold {held:,} "
            f"bytes of weights. {_ADVICE}"
        )


def num_weights(config: PreTrainedConfig) -> int:
    """How many weights the encoder of a config has, without a pooler; no memory is given to them.

    Args:
        config: Of an encoder of one of our families.

    Example:
        >>> from transformers import BertConfig
        >>> num_weights(BertConfig())
        108891648
    """
    options = {"add_pooling_layer": False} if may_have_pooler(config) else {}
    with torch.device("meta"):
        # A copy: models write into their config.
        encoder = stock_encoder(config)(copy.deepcopy(config), **options)
    return sum(weights.numel() for weights in encoder.parameters())
