import logging
from types import SimpleNamespace

import pytest

from twhin_hf.training.chance_warning import ChanceWarning, keys_of_batch


def run(callback, entries, warmup=30, max_steps=100):
    args = SimpleNamespace(get_warmup_steps=lambda steps: warmup)
    state = SimpleNamespace(global_step=0, max_steps=max_steps, is_world_process_zero=True)
    callback.on_train_begin(args, state, None)
    for step, logs in entries:
        state.global_step = step
        callback.on_log(args, state, None, logs=logs)


def entry(step, social, **more):
    return step, {"loss": 1.0, "social_accuracy": social} | more


def test_three_times_chance_by_hand(caplog):
    """Of 100 keys chance is 1 %, and the limit 3 %."""
    callback = ChanceWarning({"social_accuracy": 100, "tpp_accuracy": 50})
    with caplog.at_level(logging.WARNING):
        # Step 40's entry begins within the warm-up; then one at the limit, and just above it.
        run(callback, [entry(20, 0.01), entry(40, 0.01), entry(60, 0.031, tpp_accuracy=0.0601)])
        assert not caplog.records
        run(callback, [entry(40, 0.01), entry(60, 0.03), entry(80, 0.01, tpp_accuracy=0.06)])
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith(
        "social_accuracy is 3.00% at step 60, after warm-up, and guessing gives"
    )
    assert "1.00%: nothing is learnt yet. Try the pooling mean" in first
    assert "higher learning_rate, or more steps" in first
    assert second.startswith("tpp_accuracy is 6.00% at step 80")


def test_what_is_not_judged(caplog):
    with caplog.at_level(logging.WARNING):
        # Held-out figures, entries of the first tenth of the steps, and batches of five keys.
        run(ChanceWarning({"social_accuracy": 100}), [(90, {"eval_loss": 1, "social_accuracy": 0})])
        run(ChanceWarning({"social_accuracy": 100}), [entry(9, 0), entry(19, 0)], warmup=0)
        run(ChanceWarning({"social_accuracy": 5}), [entry(50, 0), entry(100, 0)])
    assert not caplog.records
    with pytest.raises(ValueError, match="among 0 keys"):
        ChanceWarning({"social_accuracy": 0})


def test_keys_of_the_losses():
    """Of 4 pairs, a post finds its positive among 7 others, and all else is found among 4."""
    weights = {"social_weight": 1.0, "tpp_weight": 1.0, "tpp_loss": "bce"}
    config = SimpleNamespace(**weights, engagement_weight=0.0, distillation_weight=0.0)
    assert keys_of_batch(config, 4) == {"social_accuracy": 7}
    config.social_weight, config.tpp_loss = 0.0, "contrastive"
    assert keys_of_batch(config, 4) == {"tpp_accuracy": 4}
    config.tpp_weight, config.engagement_weight, config.distillation_weight = 0.0, 1.0, 1.0
    assert keys_of_batch(config, 4) == {"engagement_accuracy": 4, "distillation_accuracy": 4}
