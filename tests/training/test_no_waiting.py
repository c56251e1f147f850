"""A training step asks nothing of the device that it would have to wait for.

Without a GPU an operation that would wait for one is told by its kind: it reads a value, or makes a
tensor whose size depends on values, or copies a new number to the device.
"""

import contextlib

import pytest
import torch
from recording import new_model
from test_network_objectives import WEIGHTS, network  # noqa: F401
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from twhin_hf.loading.families import PRETRAINING_MODELS
from twhin_hf.modeling import apply_settings, losses
from twhin_hf.training import pretraining
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense,  # item, tolist, int, bool
    aten.nonzero,
    aten.masked_select,
    aten.unique_consecutive,
    aten.unique_dim,
    aten._unique,
    aten._unique2,
    aten.bincount,
    aten.equal,
    aten.lift_fresh,  # torch.tensor, new_tensor
}


class Waited(AssertionError):
    """An operation that a GPU would have to be waited for."""


class NoWaiting(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = func.overloadpacket
        indices = args[1] if packet in (aten.index, aten.index_put, aten.index_put_) else ()
        by_mask = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)
        sizes = packet is aten.repeat_interleave and kwargs.get("output_size") is None
        if packet in WAITING or by_mask or sizes:
            raise Waited(str(func))
        return func(*args, **kwargs)


@contextlib.contextmanager
def no_waiting():
    """Fails where the device would be waited for."""
    if not torch.cuda.is_available():
        with NoWaiting():
            yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Watched(SocialPretrainingTrainer):
    def training_step(self, *args, **kwargs):
        with no_waiting():
            return super().training_step(*args, **kwargs)

    def _clip_grad_norm(self, model):
        with no_waiting():
            return super()._clip_grad_norm(model)

    def _check_step(self, model):
        with no_waiting():
            super()._check_step(model)

    def _look_back(self):
        with _disable_current_modes():  # of a copy that is on the CPU already
            super()._look_back()


OBJECTIVES = {
    "MLM": {"mlm_weight": 1.0, "social_weight": 0.0},
    "social": {"mlm_weight": 0.0, "social_weight": 1.0},
    "engagement": WEIGHTS | {"distillation_weight": 0.0},
    "distillation": WEIGHTS | {"engagement_weight": 0.0},
    "neighbours": WEIGHTS | {"engagement_weight": 0.0, "distillation_loss": "neighbours"},
    **{
        f"TPP {loss}": {
            "mlm_weight": 0.1,
            "social_weight": 0.0,
            "tpp_weight": 1.0,
            "tpp_loss": loss,
        }
        for loss in ("bce", "cosine", "contrastive")
    },
    "all": WEIGHTS | {"mlm_weight": 1.0, "social_weight": 1.0, "tpp_weight": 1.0},
}


@pytest.fixture
def train(posts, pairs, translation_pairs, network, tokenizer, varlen, tmp_path, monkeypatch):  # noqa: F811
    def train(model, settings, is_flat):
        if is_flat:
            monkeypatch.setattr(pretraining, "_attention_backend", lambda *args: varlen)
        # As on accelerators: on a CPU our own blocks look at a number, which costs nothing there.
        monkeypatch.setattr(losses, "OWN_BLOCKS", ())
        config = SocialPretrainingConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=16,
            max_steps=3,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            max_length=64,
            max_grad_growth=100.0,
        )
        with_translations = "tpp_weight" in settings
        trainer = Watched(
            model,
            config,
            posts,
            pairs if model.config.social_weight else None,
            processing_class=tokenizer,
            translation_pairs=translation_pairs if with_translations else None,
            network=network if "network_dimension" in settings else None,
        )
        assert trainer.data_collator.is_flat == is_flat
        trainer.train()
        assert len(trainer._norms) == 3
        return {name for entry in trainer.state.log_history for name in entry}

    return train


@pytest.mark.parametrize("is_flat", [False, True])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_step_waits_for_the_device(objective, is_flat, tiny_config, train):
    settings = OBJECTIVES[objective]
    logged = train(new_model(tiny_config, **settings), settings, is_flat)
    for name in ("mlm", "social", "engagement", "distillation", "tpp"):
        is_asked = settings.get(f"{name}_weight", 0.0) > 0
        assert (f"{name}_loss" in logged) == is_asked, name


@pytest.mark.parametrize("is_flat", [False, True])
def test_no_family_waits_for_the_device(family, family_config, is_flat, train):
    settings = OBJECTIVES["all"]
    model = PRETRAINING_MODELS[family](apply_settings(family_config, **settings))
    assert "tpp_loss" in train(model, settings, is_flat)


def test_what_would_wait_is_told():
    values = torch.tensor([1.0, 0.0])
    attempts = [
        lambda: values[values > 0],
        lambda: values.sum().item(),
        lambda: bool((values > 0).all()),
        lambda: values.unique(),
        lambda: values.nonzero(),
        lambda: torch.repeat_interleave(torch.tensor([1, 2])),
        lambda: values.new_tensor(3),
    ]
    for attempt in attempts if not torch.cuda.is_available() else []:
        with pytest.raises(Waited), no_waiting():
            attempt()


def test_batches_are_prepared_and_copied_beside_the_work_of_a_gpu(tmp_path, monkeypatch):
    without = SocialPretrainingConfig(output_dir=str(tmp_path), report_to=[], use_cpu=True)
    assert without.dataloader_num_workers == 0
    assert not without.accelerator_config.non_blocking
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    found = SocialPretrainingConfig(output_dir=str(tmp_path), report_to=[])
    assert found.dataloader_num_workers == 4
    assert found.dataloader_pin_memory
    assert found.accelerator_config.non_blocking
    assert found.optim == "adamw_torch_fused"
    options = {"dataloader_num_workers": 0, "accelerator_config": {"even_batches": False}}
    asked = SocialPretrainingConfig(output_dir=str(tmp_path), report_to=[], **options)
    assert asked.dataloader_num_workers == 0
    assert not asked.accelerator_config.non_blocking
