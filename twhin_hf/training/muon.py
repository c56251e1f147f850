"""Muon for the matrices of an encoder's layers, beside another optimizer for everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from twhin_hf.errors import InputError


def hidden_matrices(model: nn.Module) -> list[Tensor]:
    """Weights of the linear layers of an encoder: no embedding, no head, no vector.

    Args:
        model: A `Twhin…ForPreTraining`.

    Returns:
        Those that are trained, `[out, in]` each.
    """
    encoder: Any = model.base_model
    layers = (module for module in encoder.modules() if isinstance(module, nn.Linear))
    return [layer.weight for layer in layers if layer.weight.requires_grad]


class WithMuon(Optimizer):
    """An optimizer whose matrices are taken over by Muon.

    Muon (Jordan et al., 2024) makes the momentum of a matrix's gradient orthogonal, so that all its
    directions get steps of one length. Their root mean square is that of AdamW's steps (0.2 of the
    learning rate; arXiv 2502.16982, Section 2.2): one learning rate and weight decay serve both.

    Args:
        others: An optimizer of all parameters; it keeps those that are no `matrices`. Its groups
            say the learning rate and the weight decay.
        matrices: `[out, in]` each.
        momentum: Of Muon.

    Raises:
        InputError: A torch without Muon.
    """

    def __init__(self, others: Optimizer, matrices: Sequence[Tensor], momentum: float = 0.95):
        if not hasattr(torch.optim, "Muon"):
            raise InputError(
                f"torch {torch.__version__} has no Muon; install torch 2.9 or later, or set "
                "optim_matrices to optim"
            )
        taken = {id(matrix) for matrix in matrices}
        groups = []
        for group in others.param_groups:
            own = [value for value in group["params"] if id(value) in taken]
            group["params"] = [value for value in group["params"] if id(value) not in taken]
            groups.append({"params": own, "lr": group["lr"], "weight_decay": group["weight_decay"]})
        self.others = others
        self.muon = torch.optim.Muon(groups, momentum=momentum, adjust_lr_fn="match_rms_adamw")
        # The groups themselves, no copies: what a scheduler sets reaches both.
        super().__init__([*others.param_groups, *self.muon.param_groups], others.defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both."""
        loss = self.others.step(closure)
        self.muon.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of both, `others` and `muon`."""
        return {"others": self.others.state_dict(), "muon": self.muon.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what `state_dict` gave."""
        self.others.load_state_dict(state_dict["others"])
        self.muon.load_state_dict(state_dict["muon"])
        self.param_groups = [*self.others.param_groups, *self.muon.param_groups]
