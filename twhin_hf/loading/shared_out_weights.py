"""Checkpoints that several processes wrote their shares of: tensors alone, like other weights.

torch opens their table of contents, and what is no tensor, as pickles that may run code
(`torch.distributed.checkpoint`), and so does DeepSpeed with all of its files. They are looked at
here before that.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from twhin_hf.path_names import relative_path

TABLE_NAME = ".metadata"
_TABLE_CLASSES = {
    "torch.distributed.checkpoint.metadata": (
        *("Metadata", "MetadataIndex", "StorageMeta", "ChunkStorageMetadata"),
        *("TensorStorageMetadata", "TensorProperties", "BytesStorageMetadata"),
        "_MEM_FORMAT_ENCODING",
    ),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.serialization": ("_get_layout",),
    "torch": ("Size",),
    "pathlib": ("PosixPath", "WindowsPath"),
    "pathlib._local": ("PosixPath", "WindowsPath"),
}
_DEEPSPEED_CLASSES = {
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.utils.tensor_fragment.fragment_address",
}


def check_shares(folder: Path) -> None:
    """Checks that the shares in a folder, and in those below it, hold tensors and plain values.

    Args:
        folder: A checkpoint; one without shares is as it should be.

    Raises:
        pickle.UnpicklingError: They hold more, or are damaged.
        InputError: A table of contents that names a file outside of its folder.
    """
    for path in sorted(folder.rglob(TABLE_NAME)):
        with path.open("rb") as file:
            table: Any = _TableReader(file).load()
        kinds = getattr(table, "state_dict_metadata", None)
        places = getattr(table, "storage_data", None)
        if not isinstance(kinds, dict) or not isinstance(places, dict):
            raise pickle.UnpicklingError(f"{path} is no table of contents of shares")
        for index, place in places.items():
            name = relative_path(place.relative_path, "file of a checkpoint")
            if type(kinds.get(index.fqn)).__name__ != "BytesStorageMetadata":
                continue
            with (path.parent / name).open("rb") as file:
                file.seek(place.offset)
                content = io.BytesIO(file.read(place.length))
            torch.load(content, map_location="cpu", weights_only=True)
    for states in sorted(folder.glob("global_step*/*.pt")):
        try:
            found = set(torch.serialization.get_unsafe_globals_in_checkpoint(states))
        except (ValueError, RuntimeError) as error:
            raise pickle.UnpicklingError(f"{states}: {error}") from None
        for global_name in sorted(found - _DEEPSPEED_CLASSES):
            raise pickle.UnpicklingError(f"GLOBAL {global_name}")


class _TableReader(pickle.Unpickler):
    """Makes what a table of contents is made of, and refuses all else."""

    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or name in _TABLE_CLASSES.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
