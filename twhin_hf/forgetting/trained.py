"""What was made of data that has changed since: models, networks, pairs, vectors.

A run notes the fingerprints of its data in its folder (`run.json`), in the Parquet file that it
writes, or beside it (`pairs.json`). Beside data from which something was taken, `.forgotten.json`
keeps the fingerprints that they had before, so that every later look finds what was made of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from twhin_hf.data_fingerprint import data_fingerprint, file_fingerprint, folder_fingerprint
from twhin_hf.files import list_files, read_json, write_json
from twhin_hf.loading.fingerprint import model_fingerprint
from twhin_hf.run_file import RUN_KEY
from twhin_hf.run_folder import read_run
from twhin_hf.tables import read_errors

EARLIER_NAME = ".forgotten.json"
"""In a folder: the earlier fingerprints of its files by their names, and its own under `.`."""

_MODEL_FILES = (
    "config.json",
    "adapter_config.json",
    "modules.json",
    "tokenizer_config.json",
    "training_record.json",
    "trainer_state.json",
)


class Trained(NamedTuple):
    """What was made of data that have changed since.

    Args:
        place: Folder of the run, or the file that it wrote.
        options: That named the data.
    """

    place: Path
    options: list[str]


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model, an adapter, a tokenizer or a checkpoint of a training."""
    return any((folder / name).is_file() for name in _MODEL_FILES)


def note_earlier(paths: Iterable[Path], roots: Iterable[Path]) -> None:
    """Notes the fingerprints of data that are about to change, and of the folders they lie in.

    Args:
        paths: Files and folders that change.
        roots: Folders above which nothing is looked at.
    """
    earlier: dict[Path, dict[str, str]] = {}
    above = {folder for path in paths for root in roots for folder in _between(path, root)}
    for path in {*paths, *above}:
        if path.is_dir():
            if not any(map(is_model, (path, *_folders(path)))):  # such a folder is no data
                earlier.setdefault(path, {})["."] = data_fingerprint(path)
        else:
            earlier.setdefault(path.parent, {})[path.name] = file_fingerprint(path)
    for folder, prints in earlier.items():
        known = _earlier_in(folder)
        for name, digits in prints.items():
            known[name] = list(dict.fromkeys([*known.get(name, []), digits]))
        write_json(folder / EARLIER_NAME, known)


def find_trained(folders: Sequence[Path], files: Sequence[Path]) -> list[Trained]:
    """What runs made of data as they were before something was taken out of them, in any step.

    Args:
        folders: Where runs are looked for.
        files: What runs may have written, or what they may have read.

    Raises:
        InputError: The record of a run is damaged.
    """
    places = dict.fromkeys([*folders, *(file.parent for file in files)])
    prints = {
        digits for folder in places for known in _earlier_in(folder).values() for digits in known
    }
    waiting = {place: data for place in [*folders, *files] if (data := _data_of(place))}
    found: list[Trained] = []
    while True:
        hits = {
            place: sorted({option for option, digits in data if digits in prints})
            for place, data in waiting.items()
        }
        hits = {place: options for place, options in hits.items() if options}
        if not hits:
            return sorted(found)
        for place, options in hits.items():
            found.append(Trained(place, options))
            del waiting[place]
            if waiting:
                prints |= set(_results_of(place))


def _between(path: Path, root: Path) -> Iterator[Path]:
    """The folders that hold a path, up to a root."""
    for folder in path.parents:
        if folder == root or root in folder.parents:
            yield folder


def _folders(folder: Path) -> list[Path]:
    """Folders below one that are not hidden."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_dir()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _earlier_in(folder: Path) -> dict[str, list[str]]:
    path = folder / EARLIER_NAME
    return read_json(path) if path.is_file() else {}


def _data_of(place: Path) -> list[tuple[str, str]]:
    """Options and fingerprints of the run that a folder or file is of; none where nothing says."""
    if place.is_dir():
        return _in_record(read_run(place))
    found = []
    if place.suffix == ".parquet":
        with read_errors(place, has_memory_limit=False):
            metadata = pq.read_schema(place).metadata or {}
        found += _in_record(json.loads(metadata.get(RUN_KEY.encode(), b"null")))
        beside = place.with_suffix(".json")
        if beside.is_file() and beside.stat().st_size:
            found += _in_record(read_json(beside))
    return found


def _in_record(run: Any) -> list[tuple[str, str]]:
    data = run.get("data") if isinstance(run, dict) else None
    if not isinstance(data, dict):
        return []
    return [(option, digits) for option, value in data.items() for digits in _strings(value)]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _results_of(folder: Path) -> Iterator[str]:
    """What later runs may have read of one: its files, the folders in it, itself and its models."""
    if folder.is_file():
        yield file_fingerprint(folder)
        yield from _earlier_in(folder.parent).get(folder.name, [])
        return
    places = [folder, *_folders(folder)]
    for place in filter(is_model, places):
        if not (place / "adapter_config.json").is_file():  # its base may not be here
            yield model_fingerprint(str(place))
    models = {place for place in places if is_model(place)}
    data = [file for file in list_files(folder) if not models & {*file.parents}]
    prints = {file: file_fingerprint(file) for file in data}
    yield from prints.values()
    for place in places:
        below = {file: digits for file, digits in prints.items() if place in file.parents}
        if below:
            names = {file.relative_to(place).as_posix(): d for file, d in below.items()}
            yield folder_fingerprint(names)
        for known in _earlier_in(place).values():
            yield from known
