"""What tests of trainers share."""

import torch
from transformers import set_seed

from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings


def new_model(config, seed=0, **settings):
    set_seed(seed)
    return TwhinBertForPreTraining(apply_settings(config, **settings))


def record_batches(trainer):
    """What goes into the model at every step."""
    seen = []
    inner = trainer.compute_loss

    def compute_loss(model, inputs, **kwargs):
        if model.training:
            seen.append(
                {
                    name: value if isinstance(value, dict) else torch.as_tensor(value).clone()
                    for name, value in inputs.items()
                }
            )
        return inner(model, inputs, **kwargs)

    trainer.compute_loss = compute_loss
    return seen


def assert_equal_batches(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            assert value.equal(b[name]), name
