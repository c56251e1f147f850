"""Checkpoints are whole or known not to be, and a resumed run is the run that was never stopped."""

import json
import logging
import os
import shutil
import signal

import pytest
import torch
from recording import new_model
from safetensors.torch import load_file
from transformers import TrainerCallback

from twhin_hf.errors import InputError
from twhin_hf.training import checkpointing
from twhin_hf.training.checkpoints import (
    MANIFEST_NAME,
    check_checkpoint,
    damage,
    list_checkpoints,
    newest_checkpoint,
    remove_checkpoints,
    rotate_checkpoints,
    write_manifest,
)
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer

TIMES = (
    "tokens_per_second",
    "data_wait",
    "train_runtime",
    "train_samples_per_second",
    "train_steps_per_second",
)


@pytest.fixture
def make(tiny_config, posts, pairs, tokenizer, tmp_path):
    def make(folder, **options):
        defaults = {
            "output_dir": str(tmp_path / folder),
            "per_device_train_batch_size": 8,
            "max_steps": 8,
            "save_steps": 2,
            "logging_steps": 3,
            "max_length": 32,
            "seed": 5,
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
        }
        config = SocialPretrainingConfig(**defaults | options)
        torch.manual_seed(0)
        tiny_config.hidden_dropout_prob = 0.1
        model = new_model(tiny_config)
        return SocialPretrainingTrainer(model, config, posts, pairs, processing_class=tokenizer)

    return make


def signal_at(step, signum):
    class Signal(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == step:
                os.kill(os.getpid(), signum)

    return Signal()


def figures(trainer):
    return [
        {name: value for name, value in entry.items() if name not in TIMES}
        for entry in trainer.state.log_history
    ]


def assert_same(one, other):
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, value in one.state_dict().items():
        assert value.equal(other.state_dict()[name]), name


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_step_and_the_run_ends_as_if_there_had_been_none(
    make, signum, workers, caplog
):
    whole = make("whole", dataloader_num_workers=workers)
    whole.train()
    broken = make("broken", dataloader_num_workers=workers)
    broken.add_callback(signal_at(4, signum))
    caplog.set_level(logging.INFO)
    with pytest.raises(KeyboardInterrupt if signum == signal.SIGINT else SystemExit) as ended:
        broken.train()
    if signum == signal.SIGTERM:
        assert ended.value.code == 143
    assert "ended at step 5" in caplog.text
    # The step that was under way is the last one, saved out of turn, in the middle of a log window.
    folder = broken.args.output_dir
    assert newest_checkpoint(folder).name == "checkpoint-5"
    resumed = make("broken", dataloader_num_workers=workers)
    resumed.train(resume_from_checkpoint=True)
    assert_same(whole.model, resumed.model)
    assert figures(whole) == figures(resumed)
    first, last = whole.state.log_history[-1], resumed.state.log_history[-1]
    assert last["train_loss"] == first["train_loss"]
    assert last["train_runtime"] > 0


@pytest.mark.parametrize("moment", ["optimizer", "manifest", "rename"])
def test_a_save_that_is_cut_leaves_the_checkpoint_before_it(make, moment, monkeypatch, caplog):
    whole = make("whole")
    whole.train()
    broken = make("broken")

    def dies(*args, **kwargs):
        if broken.state.global_step == 6:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    where, name = {
        "optimizer": (broken, "_save_scaler"),
        "manifest": (checkpointing, "write_manifest"),
        "rename": (checkpointing.os, "replace"),
    }[moment]
    real = getattr(where, name)
    monkeypatch.setattr(where, name, dies)
    # As after a kill: nothing is tidied up.
    monkeypatch.setattr(checkpointing, "remove", lambda path: None)
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    monkeypatch.undo()
    names = {path.name for path in list_checkpoints(broken.args.output_dir)}
    assert names == {"checkpoint-2", "checkpoint-4"}
    resumed = make("broken")
    resumed.train(resume_from_checkpoint=True)
    assert_same(whole.model, resumed.model)
    assert figures(whole) == figures(resumed)
    assert not os.path.exists(os.path.join(broken.args.output_dir, ".saving"))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


DAMAGES = {
    "no model": lambda folder: (folder / "model.safetensors").unlink(),
    "no optimizer": lambda folder: (folder / "optimizer.pt").unlink(),
    "no scheduler": lambda folder: (folder / "scheduler.pt").unlink(),
    "no random state": lambda folder: (folder / "rng_state.pth").unlink(),
    "no trainer state": lambda folder: (folder / "trainer_state.json").unlink(),
    "changed weights": lambda folder: flip(folder / "model.safetensors"),
    "changed optimizer": lambda folder: flip(folder / "optimizer.pt"),
    "cut": lambda folder: (folder / "optimizer.pt").write_bytes(b"x"),
    "no manifest": lambda folder: (folder / MANIFEST_NAME).unlink(),
    "half a manifest": lambda folder: (folder / MANIFEST_NAME).write_text('{"files"'),
    "empty manifest": lambda folder: (folder / MANIFEST_NAME).write_text('{"files": {}}'),
}


def test_damage_of_every_kind_is_seen_and_passed_over(make, tmp_path, caplog):
    trainer = make("run", max_steps=4)
    trainer.train()
    folder = tmp_path / "run"
    assert newest_checkpoint(folder) == folder / "checkpoint-4"
    shutil.copytree(folder / "checkpoint-4", tmp_path / "whole")
    for name, harm in DAMAGES.items():
        shutil.rmtree(folder / "checkpoint-4")
        shutil.copytree(tmp_path / "whole", folder / "checkpoint-4")
        harm(folder / "checkpoint-4")
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert newest_checkpoint(folder) == folder / "checkpoint-2", name
        assert "Passing over" in caplog.text, name
        if name != "no manifest":  # as of another program, which a person may name
            with pytest.raises(InputError, match="cannot be resumed from"):
                check_checkpoint(folder / "checkpoint-4")
    with pytest.raises(InputError, match="it is not there"):
        make("run").train(resume_from_checkpoint=str(folder / "checkpoint-9"))
    with pytest.raises(InputError, match="no whole checkpoint"):
        make("none").train(resume_from_checkpoint=True)


def test_a_run_that_ended_before_it_was_saved_has_nothing_to_train(make, tmp_path):
    trainer = make("run")
    trainer.train()
    again = make("run")
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 8
    assert_same(trainer.model, again.model)
    assert figures(trainer) == figures(again)


def test_the_best_checkpoint_has_the_name_it_ends_up_with(
    tiny_config, posts, pairs, tokenizer, tmp_path
):
    config = SocialPretrainingConfig(
        output_dir=str(tmp_path / "run"), max_steps=4, save_steps=1, eval_steps=1,
        eval_strategy="steps", save_total_limit=2, load_best_model_at_end=True, learning_rate=0.0,
        per_device_train_batch_size=8, max_length=32, report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    model = new_model(tiny_config, social_weight=0, mlm_weight=1)
    trainer = SocialPretrainingTrainer(
        model, config, posts, eval_dataset=posts, processing_class=tokenizer
    )
    trainer.train()
    # Nothing is learnt, so that the first is as good as any: it stays beside the newest.
    best = str(tmp_path / "run" / "checkpoint-1")
    assert trainer.state.best_model_checkpoint == best
    for name in ("checkpoint-1", "checkpoint-4"):
        state = json.loads((tmp_path / "run" / name / "trainer_state.json").read_text())
        assert state["best_model_checkpoint"] == best
    assert not (tmp_path / "run" / "checkpoint-3").exists()


def test_the_oldest_go_first_and_the_best_stays(tmp_path):
    for step in (2, 10, 4, 6):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in ("trainer_state.json", "rng_state.pth"):
            (folder / name).write_text("{}")
        write_manifest(folder)
        assert damage(folder) is None
    (tmp_path / "checkpoint-x").mkdir()
    rotate_checkpoints(tmp_path, None, None)
    rotate_checkpoints(tmp_path, 3, str(tmp_path / "checkpoint-2"))
    names = [path.name for path in list_checkpoints(tmp_path)]
    assert names == ["checkpoint-2", "checkpoint-6", "checkpoint-10"]
    rotate_checkpoints(tmp_path, 1, None)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-10"]
    remove_checkpoints(tmp_path)
    assert not list_checkpoints(tmp_path)
    assert (tmp_path / "checkpoint-x").exists()


def test_weights_of_another_save_do_not_stay_beside_new_ones(make, tmp_path):
    trainer = make("run", max_steps=1)
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json"):
        (folder / name).write_text("old")
    trainer.save_model()
    assert [path.name for path in folder.glob("model*.safetensors*")] == ["model.safetensors"]
    assert load_file(folder / "model.safetensors")
    assert not (folder / ".saving").exists()


def test_a_model_alone_is_nothing_to_go_on_from(make, tmp_path, caplog):
    make("run", max_steps=2, save_only_model=True).train()
    assert newest_checkpoint(tmp_path / "run") is None
    assert "no state to go on from" in caplog.text


def test_an_adapter_does_not_stay_beside_a_whole_model(make, tmp_path):
    trainer = make("run", max_steps=1)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("{}")
    trainer.save_model()
    assert not list((tmp_path / "run").glob("adapter*"))


def test_the_best_checkpoint_is_found_where_the_output_is_now(
    tiny_config, posts, tokenizer, tmp_path
):
    def trainer(folder):
        config = SocialPretrainingConfig(
            output_dir=str(tmp_path / folder), max_steps=4, save_steps=2, eval_steps=2,
            eval_strategy="steps", load_best_model_at_end=True, per_device_train_batch_size=8,
            max_length=32, report_to=[], use_cpu=True, disable_tqdm=True, learning_rate=0.0,
        )  # fmt: skip
        model = new_model(tiny_config, social_weight=0, mlm_weight=1)
        return SocialPretrainingTrainer(
            model, config, posts, eval_dataset=posts, processing_class=tokenizer
        )

    trainer("here").train()
    shutil.move(tmp_path / "here", tmp_path / "there")
    shutil.rmtree(tmp_path / "there" / "checkpoint-4")
    moved = trainer("there")
    moved.train(resume_from_checkpoint=True)
    assert moved.state.best_model_checkpoint == str(tmp_path / "there" / "checkpoint-2")
    shutil.rmtree(tmp_path / "there" / "checkpoint-2")
    with pytest.raises(InputError, match="the best checkpoint so far, is gone"):
        trainer("there").train(resume_from_checkpoint=True)


def test_a_signal_after_the_last_step_saves_it(make, tmp_path):
    trainer = make("run", max_steps=2, save_strategy="no")

    class AtTheEnd(TrainerCallback):
        def on_train_end(self, args, state, control, **kwargs):
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.add_callback(AtTheEnd())
    with pytest.raises(SystemExit):
        trainer.train()
    assert newest_checkpoint(tmp_path / "run") == tmp_path / "run" / "checkpoint-2"
