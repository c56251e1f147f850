"""Steps that would spoil a model: a loss or gradient that is no number, and gradients that jump.

Each is written to `bad_steps.jsonl` in the output folder, with the ids of its posts, and then ends
the training or is skipped: the weights stay as they were before it.
"""

from __future__ import annotations

import json
import logging
import math
import statistics
from collections import deque
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
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


class StepChecksMixin(CheckpointingMixin):
    """Put before `Trainer`, whose arguments have `on_bad_step` and `max_grad_growth`."""

    args: Any

    def __init__(self, *args: Any, **kwargs: Any):
        self._grad_norm: Any = None
        self._loss_is_finite: Any = None
        self._norms: deque[float] = deque(maxlen=_NORMS_KEPT)
        self._skipped = 0
        super().__init__(*args, **kwargs)
        self.add_callback(_BeforeOptimizerStep(self._check_step))

    def training_step(self, model: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As Trainer's; notes whether the loss is a number."""
        loss = super().training_step(model, *args, **kwargs)
        finite = torch.isfinite(loss)
        before = self._loss_is_finite
        self._loss_is_finite = finite if before is None else before & finite
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        self._grad_norm = super()._clip_grad_norm(model)
        return self._grad_norm

    def _log_state(self) -> dict[str, Any]:
        return super()._log_state() | {"norms": list(self._norms), "skipped": self._skipped}

    def _take_log_state(self, state: dict[str, Any]) -> None:
        super()._take_log_state(state)
        self._norms.extend(state["norms"])
        self._skipped = state["skipped"]

    def _check_step(self, model: nn.Module) -> None:
        """Looks at the gradients before the optimizer takes them."""
        loss_is_finite, self._loss_is_finite = self._loss_is_finite, None
        norm, self._grad_norm = self._grad_norm, None
        if norm is None:
            gradients = [value.grad for value in model.parameters() if value.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
        norm = float(norm)
        reason = self._fault(norm, bool(loss_is_finite))
        if reason is None:
            if math.isfinite(norm):
                self._norms.append(norm)
            self._skipped = 0
            return
        self._skipped += 1
        step = self.state.global_step + 1
        note = self._note_bad_step(step, norm, reason)
        if self.args.on_bad_step == "stop" or self._skipped >= MOST_SKIPPED:
            raise InputError(
                f"Step {step:,}: {reason}. Its posts are in {note}; no weight was changed by it. "
                "Lower learning_rate, or look at the posts; `--on_bad_step skip` goes on without "
                "such steps, from the last checkpoint",
                faq="bad-step",
            )
        logger.warning("Step %s is skipped: %s (see %s)", f"{step:,}", reason, note)
        for value in model.parameters():
            value.grad = None

    def _fault(self, norm: float, loss_is_finite: bool) -> str | None:
        if self.args.world_size == 1 and not loss_is_finite:
            return "the loss is no finite number"
        if not math.isfinite(norm):
            # With float16 the scaler of the gradients skips such steps itself.
            return None if self.args.fp16 else "the gradient is no finite number"
        limit = self.args.max_grad_growth
        if limit is not None and len(self._norms) >= _NORMS_NEEDED:
            usual = statistics.median(self._norms)
            if norm > limit * usual:
                return f"the gradient's norm is {norm:.3g}, and {usual:.3g} in the steps before"
        return None

    def _note_bad_step(self, step: int, norm: float, reason: str) -> Path:
        path = Path(str(self.args.output_dir)) / BAD_STEPS_NAME
        if self.is_world_process_zero():
            entry = {
                "step": step,
                "reason": reason,
                "grad_norm": norm if math.isfinite(norm) else str(norm),
                "posts": self._posts_of_step(),
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        return path

    def _posts_of_step(self) -> list[list[str]]:
        """Ids of the posts of this step's batches, those of all processes together."""
        size = self.args.train_batch_size * self.args.world_size
        count = self.args.gradient_accumulation_steps
        sampler: Any = self._get_train_sampler()
        per_epoch = max(1, math.ceil(len(sampler) // size / count))
        epoch, step = divmod(self.state.global_step, per_epoch)
        was = sampler.epoch
        try:
            sampler.set_epoch(epoch)
            keys = list(islice(sampler, step * count * size, (step + 1) * count * size))
        finally:
            sampler.set_epoch(was)
        batches = [keys[start : start + size] for start in range(0, len(keys), size)]
        return [posts_of_keys(self.train_dataset, batch) for batch in batches]


class _BeforeOptimizerStep(TrainerCallback):
    def __init__(self, check: Any):
        self._check = check

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Hands the model to the check."""
        self._check(kwargs["model"])
