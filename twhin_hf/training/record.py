"""What a training run was: where it began, its data, its machine. Cards are made of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import torch
import transformers
from datasets import Dataset
from transformers import PreTrainedModel, TrainerState, TrainingArguments

from twhin_hf.files import read_json_object, write_json
from twhin_hf.hub.sections import license_of_folder
from twhin_hf.modeling.settings import OBJECTIVES

RECORD_NAME = "training_record.json"

_OF_THE_PLACE = ("dir", "path", "name", "token", "hub", "report_to", "push", "resume", "url")
"""Options whose name holds one of these say where a run took place, not what it was."""

_SETTLED = ("ddp_find_unused_parameters", "dataloader_pin_memory", "disable_tqdm", "use_cpu")
"""Options that arguments settle by the machine, the trainer and the level of the log."""


def training_record(
    model: PreTrainedModel,
    args: TrainingArguments,
    state: TrainerState,
    data: Mapping[str, int],
    trainer: str,
    languages: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What is worth telling of a run; no path, no id, no token.

    Args:
        model: That was trained.
        args: Of the run.
        state: With its log.
        data: How many of what it was trained on, as `{"posts": 1000}`.
        trainer: The name of its class.
        languages: Share of each language in the data, 0 to 1.

    Returns:
        JSON values: `trainer`, `base_model`, `objectives` (those of weights above 0) and
        `earlier_objectives` (lists of them, of the models that it goes back to, the nearest
        first), `license` (of the base model, where its card says it), `languages`, `data`,
        `steps`, `epochs`, `tokens` and `seconds` where they were logged, `hyper_parameters` that
        differ from the defaults, `hardware`, `processes` and `versions`.
    """
    log = state.log_history
    seconds = [entry["train_runtime"] for entry in log if "train_runtime" in entry]
    tokens = sum(entry["tokens"] for entry in log if "tokens" in entry)
    settings = model.config.to_dict()
    earlier = _earlier_record(model)
    return {
        "trainer": trainer,
        "base_model": base_model(model),
        "objectives": [name for name in OBJECTIVES if settings.get(f"{name}_weight", 0) > 0],
        "earlier_objectives": (
            [earlier.get("objectives", []), *earlier.get("earlier_objectives", [])]
            if earlier
            else []
        ),
        "license": earlier.get("license") or _license_of_base(model),
        "languages": {name: round(share, 4) for name, share in (languages or {}).items()},
        "data": dict(data),
        "steps": state.global_step,
        "epochs": round(state.epoch or 0.0, 3),
        "tokens": int(tokens) or None,
        "seconds": round(seconds[-1], 3) if seconds else None,
        "hyper_parameters": changed_options(args),
        "hardware": hardware(),
        "processes": args.world_size,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def write_training_record(folder: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Writes the record beside the model."""
    write_json(Path(folder) / RECORD_NAME, record)


def base_model(model: PreTrainedModel) -> list[str]:
    """The models that this one goes back to, the nearest first; none where it began from scratch.

    A folder is told by its name alone, and what it goes back to by its own record.
    """
    name = str(getattr(model.config, "_name_or_path", "") or "")
    if not name:
        return []
    folder = Path(name)
    if not folder.is_dir():
        return [name]
    return [folder.resolve().name, *_earlier_record(model).get("base_model", [])]


def language_shares(posts: Dataset) -> dict[str, float]:
    """The share of each language among posts, the greatest first; none without a column `lang`."""
    if "lang" not in posts.column_names:
        return {}
    counts = pc.value_counts(posts.with_format("arrow")["lang"])
    named = {entry["values"]: entry["counts"] / len(posts) for entry in counts.to_pylist()}
    return dict(sorted(named.items(), key=lambda item: -item[1]))


def _base_folder(model: PreTrainedModel) -> Path | None:
    name = str(getattr(model.config, "_name_or_path", "") or "")
    return Path(name) if name and Path(name).is_dir() else None


def _earlier_record(model: PreTrainedModel) -> dict[str, Any]:
    """The record beside the model that this one began from; empty where there is none."""
    folder = _base_folder(model)
    path = folder and folder / RECORD_NAME
    return read_json_object(path) if path and path.exists() else {}


def _license_of_base(model: PreTrainedModel) -> str | None:
    folder = _base_folder(model)
    return None if folder is None else license_of_folder(folder)


def changed_options(args: TrainingArguments) -> dict[str, Any]:
    """Options that differ from their defaults, and say what the run was."""
    # Against the fields' defaults, not those of other arguments: to make some resets Accelerate.
    defaults = {
        entry.name: entry.default if entry.default_factory is MISSING else entry.default_factory()
        for entry in fields(args)
        if entry.init
    }
    values = args.to_dict()
    return {
        name: values[name]
        for name, default in defaults.items()
        # None, False and nothing are one choice: arguments turn one into another.
        if values[name] != default
        and (values[name] or default)
        and isinstance(values[name], bool | int | float | str | list)
        and name not in _SETTLED
        and not any(word in name for word in _OF_THE_PLACE)
    }


def hardware() -> str:
    """The accelerators of this process, or its CPU cores."""
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return f"{count} × {torch.cuda.get_device_name(0)}"
    return f"{os.cpu_count()} CPU cores"
