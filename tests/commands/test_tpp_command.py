import json
import logging
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from twhin_hf.commands.cli import main
from twhin_hf.commands.parsing import parse_command
from twhin_hf.commands.spelling import RECIPES
from twhin_hf.commands.tpp import Stage, plan_stages, tpp

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(RECIPES.glob("tpp_*.yaml"))
TINY_BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 64,
}


def planned(*options):
    """The stages that the options ask for."""
    parsed = parse_command(tpp, options, "twhin-hf tpp")
    stages = parsed.pop("stages")
    return plan_stages(Stage(*(parsed[name] for name in Stage._fields)), stages)


@pytest.fixture
def files(posts, pairs, translation_pairs, tokenizer, tmp_path):
    posts.to_parquet(tmp_path / "posts.parquet")
    pq.write_table(pairs, tmp_path / "pairs.parquet")
    translation_pairs.to_parquet(tmp_path / "translations.parquet")
    translation_pairs.select(range(40)).to_parquet(tmp_path / "human.parquet")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    return tmp_path


def write_config(folder, **values):
    tiny = {
        "config_name": "bert",
        "config_overrides": TINY_BERT,
        "tokenizer_name": str(folder / "tokenizer"),
        "output_dir": str(folder / "out"),
        "max_steps": 2,
        "per_device_train_batch_size": 8,
        "max_length": 32,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tiny | values))
    return str(path)


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def test_from_scratch_with_held_out_pairs(files):
    config = write_config(files, tpp_loss="cosine", tpp_margin=0.5)
    options = ["--translation_pairs", str(files / "translations.parquet"), "--tpp_margin", "-0.5"]
    held_out = ["--validation_translation_pairs", str(files / "human.parquet")]
    assert main(["tpp", "--config", config, *options, *held_out]) == 0
    saved = config_of(files / "out")
    assert (saved["tpp_loss"], saved["tpp_margin"]) == ("cosine", -0.5)
    assert (saved["tpp_weight"], saved["social_weight"], saved["mlm_weight"]) == (1, 0, 0)
    results = json.loads((files / "out" / "eval_results.json").read_text())
    assert {"eval_tpp_auc", "eval_retrieval_a_to_b", "eval_tpp_accuracy"} <= results.keys()


@pytest.mark.parametrize("family", ["modernbert", "roberta", "xlm-roberta"])
def test_other_families(family, files):
    config = write_config(files, config_name=family, tpp_loss="contrastive")
    options = ["--translation_pairs", str(files / "translations.parquet"), "--mlm_weight", "0.1"]
    assert main(["tpp", "--config", config, *options]) == 0
    assert config_of(files / "out")["model_type"] == family


def test_stages_follow_one_another_and_go_on_where_they_stopped(files, capsys, monkeypatch):
    from twhin_hf.modeling import TwhinBertForPreTraining

    stages = [
        {"translation_pairs": str(files / "human.parquet"), "output_dir": "one"},
        {"translation_pairs": str(files / "translations.parquet"), "output_dir": "two"},
    ]
    # A rate of 0 in the second stage: it ends with the weights it began with.
    stages[1]["learning_rate"] = 0.0
    command = ["tpp", "--config", write_config(files, stages=stages, learning_rate=1e-2)]
    assert main(command) == 0
    first, second = files / "out" / "one", files / "out" / "two"
    rates = [
        json.loads((folder / "training_args.json").read_text())["learning_rate"]
        for folder in (first, second)
    ]
    assert rates == [1e-2, 0.0]
    one, two = (TwhinBertForPreTraining.from_pretrained(folder) for folder in (first, second))
    for name, value in one.state_dict().items():
        assert value.equal(two.state_dict()[name]), name

    # A stage that has ended is left alone; one that is gone is trained again.
    times = {
        folder: (folder / "model.safetensors").stat().st_mtime_ns for folder in (first, second)
    }
    (second / "run.json").unlink()
    (second / "model.safetensors").unlink()
    (second / "trainer_state.json").unlink()
    assert main(command) == 0
    assert (first / "model.safetensors").stat().st_mtime_ns == times[first]
    assert (second / "model.safetensors").stat().st_mtime_ns > times[second]
    assert (second / "trainer_state.json").exists()

    # The example script tells what it passes over; how often it logs and saves makes no model.
    script = ROOT / "examples" / "run_tpp.py"
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    monkeypatch.setattr(sys, "argv", [str(script), *command[1:], "--logging_steps", "1"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert not ended.value.code
    assert capsys.readouterr().err.count("is finished: nothing to do") == 3

    # A stage that was trained with other options is not taken for the one asked for.
    stages[1]["translation_pairs"] = str(files / "human.parquet")
    changed = ["tpp", "--config", write_config(files, stages=stages, learning_rate=1e-2)]
    assert main(changed) == 2
    message = capsys.readouterr().err
    assert f"{second} was trained with other options: the content of translation_pairs" in message
    assert "Give those again, or add --overwrite" in message
    assert main([*changed, "--seed", "7"]) == 2
    assert f"{first} was trained with other options: seed was None and is 7" in (
        capsys.readouterr().err
    )
    # Nor is one that went on from a model that is to be trained anew.
    shutil.rmtree(first)
    assert main(changed) == 2
    assert f"{second} was trained on the model of {first}, which has not ended" in (
        capsys.readouterr().err
    )
    assert not first.exists()


def test_an_option_of_the_stages_is_none_of_the_command_line(files, capsys):
    stage = {"translation_pairs": str(files / "human.parquet"), "output_dir": "one"}
    config = write_config(files, stages=[stage])
    for option in ("--translation_pairs", "--translation-pairs"):
        assert main(["tpp", "--config", config, option, str(files / "human.parquet")]) == 2
        assert "--translation_pairs would go over what the stages say" in capsys.readouterr().err
    (stage,) = planned("--config", config, "--output_dir", "o", "--seed", "3")
    assert (stage.config.output_dir, stage.config.seed) == ("o/one", 3)


def test_a_broken_off_stage_goes_on_from_its_checkpoint(files):
    stage = {"translation_pairs": str(files / "translations.parquet"), "output_dir": "one"}
    values = {"stages": [stage], "save_strategy": "steps", "save_steps": 2, "logging_steps": 1}
    config = write_config(files, **values, max_steps=3)
    assert main(["tpp", "--config", config]) == 0
    folder = files / "out" / "one"
    for record in (folder / "run.json", files / "out" / "run.json"):
        record.write_text(record.read_text().replace('"finished": true', '"finished": false'))
    shutil.rmtree(folder / "checkpoint-3")
    before = json.loads((folder / "checkpoint-2" / "trainer_state.json").read_text())
    assert main(["tpp", "--config", config]) == 0
    after = json.loads((folder / "trainer_state.json").read_text())
    assert after["log_history"][:2] == before["log_history"][:2]
    assert after["global_step"] == 3


def test_all_stages_are_trained_anew_where_that_is_asked_for(files, capsys):
    stages = [
        {"translation_pairs": str(files / "translations.parquet"), "output_dir": name}
        for name in ("one", "two")
    ]
    command = ["tpp", "--config", write_config(files, stages=stages)]
    assert main(command) == 0
    folders = [files / "out" / name for name in ("one", "two")]
    before = [(folder / "model.safetensors").stat().st_mtime_ns for folder in folders]
    assert main([*command, "--seed", "3", "--overwrite"]) == 0
    after = [(folder / "model.safetensors").stat().st_mtime_ns for folder in folders]
    assert all(new > old for new, old in zip(after, before, strict=True))
    assert main([*command, "--seed", "3"]) == 0
    assert main([*command, "--seed", "3", "--resume_from_checkpoint", "x"]) == 2
    assert "goes with one stage" in capsys.readouterr().err


def test_joint_run_by_pretrain(files):
    config = write_config(files, logging_steps=1, max_steps=4)
    options = [
        "--posts", str(files / "posts.parquet"), "--pairs", str(files / "pairs.parquet"),
        "--translation_pairs", str(files / "translations.parquet"),
        "--translation_proportion", "0.25",
        "--validation_translation_pairs", str(files / "human.parquet"),
    ]  # fmt: skip
    assert main(["pretrain", "--config", config, *options]) == 0
    saved = config_of(files / "out")
    assert (saved["tpp_weight"], saved["social_weight"], saved["mlm_weight"]) == (1, 1, 0.05)
    state = json.loads((files / "out" / "trainer_state.json").read_text())
    assert ["tpp_loss" in entry for entry in state["log_history"][:4]].count(True) == 1
    results = json.loads((files / "out" / "eval_results.json").read_text())
    assert {"eval_tpp_auc", "eval_retrieval_a_to_b", "eval_tpp_accuracy"} <= results.keys()


def test_example_script_under_accelerate(files):
    config = write_config(files, translation_pairs=str(files / "translations.parquet"))
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1",
        str(ROOT / "examples" / "run_tpp.py"), "--config", config,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (files / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipes_hold_known_keys_and_the_papers_values(path):
    assert len(CONFIGS) == 3
    options = ["--config", path.stem, "--model_name_or_path", "m", "--use_cpu"]
    parsed = parse_command(tpp, options, "twhin-hf tpp")
    model, config = parsed["objectives"], parsed["config"]
    assert (config.num_train_epochs, config.per_device_train_batch_size) == (3, 32)
    assert (config.warmup_steps, config.learning_rate, config.num_negatives) == (500, 1e-6, 1)
    assert (model.tpp_weight, model.tpp_loss, model.social_weight, model.mlm_weight) == (
        1, "bce", 0, 0,
    )  # fmt: skip
    assert config.upsample_languages == (path.stem == "tpp_all")
    assert len(parsed["stages"] or []) == (2 if path.stem == "tpp_bp" else 0)


def test_stages_of_the_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("wikidata", "wikimatrix"):
        (tmp_path / "pairs" / name).mkdir(parents=True)
    path = next(path for path in CONFIGS if path.stem == "tpp_bp")
    options = ["--model_name_or_path", "m", "--output_dir", "o", "--use_cpu"]
    stages = planned("--config", str(path), *options)
    assert [stage.config.output_dir for stage in stages] == ["o/wikidata", "o/wikimatrix"]
    assert [stage.model.model_name_or_path for stage in stages] == ["m", "o/wikidata"]
    assert [stage.data.translation_pairs for stage in stages] == [
        "pairs/wikidata",
        "pairs/wikimatrix",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tpp_los": "bce"}, "unknown key 'tpp_los'; did you mean 'tpp_loss'?"),
        ({}, "translation_pairs is missing"),
        ({"translation_pairs": "gone"}, "translation_pairs: there is no gone"),
        ({"stages": {"a": 1}}, "stages takes a list"),
        ({"stages": [{"translation_pairs": "x"}]}, "needs an output_dir of its own"),
        (
            {"stages": [{"output_dir": "a"}, {"output_dir": "a"}]},
            "needs an output_dir of its own",
        ),
        (
            {"stages": [{"output_dir": "a", "learning_rat": 1}]},
            "a stage has an unknown key 'learning_rat'; did you mean 'learning_rate'?",
        ),
        (
            {"stages": [{"output_dir": "a", "learning_rate": None}]},
            "a stage: learning_rate is empty; needed is a number",
        ),
        (
            {"stages": [{"output_dir": "a", "gradient_accumulation_steps": 0}]},
            "gradient_accumulation_steps is 0; it must be 1 or more",
        ),
        (
            {"stages": [{"output_dir": "a", "lr_scheduler_kwargs": "x"}]},
            "lr_scheduler_kwargs is 'x'; needed are NAME: VALUE pairs",
        ),
        ({"stages": [3]}, "stages takes a list (NAME=VALUE pairs each), not '[3]'\n"),
        ({"model_name_or_path": "a"}, "one of them"),
        ({"tpp_margin": 1.5, "translation_pairs": "config.yaml"}, "tpp_margin is 1.5"),
    ],
)
def test_mistakes_are_told_before_training(values, message, files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    assert main(["tpp", "--config", write_config(files, **values)]) == 2
    assert message in capsys.readouterr().err


def test_a_stage_with_lora_and_nothing_to_adapt_leaves_no_folder(files, capsys):
    stage = {"translation_pairs": str(files / "human.parquet"), "output_dir": "a", "lora": True}
    assert main(["tpp", "--config", write_config(files, stages=[stage])]) == 2
    assert "lora adapts a checkpoint" in capsys.readouterr().err
    assert not (files / "out").exists()


def test_help_lists_all_options(capsys):
    assert main(["tpp", "--help"]) == 0
    assert "--upsample_languages" in capsys.readouterr().out
