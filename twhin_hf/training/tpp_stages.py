"""Stages of `twhin-hf tpp` that have ended or begun: are they what is asked for now?"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from twhin_hf.errors import InputError
from twhin_hf.files import read_json_object, write_json
from twhin_hf.training.record import changed_options

logger = logging.getLogger(__name__)

STAGE_NAME = "stage.json"
"""Beside a stage's model: what it was trained on, and how."""

_WITHOUT_EFFECT = ("logging", "save", "eval", "per_device_eval", "validation", "dataloader_num")
"""Options whose name begins so leave the model as it is."""


def stage_options(*groups: Any, is_first: bool) -> dict[str, Any]:
    """What makes a stage's model, as JSON values; not where it is saved.

    Args:
        *groups: The dataclasses of the stage; its `TPPConfig` is the last.
        is_first: Whether it is the first; the others start from the model of the stage before.
    """
    *others, config = groups
    given: dict[str, Any] = {}
    for group in others:
        defaults = {entry.name: entry.default for entry in fields(group)}
        given |= {
            name: value
            for name, value in asdict(group).items()
            if value != defaults[name] and (is_first or name != "model_name_or_path")
        }
    options = (given | changed_options(config)).items()
    return {name: value for name, value in options if not name.startswith(_WITHOUT_EFFECT)}


def write_stage(folder: Path, options: dict[str, Any]) -> None:
    """Writes what a stage that begins is trained on, and how."""
    write_json(folder / STAGE_NAME, dict(sorted(options.items())))


def has_ended(folder: Path) -> bool:
    """Whether a stage was trained to its end."""
    return (folder / "trainer_state.json").exists()


def has_begun(folder: Path) -> bool:
    """Whether a stage has ended, or left a checkpoint to go on from."""
    return has_ended(folder) or any(folder.glob("checkpoint-*"))


def check_stages(stages: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    """Checks, before any is trained, that stages which have begun are those asked for.

    Args:
        stages: The folder of each and its `stage_options`, in their order.

    Raises:
        InputError: One had other options, which are named; or it went on from another model than
            it would now, for a stage before it is still to be trained.
    """
    missing: Path | None = None
    for folder, options in stages:
        if missing is not None and has_begun(folder):
            raise InputError(
                f"{folder} was trained on the model of {missing}, which has not ended: it would "
                f"not be what {missing} ends with. Remove {folder} to train it anew"
            )
        if has_begun(folder):
            _check_stage(folder, options)
        if missing is None and not has_ended(folder):
            missing = folder


def check_not_in_stages(given: Iterable[str], stages: Iterable[dict[str, Any]]) -> None:
    """Checks that no option of the command line stands in a stage too.

    Raises:
        InputError: One does: it could only be ignored.
    """
    both = sorted(set(given) & {key for stage in stages for key in stage} - {"output_dir"})
    if both:
        raise InputError(
            f"{', '.join(f'--{name}' for name in both)} would go over what the stages say, in all "
            "of them; leave it out, and change it in the stages of the config"
        )


def _check_stage(folder: Path, options: dict[str, Any]) -> None:
    path = folder / STAGE_NAME
    if not path.exists():
        logger.warning("%s has no %s: nobody can tell how it was trained", folder, STAGE_NAME)
        return
    earlier = read_json_object(path)
    changes = [
        f"{name} was {earlier.get(name)!r} and is {options.get(name)!r}"
        for name in sorted(earlier.keys() | options.keys())
        if earlier.get(name) != options.get(name)
    ]
    if changes:
        raise InputError(
            f"{folder} was trained with other options: {'; '.join(changes)}. Give those again, or "
            "remove the folder to train it anew"
        )
