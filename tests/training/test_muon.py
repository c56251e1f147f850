"""Muon for the matrices of the layers, beside AdamW: by hand, and within a whole training."""

import pytest
import torch
from recording import new_model
from torch import nn
from torch.optim import AdamW

from twhin_hf.errors import InputError
from twhin_hf.training.muon import WithMuon, hidden_matrices
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer


@pytest.fixture
def make(tiny_config, posts, tokenizer, tmp_path):
    def make(folder="run", lora=False, **options):
        defaults = {
            "output_dir": str(tmp_path / folder),
            "per_device_train_batch_size": 8,
            "max_steps": 6,
            "save_steps": 3,
            "logging_steps": 1,
            "max_length": 32,
            "learning_rate": 1e-3,
            "optim_matrices": "muon",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
        }
        config = SocialPretrainingConfig(**defaults | options)
        torch.manual_seed(0)
        model = new_model(tiny_config, social_weight=0.0, mlm_weight=1.0)
        if lora:
            from twhin_hf.training.lora import add_lora

            model.config._name_or_path = "base"
            model = add_lora(model)
        return SocialPretrainingTrainer(model, config, posts, processing_class=tokenizer)

    return make


def step_on(gradient, learning_rate=1.0, **options):
    """What one step takes from a matrix."""
    matrix = nn.Parameter(torch.zeros_like(gradient))
    other = nn.Parameter(torch.zeros(2))
    adamw = AdamW([matrix, other], lr=learning_rate, weight_decay=0.0)
    optimizer = WithMuon(adamw, [matrix], **options)
    matrix.grad, other.grad = gradient, torch.tensor([5.0, -7.0])
    optimizer.step()
    return -matrix.detach(), -other.detach()


def test_a_step_by_hand():
    """Singular values 3 and 4, over their norm 5, five times through Muon's polynomial."""
    found, other = step_on(torch.diag(torch.tensor([3.0, 4.0])), learning_rate=0.5)
    expected = []
    for value in (0.6, 0.8):
        for _ in range(5):
            value = 3.4445 * value - 4.7750 * value**3 + 2.0315 * value**5
        expected.append(value)
    assert expected == pytest.approx([0.723, 1.119], abs=1e-3)
    # 0.2 · √2, the root of the larger side, makes the root mean square AdamW's.
    scale = 0.5 * 0.2 * 2**0.5
    torch.testing.assert_close(
        found, torch.diag(torch.tensor(expected)) * scale, atol=0.004, rtol=0
    )
    # AdamW's first step is the sign.
    torch.testing.assert_close(other, torch.tensor([0.5, -0.5]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(12, 12), (24, 8), (8, 24)])
def test_all_directions_get_steps_of_about_one_length(shape):
    """Near U Vᵀ of the gradient's singular value decomposition, whose values span two decades."""
    torch.manual_seed(0)
    rank = min(shape)
    left, right = (torch.linalg.qr(torch.randn(size, rank).double())[0] for size in shape)
    values = torch.logspace(0, -2, rank).double()
    gradient = left @ torch.diag(values) @ right.T
    found, _ = step_on(gradient.float())
    found = left.T @ found.double() @ right / (0.2 * max(shape) ** 0.5)
    assert ((found.diagonal() > 0.6) & (found.diagonal() < 1.25)).all()
    assert (found - torch.diag(found.diagonal())).abs().max() < 0.05
    # The sign of the gradient, which AdamW begins with, leaves its smallest direction far behind.
    signs = torch.linalg.svdvals(gradient.sign())
    assert signs[-1] < 0.4 * signs[0]


def test_only_the_matrices_of_the_layers(make, tiny_config):
    trainer = make(weight_decay=0.1)
    trainer.create_optimizer()
    model, optimizer = trainer.model, trainer.optimizer
    names = {id(value): name for name, value in model.named_parameters()}
    taken = {names[id(p)] for group in optimizer.muon.param_groups for p in group["params"]}
    assert len(taken) == 6 * tiny_config.num_hidden_layers
    assert all(".layer." in name and name.endswith("weight") for name in taken)
    kept = [names[id(p)] for group in optimizer.others.param_groups for p in group["params"]]
    assert sorted([*kept, *taken]) == sorted(names.values())
    decays = {group["weight_decay"] for group in optimizer.muon.param_groups if group["params"]}
    assert decays == {0.1}
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == [1e-3] * len(rates)


def test_the_schedule_reaches_both_and_heads_keep_their_rate(make):
    trainer = make(lr_scheduler_type="linear", max_steps=4, head_learning_rate=1e-2)
    trainer.train()
    optimizer = trainer.optimizer.optimizer
    assert {group["lr"] for group in optimizer.muon.param_groups} == {0.0}
    assert {group["lr"] for group in optimizer.others.param_groups} == {0.0}
    with_rates = make(lr_scheduler_type="constant", max_steps=1, head_learning_rate=1e-2)
    with_rates.train()
    rates = {group["lr"] for group in with_rates.optimizer.optimizer.muon.param_groups}
    assert rates == {1e-3}


def test_it_trains_and_changes_other_weights_than_adamw(make):
    runs = {name: make(name, optim_matrices=name, max_steps=1) for name in ("optim", "muon")}
    weights = {}
    for name, trainer in runs.items():
        trainer.train()
        weights[name] = trainer.model.state_dict()
    matrices = {id(value) for value in hidden_matrices(runs["muon"].model)}
    for name, value in runs["muon"].model.named_parameters():
        same = value.equal(weights["optim"][name])
        assert same != (id(value) in matrices), name


def test_a_resumed_run_is_the_run_that_was_never_stopped(make):
    whole = make("whole")
    whole.train()
    again = make("again")
    again.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-3")
    for name, value in whole.model.state_dict().items():
        assert value.equal(again.model.state_dict()[name]), name
    state = [trainer.optimizer.optimizer.muon.state_dict() for trainer in (whole, again)]
    for one, other in zip(*(list(found["state"].values()) for found in state), strict=True):
        assert one["momentum_buffer"].equal(other["momentum_buffer"])


def test_bad_input(make, monkeypatch):
    with pytest.raises(InputError, match="LoRA's matrices are no whole ones"):
        make(lora=True)
    with pytest.raises(InputError, match=r"optim_matrices is 'sgd'; it must be optim or muon"):
        make(optim_matrices="sgd")
    trainer = make()
    trainer.is_fsdp_enabled = True
    with pytest.raises(InputError, match="whole matrices"):
        trainer.create_optimizer()
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(InputError, match=r"has no Muon; install torch 2\.9"):
        make().create_optimizer()
