"""Options that every protocol of fine-tuning has; importing nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from twhin_hf.errors import InputError
from twhin_hf.value_checks import check_least


@dataclass(frozen=True)
class FineTuningConfig:
    """Fine-tuning.

    Each protocol has the defaults of its paper.

    Args:
        epochs: Passes over the training set.
        batch_size: Rows per batch.
        learning_rate: Peak learning rate, with linear decay.
        weight_decay: Weight decay of AdamW.
        warmup_steps: Warm-up steps.
        max_length: Maximum sequence length; longer texts are truncated.
        seeds: Random seeds, one run each.
        device: Device: cpu, or the kind of accelerator that is there (default: what Trainer finds);
            of several GPUs CUDA_VISIBLE_DEVICES chooses.

    Raises:
        InputError: No seed, a batch or a length below 1, or a device that is not there.
    """

    epochs: float = 3
    batch_size: int = 16
    learning_rate: float = 5e-5
    weight_decay: float = 0.0
    warmup_steps: int = 0
    max_length: int | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    device: str | None = None

    def __post_init__(self) -> None:
        if not self.seeds:
            raise InputError("seeds is empty: name at least one.")
        check_least(self, 1, "batch_size", "max_length")
        check_device(self.device)


def check_device(device: str | None) -> None:
    """Checks that fine-tuning can take place where it should: Trainer chooses an accelerator alone.

    Args:
        device: `cpu`, the kind of accelerator that is there, or None for what Trainer finds.

    Raises:
        InputError: An accelerator that is not there, or one with a number.
    """
    if device in (None, "cpu"):
        return
    import torch

    there = torch.accelerator.current_accelerator(check_available=True)
    found = "cpu" if there is None else f"{there.type} and cpu"
    if there is None or device != there.type:
        raise InputError(
            f"device is {device!r}; fine-tuning runs on {found} here, and Trainer takes every "
            "accelerator it sees. To choose one by its number set CUDA_VISIBLE_DEVICES, such as "
            "CUDA_VISIBLE_DEVICES=1, and leave device out",
            faq="device",
        )
