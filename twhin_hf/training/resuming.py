"""Going on from a checkpoint without running code that somebody may have put into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import Trainer

from twhin_hf.errors import InputError
from twhin_hf.loading.shared_out_weights import TABLE_NAME, check_shares
from twhin_hf.loading.weights import safe_weights


class SafeResumingMixin(Trainer):
    """Put before `Trainer`: a checkpoint's files hold tensors alone, or an `InputError` is raised.

    Weights, the optimizer's and scheduler's states and those of the random numbers are pickles
    that Trainer opens for tensors alone; its refusal says how to open them all the same.
    """

    def _load_from_checkpoint(self, resume_from_checkpoint: Any, model: Any = None) -> None:
        with safe_weights(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        with safe_weights(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: Any) -> None:
        with safe_weights(checkpoint):
            super()._load_rng_state(checkpoint)

    def _load_scaler(self, checkpoint: Any) -> None:
        with safe_weights(checkpoint):
            super()._load_scaler(checkpoint)

    def _load_best_model(self) -> None:
        self._check_shares(self.state.best_model_checkpoint)
        with safe_weights(self.state.best_model_checkpoint):
            super()._load_best_model()

    def _check_shares(self, checkpoint: Any) -> None:
        """Checks what the processes of FSDP or DeepSpeed have written, and that these can read it.

        Raises:
            InputError: They cannot, or it holds more than tensors and plain values.
        """
        folder = Path(checkpoint)
        if any(folder.glob(f"*/{TABLE_NAME}")) and not self.is_fsdp_enabled:
            raise InputError(
                f"{checkpoint} holds the shares of processes (FSDP); go on from it by `accelerate "
                "launch` with such a config, in any number of processes"
            )
        shares = len(list(folder.glob("global_step*/*_optim_states.pt")))
        if shares and not (self.is_deepspeed_enabled and shares == self.args.world_size):
            raise InputError(
                f"{checkpoint} holds the shares of {shares} processes (DeepSpeed); go on from it "
                "by `accelerate launch` with such a config, in as many processes"
            )
        with safe_weights(checkpoint):
            check_shares(folder)
