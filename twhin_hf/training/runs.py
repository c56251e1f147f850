"""The output folder of a training: what its run is, and where it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

from accelerate.utils import broadcast_object_list
from transformers import TrainingArguments

from twhin_hf.data_fingerprint import RUN_NAME
from twhin_hf.errors import InputError
from twhin_hf.run_folder import differences, read_run, run_folder
from twhin_hf.scratch import remove
from twhin_hf.training.checkpoints import (
    list_checkpoints,
    newest_checkpoint,
    remove_checkpoints,
)
from twhin_hf.training.record import changed_options
from twhin_hf.training.streaming import STREAM_NAME

MODEL_FILES = ("model*.safetensors", "adapter_model.safetensors")
"""What a training has made when it has ended."""

RESULTS = (*MODEL_FILES, "checkpoint-*", "trainer_state.json")
"""What a training leaves in its folder."""

_WITHOUT_EFFECT = (
    *("log", "save", "eval", "per_device_eval", "validation", "dataloader_num", "dataloader_p"),
    *("on_bad_step", "dataset_num_proc", "gradient_checkpointing", "disable_tqdm"),
    *("ddp_timeout", "ddp_bucket", "skip_memory", "torch_empty_cache"),
)
"""Options whose name begins so leave the model as it is, but for the order of its sums."""


class TrainingRun(NamedTuple):
    """How far a training was brought before.

    Args:
        is_finished: The model is there: nothing is left to do.
        checkpoint: To go on from; None where training begins.
    """

    is_finished: bool
    checkpoint: str | None


def discard_training(folder: Path) -> None:
    """Removes what a training that begins anew must not go on with; the older model stays."""
    remove_checkpoints(folder)
    for name in ("bad_steps.jsonl", "eval_results.json", "all_results.json"):
        (folder / name).unlink(missing_ok=True)
    remove(folder / STREAM_NAME)


@contextmanager
def training_run(
    config: TrainingArguments,
    command: str,
    options: Mapping[str, Any],
    *,
    data: Mapping[str, str | None] | None = None,
    fingerprints: Mapping[str, str] | None = None,
    free: Iterable[str] = (),
    results: Iterable[str] = RESULTS,
    product: Iterable[str] = MODEL_FILES,
    overwrite: bool = False,
    discard: Callable[[Path], None] = discard_training,
) -> Iterator[TrainingRun]:
    """Makes `config.output_dir` this run's; see `run_folder`. The first process speaks for all.

    Args:
        config: Of the training.
        command: That trains, such as `pretrain`.
        options: `training_options` of the run.
        data: Files that it learns from, by their options.
        fingerprints: Of the model that it starts from, by its option.
        free: Options that may change.
        results: Patterns of files that no unknown run may have left.
        product: Patterns of files of which a finished run has left some.
        overwrite: Begin anew where the folder holds a finished run, or one of other options.
        discard: Removes what a run that begins anew must not go on with.

    Yields:
        Whether it is finished, and the checkpoint to go on from: the newest whole one of a run that
        was broken off, else the one that the config names.

    Raises:
        InputError: As `run_folder`; or it is to begin anew from a checkpoint of its own folder, or
            from one that is not there.
    """
    folder = Path(str(config.output_dir))
    named = config.resume_from_checkpoint
    if overwrite and named and Path(str(named)).resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"--overwrite would remove {named}, which --resume_from_checkpoint names; copy it "
            "elsewhere, or choose another output"
        )
    with ExitStack() as stack:
        said: list[Any] = [None, None]
        failure: Exception | None = None
        if config.process_index == 0:
            try:
                run = stack.enter_context(
                    run_folder(
                        folder,
                        command,
                        options,
                        data=data,
                        fingerprints=fingerprints,
                        free=free,
                        seed=config.seed,
                        results=results,
                        product=product,
                        overwrite=overwrite,
                        discard=discard,
                    )
                )
                found = newest_checkpoint(folder) if run.is_resumed else None
                begin = found or named
                if not (found or run.is_finished):
                    _check_begin(named)
                said = [TrainingRun(run.is_finished, str(begin) if begin else None), None]
            except (ValueError, OSError) as error:
                failure, said = error, [None, str(error)]
        if config.world_size > 1:
            broadcast_object_list(said)
        if failure is not None:
            raise failure
        if said[1] is not None:
            raise InputError(said[1])
        yield TrainingRun(*said[0])


def _check_begin(checkpoint: Any) -> None:
    if isinstance(checkpoint, str) and not Path(checkpoint).is_dir():
        raise InputError(
            f"resume_from_checkpoint is {checkpoint!r}, and there is no such folder; give the "
            "folder of a checkpoint, or leave it out: the same command goes on from its newest one"
        )


def training_options(
    config: TrainingArguments, *groups: Any, leave_out: Iterable[str] = ()
) -> dict[str, Any]:
    """The options that make a run's model, as JSON values; not where it is saved.

    Args:
        config: Of the training.
        *groups: Dataclasses with more options; those that differ from their defaults count.
        leave_out: Names of options that do not: paths, whose content does.
    """
    given: dict[str, Any] = {}
    for group in groups:
        defaults = {entry.name: entry.default for entry in fields(group)}
        given |= {name: value for name, value in asdict(group).items() if value != defaults[name]}
    options = given | changed_options(config)
    # Records for people leave these out.
    if config.lr_scheduler_kwargs:
        options["lr_scheduler_kwargs"] = config.lr_scheduler_kwargs
    if getattr(config, "mlm_probability", 0.0) is None:
        options["mlm_probability"] = None
    skipped = set(leave_out)
    found = {name: value for name, value in options.items() if name not in skipped}
    if config.load_best_model_at_end:  # how it is evaluated says which model is kept
        return found
    return with_effect(found)


def with_effect(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a training's options that its model depends on.

    Example:
        >>> with_effect({"learning_rate": 1e-3, "logging_steps": 4})
        {'learning_rate': 0.001}
    """
    # Of a contrastive batch it says how many pairs go through the encoder at once.
    at_once = "per_device_train_batch_size" if options.get("contrastive_batch_size") else None
    return {
        name: value
        for name, value in options.items()
        if not name.startswith(_WITHOUT_EFFECT) and name != at_once
    }


def check_stages(stages: Sequence[tuple[Path, Mapping[str, Any]]], command: str = "tpp") -> None:
    """Checks, before any is trained, that stages which have begun are those asked for.

    Args:
        stages: The folder of each with `options` and `data` of its run, in their order.
        command: That trains them.

    Raises:
        InputError: One had other options, which are named; or it went on from another model than
            it would now, for a stage before it is still to be trained.
    """
    missing: Path | None = None
    for folder, wanted in stages:
        earlier = read_run(folder) or {}
        is_finished = bool(earlier.get("finished"))
        has_begun = is_finished or (bool(earlier) and bool(list_checkpoints(folder)))
        if has_begun and missing is not None:
            raise InputError(
                f"{folder} was trained on the model of {missing}, which has not ended: it would "
                f"not be what {missing} ends with. Remove {folder}, or add --overwrite to train "
                "all stages anew"
            )
        if has_begun:
            changes = differences(earlier, {"command": command, **wanted})
            if changes:
                raise InputError(
                    f"{folder} was trained with other options: {'; '.join(changes.values())}. Give "
                    "those again, or add --overwrite to train all stages anew",
                    faq="outputs",
                )
        if missing is None and not is_finished:
            missing = folder


def forget_stages(folders: Iterable[Path]) -> None:
    """Removes what stages that are trained anew must not go on with; their models stay."""
    for folder in folders:
        (folder / RUN_NAME).unlink(missing_ok=True)
        remove_checkpoints(folder)


def check_not_in_stages(given: Iterable[str], stages: Iterable[Mapping[str, Any]]) -> None:
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
