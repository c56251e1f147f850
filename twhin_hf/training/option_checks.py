"""Checks of a training's options that transformers leaves till after the data are read."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum

import torch
from accelerate.utils import is_deepspeed_available
from transformers import TrainingArguments, get_scheduler
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.trainer_utils import HubStrategy, IntervalStrategy, SaveStrategy, SchedulerType
from transformers.training_args import OptimizerNames

from twhin_hf.errors import InputError, reading
from twhin_hf.value_checks import (
    check_above_zero,
    check_choice,
    check_finite,
    check_least,
    check_seeds,
    check_share,
)

_CHOICES: dict[str, type[Enum]] = {
    "optim": OptimizerNames,
    "lr_scheduler_type": SchedulerType,
    "eval_strategy": IntervalStrategy,
    "logging_strategy": IntervalStrategy,
    "save_strategy": SaveStrategy,
    "hub_strategy": HubStrategy,
}


def check_options(args: TrainingArguments) -> None:
    """Checks options as they are given, before those of the machine are filled in.

    Raises:
        InputError: One cannot work; it is named.
    """
    if args.max_grad_norm == float("inf"):
        raise InputError("max_grad_norm is inf; write 0 for no clipping")
    check_finite(args)
    check_least(
        args,
        1,
        *("per_device_train_batch_size", "per_device_eval_batch_size"),
        "gradient_accumulation_steps",
    )
    check_least(args, 0, "learning_rate", "weight_decay", "adam_epsilon", "warmup_steps")
    check_share(args, "adam_beta1", "adam_beta2")
    check_seeds([args.seed], "seed")
    if args.data_seed is not None:
        check_seeds([args.data_seed], "data_seed")
    if args.max_steps == -1:  # then epochs count
        check_above_zero(args, "num_train_epochs")
    else:
        check_least(args, 1, "max_steps")
    for name, choices in _CHOICES.items():
        check_choice(args, name, [str(choice.value) for choice in choices])
    _check_reports(args)
    _check_accelerator(args)
    _check_deepspeed(args)


def check_schedule(args: TrainingArguments) -> None:
    """Checks the options of the schedule of the learning rate, by making one.

    Raises:
        InputError: They do not fit it.
    """
    given = args.lr_scheduler_kwargs
    if not isinstance(given, (dict, type(None))):
        raise InputError(f"lr_scheduler_kwargs is {given!r}; needed are NAME: VALUE pairs")
    name = SchedulerType(args.lr_scheduler_type).value
    options = f"lr_scheduler_kwargs {given} of " if given else ""
    with reading(
        f"{options}lr_scheduler_type {name}",
        "Give what that schedule takes, or choose another.",
    ):
        get_scheduler(
            name,
            torch.optim.SGD([torch.zeros(1)], lr=args.learning_rate),
            num_warmup_steps=1,
            num_training_steps=10**6,
            scheduler_specific_kwargs=given,
        )


def _check_reports(args: TrainingArguments) -> None:
    given = args.report_to
    names = [given] if isinstance(given, str) else given or []
    choices = ["none", "all", *INTEGRATION_TO_CALLBACK]
    if unknown := [name for name in names if name not in choices]:
        raise InputError(f"report_to is {unknown[0]!r}; choose from {', '.join(choices)}")


def _check_accelerator(args: TrainingArguments) -> None:
    given = args.accelerator_config
    known = [entry.name for entry in fields(AcceleratorConfig)]
    if isinstance(given, dict) and (unknown := sorted(set(given) - set(known))):
        raise InputError(
            f"accelerator_config has unknown keys {unknown}; its keys are {', '.join(known)}"
        )


def _check_deepspeed(args: TrainingArguments) -> None:
    if args.deepspeed and not is_deepspeed_available():
        raise InputError(
            f"deepspeed is {args.deepspeed!r}, and the library is not installed: `pip install "
            "deepspeed`, or leave it out"
        )
