"""What was made of data that has changed since: models, networks, pairs, vectors.

A run notes the fingerprints of its data in its folder (`run.json`), in the Parquet file that it
writes, or beside it (`pairs.json`). Beside data from which something was taken, `.forgotten.json`
keeps the fingerprints that they had before, so that every later look finds what was made of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from twhin_hf.data_fingerprint import (
    RUN_NAME,
    data_fingerprint,
    file_fingerprint,
    folder_fingerprint,
)
from twhin_hf.errors import InputError, reading
from twhin_hf.files import list_files, read_json, write_json
from twhin_hf.forgetting.places import EARLIER_NAME, is_hidden
from twhin_hf.forgetting.tables import is_record
from twhin_hf.loading.fingerprint import model_fingerprint
from twhin_hf.run_file import RUN_KEY
from twhin_hf.run_folder import read_run
from twhin_hf.tables import read_errors

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


class Records(NamedTuple):
    """What runs say of the data that they read.

    Args:
        folders: That may say what their files were before something was taken out of them.
        data: Options and fingerprints by folder and file that a run made.
        unread: Hidden records that are damaged, or another program's.
    """

    folders: list[Path]
    data: dict[Path, list[tuple[str, str]]]
    unread: list[Path]


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model, an adapter, a tokenizer or a checkpoint of a training."""
    return any((folder / name).is_file() for name in _MODEL_FILES)


def note_earlier(paths: Iterable[Path], roots: Iterable[Path]) -> None:
    """Notes the fingerprints of data that are about to change, and of the folders they lie in.

    Args:
        paths: Files and folders that change.
        roots: Folders above which nothing is looked at.

    Raises:
        InputError: A note of earlier ones is damaged, hidden or not; nothing was written.
    """
    earlier: dict[Path, dict[str, str]] = {}
    above = {folder for path in paths for root in roots for folder in _between(path, root)}
    for path in {*paths, *above}:
        if path.is_dir():
            # What may not be read as a whole was not read so by a run either.
            with suppress(PermissionError):
                if not any(map(is_model, (path, *_folders(path)))):  # such a folder is no data
                    earlier.setdefault(path, {})["."] = data_fingerprint(path)
        else:
            earlier.setdefault(path.parent, {})[path.name] = file_fingerprint(path)
    notes = {folder: _earlier_in(folder) for folder in earlier}
    for folder, known in notes.items():
        for name, digits in earlier[folder].items():
            known[name] = list(dict.fromkeys([*known.get(name, []), digits]))
        write_json(folder / EARLIER_NAME, known)


def read_records(folders: Sequence[Path], files: Sequence[Path], roots: Sequence[Path]) -> Records:
    """Reads what runs say of their data; before anything changes, as a record may be damaged.

    Args:
        folders: Where runs are looked for.
        files: What runs may have written, or what they may have read.
        roots: The paths that these lie under, by which a name is hidden or not.

    Raises:
        InputError: A record that is not hidden is damaged.
    """
    found = Records([*dict.fromkeys([*folders, *(file.parent for file in files)])], {}, [])
    notes = ((folder, folder / EARLIER_NAME) for folder in found.folders)
    records = ((place, path) for place in [*folders, *files] for path in _records_of(place))
    for place, path in (*notes, *records):
        data = _data_in(path, is_left_out=is_hidden(place, roots))
        if data is None:
            found.unread.append(path)
        elif data:
            found.data.setdefault(place, []).extend(data)
    return found


def find_trained(records: Records) -> list[Trained]:
    """What runs made of data as they were before something was taken out of them, in any step."""
    prints = {
        digits
        for folder in records.folders
        for known in _readable_earlier_in(folder).values()
        for digits in known
    }
    waiting = dict(records.data)
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
                with suppress(PermissionError):  # of a folder inside, which is named as unread
                    prints.update(_results_of(place))


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
    known = read_json(path) if path.is_file() else {}
    if not isinstance(known, dict) or not all(
        isinstance(prints, list) and all(isinstance(one, str) for one in prints)
        for prints in known.values()
    ):
        raise InputError(
            f"{path} is no note of what data were before somebody was forgotten; remove it, or put "
            "an earlier copy in its place"
        )
    return known


def _readable_earlier_in(folder: Path) -> dict[str, list[str]]:
    """The same, and nothing of a damaged one, which `read_records` has told."""
    with suppress(InputError):
        return _earlier_in(folder)
    return {}


def _data_in(path: Path, *, is_left_out: bool) -> list[tuple[str, str]] | None:
    """Options and fingerprints that a file tells; None where one that is left out is damaged."""
    try:
        if path.name == EARLIER_NAME:
            _earlier_in(path.parent)  # it is read once more when it is whole
            return []
        return _in_record(_read_record(path))
    except InputError:
        if is_left_out:
            return None
        raise


def _records_of(place: Path) -> list[Path]:
    """The files that may say of which run a folder or file is."""
    if place.is_dir():
        return [place / RUN_NAME]
    return [place, place.with_suffix(".json")] if place.suffix == ".parquet" else []


def _read_record(path: Path) -> Any:
    """What a file says of its run; None where it says nothing, or is not there."""
    if path.name == RUN_NAME:
        return read_run(path)
    if not path.is_file() or not path.stat().st_size:
        return None
    if path.suffix == ".parquet":
        with read_errors(path, has_memory_limit=False):
            metadata = pq.read_schema(path).metadata or {}
        with reading(path, "What it says of its run is no JSON. Get the file again."):
            return json.loads(metadata.get(RUN_KEY.encode(), b"null"))
    try:
        return read_json(path)
    except InputError:
        if is_record(path):
            raise
        return None  # rows, which are looked through as such


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
        yield from _readable_earlier_in(folder.parent).get(folder.name, [])
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
        for known in _readable_earlier_in(place).values():
            yield from known
