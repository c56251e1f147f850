"""Vectors in Parquet: a file of `twhin-hf embed`, or a folder of such files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.errors import InputError, reading
from twhin_hf.files import list_files
from twhin_hf.loading.fingerprint import model_fingerprint
from twhin_hf.run_file import RUN_KEY
from twhin_hf.run_folder import option_changes
from twhin_hf.serving.exported import source_fingerprint
from twhin_hf.tables import read_errors

_VECTORS_PER_BLOCK = 16_384

_NAMES = ("model", "revision", "fingerprints")
"""What is told of the model; it is the same where a fingerprint is, whatever its folder's name."""
_OPTIONS = ("pooling", "max_length", "normalize", "float16")


class Block(NamedTuple):
    """Some vectors.

    Args:
        ids: Strings `[rows]`.
        vectors: float32 `[rows, dimension]`.
        others: The other columns of the rows.
    """

    ids: pa.Array
    vectors: np.ndarray
    others: pa.RecordBatch


def vector_files(path: str | Path) -> list[Path]:
    """The file itself, or the Parquet files of a folder.

    Raises:
        FileNotFoundError: There is none.
    """
    path = Path(path)
    files = [path] if path.is_file() else []
    if path.is_dir():
        files = [file for file in list_files(path) if file.suffix == ".parquet"]
    if not files:
        raise FileNotFoundError(f"There is no {path} of vectors; `twhin-hf embed` makes it.")
    return files


def open_vectors(path: str | Path) -> pq.ParquetFile:
    """Opens one file, whose columns are looked at.

    Raises:
        FileNotFoundError: The file is missing.
        InputError: A file of other columns.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no {path}; `twhin-hf embed` makes it.")
    with read_errors(path):
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        kinds = {field.name: field.type for field in schema}
    embedding = kinds.get("embedding", pa.null())
    is_vector = pa.types.is_fixed_size_list(embedding) and pa.types.is_floating(
        embedding.value_type
    )
    if kinds.get("post_id") not in (pa.string(), pa.large_string()) or not is_vector:
        file.close()
        raise InputError(
            f"{path} has the columns {', '.join(f'{n} ({t})' for n, t in kinds.items())}; "
            "needed are post_id and embedding, strings and lists of numbers of a fixed size, as "
            "`twhin-hf embed` writes."
        )
    return file


def vector_shape(path: str | Path) -> tuple[int, int]:
    """Number of vectors, and their dimension.

    Raises:
        FileNotFoundError: The file is missing.
        InputError: Files of other columns, or of several dimensions.
    """
    count, dimension = 0, None
    for name in vector_files(path):
        with open_vectors(name) as file:
            own = file.schema_arrow.field("embedding").type.list_size
            count += file.metadata.num_rows
        if dimension not in (None, own):
            raise InputError(
                f"{path} holds vectors of {dimension} and of {own} dimensions ({name.name}): keep "
                "those of different models in folders of their own."
            )
        dimension = own
    return count, dimension or 0


def vector_blocks(path: str | Path, rows: int | None = None) -> Iterator[Block]:
    """All vectors, a block at a time.

    Args:
        path: File or folder.
        rows: Of a block, at most.

    Raises:
        FileNotFoundError: The file is missing.
        InputError: A damaged file or one of other columns, or a post without an id or a vector.
    """
    for name in vector_files(path):
        with open_vectors(name) as file, read_errors(name):
            for batch in file.iter_batches(rows or _VECTORS_PER_BLOCK):
                others = batch.drop_columns(["post_id", "embedding"])
                yield Block(_ids(batch, name), _matrix(batch, name), others)


def vector_ids(path: str | Path) -> Iterator[pa.Array]:
    """The ids alone, of the blocks of `vector_blocks`."""
    for name in vector_files(path):
        with open_vectors(name) as file, read_errors(name):
            for batch in file.iter_batches(_VECTORS_PER_BLOCK, columns=["post_id"]):
                yield _ids(batch, name)


def vectors_made_with(path: str | Path) -> dict[str, Any]:
    """How vectors were made: `model`, `fingerprints`, `pooling`, …; empty where nothing tells it.

    Args:
        path: File of vectors, or a folder of them.

    Raises:
        FileNotFoundError: The file is missing.
        InputError: A file of other columns, or a folder of vectors that were made differently.
    """
    found: dict[str, Any] = {}
    for number, name in enumerate(vector_files(path)):
        with open_vectors(name) as file:
            metadata = file.schema_arrow.metadata or {}
        with reading(name, "Embed the posts again (`twhin-hf embed`)."):
            told = dict(json.loads(metadata.get(RUN_KEY.encode(), b"{}")))
        if number:
            check_same_vectors(path, found, name, told)
        found = found or told
    return found


def describe_vectors(model: str, revision: str | None, options: Mapping[str, Any]) -> dict:
    """What `vectors_made_with` is to tell of vectors: options, and the model's fingerprints.

    Args:
        model: Folder or repository.
        revision: Revision of the repository.
        options: Of the vectors, by name; the model's among them.

    Returns:
        With `fingerprints`: the model's, and that of the model of which it is an export.
    """
    source = source_fingerprint(model)
    own = model_fingerprint(model, revision)
    return {**options, "fingerprints": [own, *([source] if source else [])]}


def only_vectors(told: Mapping[str, Any]) -> dict[str, Any]:
    """Of what a file tells, what its vectors depend on."""
    return {name: told[name] for name in (*_NAMES, *_OPTIONS) if name in told}


def check_same_model(
    place: object, made_with: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """Refuses a model whose vectors cannot be compared with those of a place.

    An export and its model may be. Where nothing tells what made the vectors, anything may be.

    Args:
        place: What holds them, for the message.
        made_with: As `vectors_made_with` gives it.
        wanted: As `describe_vectors` gives it.

    Raises:
        InputError: They were made with another; both are named.
    """
    known = made_with.get("fingerprints")
    if known and not set(known) & set(wanted["fingerprints"]):
        raise InputError(
            f"The vectors of {place} were made with {_model(made_with)}, and the model given is "
            f"{_model(wanted)}: those of different models cannot be compared. Give that model, or "
            "embed the posts with this one.",
            faq="vectors-of-another-model",
        )


def check_same_vectors(
    place: object, made_with: Mapping[str, Any], other: object, wanted: Mapping[str, Any]
) -> None:
    """Refuses to put vectors together that were made in different ways.

    Args:
        place: What holds the first, for the message.
        made_with: How they were made, as `vectors_made_with` gives it.
        other: What the others are of, for the message.
        wanted: How they were made.

    Raises:
        InputError: Models or options differ; what differs is named.
    """
    if bool(made_with.get("fingerprints")) != bool(wanted.get("fingerprints")):
        silent = other if made_with.get("fingerprints") else place
        raise InputError(
            f"{silent} does not tell which model made its vectors, so that {place} and {other} "
            "cannot be put together. Embed its posts again (`twhin-hf embed`)."
        )
    changes = option_changes(*({n: told.get(n) for n in _OPTIONS} for told in (made_with, wanted)))
    said = list(changes.values())
    if (made_with.get("fingerprints") or [])[:1] != (wanted.get("fingerprints") or [])[:1]:
        said.insert(0, f"the model was {_model(made_with)} and is {_model(wanted)}")
    if said:
        raise InputError(
            f"{place} and {other} hold vectors made differently: {'; '.join(said)}. Give the same "
            "options, or another output.",
            faq="vectors-of-another-model",
        )


def _model(told: Mapping[str, Any]) -> str:
    """A model as messages name it."""
    revision = f" in revision {told['revision']}" if told.get("revision") else ""
    return f"{told.get('model')}{revision} ({told['fingerprints'][0][:12]})"


def _ids(batch: pa.RecordBatch, path: Path) -> pa.Array:
    if batch["post_id"].null_count:
        raise InputError(f"{path} holds vectors without a post_id. Embed the posts again.")
    return batch["post_id"].cast(pa.string())


def _matrix(batch: pa.RecordBatch, path: Path) -> np.ndarray:
    column = batch["embedding"]
    if column.null_count:
        raise InputError(f"{path} holds posts without a vector. Embed the posts again.")
    values = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(batch), column.type.list_size).astype(np.float32, copy=False)
