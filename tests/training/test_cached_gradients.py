"""Batches whose losses compare more pairs than go through the encoder at once."""

import logging

import pytest
import torch
from recording import assert_equal_batches, new_model, record_batches

from twhin_hf.errors import InputError
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer


@pytest.fixture
def arguments(tmp_path):
    def make(**options):
        defaults = {
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 16,
            "max_steps": 3,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "max_length": 64,
            "optim": "sgd",
            "learning_rate": 0.5,
            "mlm_probability": 0.3,
        }
        return SocialPretrainingConfig(**defaults | options)

    return make


CACHED = {"per_device_train_batch_size": 4, "contrastive_batch_size": 16}


def trained(model, options, posts, pairs, tokenizer, **data):
    trainer = SocialPretrainingTrainer(
        model, options, posts, pairs, processing_class=tokenizer, **data
    )
    seen = record_batches(trainer)
    trainer.train()
    return trainer, seen


def assert_equal_runs(one, other, tolerance=1e-5):
    (first, batches), (second, other_batches) = one, other
    assert_equal_batches(batches, other_batches)
    assert first.state.global_step == second.state.global_step
    for entry, its in zip(first.state.log_history, second.state.log_history, strict=True):
        # At random weights the order of summation decides which of near scores is the highest.
        for name, value in entry.items():
            if name.endswith("loss") or name in ("step", "epoch", "learning_rate", "tokens"):
                assert its[name] == pytest.approx(value, abs=tolerance), name
    weights = second.model.state_dict()
    for name, value in first.model.state_dict().items():
        torch.testing.assert_close(weights[name], value, atol=tolerance, rtol=1e-4)


@pytest.mark.parametrize("kind", ["pairs", "translations", "accumulated", "bf16", "lora"])
def test_a_large_batch_in_parts_trains_the_same(
    kind, tiny_config, arguments, posts, pairs, translation_pairs, tokenizer, tmp_path
):
    more = {"gradient_accumulation_steps": 2} if kind == "accumulated" else {}
    if kind == "bf16":
        more["bf16"] = True
    settings, data = {}, {}
    if kind == "translations":
        settings = {"tpp_weight": 1.0, "tpp_loss": "contrastive"}
        data = {"translation_pairs": translation_pairs}
    runs = []
    for sizes in ({}, CACHED):
        model = new_model(tiny_config, **settings)
        if kind == "lora":
            pytest.importorskip("peft")
            from twhin_hf.training.lora import add_lora, lora_config

            model.save_pretrained(tmp_path / "base")
            model = type(model).from_pretrained(tmp_path / "base")
            # Of another order of calls, dropout would be another.
            model = add_lora(model, lora_config(model, dropout=0.0))
        options = arguments(**more, **sizes)
        runs.append(trained(model, options, posts, pairs, tokenizer, **data))
    steps = 3 * more.get("gradient_accumulation_steps", 1)
    assert len(runs[0][1]) == steps
    assert_equal_runs(*runs, tolerance=2e-3 if kind == "bf16" else 1e-5)


def test_a_step_is_a_batch_of_the_losses(tiny_config, arguments, posts, pairs, tokenizer):
    """120 pairs in batches of 16 are 7 steps an epoch, however few go at once."""
    options = arguments(max_steps=-1, num_train_epochs=1, **CACHED)
    trainer, seen = trained(new_model(tiny_config), options, posts, pairs, tokenizer)
    assert trainer.state.global_step == 7
    assert {int(batch["num_posts"]) for batch in seen} == {32}


def test_going_on_in_the_middle_of_an_epoch_is_going_on(
    tiny_config, arguments, posts, pairs, tokenizer, caplog
):
    # Dropout too: the state of the random numbers goes on.
    tiny_config.hidden_dropout_prob = 0.1
    options = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4, **CACHED}
    whole, batches = trained(new_model(tiny_config), arguments(**options), posts, pairs, tokenizer)
    again = SocialPretrainingTrainer(
        new_model(tiny_config, seed=5), arguments(**options), posts, pairs,
        processing_class=tokenizer,
    )  # fmt: skip
    seen = record_batches(again)
    with caplog.at_level(logging.WARNING):
        again.train(resume_from_checkpoint=str(options_folder(whole) / "checkpoint-2"))
    assert_equal_batches(seen, batches[2:])
    for name, value in whole.model.state_dict().items():
        assert value.equal(again.model.state_dict()[name]), name
    assert "do not match" not in caplog.text


def options_folder(trainer):
    from pathlib import Path

    return Path(trainer.args.output_dir)


def test_sizes_that_do_not_fit_are_named(tiny_config, arguments, posts, pairs, tokenizer):
    for size in (0, 2, 10):
        with pytest.raises(InputError, match=f"contrastive_batch_size is {size}; it must be a mul"):
            arguments(per_device_train_batch_size=4, contrastive_batch_size=size)
    large = arguments(per_device_train_batch_size=4, contrastive_batch_size=128)
    message = "120 pairs do not fill one batch of 128; lower contrastive_batch_size"
    with pytest.raises(InputError, match=message):
        trained(new_model(tiny_config), large, posts, pairs, tokenizer)


def test_small_batches_of_pairs_are_advised_against(
    tiny_config, arguments, posts, pairs, tokenizer, caplog
):
    for sizes in ({}, CACHED):
        caplog.clear()
        options = arguments(max_steps=1, gradient_accumulation_steps=2, **sizes)
        trained(new_model(tiny_config), options, posts, pairs, tokenizer)
        assert ("contrastive_batch_size makes one" in caplog.text) == (not sizes)
