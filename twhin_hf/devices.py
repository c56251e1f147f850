"""The device that work runs on."""

from __future__ import annotations

from twhin_hf.errors import InputError


def pick_device(device: str | None = None) -> str:
    """The device asked for; by default a GPU if available, else the CPU.

    Args:
        device: Such as `cpu`, `cuda` or `cuda:1`.

    Raises:
        InputError: There is no such device, or a GPU is asked for and there is none.
    """
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.device(device)
    except RuntimeError as error:
        raise InputError(
            f"device is {device!r}; give cpu, cuda or cuda:1, or leave it out (GPU if available)"
        ) from error
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            f"device is {device!r}, but torch finds no GPU; leave it out or give cpu", faq="device"
        )
    return device
