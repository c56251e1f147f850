"""Steps that would spoil a model: a loss or gradient that is no number, and gradients that jump.

Each is written to `bad_steps.jsonl` in the output folder, with the ids of its posts, and then ends
the training or is skipped: the weights stay as they were before it.

To look at a number is to wait for a GPU. So the optimizer is told on the device whether to take a
step, as gradient scaling tells it (`found_inf`), and the number is looked at one step later, when
it has long been there and the GPU has the next step to work on. Optimizers that do not listen to
that (none but the fused ones of torch do), float16, DeepSpeed and sharded models look at once.
"""

from __future__ import annotations

import json
import logging
import math
import statistics
from collections import deque
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn
from transformers import (
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from twhin_hf.errors import InputError
from twhin_hf.training.batches import posts_of_keys
from twhin_hf.training.checkpointing import CheckpointingMixin

logger = logging.getLogger(__name__)

BAD_STEPS_NAME = "bad_steps.jsonl"
MOST_SKIPPED = 10
"""Steps skipped one after the other that end a training all the same."""
_NORMS_KEPT = 50
_NORMS_NEEDED = 20


class _Step(NamedTuple):
    """A step that has been taken or left out on the device, and that nobody has looked at yet.

    Args:
        number: From 1 on.
        figures: float32 `[2]` on the CPU: the gradient's norm, and whether the loss is finite.
        is_there: When the device has written the figures; none on a CPU.
    """

    number: int
    figures: Tensor
    is_there: Any = None


class StepChecksMixin(CheckpointingMixin):
    """Put before `Trainer`, whose arguments have `on_bad_step` and `max_grad_growth`."""

    args: Any

    def __init__(self, *args: Any, **kwargs: Any):
        self._grad_norm: Any = None
        self._loss_is_finite: Any = None
        self._norms: deque[float] = deque(maxlen=_NORMS_KEPT)
        self._skipped = 0
        self._taken: _Step | None = None
        super().__init__(*args, **kwargs)
        self.add_callback(_StepChecks(self._check_step, self._look_back))

    def training_step(self, model: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """As Trainer's; notes whether the loss is a number.

        A loss that is none counts as the mean of those since the last log entry: what Trainer's
        `logging_nan_inf_filter` does, which waits for the loss of every step.
        """
        loss = super().training_step(model, *args, **kwargs)
        finite = torch.isfinite(loss)
        before = self._loss_is_finite
        self._loss_is_finite = finite if before is None else before & finite
        usual = self._tr_loss / (1 + self.state.global_step - self._globalstep_last_logged)
        return torch.where(finite, loss, usual)

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        self._grad_norm = super()._clip_grad_norm(model)
        return self._grad_norm

    def _log_state(self) -> dict[str, Any]:
        return super()._log_state() | {"norms": list(self._norms), "skipped": self._skipped}

    def _take_log_state(self, state: dict[str, Any]) -> None:
        super()._take_log_state(state)
        self._norms.extend(state["norms"])
        self._skipped = state["skipped"]

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._look_back()
        super()._save_checkpoint(model, trial)

    def _check_step(self, model: nn.Module) -> None:
        """Has the optimizer leave out a bad step, or leaves it out itself."""
        self._look_back()
        loss_is_finite, self._loss_is_finite = self._loss_is_finite, None
        norm, self._grad_norm = self._grad_norm, None
        if norm is None:
            gradients = [value.grad for value in model.parameters() if value.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
        step = self.state.global_step + 1
        if not self._optimizer_listens(norm):
            if self._is_bad(step, float(norm), bool(loss_is_finite)):
                for value in model.parameters():
                    value.grad = None
            return
        is_good = torch.isfinite(norm)
        if self.args.world_size == 1:
            is_good &= loss_is_finite
        if (limit := self._limit()) is not None:
            is_good &= norm <= limit
        optimizer: Any = getattr(self.optimizer, "optimizer", self.optimizer)
        optimizer.found_inf = (~is_good).float()
        self._taken = _Step(step, *_on_its_way(torch.stack([norm.float(), loss_is_finite.float()])))

    def _optimizer_listens(self, norm: Any) -> bool:
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        kinds = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
        return (
            getattr(optimizer, "_step_supports_amp_scaling", False)
            and self.accelerator.distributed_type in kinds
            and isinstance(norm, Tensor)
            and not self.args.fp16
        )

    def _look_back(self) -> None:
        """Looks at the step before, of which the device has been told what to do."""
        step, self._taken = self._taken, None
        if step is None:
            return
        if step.is_there is not None:
            step.is_there.synchronize()
        norm, is_finite = step.figures.tolist()
        self._is_bad(step.number, norm, bool(is_finite))

    def _is_bad(self, step: int, norm: float, loss_is_finite: bool) -> bool:
        """Whether a step must not be taken, which is noted.

        Raises:
            InputError: It must not, and ends the training.
        """
        reason = self._fault(norm, loss_is_finite)
        if reason is None:
            if math.isfinite(norm):
                self._norms.append(norm)
            self._skipped = 0
            return False
        self._skipped += 1
        note = self._note_bad_step(step, norm, reason)
        if self.args.on_bad_step == "stop" or self._skipped >= MOST_SKIPPED:
            raise InputError(
                f"Step {step:,}: {reason}. Its posts are in {note}; no weight was changed by it. "
                "Lower learning_rate, or look at the posts; `--on_bad_step skip` goes on without "
                "such steps, from the last checkpoint",
                faq="bad-step",
            )
        logger.warning("Step %s is skipped: %s (see %s)", f"{step:,}", reason, note)
        return True

    def _fault(self, norm: float, loss_is_finite: bool) -> str | None:
        if self.args.world_size == 1 and not loss_is_finite:
            return "the loss is no finite number"
        if not math.isfinite(norm):
            # With float16 the scaler of the gradients skips such steps itself.
            return None if self.args.fp16 else "the gradient is no finite number"
        if (limit := self._limit()) is not None and norm > limit:
            usual = statistics.median(self._norms)
            return f"the gradient's norm is {norm:.3g}, and {usual:.3g} in the steps before"
        return None

    def _limit(self) -> float | None:
        """The largest norm of a good step, where there are steps enough to know."""
        growth = self.args.max_grad_growth
        if growth is None or len(self._norms) < _NORMS_NEEDED:
            return None
        return growth * statistics.median(self._norms)

    def _note_bad_step(self, step: int, norm: float, reason: str) -> Path:
        path = Path(str(self.args.output_dir)) / BAD_STEPS_NAME
        if self.is_world_process_zero():
            entry = {
                "step": step,
                "reason": reason,
                "grad_norm": norm if math.isfinite(norm) else str(norm),
                "posts": self._posts_of_step(step),
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        return path

    def _posts_of_step(self, step: int) -> list[list[str]]:
        """Ids of the posts of a step's batches, those of all processes together."""
        size = self.args.train_batch_size * self.args.world_size
        count = self.args.gradient_accumulation_steps
        sampler: Any = self._get_train_sampler()
        per_epoch = max(1, math.ceil(len(sampler) // size / count))
        epoch, step = divmod(step - 1, per_epoch)
        was = sampler.epoch
        try:
            sampler.set_epoch(epoch)
            keys = list(islice(sampler, step * count * size, (step + 1) * count * size))
        finally:
            sampler.set_epoch(was)
        batches = [keys[start : start + size] for start in range(0, len(keys), size)]
        return [posts_of_keys(self.train_dataset, batch) for batch in batches]


def _on_its_way(figures: Tensor) -> tuple[Tensor, Any]:
    """A copy on the CPU that the device writes when it comes to it, and what tells that it has."""
    if figures.device.type != "cuda":
        return figures.cpu(), None
    copy = figures.to("cpu", non_blocking=True)
    return copy, torch.cuda.current_stream(figures.device).record_event()


class _StepChecks(TrainerCallback):
    """Calls the check before each step of the optimizer, and a last look at the end."""

    def __init__(self, check: Any, look_back: Any):
        self._check, self._look_back = check, look_back

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Hands the model to the check."""
        self._check(kwargs["model"])

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Has the last step looked at."""
        self._look_back()
