"""MLM, the social loss and Translation Pair Prediction in one run."""

import numpy as np
import pytest
import torch
from recording import assert_equal_batches, new_model, record_batches

from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer
from twhin_hf.training.translation_pair import TPPConfig, TPPTrainer

ALL = {"social_weight": 1.0, "mlm_weight": 0.05, "tpp_weight": 1.0}


@pytest.fixture
def trainer(tiny_config, posts, pairs, translation_pairs, tokenizer, tmp_path):
    def make(settings=None, with_pairs=True, with_translations=True, held_out=None, **options):
        defaults = {
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 8,
            "max_steps": 8,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "max_length": 64,
        }
        return SocialPretrainingTrainer(
            new_model(tiny_config, **ALL | (settings or {})),
            SocialPretrainingConfig(**defaults | options),
            posts,
            pairs if with_pairs else None,
            processing_class=tokenizer,
            translation_pairs=translation_pairs if with_translations else None,
            **held_out or {},
        )

    return make


def kinds(batches):
    return ["tpp" if "pair_labels" in batch else "social" for batch in batches]


def test_every_parameter_moves_and_losses_are_logged_apart(trainer):
    training = trainer()
    before = {name: value.clone() for name, value in training.model.named_parameters()}
    batches = record_batches(training)
    training.train()
    for name, value in training.model.named_parameters():
        assert not value.equal(before[name]), name
    assert kinds(batches) == ["social", "tpp"] * 4
    for kind, entry in zip(kinds(batches), training.state.log_history, strict=False):
        assert {"mlm_loss", f"{kind}_loss", f"{kind}_accuracy"} <= entry.keys()
        assert not {"social_loss", "tpp_loss"} - {f"{kind}_loss"} & entry.keys()
        expected = entry[f"{kind}_loss"] + 0.05 * entry["mlm_loss"]
        assert entry["loss"] == pytest.approx(expected, abs=1e-3)


def test_a_logged_loss_is_the_mean_over_its_own_batches(trainer):
    each, summed = trainer(), trainer(logging_steps=8)
    for training in (each, summed):
        training.train()
    steps, total = each.state.log_history[:8], summed.state.log_history[0]
    for name, count in (("mlm_loss", 8), ("social_loss", 4), ("tpp_loss", 4)):
        values = [entry[name] for entry in steps if name in entry]
        assert len(values) == count
        assert total[name] == pytest.approx(np.mean(values), abs=1e-5)


@pytest.mark.parametrize(("share", "steps"), [(0.25, 20), (0.8, 75)])
def test_proportions(trainer, share, steps):
    # 120 pairs of posts: 15 batches an epoch.
    training = trainer(translation_proportion=share, num_train_epochs=1, max_steps=-1)
    assert len(training.get_train_dataloader()) == steps
    sampler = training._get_train_sampler()
    sources = np.array(list(sampler)).reshape(steps, 8) % 2
    assert (sources == sources[:, :1]).all()
    assert sources[:, 0].mean() == pytest.approx(share)


def test_a_resumed_run_sees_the_same_batches_and_ends_the_same(trainer, tmp_path):
    # 30 batches an epoch: the run breaks off and ends in the second.
    options = {"max_steps": 40, "save_strategy": "steps", "save_steps": 35}
    whole = trainer(output_dir=str(tmp_path / "whole"), **options)
    batches = record_batches(whole)
    whole.train()
    resumed = trainer(output_dir=str(tmp_path / "resumed"), **options)
    rest = record_batches(resumed)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-35"))
    assert_equal_batches(rest, batches[35:])
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, atol=1e-6, rtol=1e-5)


def test_mlm_on_posts_beside_translation_pairs(trainer):
    training = trainer({"social_weight": 0.0, "mlm_weight": 1.0}, with_pairs=False, max_steps=2)
    training.train()
    first, second = training.state.log_history[:2]
    assert "tpp_loss" not in first
    assert {"mlm_loss", "tpp_loss"} <= second.keys()


def test_held_out_posts_and_translations(
    trainer, posts, pairs, translation_pairs, tiny_config, tokenizer, tmp_path
):
    # Neither is a whole number of batches of 8.
    posts = {"eval_dataset": posts, "eval_pairs": pairs.slice(0, 21)}
    translations = translation_pairs.select(range(45, 75))
    both_held_out = posts | {"eval_translation_pairs": translations}
    both = trainer(held_out=both_held_out)
    found = both.evaluate()
    only_posts = trainer(held_out=posts).evaluate()
    for name in ("eval_social_loss", "eval_social_accuracy"):
        assert found[name] == pytest.approx(only_posts[name], abs=1e-6)
    # The figures of translations are TPPTrainer's.
    model = new_model(tiny_config, **ALL | {"social_weight": 0.0})
    model.load_state_dict(both.model.state_dict(), strict=False)
    options = {"per_device_eval_batch_size": 8, "max_length": 64, "use_cpu": True, "report_to": []}
    args = TPPConfig(str(tmp_path / "tpp"), per_device_train_batch_size=8, **options)
    alone = TPPTrainer(model, args, translations, translations, processing_class=tokenizer)
    expected = alone.evaluate()
    figures = ("tpp_loss", "tpp_accuracy", "tpp_auc", "retrieval_a_to_b", "retrieval_b_to_a")
    for name in (f"eval_{figure}" for figure in figures):
        assert found[name] == pytest.approx(expected[name], abs=1e-6), name
    assert found["eval_tokens"] == expected["eval_tokens"] + only_posts["eval_tokens"]
    assert not any("tpp" in name or "retrieval" in name for name in only_posts)
    short = trainer(held_out=both_held_out, dataloader_drop_last=False).evaluate()
    assert short["eval_tpp_auc"] == found["eval_tpp_auc"]
    only = trainer(held_out={"eval_translation_pairs": translations}).evaluate()
    assert only["eval_tpp_auc"] == found["eval_tpp_auc"]
    with pytest.raises(ValueError, match="held-out translation pairs and none to train on"):
        trainer(
            {"tpp_weight": 0.0},
            with_translations=False,
            held_out={"eval_translation_pairs": translations},
        )


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({"tpp_weight": 0.0}, {}, "tpp_weight is 0.0 and there are translation pairs"),
        ({}, {"with_translations": False}, "tpp_weight is 1.0 and there are no translation pairs"),
        ({}, {"translation_proportion": 1.0}, "translation_proportion is 1.0"),
        ({}, {"per_device_train_batch_size": 161}, "120 pairs do not fill one batch of 161"),
    ],
)
def test_what_does_not_fit_is_refused(settings, options, message, trainer):
    with pytest.raises(ValueError, match=message):
        trainer(settings, **options)
