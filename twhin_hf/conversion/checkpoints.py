"""Checkpoints as others have saved them: where they lie, their weights and old names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import load_file
from torch import Tensor

from twhin_hf.errors import InputError
from twhin_hf.files import read_json_object
from twhin_hf.loading.families import stock_config
from twhin_hf.loading.places import check_place, local_path, reading_model
from twhin_hf.loading.weights import indexed_files

_FILES = (
    *("*.json", "*.txt", "*.model", "*.codes"),
    *("model.safetensors", "model-*.safetensors", "adapter_model.safetensors"),
)
_PICKLES = ("pytorch_model.bin", "pytorch_model-*.bin")
_OLD_NAMES = (
    (re.compile(r"^module\."), ""),
    (re.compile(r"LayerNorm\.gamma$"), "LayerNorm.weight"),
    (re.compile(r"LayerNorm\.beta$"), "LayerNorm.bias"),
)


def checkpoint_path(name_or_path: str, revision: str | None = None) -> Path:
    """Where a checkpoint lies; the Hub is asked only where no such file or folder is there.

    Args:
        name_or_path: A folder, a file, or a repository of the Hub.
        revision: Revision of the repository.

    Raises:
        FileNotFoundError: Nothing is there, and it is no name of a repository.
        InputError: The Hub does not give the repository.
    """
    path = local_path(name_or_path)
    if path.exists():
        return path
    check_place(name_or_path, revision)
    folder = _download(name_or_path, revision, _FILES)
    if not any(folder.glob("*.safetensors")):
        folder = _download(name_or_path, revision, [*_FILES, *_PICKLES])
    return folder


def _download(repo_id: str, revision: str | None, patterns: Iterable[str]) -> Path:
    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise InputError(
            f"there is no folder {repo_id}, and the Hub does not give a repository of that name: "
            f"{error}"
        ) from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a folder that transformers has saved, in one file or in several.

    Args:
        folder: With `model.safetensors` or `pytorch_model.bin`; the former is taken where both
            are there.

    Returns:
        Tensors on the CPU by the names of the file.

    Raises:
        FileNotFoundError: No weights, or a file that an index names is missing.
        InputError: A pickle that holds more than tensors.
    """
    for name, read in (("model.safetensors", load_file), ("pytorch_model.bin", load_tensors)):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return _tensors(read, folder / name)
        if index.is_file():
            weights: dict[str, Tensor] = {}
            for file in indexed_files(index):
                weights |= _tensors(read, file)
            return weights
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:10])
    raise FileNotFoundError(
        f"{folder} holds no model.safetensors, pytorch_model.bin or model.pt (found: {found}); "
        "weights of TensorFlow or Flax are converted by transformers 4 (from_tf, from_flax)"
    )


def _tensors(read: Callable[[Path], Any], path: Path) -> dict[str, Tensor]:
    with reading_model(path):
        weights = read(path)
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise InputError(f"{path} holds no weights by their names; fetch the checkpoint again")
    return weights


def load_tensors(path: Path, *more: Any) -> dict[str, Any]:
    """Loads a file of `torch.save` that may hold tensors and plain values, and no code.

    Args:
        path: The file.
        *more: Classes that may stand in it too.

    Raises:
        InputError: It holds other objects: to load them would run whatever code the file names.
    """
    with torch.serialization.safe_globals(list(more)), reading_model(path):
        return torch.load(path, map_location="cpu", weights_only=True)


def modern_name(name: str) -> str:
    """The name that today's transformers gives to a weight.

    Example:
        >>> modern_name("bert.embeddings.LayerNorm.gamma")
        'bert.embeddings.LayerNorm.weight'
    """
    for pattern, text in _OLD_NAMES:
        name = pattern.sub(text, name)
    return name


def read_config(folder: Path, names: Iterable[str]) -> Any:
    """The config of a folder; one that says no family has that of its weights' names.

    Args:
        folder: With `config.json`.
        names: Of the weights.

    Raises:
        FileNotFoundError: No config.
        InputError: A family that transformers does not know.
    """
    from transformers import CONFIG_MAPPING

    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} holds no config.json")
    settings = read_json_object(folder / "config.json")
    if "model_type" in settings:
        return stock_config(folder)
    # Before transformers 2 no config named its family.
    family = "roberta" if any(name.startswith("roberta.") for name in names) else "bert"
    with reading_model(folder):
        return CONFIG_MAPPING[family].from_dict(settings)
