"""What tells one model from another: a hash of its files.

Work that goes on with what an earlier run has left must not mix two models, and an adapter must not
be put on another base than the one that it was trained on.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers.utils import (
    extract_commit_hash,
)
from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME

from twhin_hf.data_fingerprint import RUN_NAME
from twhin_hf.errors import InputError, reading
from twhin_hf.files import read_json_object
from twhin_hf.loading.places import check_place, reading_model
from twhin_hf.loading.weights import weight_files
from twhin_hf.modeling.sentence_transformer_settings import checkpoint_file

_KINDS = frozenset(
    (
        *(".safetensors", ".bin", ".json", ".txt", ".model", ".onnx", ".data", ".xml", ".pt2"),
        *(".pt", ".jinja"),
    )
)
"""Endings of the files that vectors depend on: configs, tokenizers, weights and graphs."""
_NOTES = re.compile(
    r"trainer_state\.json|training_(record|args)\.json|run\.json|manifest\.json"
    r"|(.*_)?results(_.*)?\.json"
)
"""Files beside a model that say how it came about, or what it is worth."""

_BLOCK = 1 << 22


def model_fingerprint(name_or_path: str, revision: str | None = None) -> str:
    """A hash of all that a model's vectors depend on.

    Args:
        name_or_path: Folder or repository of a model, an exported model or an adapter, whose base
            is part of the hash.
        revision: Revision of the repository.

    Returns:
        Hexadecimal digits: of the content of config, tokenizer, modules and weights of a folder;
        of the commit of a repository.

    Raises:
        FileNotFoundError: Neither a folder nor a repository that is there.
    """
    check_place(name_or_path, revision)
    digest = hashlib.blake2b(digest_size=16)
    folder = Path(name_or_path)
    if folder.is_dir():
        for path in _model_files(folder):
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
            _add_content(digest, path)
        base = folder / ADAPTER_CONFIG_NAME
        adapter = read_json_object(base) if base.is_file() else None
    else:
        found = [
            checkpoint_file(name_or_path, name, revision)
            for name in ("config.json", ADAPTER_CONFIG_NAME, "modules.json")
        ]
        commit = next((extract_commit_hash(str(path), None) for path in found if path), None)
        if commit is None:
            raise FileNotFoundError(f"{name_or_path} is no folder and no repository with a model")
        digest.update(commit.encode())
        adapter = read_json_object(found[1]) if found[1] else None
    if adapter is not None:
        base_name, base_revision = adapter.get("base_model_name_or_path"), adapter.get("revision")
        if not isinstance(base_name, str):
            raise InputError(
                f"{name_or_path} names no base model; write it as base_model_name_or_path in the "
                "adapter's adapter_config.json"
            )
        with reading(name_or_path, "Adapters stand on each other in a circle.", (RecursionError,)):
            digest.update(model_fingerprint(base_name, base_revision).encode())
    return digest.hexdigest()


def weights_fingerprint(name_or_path: str, revision: str | None = None) -> str | None:
    """A hash of a model's weights, whatever files they are spread over.

    Args:
        name_or_path: Folder or repository, whose weights are on this machine.
        revision: Revision of the repository.

    Returns:
        Hexadecimal digits: of the names and bytes of all tensors in safetensors, or of the files
        of other formats. None where no weights are found.
    """
    files = weight_files(name_or_path, revision)
    if not files:
        return None
    digest = hashlib.blake2b(digest_size=16)
    if files[0].suffix == ".safetensors":
        with reading_model(name_or_path):
            _add_tensors(digest, files)
    else:
        for path in files:
            _add_content(digest, path)
    return digest.hexdigest()


def _model_files(folder: Path) -> list[Path]:
    """Those of a folder and of the folders of its modules, but not of checkpoints of a training."""
    # A folder that holds a run of its own is no module of the model.
    inner = [p for p in folder.iterdir() if p.is_dir() and not (p / RUN_NAME).exists()]
    folders = [folder, *(path for path in inner if not path.name.startswith(("checkpoint-", ".")))]
    files = [path for place in folders for path in place.iterdir()]
    return sorted(
        path
        for path in files
        if path.is_file() and path.suffix in _KINDS and not _NOTES.fullmatch(path.name)
    )


def _add_content(digest: Any, path: Path) -> None:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)


def _add_tensors(digest: Any, files: list[Path]) -> None:
    """Adds the tensors by their names, so that it does not matter which file holds which."""
    with ExitStack() as stack:
        owners: dict[str, Any] = {}
        for path in files:
            tensors = stack.enter_context(safe_open(path, framework="pt"))
            owners |= dict.fromkeys(tensors.keys(), tensors)
        for name in sorted(owners):
            tensor = owners[name].get_tensor(name).contiguous()
            digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
            digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
