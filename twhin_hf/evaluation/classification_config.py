"""Options of fine-tuning on a classification benchmark; importing nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from twhin_hf.errors import InputError
from twhin_hf.evaluation.fine_tuning_config import FineTuningConfig


@dataclass(frozen=True)
class ClassificationConfig(FineTuningConfig):
    """Fine-tuning.

    Defaults are the paper's for hashtags (TwHIN-BERT, Section 3.3 and Table 9).

    Args:
        epochs: Maximum number of epochs; the best one on validation is tested (paper: 30).
        batch_size: Texts per batch (paper: 128).
        learning_rate: Peak learning rate, with linear decay (paper: Table 9).
        weight_decay: Weight decay of AdamW (paper: 0 for base models).
        warmup_steps: Warm-up steps; the paper names none.
        max_length: Maximum sequence length; longer texts are truncated (default: 128, or the
            model's if less).
        seeds: Random seeds, one run each; the median is reported (paper: 3 runs).
        device: Device: cpu, or the kind of accelerator that is there (default: what Trainer finds);
            of several GPUs CUDA_VISIBLE_DEVICES chooses.
        patience: Epochs without a better validation figure after which training stops (default:
            never, as in the paper).

    Raises:
        InputError: No seed, a device that is not there, or a number below 1.
    """

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 4e-5
    patience: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs < 1 or (self.patience is not None and self.patience < 1):
            raise InputError(
                f"epochs={self.epochs}, patience={self.patience}: each must be 1 or more."
            )
