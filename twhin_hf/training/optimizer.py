"""AdamW whose moments take half the memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from twhin_hf.errors import InputError

NUMBERS_AT_ONCE = 2**18
"""Numbers that are updated at once: few enough that they stay in a processor's cache."""

MOMENTS = ("exp_avg", "exp_avg_sq")


class SmallAdamW(Optimizer):
    """AdamW (Loshchilov and Hutter, 2019, Algorithm 2) whose moments are stored in bfloat16.

    A step is computed in float32. What it leaves is rounded up or down at random, so that its mean
    is the number itself: rounded to the nearest, a second moment that decays by a thousandth would
    stay as it is. The random numbers depend on the step alone: processes with the same gradients
    stay alike, and a resumed training goes on as one that was never stopped.

    Args:
        params: As any optimizer takes: parameters, or groups with options of their own.
        lr: Learning rate.
        betas: Of the first and the second moment.
        eps: Added to the root of the second moment.
        weight_decay: Times the learning rate, what a step takes off each weight.

    Raises:
        InputError: Weights that are not float32.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )
        kinds = {value.dtype for group in self.param_groups for value in group["params"]}
        if kinds != {torch.float32}:
            raise InputError(
                f"the weights are {', '.join(sorted(map(str, kinds)))}; moments in bfloat16 need "
                "float32 weights: load the model with dtype=torch.float32, or set optim_state to "
                "float32"
            )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, of the weights that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        noises: dict[Any, Tensor] = {}
        for group in self.param_groups:
            options = {name: group[name] for name in ("lr", "eps", "weight_decay")}
            options["beta1"], options["beta2"] = group["betas"]
            options |= {"fused": True, "amsgrad": False, "maximize": False}
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["step"] = torch.zeros(())
                    for name in MOMENTS:
                        state[name] = torch.zeros_like(weight, dtype=torch.bfloat16)
                key = weight.device, int(state["step"])
                if key not in noises:
                    noises[key] = _noise(*key)
                _update(weight, weight.grad, state, noises[key], options)
                state["step"] += 1
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As any optimizer's, which gives moments the precision of their weights."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state.update({name: state[name].to(torch.bfloat16) for name in MOMENTS})


def _update(
    weight: Tensor,
    gradient: Tensor,
    state: dict[str, Tensor],
    noise: Tensor,
    options: dict[str, Any],
) -> None:
    moments = (state[name].view(-1).split(NUMBERS_AT_ONCE) for name in MOMENTS)
    weights = weight.view(-1).split(NUMBERS_AT_ONCE)
    gradients = gradient.flatten().split(NUMBERS_AT_ONCE)
    for block, block_gradient, *stored in zip(weights, gradients, *moments, strict=True):
        exact = [moment.float() for moment in stored]
        first, second = exact
        # `adamw` counts its steps: each block takes the same one.
        step = state["step"].clone()
        adamw([block], [block_gradient], [first], [second], [], [step], **options)
        for moment, value in zip(stored, exact, strict=True):
            # A bfloat16 is the first half of a float32: what is added carries over to it with the
            # probability of what is cut off.
            value.view(torch.int32).add_(noise[: len(value)]).bitwise_and_(-(2**16))
            moment.copy_(value)


def _noise(device: torch.device, step: int) -> Tensor:
    """int32 `[NUMBERS_AT_ONCE]`, from 0 to 2^16 - 1."""
    generator = torch.Generator(device).manual_seed(step)
    size = (NUMBERS_AT_ONCE,)
    return torch.randint(2**16, size, generator=generator, dtype=torch.int32, device=device)
