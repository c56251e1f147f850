"""Which folders hold what was made of data that has changed since.

A run notes the fingerprints of its data (`run.json`). Beside data from which something was taken,
`.forgotten.json` keeps the fingerprints that they had before, so that every later look finds what
was made of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from twhin_hf.data_fingerprint import (
    RUN_RECORD,
    data_fingerprint,
    file_fingerprint,
    folder_fingerprint,
)
from twhin_hf.errors import InputError
from twhin_hf.files import list_files, read_json, write_json
from twhin_hf.loading.fingerprint import model_fingerprint

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
    """A folder that was made of data that have changed since.

    Args:
        folder: Of the run.
        options: That named the data.
    """

    folder: Path
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


def find_trained(roots: Iterable[Path]) -> list[Trained]:
    """Folders whose runs read what data were before something was taken out of them, in any step.

    Args:
        roots: Files and folders; runs are looked for in the folders and those below.

    Raises:
        InputError: The record of a run is damaged.
    """
    roots = list(roots)
    folders = [root for root in roots if root.is_dir()]
    folders = list(dict.fromkeys([*folders, *(f for root in folders for f in _folders(root))]))
    places = dict.fromkeys([*folders, *(root.parent for root in roots if root.is_file())])
    prints = {
        digits for folder in places for known in _earlier_in(folder).values() for digits in known
    }
    waiting = {
        folder: data for folder in folders for data in [_data_of(folder)] if data is not None
    }
    found: list[Trained] = []
    while True:
        hits = {
            folder: [option for option, digits in data if digits in prints]
            for folder, data in waiting.items()
        }
        hits = {folder: options for folder, options in hits.items() if options}
        if not hits:
            return sorted(found)
        for folder, options in hits.items():
            found.append(Trained(folder, sorted(set(options))))
            del waiting[folder]
            if waiting:
                prints |= set(_results_of(folder))


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


def _data_of(folder: Path) -> list[tuple[str, str]] | None:
    """Options and fingerprints of the runs whose records a folder holds; None where it has none."""
    records = sorted(path for path in folder.glob(f"*{RUN_RECORD}") if path.is_file())
    found: list[tuple[str, str]] = []
    for path in records:
        run = read_json(path)
        if not isinstance(run, dict) or not isinstance(run.get("data"), dict):
            raise InputError(f"{path} is no record of a run; remove it.")
        found += [
            (option, digits) for option, value in run["data"].items() for digits in _strings(value)
        ]
    return found if records else None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _results_of(folder: Path) -> Iterator[str]:
    """What later runs may have read of one: its files, the folders in it, itself and its models."""
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
