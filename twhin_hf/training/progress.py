"""What training shows: a live line on a terminal, and one plain line per log entry elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)

SHORT_NAMES = {
    "loss": "loss",
    "mlm_loss": "MLM",
    "social_loss": "social",
    "social_accuracy": "pairs found",
    "engagement_loss": "engagement",
    "engagement_accuracy": "engaged posts found",
    "distillation_loss": "distillation",
    "distillation_accuracy": "vectors found",
    "tpp_loss": "TPP",
    "tpp_accuracy": "translations told",
}
"""Figures of a log entry that are shown, in this order, and what they are called."""


class TrainingProgress(TrainerCallback):
    """Shows step, losses, accuracies, real tokens per second and the time left.

    Args:
        title: What is trained, such as `MLM + social on 12,000 pairs`.
    """

    def __init__(self, title: str):
        self._title = title
        self._bar: Progress | None = None
        self._since = 0.0
        self._first_step = 0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Says what is trained, and starts the live line on a terminal."""
        if not state.is_world_process_zero:
            return
        self._since, self._first_step = time.monotonic(), state.global_step
        logger.info("%s: %s steps", self._title, f"{state.max_steps:,}")
        if sys.stderr.isatty() and not args.disable_tqdm:
            self._bar = Progress(
                TextColumn("step {task.completed:,.0f}/{task.total:,.0f}"),
                BarColumn(bar_width=20),
                TextColumn("{task.description}", markup=False),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._bar.add_task("", total=state.max_steps, completed=state.global_step)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Moves the live line."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Shows a log entry."""
        text = described(logs or {})
        if not state.is_world_process_zero or not text:
            return
        left = self._time_left(state)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=f"{text}, {left} left")
        if self._bar is None or any(name.startswith("eval_") for name in logs or {}):
            step = f"step {state.global_step:,}/{state.max_steps:,}"
            logger.info("%s: %s%s", step, text, f", {left} left" if left else "")

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Ends the live line."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if state.is_world_process_zero and self._since:
            seconds = time.monotonic() - self._since
            is_done = state.global_step >= state.max_steps
            ended = "finished" if is_done else f"ended at step {state.global_step:,}"
            logger.info("%s: %s after %s", self._title, ended, clock(seconds))

    def _time_left(self, state: TrainerState) -> str:
        done = state.global_step - self._first_step
        if done < 1 or state.global_step >= state.max_steps:
            return ""
        seconds = time.monotonic() - self._since
        return clock(seconds / done * (state.max_steps - state.global_step))


def described(logs: dict[str, Any]) -> str:
    """A log entry in words; empty where it holds no figure to show.

    Example:
        >>> described({"loss": 3.25, "social_accuracy": 0.125, "tokens_per_second": 8120.4})
        'loss 3.250, pairs found 12.5%, 8,120 tokens/s'
    """
    prefix = "eval_" if "eval_loss" in logs else ""
    parts = []
    for name, short in SHORT_NAMES.items():
        value = logs.get(prefix + name)
        if value is not None:
            is_share = name.endswith("accuracy")
            parts.append(f"{short} {value:.1%}" if is_share else f"{short} {float(value):.3f}")
    if parts and (speed := logs.get(f"{prefix}tokens_per_second")) is not None:
        parts.append(f"{speed:,.0f} tokens/s")
    if parts and "data_wait" in logs:
        parts.append(f"{logs['data_wait']:.0%} waiting for data")
    return ("held out: " if prefix and parts else "") + ", ".join(parts)


def clock(seconds: float) -> str:
    """Seconds as `1:02:03` or `2:03`.

    Example:
        >>> clock(3723), clock(59.6)
        ('1:02:03', '1:00')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
