"""Checkpoints of a training that are whole, and known to be.

A checkpoint has a manifest, written last, of the size and hash of each of its files. Whatever a
killed process, a full disk or a bad copy has left is told from a whole one by it.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from twhin_hf.data_fingerprint import file_fingerprint
from twhin_hf.errors import InputError
from twhin_hf.files import flush, flush_folder, read_json, write_json
from twhin_hf.scratch import remove

logger = logging.getLogger(__name__)

MANIFEST_NAME = "manifest.json"
_NAME = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")


def write_manifest(checkpoint: Path) -> None:
    """Writes the manifest of a checkpoint whose files are all there, and waits for the disk."""
    files = _files(checkpoint)
    for path in files.values():
        flush(path)
    content = {
        name: {"bytes": path.stat().st_size, "blake2b": file_fingerprint(path)}
        for name, path in files.items()
    }
    write_json(checkpoint / MANIFEST_NAME, {"files": content})
    flush_folder(checkpoint)


def damage(checkpoint: str | os.PathLike[str]) -> str | None:
    """What a checkpoint lacks to be whole, in words; None of a whole one."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return "it is not there"
    if not (folder / MANIFEST_NAME).is_file():
        return f"it has no {MANIFEST_NAME}: it was not written to its end"
    try:
        known = read_json(folder / MANIFEST_NAME)["files"]
        wanted = {name: (entry["bytes"], entry["blake2b"]) for name, entry in known.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"its {MANIFEST_NAME} is damaged"
    if TRAINER_STATE_NAME not in wanted:
        return f"its {MANIFEST_NAME} does not name {TRAINER_STATE_NAME}"
    if not any(name.startswith("rng_state") for name in wanted):
        return "it holds a model alone (save_only_model), and no state to go on from"
    for name, (size, digest) in wanted.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} bytes, and had {size:,}"
        if file_fingerprint(path) != digest:
            return f"{name} is not what was written"
    return None


def newest_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The newest whole checkpoint of an output folder; what is passed over is told, and why."""
    for checkpoint in reversed(list_checkpoints(folder)):
        reason = damage(checkpoint)
        if reason is None:
            return checkpoint
        logger.warning("Passing over %s: %s", checkpoint, reason)
    return None


def check_checkpoint(checkpoint: str | os.PathLike[str]) -> None:
    """Checks a checkpoint that a person names; one of another program has no manifest.

    Raises:
        InputError: It is not there, or damaged.
    """
    reason = damage(checkpoint)
    if reason is None:
        return
    if (Path(checkpoint) / TRAINER_STATE_NAME).is_file() and not (
        Path(checkpoint) / MANIFEST_NAME
    ).exists():
        logger.warning("%s has no %s: nobody can tell if it is whole", checkpoint, MANIFEST_NAME)
        return
    raise InputError(
        f"{checkpoint} cannot be resumed from: {reason}. Name another checkpoint, or leave "
        "resume_from_checkpoint out to go on with the newest whole one"
    )


def list_checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints of an output folder, whole or not, by their steps."""
    if not Path(folder).is_dir():
        return []
    found = [(_NAME.fullmatch(path.name), path) for path in Path(folder).iterdir()]
    steps = [(int(match[1]), path) for match, path in found if match and path.is_dir()]
    return [path for _, path in sorted(steps)]


def remove_checkpoints(folder: str | os.PathLike[str]) -> None:
    """Removes the checkpoints of a run that is not gone on with."""
    for checkpoint in list_checkpoints(folder):
        remove_checkpoint(checkpoint)


def rotate_checkpoints(folder: Path, limit: int | None, best: str | None) -> None:
    """Removes the oldest checkpoints beyond a limit; the best one stays, as does the newest."""
    if not limit or limit < 1:
        return
    checkpoints = list_checkpoints(folder)
    kept = set(checkpoints[-1:])
    kept |= {path for path in checkpoints if best and path.name == Path(best).name}
    others = [path for path in checkpoints if path not in kept]
    for path in others[: max(0, len(others) + len(kept) - limit)]:
        logger.debug("Removing %s (save_total_limit is %d)", path, limit)
        remove_checkpoint(path)


def remove_checkpoint(checkpoint: Path) -> None:
    """Removes a checkpoint; a process killed in between leaves none that looks whole."""
    (checkpoint / MANIFEST_NAME).unlink(missing_ok=True)
    remove(checkpoint)


def _files(checkpoint: Path) -> dict[str, Path]:
    return {
        path.relative_to(checkpoint).as_posix(): path
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != MANIFEST_NAME
    }
