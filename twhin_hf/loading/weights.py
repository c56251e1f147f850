"""Other people's weights: the files, and an error of ours where they hold more than tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.utils import (
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
)
from transformers.utils.hub import cached_files

from twhin_hf.errors import InputError
from twhin_hf.files import read_json_object
from twhin_hf.modeling.sentence_transformer_settings import checkpoint_file
from twhin_hf.modeling.weight_files import UnsafeWeightsError, tensors_alone

_WEIGHT_FILES = (
    SAFE_WEIGHTS_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
)
"""Where transformers looks for weights, first to last."""


@contextmanager
def safe_weights(name: object) -> Iterator[None]:
    """Refuses in our words what torch refuses to open: files that hold more than tensors.

    Args:
        name: Of the file, folder or repository that is read inside, for the message.

    Raises:
        InputError: It is a pickle that holds objects, or is damaged.
    """
    try:
        with tensors_alone(name):
            yield
    except UnsafeWeightsError as error:
        raise InputError(str(error), faq="pickles") from None


def weight_files(
    name_or_path: str, revision: str | None = None, name: str | None = None
) -> list[Path]:
    """The files of a model's weights; those of a repository are fetched. Empty where none is there.

    Args:
        name_or_path: Folder or repository.
        revision: Revision of the repository.
        name: Of the file or the index; by default the first that transformers looks for.

    Raises:
        FileNotFoundError: One that an index names is not there.
        InputError: An index is none, or names a file of another folder.
    """
    names = _WEIGHT_FILES if name is None else (name,)
    paths = (checkpoint_file(name_or_path, one, revision) for one in names)
    first = next((path for path in paths if path is not None), None)
    if first is None or first.suffix != ".json":
        return [first] if first else []
    if not Path(name_or_path).is_dir():
        cached_files(name_or_path, _indexed_names(first), revision=revision or "main")
    return indexed_files(first)


def indexed_files(index: Path) -> list[Path]:
    """The files of weights that an index names.

    Raises:
        FileNotFoundError: One is not there.
        InputError: It is no index, or names a file of another folder.
    """
    names = _indexed_names(index)
    for name in names:
        if not (index.parent / name).is_file():
            raise FileNotFoundError(f"{index} names {name}, which is not there")
    return [index.parent / name for name in names]


def _indexed_names(index: Path) -> list[str]:
    """The names of these files, whether they are there or not.

    Raises:
        InputError: It is no index, or names a file of another folder.
    """
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(
            f"{index} has no weight_map, which says where each weight is; fetch it again"
        )
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name:
            raise InputError(f"{index} names {name!r}; needed is a file of the same folder")
    return names
