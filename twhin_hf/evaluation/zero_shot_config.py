"""Options of zero-shot transfer; importing nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from twhin_hf.evaluation.fine_tuning_config import FineTuningConfig


@dataclass(frozen=True)
class ZeroShotConfig(FineTuningConfig):
    """Fine-tuning.

    Defaults are the paper's (Translation Pair Prediction, Section 4).

    Args:
        epochs: Passes over the training set; the last model is tested (paper: 3).
        batch_size: Sentences per batch (paper: 16).
        learning_rate: Peak learning rate, with linear decay; the paper names none, and its
            notebooks leave that of transformers, 5e-5.
        weight_decay: Weight decay of AdamW (paper: 0.01).
        warmup_steps: Warm-up steps (paper: 500).
        max_length: Maximum sequence length; longer texts are truncated (default: 128 for
            sentiment, else 512, or the model's if less).
        seeds: Random seeds, one run each; the median is reported (the paper does not say).
        device: Device: cpu, or the kind of accelerator that is there (default: what Trainer finds);
            of several GPUs CUDA_VISIBLE_DEVICES chooses.
        allow_unseen_labels: Count labels that training has not seen as wrong, instead of stopping.

    Raises:
        InputError: No seed, or a device that is not there.
    """

    weight_decay: float = 0.01
    warmup_steps: int = 500
    allow_unseen_labels: bool = False
