"""Checkpoints of an embedding: tensors and how far it is, in one safetensors file."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from twhin_hf.errors import WRONG_CONTENT, InputError
from twhin_hf.files import new_file

logger = logging.getLogger(__name__)

_KEY = "twhin_hf"
_CHECKSUM = "checksum"
# torch raises RuntimeError for tensors of another shape.
_UNREADABLE: tuple[type[Exception], ...] = (*WRONG_CONTENT, SafetensorError, RuntimeError)


class Position(NamedTuple):
    """How far an embedding is.

    Args:
        epoch: The epoch under way; their number where training has ended.
        step: Its next step.
        losses: Of the steps of this epoch, or of the last one, that were measured.
    """

    epoch: int
    step: int
    losses: list[float]


def save_checkpoint(
    path: Path, tensors: dict[str, Tensor], position: Position, identity: dict[str, Any]
) -> None:
    """Writes a checkpoint, whole or not at all.

    Args:
        path: Of the file; an older one is replaced.
        tensors: What to keep, by name.
        position: How far the embedding is.
        identity: Graph and options, which must be the same on resuming.
    """
    header = json.dumps({"position": position, "identity": identity})
    kept = {name: tensor.cpu() for name, tensor in tensors.items()}
    metadata = {_KEY: header, _CHECKSUM: _checksum(header, kept.items())}
    with new_file(path) as partial:
        save_file(kept, partial, metadata=metadata)


def load_checkpoint(
    path: Path, tensors: dict[str, Tensor], identity: dict[str, Any]
) -> Position | None:
    """Fills the tensors in place.

    Returns:
        Where to go on; None where the file is damaged, which is told, and the tensors are as they
        were.

    Raises:
        InputError: The checkpoint is of another graph or other options.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            header = json.loads(metadata[_KEY])
            # The format does not notice a byte that has changed. One tensor at a time is in memory.
            found = _checksum(metadata[_KEY], ((name, file.get_tensor(name)) for name in tensors))
            if found != metadata[_CHECKSUM]:
                raise ValueError("its bytes have changed")
            known = header["identity"]
            if not (different := [name for name in identity if known.get(name) != identity[name]]):
                for name, tensor in tensors.items():
                    tensor.copy_(file.get_tensor(name))
    except _UNREADABLE as error:
        logger.warning("The checkpoint %s is damaged (%s): training begins anew", path, error)
        return None
    if different:
        raise InputError(
            "The checkpoint is of another graph or other options ("
            + "; ".join(f"{n}: {known.get(n)}, now {identity[n]}" for n in different)
            + f"). Delete it, or give another output: {path}"
        )
    return Position(*header["position"])


def _checksum(header: str, tensors: Iterable[tuple[str, Tensor]]) -> str:
    """A hash of the header and all numbers."""
    digest = hashlib.blake2b(header.encode(), digest_size=16)
    for name, tensor in tensors:
        digest.update(f"\0{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        numbers: Any = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(numbers)
    return digest.hexdigest()
