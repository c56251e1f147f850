"""Posts taken out of an index: their vectors and ids."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.errors import reading
from twhin_hf.files import read_json_object
from twhin_hf.forgetting.forgotten import Forgotten
from twhin_hf.forgetting.places import real_path
from twhin_hf.serving.index.index import load_index
from twhin_hf.serving.index.shards import ADVICE
from twhin_hf.serving.index.state import INDEX_NAME


def ids_in(folder: Path, forgotten: Forgotten) -> pa.Array:
    """The ids that go from an index, those that were deleted before among them."""
    ids = pc.unique(load_index(folder).all_ids)
    return ids.filter(pa.array(forgotten.is_post(ids)))


def erase_ids(folder: Path, ids: pa.Array) -> None:
    """Leaves nothing of some ids in an index, which this process holds."""
    load_index(real_path(folder)).delete(ids, erase=True, is_held=True)


def own_files(folder: Path) -> frozenset[str]:
    """Names of the files that an index is of; what else lies in its folder is none of it.

    Raises:
        InputError: The index is damaged.
    """
    path = folder / INDEX_NAME
    told = read_json_object(path)
    with reading(path, ADVICE):
        parts = [*told["shards"], *([told["deleted"]] if told["deleted"] else [])]
        return frozenset(name for part in parts for name in part["files"])
