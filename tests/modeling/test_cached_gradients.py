"""What must be true of cached gradients beside the gradients (`test_families.py`)."""

import pytest
import torch

from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings, pretraining, score_blocks
from twhin_hf.modeling.in_batch_losses import in_batch_social_loss


def gradients_of(model, inputs, autocast=False):
    torch.manual_seed(7)
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = model(**inputs).loss
    loss.backward()
    found = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return loss.item(), found


@pytest.mark.parametrize("autocast", [False, True])
def test_dropout_is_that_of_the_first_pass(tiny_config, batch, monkeypatch, autocast):
    tiny_config.hidden_dropout_prob = 0.3
    torch.manual_seed(1)
    model = TwhinBertForPreTraining(apply_settings(tiny_config, mlm_weight=0.1)).train()
    inputs = batch(64)
    model.cache_gradients(3)
    loss, gradients = gradients_of(model, inputs, autocast)
    # The same blocks, whose activations are all kept.
    monkeypatch.setattr(pretraining, "checkpoint", lambda f, *args, use_reentrant: f(*args))
    expected_loss, expected = gradients_of(model, inputs, autocast)
    assert loss == expected_loss
    assert gradients.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(gradients[name], value, atol=1e-6, rtol=1e-5)
    model.eval()
    assert gradients_of(model, inputs, autocast)[0] != pytest.approx(loss, abs=1e-4)


def saved_bytes(function):
    """Bytes of all tensors that the backward pass of a function holds."""
    held = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sum(held.values())


def test_scores_of_a_large_batch_are_not_held(monkeypatch):
    monkeypatch.setattr(score_blocks, "MAX_SCORES", 2**10)
    posts = torch.randn(256, 4, requires_grad=True)
    assert saved_bytes(lambda: in_batch_social_loss(posts)) < 256 * 256 / 2
    monkeypatch.setattr(score_blocks, "MAX_SCORES", 2**16)
    assert saved_bytes(lambda: in_batch_social_loss(posts)) > 4 * 256 * 256


def test_activations_of_one_block_are_held(tiny_config, batch):
    """Of twelve pairs in six blocks little is kept: the pooled posts and the masked tokens."""
    model = TwhinBertForPreTraining(apply_settings(tiny_config, mlm_weight=0.1))
    inputs = batch(64)
    whole = saved_bytes(lambda: model(**inputs))
    model.cache_gradients(6)
    assert saved_bytes(lambda: model(**inputs)) < whole / 4
