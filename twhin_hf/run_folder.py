"""Output folders: one run each, which goes on where it stopped and is not written over.

`run.json` in the folder says what a run is: its command, options, seed, versions, and fingerprints
of its data. It is written before any work, and says `finished` once all of the result is there. So
the same command again goes on with what was broken off, has nothing to do where all is done, and a
command of other options is told what differs.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from twhin_hf.credentials import words_without_secrets
from twhin_hf.data_fingerprint import RUN_NAME, data_fingerprint
from twhin_hf.errors import InputError
from twhin_hf.files import read_json, write_json
from twhin_hf.results import library_versions
from twhin_hf.scratch import remove_abandoned

logger = logging.getLogger(__name__)

LOCK_NAME = ".lock"


@dataclass(frozen=True)
class Run:
    """How far a run was brought before.

    Args:
        is_finished: All of it was done, with the same options: nothing is left to do.
        is_resumed: A run of the same options was broken off, or goes on with others that are free.
    """

    is_finished: bool = False
    is_resumed: bool = False


@contextmanager
def run_folder(
    path: str | os.PathLike[str],
    command: str,
    options: Mapping[str, Any],
    *,
    free: Iterable[str] = (),
    data: Mapping[str, str | os.PathLike[str] | None] | None = None,
    fingerprints: Mapping[str, str] | None = None,
    seed: int | None = None,
    results: Iterable[str] = (),
    product: Iterable[str] = (),
    overwrite: bool = False,
    discard: Callable[[Path], None] | None = None,
) -> Iterator[Run]:
    """Makes an output folder this run's, and no other process's, for as long as the block lasts.

    Where the block ends without an error, the run is noted as finished.

    Args:
        path: The folder; it is made.
        command: What makes it, such as `pretrain`.
        options: What decides about the result, as JSON values; paths of data are better left out.
        free: Names of options that may change: what is there stays right, and the run goes on.
        data: Files and folders that it is made of, by the option that names each.
        fingerprints: Of what is no file, such as a model, by the option that names it.
        seed: Seed of the run.
        results: Patterns of the files that the command writes: where there are such files and no
            `run.json`, the folder is refused.
        product: Patterns of which a finished run has left files; where there are none, somebody
            has removed them, and it is not finished.
        overwrite: Begin anew where the folder holds a finished run or one of other options. One of
            the same options that was broken off goes on all the same.
        discard: Called before a run begins anew: removes what it must not go on with.

    Yields:
        Whether anything is to be done.

    Raises:
        InputError: The folder holds a run of other options, which are named, or files of no known
            run, or another process works in it.
        FileExistsError: A file has the folder's name.
        FileNotFoundError: Data that is not there.

    Example:
        >>> import tempfile
        >>> output = tempfile.mkdtemp()
        >>> with run_folder(output, "count", {"to": 3}) as run:
        ...     _ = (Path(output) / "numbers.txt").write_text("1 2 3")
        ...     run.is_finished
        False
        >>> with run_folder(output, "count", {"to": 3}) as run:
        ...     run.is_finished
        True
        >>> with run_folder(output, "count", {"to": 4}) as run:
        ...     pass
        Traceback (most recent call last):
        ...
        twhin_hf.errors.InputError: ... to was 3 and is 4. ...
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; give the name of a folder.")
    fingerprints = fingerprints_of(data, fingerprints)
    with lock_folder(folder):
        record = folder / RUN_NAME
        if not record.exists() and not overwrite:
            _check_unused(folder, results)
        with recorded_run(
            record,
            command,
            options,
            free=free,
            fingerprints=fingerprints,
            seed=seed,
            is_begun=lambda: any(
                not found.name.startswith(".") and found != record for found in folder.iterdir()
            ),
            is_whole=lambda: not product or any(any(folder.glob(name)) for name in product),
            overwrite=overwrite,
            discard=None if discard is None else partial(discard, folder),
        ) as run:
            if run.is_finished:
                tell_finished(folder)
            elif run.is_resumed:
                logger.info("Going on with the run in %s", folder)
            yield run


@contextmanager
def recorded_run(
    record: Path,
    command: str,
    options: Mapping[str, Any],
    *,
    is_begun: Callable[[], bool],
    is_whole: Callable[[], bool] = lambda: True,
    free: Iterable[str] = (),
    fingerprints: Mapping[str, str] | None = None,
    seed: int | None = None,
    overwrite: bool = False,
    discard: Callable[[], None] | None = None,
) -> Iterator[Run]:
    """As `run_folder`, of one stage among others in a folder that is locked already.

    Args:
        record: File of the run's record.
        command: As for `run_folder`, like the other arguments.
        options: What decides about the result.
        is_begun: Whether an unfinished run has left anything: one that has not, such as one that
            ended by a mistake in its options, may be followed by a run of any other.
        is_whole: Whether what a finished run has made is still there.
        free: Names of options that may change.
        fingerprints: Of what the result is made of, by the option that names it.
        seed: Seed of the run.
        overwrite: Begin anew.
        discard: Called before a run begins anew.

    Yields:
        Whether anything is to be done.

    Raises:
        InputError: The record is of a run of other options, or damaged.
    """
    wanted = describe_run(command, options, fingerprints or {}, seed)
    earlier = read_run(record)
    if earlier and earlier.get("finished") and not is_whole():
        earlier["finished"] = False
    if earlier and not earlier.get("finished") and not is_begun():
        earlier = None
    differ = {} if earlier is None else differences(earlier, wanted)
    changes = [text for name, text in differ.items() if name not in set(free)]
    if changes and not overwrite:
        raise other_options(record.parent, changes)
    was_finished = bool(earlier and earlier.get("finished"))
    if was_finished and not differ and not overwrite:
        yield Run(is_finished=True)
        return
    is_resumed = earlier is not None and not changes and not (was_finished and not differ)
    if not is_resumed and discard is not None:
        discard()
    write_json(record, wanted | {"finished": False})
    try:
        yield Run(is_resumed=is_resumed)
    except InputError:
        # A mistake that shows itself later has made nothing: the folder's run is what it was.
        if earlier is not None:
            write_json(record, earlier)
        raise
    write_json(record, wanted | {"finished": True})


def describe_run(
    command: str, options: Mapping[str, Any], fingerprints: Mapping[str, str], seed: int | None
) -> dict[str, Any]:
    """The record of a run that begins, as JSON values."""
    return {
        "command": command,
        "options": json.loads(json.dumps(dict(options), default=str)),
        "data": dict(fingerprints),
        "seed": seed,
        "command_line": _command_line(),
        "versions": library_versions(),
    }


def fingerprints_of(
    data: Mapping[str, str | os.PathLike[str] | None] | None,
    fingerprints: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Fingerprints of files and folders, where they are given, and those of what is no file."""
    own = {name: data_fingerprint(value) for name, value in (data or {}).items() if value}
    return dict(fingerprints or {}) | own


def tell_finished(path: Path) -> None:
    """Says that a run was made before."""
    logger.info("%s is finished: nothing to do (--overwrite makes it anew)", path)


def other_options(path: Path, changes: Iterable[str]) -> InputError:
    """That a place holds a run which differs in so many words."""
    return InputError(
        f"{path} holds a run of other options: {'; '.join(changes)}. Give those "
        "again, choose another output, or add --overwrite to begin anew",
        faq="outputs",
    )


@contextmanager
def lock_folder(
    folder: str | os.PathLike[str], output: str | os.PathLike[str] | None = None
) -> Iterator[None]:
    """Keeps other processes out of a folder, which is made; what killed ones have left goes.

    Args:
        folder: Holds the lock.
        output: What is made by it, as it is told; the folder itself by default.

    Raises:
        InputError: Another process works in it, which is named.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    holder = folder / f"{LOCK_NAME}.json"
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{_holder(holder)} works in {output or folder}. Wait until it has ended, or choose "
            "another output",
            faq="in-use",
        ) from None
    try:
        remove_abandoned(folder, ".*")
        process = {"pid": os.getpid(), "host": socket.gethostname(), "command": _command_line()}
        holder.write_text(json.dumps(process), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()  # the file stays: to remove it would let two in


def read_run(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What the record of a run says; None where there is none.

    Args:
        path: The record, or the folder that holds it as `run.json`.

    Raises:
        InputError: It is damaged.
    """
    path = Path(path)
    path = path / RUN_NAME if path.is_dir() else path
    if not path.is_file():
        return None
    run = read_json(path)
    kinds = {"command": str, "options": dict, "data": dict}
    if not isinstance(run, dict) or any(
        not isinstance(run.get(name), kind) for name, kind in kinds.items()
    ):
        raise InputError(f"{path} is no record of a run; remove it, or choose another output")
    return run


def differences(earlier: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, str]:
    """What differs between two runs: the names of options and data, each with a sentence.

    Example:
        >>> one = {"command": "embed", "options": {"seed": 0}, "data": {"posts": "a"}}
        >>> differences(one, one | {"options": {"seed": 1}, "data": {"posts": "b"}})
        {'seed': 'seed was 0 and is 1', 'posts': 'the content of posts has changed'}
    """
    if earlier["command"] != wanted["command"]:
        said = f"the command was {earlier['command']} and is {wanted['command']}"
        return {"command": said}
    found = option_changes(earlier["options"], wanted["options"])
    old, new = earlier["data"], wanted["data"]
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            found[name] = f"{name} was {'not ' if name not in old else ''}given"
        elif old[name] != new[name]:
            found[name] = f"the content of {name} has changed"
    return found


def option_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """The names of options that differ, each with a sentence."""
    return {
        name: f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    }


def _check_unused(folder: Path, results: Iterable[str]) -> None:
    found = sorted(path.name for pattern in results for path in folder.glob(pattern))
    if found:
        raise InputError(
            f"{folder} holds {', '.join(found[:3])}{' …' if len(found) > 3 else ''}, of a run that "
            f"left no {RUN_NAME}. Choose another output, or add --overwrite to write over it",
            faq="outputs",
        )


def _holder(path: Path) -> str:
    try:
        process = json.loads(path.read_text(encoding="utf-8"))
        return f"Process {process['pid']} of {process['host']} ({process['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "Another process"


def _command_line() -> str:
    return shlex.join([Path(sys.argv[0]).name, *words_without_secrets(sys.argv[1:])])
