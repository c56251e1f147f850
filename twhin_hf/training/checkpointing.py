"""Training that survives: whole checkpoints, signals, and a log that goes on where it stopped."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any, cast

import torch
from torch import distributed, nn
from transformers import (
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from twhin_hf.errors import InputError
from twhin_hf.files import flush, flush_folder, new_file, read_json, write_json
from twhin_hf.scratch import remove
from twhin_hf.stopping import StopRequest, stop_requests
from twhin_hf.training.checkpoints import (
    check_checkpoint,
    newest_checkpoint,
    remove_checkpoint,
    rotate_checkpoints,
    write_manifest,
)
from twhin_hf.training.resuming import SafeResumingMixin
from twhin_hf.training.sharding import own_class, without_tied

logger = logging.getLogger(__name__)

STAGING_NAME = ".saving"
"""Where files stand until they are whole, in the folder that they are for."""

_WEIGHTS = ("model*.safetensors*", "adapter_model.safetensors", "adapter_config.json")
"""What says which weights a folder's model has: all of one save, and nothing of another."""


class CheckpointingMixin(SafeResumingMixin):
    """Put before `Trainer`: what it saves is whole, and what it resumes from is.

    A checkpoint is written under a temporary name, with a manifest of sizes and hashes, and renamed
    at the end. SIGTERM or SIGINT finish the step, save a checkpoint and end the program with 143 or
    130. A resumed run logs as one that was never stopped.
    """

    _staging: Path | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        self._log_sums: dict[str, torch.Tensor] = {}
        self._log_counts: dict[str, int] = {}
        self._seconds_before = 0.0
        self._steps_before = 0
        self._began = time.monotonic()
        self._resumed_from: Path | None = None
        super().__init__(*args, **kwargs)

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's; True resumes from the newest whole checkpoint.

        Raises:
            InputError: A checkpoint that is damaged, or none to resume from.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = newest_checkpoint(str(self.args.output_dir))
            if resume_from_checkpoint is None:
                raise InputError(
                    f"{self.args.output_dir} holds no whole checkpoint to resume from; leave "
                    "resume_from_checkpoint out to begin anew"
                )
        elif resume_from_checkpoint:
            check_checkpoint(resume_from_checkpoint)
        resumed = Path(resume_from_checkpoint) if resume_from_checkpoint else None
        self._resumed_from = resumed
        if resumed is not None:
            self._check_shares(resumed)
        if resumed is not None and self._is_done(resumed):
            return self._load_done(resumed)
        with stop_requests("the step") as request:
            callback = _StopOnRequest(request, self._begin_log)
            self.add_callback(callback)
            try:
                result = super().train(str(resumed) if resumed else None, *args, **kwargs)
            finally:
                self.remove_callback(callback)
        if request:
            self._save_last_step()
            logger.info("Saved step %s; the same command goes on", f"{self.state.global_step:,}")
            request.leave()
        return result

    def _save_last_step(self) -> None:
        """Saves a checkpoint where a signal came after the last step, when none was due."""
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        there = (Path(str(self.args.output_dir)) / name).is_dir()
        if not there and not self.args.load_best_model_at_end:
            self._save_checkpoint(cast(nn.Module, self.model), None)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As Trainer's; a model whose weights are shared out to processes is saved whole."""
        if not self.is_fsdp_enabled or self._staging is not None:
            super().save_model(output_dir, _internal_call)
            return
        plugin = self.accelerator.state.fsdp_plugin
        kind = plugin.state_dict_type
        plugin.set_state_dict_type("FULL_STATE_DICT")
        try:
            super().save_model(output_dir, _internal_call)
        finally:
            plugin.set_state_dict_type(kind)

    def save_state(self) -> None:
        """Saves the trainer's state, whole or not at all."""
        if self.is_world_process_zero():
            with new_file(Path(str(self.args.output_dir)) / TRAINER_STATE_NAME) as path:
                self.state.save_to_json(str(path))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As Trainer's; the figures at the end are those of the whole run."""
        if "train_runtime" in logs and self._steps_before:
            self._of_the_whole_run(logs)
        super().log(logs, start_time)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """As Trainer's, under a temporary name until it is whole."""
        output = Path(super()._get_output_dir(trial))
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        staging = output / STAGING_NAME
        if self.args.should_save:
            remove(staging)
        self.accelerator.wait_for_everyone()
        self._staging = staging
        try:
            super()._save_checkpoint(model, trial)
            if not self.args.save_only_model:
                write_json(staging / name / self._log_state_name(), self._log_state())
            self.accelerator.wait_for_everyone()
            self._staging = None
            if self.args.should_save:
                self._name_best(staging, output, name)
                write_manifest(staging / name)
                if (output / name).exists():
                    remove_checkpoint(output / name)
                os.replace(staging / name, output / name)
                flush_folder(output)
        finally:
            self._staging = None
            if self.args.should_save:
                remove(staging)
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            rotate_checkpoints(output, self.args.save_total_limit, best)
        self.accelerator.wait_for_everyone()

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging or super()._get_output_dir(trial))

    def _name_best(self, staging: Path, output: Path, name: str) -> None:
        """Trainer names the best checkpoint by where it stands: here, by where it will."""
        best = self.state.best_model_checkpoint
        if best and Path(best).parent == staging:
            self.state.best_model_checkpoint = str(output / Path(best).name)
            self.state.save_to_json(str(staging / name / TRAINER_STATE_NAME))

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Saves each file of the model whole or not at all."""
        folder = Path(output_dir or str(self.args.output_dir))
        # Other processes take part, and write nothing; a checkpoint is staged as a whole.
        if not self.args.should_save or self._staging is not None:
            self._save_files(str(folder), state_dict)
            return
        staging = folder / STAGING_NAME
        remove(staging)
        try:
            self._save_files(str(staging), state_dict)
            _move_files(staging, folder)
        finally:
            remove(staging)

    def _save_files(self, folder: str, state_dict: dict | None) -> None:
        model = self.accelerator.unwrap_model(cast(nn.Module, self.model))
        if state_dict is not None:
            state_dict = without_tied(state_dict, model)
        with own_class(model):
            super()._save(folder, state_dict)

    def _is_done(self, checkpoint: Path) -> bool:
        """Whether no step is left after a checkpoint: Trainer would take one more."""
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        return state.global_step >= state.max_steps > 0 and self._max_steps() == state.max_steps

    def _max_steps(self) -> int:
        if self.args.max_steps > 0:
            return self.args.max_steps
        return int(self.set_initial_training_values(self.args, self.get_train_dataloader())[-1])

    def _load_done(self, checkpoint: Path) -> None:
        """Takes model and state of a run that ended before they were saved outside."""
        logger.info("%s is the last step: nothing is left to train", checkpoint)
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        self._begin_log()
        if self._seconds_before:
            self._total_loss_scalar += float(self._tr_loss)
            flos = {"total_flos": self.state.total_flos}
            self.log({"train_runtime": 0.0, **flos, "train_loss": 0.0})
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            self._load_best_model()

    def _find_best(self) -> None:
        """Takes the best checkpoint of this output, which may have another path than it had.

        Raises:
            InputError: It is gone, and is to be loaded at the end.
        """
        step = self.state.best_global_step
        if not step:
            return
        best = Path(str(self.args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{step}"
        if best.is_dir():
            self.state.best_model_checkpoint = str(best)
        elif self.args.load_best_model_at_end:
            raise InputError(
                f"{best}, the best checkpoint so far, is gone, and load_best_model_at_end asks for "
                "it; put it back, or begin anew with --overwrite"
            )

    def _log_state_name(self) -> str:
        return f"log_state_{self.args.process_index}.json"

    def _log_state(self) -> dict[str, Any]:
        """What has been summed since the last log entry, of this process, as JSON values."""
        return {
            "loss_since_log": float(getattr(self, "_tr_loss", 0.0)),
            "loss_logged": float(getattr(self, "_total_loss_scalar", 0.0)),
            "last_logged_step": int(getattr(self, "_globalstep_last_logged", 0)),
            "sums": {name: float(value) for name, value in self._log_sums.items()},
            "counts": self._log_counts,
            "seconds": self._seconds_before + time.monotonic() - self._began,
        }

    def _take_log_state(self, state: dict[str, Any]) -> None:
        device = self.args.device
        self._tr_loss = torch.tensor(state["loss_since_log"], device=device)
        self._total_loss_scalar = state["loss_logged"]
        self._globalstep_last_logged = state["last_logged_step"]
        sums = state["sums"].items()
        self._log_sums = {name: torch.tensor(value, device=device) for name, value in sums}
        self._log_counts = dict(state["counts"])
        self._seconds_before = state["seconds"]

    def _begin_log(self) -> None:
        """Takes up the sums of the checkpoint that is resumed from."""
        self._began, self._seconds_before, self._steps_before = time.monotonic(), 0.0, 0
        self._log_sums, self._log_counts = {}, {}
        if self._resumed_from is None:
            return
        self._steps_before = self.state.global_step
        self._find_best()
        path = self._resumed_from / self._log_state_name()
        if path.is_file():  # of another program, or of another number of processes, it is not
            self._take_log_state(read_json(path))

    def _of_the_whole_run(self, logs: dict[str, float]) -> None:
        """Trainer counts the time and the steps since a run was resumed, and all of the loss."""
        steps = self.state.global_step
        since = max(steps - self._steps_before, 1)
        seconds = self._seconds_before + logs["train_runtime"]
        faster = (steps / since) * (logs["train_runtime"] / seconds) if seconds else 1.0
        for name in ("train_samples_per_second", "train_steps_per_second"):
            if name in logs:
                logs[name] = round(logs[name] * faster, 3)
        logs["train_runtime"] = round(seconds, 4)
        if self._seconds_before:
            logs["train_loss"] = self._total_loss_scalar / max(steps, 1)


def _move_files(staging: Path, folder: Path) -> None:
    """Puts the files of a model in their place, and removes weights that are not of it."""
    files = [path for path in sorted(staging.rglob("*")) if path.is_file()]
    for path in files:
        flush(path)
    names = {path.relative_to(staging): path for path in files}
    for name, path in names.items():
        (folder / name).parent.mkdir(exist_ok=True)
        os.replace(path, folder / name)
    for pattern in _WEIGHTS:
        for path in folder.glob(pattern):
            if path.relative_to(folder) not in names:
                path.unlink()
    flush_folder(folder)


class _StopOnRequest(TrainerCallback):
    """Saves and ends training after the step in which a signal came, on all processes at once.

    Args:
        request: Of this process.
        begin: Called when the state of the training is there.
    """

    def __init__(self, request: StopRequest, begin: Any):
        self._request, self._begin = request, begin

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Takes up the log."""
        self._begin()

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Looks whether a signal came to any process."""
        if args.world_size > 1:
            asked = torch.tensor(self._request.signum or 0, device=args.device)
            distributed.all_reduce(asked, distributed.ReduceOp.MAX)
            self._request.signum = int(asked) or None
        if self._request:
            control.should_save = True
            control.should_training_stop = True
