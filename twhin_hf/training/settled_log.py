"""Log entries that can be judged: those after warm-up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class SettledLog(TrainerCallback, ABC):
    """Judges a log entry of training if all of its steps come after warm-up.

    They come after a tenth of all steps too: without warm-up the first entries would say nothing.
    """

    _first_step = 0

    @abstractmethod
    def judge(self, state: TrainerState, logs: dict[str, Any]) -> None:
        """Looks at a log entry, on the first process alone."""

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Notes where the first log entry begins."""
        self._first_step = state.global_step

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Takes a log entry of training."""
        if "loss" not in (logs or {}):
            return
        first_step, self._first_step = self._first_step, state.global_step
        settled = max(args.get_warmup_steps(state.max_steps), state.max_steps / 10)
        if first_step >= settled and state.is_world_process_zero:
            self.judge(state, logs or {})
