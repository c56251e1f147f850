"""A step that would spoil the model is told with its posts, and ends the training or is skipped."""

import json
import math

import pytest
import torch
from recording import new_model
from test_translation_pair import TPPConfig, TPPTrainer

from twhin_hf.errors import InputError
from twhin_hf.training.collapse import CollapseWarning, alignment, mean_cosine, uniformity
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer
from twhin_hf.training.step_checks import MOST_SKIPPED

OPTIONS = {
    "per_device_train_batch_size": 8,
    "max_steps": 4,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": [],
    "use_cpu": True,
    "disable_tqdm": True,
    "max_length": 32,
}


@pytest.fixture
def make(tiny_config, posts, pairs, tokenizer, tmp_path):
    def make(spoil, **options):
        """A trainer whose loss is multiplied by what `spoil` says of each step."""

        class Spoilt(SocialPretrainingTrainer):
            def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
                rows = inputs["post_ids"]
                self.seen[self.state.global_step] = rows.tolist()
                loss = super().compute_loss(model, inputs)
                return loss * spoil.get(self.state.global_step, 1.0)

        config = SocialPretrainingConfig(output_dir=str(tmp_path), **OPTIONS | options)
        trainer = Spoilt(new_model(tiny_config), config, posts, pairs, processing_class=tokenizer)
        trainer.seen = {}
        return trainer

    return make


def notes(trainer):
    path = f"{trainer.args.output_dir}/bad_steps.jsonl"
    with open(path) as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_training_and_changes_nothing(make, value, posts):
    trainer = make({1: value})
    before = {}
    trainer.training_step, step = (
        lambda *args: (
            (
                before.update({n: v.clone() for n, v in trainer.model.named_parameters()})
                if trainer.state.global_step == 1
                else None
            )
            or step(*args)
        ),
        trainer.training_step,
    )
    with pytest.raises(InputError, match=r"Step 2: the loss is no finite number.*bad_steps\.jsonl"):
        trainer.train()
    for name, parameter in trainer.model.named_parameters():
        assert parameter.equal(before[name]), name
    (note,) = notes(trainer)
    assert (note["step"], note["reason"]) == (2, "the loss is no finite number")
    assert note["posts"] == [[posts["post_id"][row] for row in trainer.seen[1]]]


def test_a_skipped_step_is_as_if_it_had_not_been(make, tmp_path):
    trainer = make({1: math.nan}, on_bad_step="skip", learning_rate=1e-2)
    trainer.train()
    assert trainer.state.global_step == 4
    assert [note["step"] for note in notes(trainer)] == [2]
    assert all(torch.isfinite(value).all() for value in trainer.model.parameters())
    for entry in trainer.state.log_history:
        assert all(math.isfinite(v) for name, v in entry.items() if name.endswith("loss"))


@pytest.mark.parametrize("optim", ["adamw_torch_fused", "adamw_torch"])
def test_a_bad_step_is_left_out_on_the_device_or_at_once(make, optim):
    """Fused optimizers leave it out themselves; the numbers are those of who looks first."""
    trainer = make({1: math.nan}, on_bad_step="skip", optim=optim, max_steps=3)
    weights = []
    looked = []
    trainer._is_bad, is_bad = (
        lambda step, *figures: (
            looked.append((step, trainer.state.global_step)) or is_bad(step, *figures)
        ),
        trainer._is_bad,
    )

    def remember(*args):
        weights.append(trainer.model.bert.encoder.layer[0].output.dense.weight.detach().clone())
        return step(*args)

    trainer.training_step, step = remember, trainer.training_step
    trainer.train()
    assert not weights[1].equal(weights[0])
    assert weights[2].equal(weights[1])
    assert not trainer.model.bert.encoder.layer[0].output.dense.weight.equal(weights[2])
    is_late = optim == "adamw_torch_fused"
    assert looked == [(step, step if is_late else step - 1) for step in (1, 2, 3)]
    steps = {int(state["step"]) for state in trainer.optimizer.state.values()}
    assert steps == {2}  # the step that was left out does not count


def test_a_last_step_that_is_bad_is_told_before_anything_is_saved(make, tmp_path):
    with pytest.raises(InputError, match="Step 4: the loss is no finite number"):
        make({3: math.nan}).train()
    with pytest.raises(InputError, match="Step 4: the loss is no finite number"):
        make({3: math.nan}, save_strategy="steps", save_steps=4).train()
    assert not (tmp_path / "checkpoint-4").exists()


def test_one_bad_step_after_the_other_stops_all_the_same(make):
    spoilt = dict.fromkeys(range(2, 40), math.nan)
    trainer = make(spoilt, on_bad_step="skip", max_steps=40)
    with pytest.raises(InputError, match=f"Step {2 + MOST_SKIPPED}"):
        trainer.train()
    assert len(notes(trainer)) == MOST_SKIPPED


def test_a_gradient_that_jumps_is_a_bad_step(make):
    options = {"max_steps": 26, "max_grad_growth": 100.0, "on_bad_step": "skip"}
    trainer = make({5: 1e5, 23: 1e5}, **options)
    trainer.train()
    # The first jump comes before there are steps enough to know what is usual.
    (note,) = notes(trainer)
    assert note["step"] == 24
    assert "in the steps before" in note["reason"]
    trainer = make({23: 1e5}, **options, max_grad_norm=0.0)
    trainer.train()
    assert notes(trainer)[-1]["step"] == 24


def test_the_posts_of_a_step_of_translations(tiny_config, translation_pairs, tokenizer, tmp_path):
    class Spoilt(TPPTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            self.seen.append(inputs["item_ids"].tolist())
            return super().compute_loss(model, inputs) * math.nan

    model = new_model(tiny_config, social_weight=0, mlm_weight=0, tpp_weight=1)
    config = TPPConfig(output_dir=str(tmp_path), **OPTIONS)
    trainer = Spoilt(model, config, translation_pairs, processing_class=tokenizer)
    trainer.seen = []
    with pytest.raises(InputError, match="Step 1"):
        trainer.train()
    (posts,) = notes(trainer)[0]["posts"]
    items = trainer.train_dataset.items
    assert [items[int(post) % len(items)] for post in posts] == trainer.seen[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"on_bad_step": "hope"}, "stop or skip"), ({"max_grad_growth": 1.0}, "above 1")],
)
def test_options_that_cannot_work(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        SocialPretrainingConfig(output_dir=str(tmp_path), **OPTIONS | options)


def test_figures_of_vectors_by_hand():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, -1.0]])
    # Pairs (0, 2) and (1, 3): distances² 0 and 4.
    assert float(alignment(vectors)) == pytest.approx(2.0)
    # Six cosines: 0, 1, 0, 0, -1, 0.
    assert float(mean_cosine(vectors)) == pytest.approx(0.0)
    expected = math.log((4 * math.exp(-4) + 1 + math.exp(-8)) / 6)
    assert float(uniformity(vectors)) == pytest.approx(expected)


def test_figures_of_vectors_are_logged_and_a_collapse_is_told(make, caplog):
    trainer = make({})
    trainer.train()
    entry = trainer.state.log_history[0]
    assert {"social_alignment", "social_uniformity", "social_mean_cosine"} <= entry.keys()
    caplog.clear()
    callback, entry = CollapseWarning(), {"loss": 1.0, "social_mean_cosine": 0.99}
    for step, told in ((1, 0), (2, 1), (3, 1)):
        trainer.state.global_step = step
        callback.on_log(trainer.args, trainer.state, None, entry)
        assert caplog.text.count("point in one direction") == told


def test_an_overflow_of_float16_does_not_stand_in_the_way_of_saving(make, monkeypatch):
    trainer = make({})
    trainer.args.fp16 = True
    for norm in (math.inf, 2.0):
        trainer._grad_norm, trainer._loss_is_finite = torch.tensor(norm), True
        trainer._check_step(trainer.model)
    assert trainer._log_state()["norms"] == [2.0]
