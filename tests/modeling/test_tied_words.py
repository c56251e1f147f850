"""One gradient for words that are looked up and predicted."""

import pytest
import torch
import torch.nn.functional as F

from twhin_hf.loading.families import PRETRAINING_MODELS
from twhin_hf.modeling import apply_settings
from twhin_hf.modeling.tied_words import joint_gradient


def losses_and_gradients(model, inputs):
    model.zero_grad()
    output = model(**inputs)
    output.loss.backward()
    named = model.named_parameters()
    return output, {name: value.grad.clone() for name, value in named if value.grad is not None}


IDS = torch.tensor([[3, 0, 3], [5, 1, 0]])


@pytest.mark.parametrize("padding_idx", [None, 1])
def test_the_joint_gradient_by_hand(padding_idx):
    words = torch.nn.Embedding(6, 2, padding_idx=padding_idx)
    with joint_gradient(words) as weights:
        vectors = words(IDS)
    torch.testing.assert_close(vectors, F.embedding(IDS, words.weight))
    of_decoder = torch.arange(12.0).view(6, 2)
    ((vectors * 10).sum() + (weights[0] * of_decoder).sum()).backward()
    expected = of_decoder.clone()
    # Tokens 0 and 3 are there twice, 5 once, and 1 once, unless it is padding.
    expected[0] += 20
    expected[3] += 20
    expected[5] += 10
    expected[1] += 0 if padding_idx == 1 else 10
    torch.testing.assert_close(words.weight.grad, expected)


def test_the_hook_is_gone_afterwards():
    words = torch.nn.Embedding(6, 2)
    with joint_gradient(words) as weights:
        words(IDS)
    words(IDS)
    assert len(weights) == 1
    assert not words._forward_hooks


def test_a_model_has_the_gradients_that_it_has_without(family, family_config, batch, monkeypatch):
    apply_settings(family_config, social_weight=1.0, mlm_weight=0.5)
    model = PRETRAINING_MODELS[family](family_config)
    words = model.get_input_embeddings().weight
    seen = []
    words.register_hook(lambda gradient: seen.append(gradient.data_ptr()))
    found, gradients = losses_and_gradients(model, batch(128))
    assert len(seen) == 1
    monkeypatch.setattr(torch, "is_grad_enabled", lambda: False)
    assert model._joint_gradient(True).__enter__() == []
    monkeypatch.undo()
    model.cache_gradients(1)  # which looks words up within a checkpoint, and adds two gradients
    expected, others = losses_and_gradients(model, batch(128))
    torch.testing.assert_close(found.loss, expected.loss)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, others[name], atol=1e-6, rtol=1e-5)


def test_a_step_leaves_its_memory_to_the_next(family_config, family, batch):
    model = PRETRAINING_MODELS[family](family_config)
    weight = model.get_output_embeddings().weight
    model.keep_gradient(True)
    places = set()
    gradients = []
    for _ in range(3):
        model(**batch(128)).loss.backward()
        places.add(weight.grad.data_ptr())
        gradients.append(weight.grad.clone())
        model.zero_grad()
        assert weight.grad is None
    assert len(places) == 1
    torch.testing.assert_close(gradients[0], gradients[2])
    model.keep_gradient(False)
    assert model._spare is None
