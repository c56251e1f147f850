"""Models whose weights are shared out to processes (FSDP2): how they are shared out and saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def tied_weights_together(model: nn.Module) -> Iterator[None]:
    """Has accelerate shard layers, and embeddings and MLM head with the model itself (FSDP2).

    It would part embeddings and decoder from the rest, though the head has the decoder's bias too.
    The model's own shard is there during all of its forward pass, so that the loss may read the
    decoder's weight, as it does, without a call of the decoder.

    Args:
        model: A `Twhin…ForPreTraining`, perhaps within an adapter.
    """
    whole: Any = model
    embeddings = whole.get_input_embeddings()
    holders = {
        type(module).__name__
        for module in model.modules()
        if any(inner is embeddings for inner in module.modules())
    }
    told = {
        "_no_split_modules": set(whole._no_split_modules) - holders,
        "get_input_embeddings": lambda: None,
        "get_output_embeddings": lambda: None,
    }
    before = {name: value for name, value in model.__dict__.items() if name in told}
    model.__dict__.update(told)
    try:
        yield
    finally:
        for name in told:
            del model.__dict__[name]
        model.__dict__.update(before)


@contextmanager
def own_class(model: nn.Module) -> Iterator[None]:
    """Lets a model be saved as what it is, while FSDP2 has given it a class of torch's code."""
    given = type(model)
    # Its own is the second base, after torch's.
    model.__class__ = given.__bases__[1] if given.__name__.startswith("FSDP") else given
    try:
        yield
    finally:
        model.__class__ = given


def without_tied(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """Weights that were gathered from processes, each once: tied ones come as copies.

    Args:
        state_dict: Gathered.
        model: Whose they are.
    """
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return {name: value for name, value in state_dict.items() if tied.get(name) not in state_dict}
