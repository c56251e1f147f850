"""Checkpoints of an embedding: tensors and the place in the schedule, in one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from twhin_hf.errors import WRONG_CONTENT, InputError, reading
from twhin_hf.files import new_file

FILE_NAME = "embedding_checkpoint.safetensors"
_KEY = "twhin_hf"


def save_checkpoint(
    path: Path, tensors: dict[str, Tensor], position: tuple[int, int], identity: dict[str, Any]
) -> None:
    """Writes a checkpoint, whole or not at all.

    Args:
        path: Of the file; an older one is replaced.
        tensors: What to keep, by name.
        position: The epoch under way and its next round.
        identity: Graph and options, which must be the same on resuming.
    """
    header = json.dumps({"position": position, "identity": identity})
    with new_file(path) as partial:
        save_file({name: t.cpu() for name, t in tensors.items()}, partial, metadata={_KEY: header})


def load_checkpoint(
    path: Path, tensors: dict[str, Tensor], identity: dict[str, Any]
) -> tuple[int, int]:
    """Fills the tensors in place.

    Returns:
        The epoch to go on with and its next round.

    Raises:
        InputError: The file is damaged, or of another graph or other options.
    """
    remedy = f"Delete it, or run without resume: {path}"
    # torch raises RuntimeError for tensors of another shape.
    errors = (*WRONG_CONTENT, SafetensorError, RuntimeError)
    with reading("The checkpoint is damaged and", remedy, errors), safe_open(path, "pt") as file:
        header = json.loads(file.metadata()[_KEY])
        known, (epoch, number) = header["identity"], map(int, header["position"])
        if different := [name for name in identity if known.get(name) != identity[name]]:
            raise InputError(
                "The checkpoint is of another graph or other options ("
                + "; ".join(f"{n}: {known.get(n)}, now {identity[n]}" for n in different)
                + f"). {remedy}"
            )
        for name, tensor in tensors.items():
            tensor.copy_(file.get_tensor(name))
    return epoch, number
