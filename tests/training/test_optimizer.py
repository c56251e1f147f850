"""AdamW whose moments are bfloat16."""

import copy

import pytest
import torch
from recording import new_model
from torch.optim import AdamW

from twhin_hf.errors import InputError
from twhin_hf.training import optimizer as module
from twhin_hf.training.optimizer import SmallAdamW
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer

OPTIONS = {"lr": 0.1, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}


def weights_and_gradients(count=3, shape=(7, 5)):
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(shape)) for _ in range(2)]
    return weights, [[torch.randn(shape) for _ in weights] for _ in range(count)]


def train(optimizer, weights, gradients):
    for step in gradients:
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
        optimizer.zero_grad()
    return [weight.detach().clone() for weight in weights]


def test_a_first_step_by_hand():
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = SmallAdamW([weight], **OPTIONS)
    # Moments over their corrections are g and g²: a step of the learning rate, and the decay.
    train(optimizer, [weight], [[torch.tensor([0.5, -3.0])]])
    expected = torch.tensor([1 - 0.001 - 0.1, -2 + 0.002 + 0.1])
    torch.testing.assert_close(weight.detach(), expected, atol=1e-5, rtol=0)
    state = optimizer.state[weight]
    assert state["exp_avg"].dtype == torch.bfloat16
    torch.testing.assert_close(
        state["exp_avg"].float(), torch.tensor([0.05, -0.3]), rtol=8e-3, atol=0
    )
    torch.testing.assert_close(
        state["exp_avg_sq"].float(), torch.tensor([0.005, 0.18]), rtol=8e-3, atol=0
    )


@pytest.mark.parametrize("numbers_at_once", [8, 2**18])
def test_it_stays_near_adamw(monkeypatch, numbers_at_once):
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", numbers_at_once)
    weights, gradients = weights_and_gradients(20)
    others = copy.deepcopy(weights)
    found = train(SmallAdamW(weights, **OPTIONS), weights, gradients)
    expected = train(AdamW(others, fused=True, **OPTIONS), others, gradients)
    for one, other, gradient in zip(found, expected, gradients[0], strict=True):
        assert gradient.shape == one.shape
        assert (one - other).abs().max() < 0.02
    first = [train(kind, w, gradients[:1]) for kind, w in _new_ones()]
    for one, other in zip(*first, strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-7)


def _new_ones():
    for kind, options in ((SmallAdamW, {}), (AdamW, {"fused": True})):
        weights, _ = weights_and_gradients()
        yield kind(weights, **OPTIONS, **options), weights


def test_what_is_stored_is_right_in_the_mean():
    weight = torch.nn.Parameter(torch.zeros(2**16))
    optimizer = SmallAdamW([weight], lr=0.0, betas=(0.9, 0.999))
    train(optimizer, [weight], [[torch.full((2**16,), 0.3)]])
    stored = optimizer.state[weight]["exp_avg"].float()
    assert len(stored.unique()) == 2
    assert stored.mean().item() == pytest.approx(0.03, rel=1e-5)
    # Rounded to the nearest, it would never decay by a thousandth.
    before = optimizer.state[weight]["exp_avg_sq"].float().mean()
    train(optimizer, [weight], [[torch.zeros(2**16)]] * 100)
    after = optimizer.state[weight]["exp_avg_sq"].float().mean()
    assert (after / before).item() == pytest.approx(0.999**100, rel=1e-3)


def test_it_goes_on_as_if_it_had_never_stopped():
    weights, gradients = weights_and_gradients(6)
    others = copy.deepcopy(weights)
    expected = train(SmallAdamW(weights, **OPTIONS), weights, gradients)
    first = SmallAdamW(others, **OPTIONS)
    train(first, others, gradients[:3])
    resumed = SmallAdamW(others, **OPTIONS)
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    assert resumed.state[others[0]]["exp_avg_sq"].dtype == torch.bfloat16
    for one, other in zip(train(resumed, others, gradients[3:]), expected, strict=True):
        assert one.equal(other)


def test_weights_without_gradient_are_left_alone():
    weights, _ = weights_and_gradients()
    before = weights[1].detach().clone()
    optimizer = SmallAdamW(weights, **OPTIONS)
    weights[0].grad = torch.ones_like(weights[0])
    assert optimizer.step(lambda: 7.0) == 7.0
    assert weights[1].equal(before)
    assert weights[1] not in optimizer.state


def test_weights_have_to_be_float32():
    with pytest.raises(InputError, match=r"weights are torch\.bfloat16; .* need float32"):
        SmallAdamW([torch.nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))])


@pytest.fixture
def make(tiny_config, posts, tokenizer, tmp_path):
    def make(**options):
        config = SocialPretrainingConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=8,
            max_steps=4,
            save_strategy="steps",
            save_steps=2,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            max_length=32,
            optim_state="bfloat16",
            **options,
        )
        model = new_model(tiny_config, social_weight=0.0, mlm_weight=1.0)
        return SocialPretrainingTrainer(model, config, posts, processing_class=tokenizer)

    return make


@pytest.mark.parametrize("options", [{}, {"optim_matrices": "muon"}])
def test_a_training_keeps_small_moments_and_is_resumed(make, tmp_path, options):
    trainer = make(**options)
    trainer.train()
    adamw = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    adamw = getattr(adamw, "others", adamw)
    assert isinstance(adamw, SmallAdamW)
    moments = {value.dtype for state in adamw.state.values() for value in state.values()}
    assert moments == {torch.bfloat16, torch.float32}  # the number of steps
    resumed = make(**options)
    resumed.train(str(tmp_path / "checkpoint-2"))
    others = dict(resumed.model.named_parameters())
    for name, value in trainer.model.named_parameters():
        assert value.equal(others[name]), name


def test_small_moments_are_adamws(make):
    with pytest.raises(InputError, match="is for AdamW, and optim is sgd; set optim to"):
        make(optim="sgd")
