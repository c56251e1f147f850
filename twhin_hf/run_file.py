"""Outputs that appear whole, a file or a folder: each says what run it is of, and is kept.

What `run_folder` notes in `run.json` stands in the output itself: in the metadata of a Parquet
file, under `run` in a file of results, as `run.json` in a folder. So the same command again has
nothing to do, and one of other options is told what differs.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twhin_hf.data_fingerprint import RUN_NAME
from twhin_hf.errors import InputError
from twhin_hf.files import followed, new_folder, read_json, write_json
from twhin_hf.run_folder import (
    describe_run,
    differences,
    fingerprints_of,
    lock_folder,
    other_options,
    read_run,
    tell_finished,
)

RUN_KEY = "twhin_hf"
"""Key of a Parquet file's metadata, whose value is JSON."""


@dataclass(frozen=True)
class WholeRun:
    """A run whose output appears whole.

    Args:
        path: Where to write.
        is_finished: It was made before, by the same run: nothing is left to do.
        record: What the output is to say of itself.
    """

    path: Path
    is_finished: bool = False
    record: dict[str, Any] = field(default_factory=dict)


def run_file(
    path: str | os.PathLike[str],
    command: str,
    options: Mapping[str, Any],
    *,
    data: Mapping[str, str | os.PathLike[str] | None] | None = None,
    fingerprints: Mapping[str, str] | None = None,
    seed: int | None = None,
    overwrite: bool = False,
) -> WholeRun:
    """Looks whether a file is there already, before a run that is to write it.

    Args:
        path: The file: Parquet, or `results.json`.
        command: What makes it, such as `embed`.
        options: What decides about the result, as JSON values; paths of data are better left out.
        data: Files and folders that it is made of, by the option that names each.
        fingerprints: Of what is no file, such as a model, by the option that names it.
        seed: Seed of the run.
        overwrite: Make it anew, whatever is there.

    Raises:
        InputError: The file is of other options, which are named, or of no known run.
        FileExistsError: A folder has the file's name.
        FileNotFoundError: Data that is not there.
    """
    path = Path(path)
    if path.is_dir():
        raise FileExistsError(f"{path} is a folder; give the name of a file.")
    record = describe_run(command, options, fingerprints_of(data, fingerprints), seed)
    is_finished = path.exists() and not overwrite and _is_of(path, _record_of(path), record)
    return WholeRun(path, is_finished, record)


@contextmanager
def run_whole_folder(
    path: str | os.PathLike[str],
    command: str,
    options: Mapping[str, Any],
    *,
    data: Mapping[str, str | os.PathLike[str] | None] | None = None,
    fingerprints: Mapping[str, str] | None = None,
    seed: int | None = None,
    overwrite: bool = False,
) -> Iterator[WholeRun]:
    """A new folder to write in, which takes its place when the block ends without an error.

    Args:
        path: The folder; see `run_file` for the other arguments.
        command: What makes it.
        options: What decides about the result.
        data: Files and folders that it is made of.
        fingerprints: Of what is no file.
        seed: Seed of the run.
        overwrite: Make it anew where it is of the same command.

    Yields:
        Where to write, and whether anything is to be done.

    Raises:
        InputError: The folder is of other options, which are named, or holds files of no known run,
            or another process makes it at this moment.
        FileExistsError: A file has the folder's name.
        FileNotFoundError: Data that is not there.

    Example:
        >>> import tempfile
        >>> output = Path(tempfile.mkdtemp()) / "numbers"
        >>> with run_whole_folder(output, "count", {"to": 2}) as run:
        ...     _ = (run.path / "numbers.txt").write_text("1 2")
        >>> with run_whole_folder(output, "count", {"to": 2}) as run:
        ...     run.is_finished
        True
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} is a file; give the name of a folder.")
    record = describe_run(command, options, fingerprints_of(data, fingerprints), seed)

    def is_there() -> bool:
        if not path.is_dir() or all(file.name.startswith(".") for file in path.iterdir()):
            return False
        earlier = read_run(path)
        if earlier is None or earlier["command"] != command:
            # Nor with overwrite: all of the folder would go.
            found = f"a run of {earlier['command']}" if earlier else "files of no known run"
            raise InputError(f"{path} holds {found}; choose another output, or remove it")
        return not overwrite and _is_of(path, earlier, record)

    if is_there():
        yield WholeRun(path, is_finished=True)
        return
    with new_folder(path) as partial, _lock_beside(path):
        yield WholeRun(partial)
        write_json(partial / RUN_NAME, record | {"finished": True})
        if is_there():  # made meanwhile by another process: it is not written over
            raise InputError(f"{path} was made by another process meanwhile; this one's is dropped")


@contextmanager
def _lock_beside(path: Path) -> Iterator[None]:
    """Keeps other processes from making the same folder, in which no lock would outlast the new."""
    place = followed(path)
    beside = place.with_name(f".{place.name}.lock")
    with lock_folder(beside, path):
        try:
            yield
        finally:
            # Two that come by at this moment may both get in: the later one's result is dropped.
            shutil.rmtree(beside, ignore_errors=True)


def run_metadata(record: Mapping[str, Any]) -> dict[bytes, bytes]:
    """A record as a Parquet file's metadata."""
    return {RUN_KEY.encode(): json.dumps(record).encode()}


def with_earlier(told: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """A record that names the data of earlier runs too, of which the output is made as well.

    Example:
        >>> with_earlier({"data": {"input": "b"}}, {"command": "embed", "data": {"input": "a"}})
        {'command': 'embed', 'data': {'input': ['a', 'b']}}
    """
    before, now = earlier.get("data", {}), told.get("data", {})
    data = {name: _distinct([before.get(name), now.get(name)]) for name in {**before, **now}}
    return {**earlier, **told, **({"data": data} if data else {})}


def _is_of(path: Path, earlier: Mapping[str, Any] | None, record: Mapping[str, Any]) -> bool:
    """True where what is there is of the same run; refuses what is of another."""
    if earlier is None:
        raise InputError(
            f"{path} is there, of a run that left no record. Choose another output, or add "
            "--overwrite to write over it",
            faq="outputs",
        )
    if changes := differences(earlier, record):
        raise other_options(path, changes.values())
    tell_finished(path)
    return True


def _record_of(path: Path) -> dict[str, Any] | None:
    """What a file says of its run; None where it does not."""
    if path.suffix == ".json":
        content = read_json(path)
        found = content.get("run") if isinstance(content, dict) else None
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            metadata = pq.read_schema(path).metadata or {}
        except pa.ArrowInvalid:
            return None
        found = json.loads(metadata.get(RUN_KEY.encode(), b"null"))
    is_record = isinstance(found, dict) and {"command", "options", "data"} <= found.keys()
    return found if is_record else None


def _distinct(values: list[Any]) -> Any:
    """The strings in a list of strings and such lists, each once; one alone is no list."""
    flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
    found = list(dict.fromkeys(filter(None, flat)))
    return found[0] if len(found) == 1 else found
