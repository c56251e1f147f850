import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.torch import load_file

from twhin_hf.commands.cli import main
from twhin_hf.commands.parsing import parse_command
from twhin_hf.commands.pretrain import pretrain
from twhin_hf.commands.spelling import RECIPES
from twhin_hf.errors import InputError
from twhin_hf.network.folder import load_network
from twhin_hf.training.streaming import open_stream

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(RECIPES.glob("twhin_bert_*.yaml"))


def parse(*options):
    return parse_command(pretrain, options, "twhin-hf pretrain")


@pytest.fixture
def files(posts, pairs, tokenizer, tmp_path):
    posts.to_parquet(tmp_path / "posts.parquet")
    pq.write_table(pairs, tmp_path / "pairs.parquet")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    return tmp_path


def write_config(folder, **values):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


TINY = {
    "max_steps": 2,
    "per_device_train_batch_size": 8,
    "max_length": 32,
    "save_strategy": "no",
    "report_to": "none",
    "use_cpu": True,
    "disable_tqdm": True,
}
TINY_BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 64,
}


def test_from_scratch_and_on_with_pairs(files, capsys):
    stage1 = write_config(
        files,
        **TINY,
        config_name="bert",
        config_overrides=TINY_BERT,
        tokenizer_name=str(files / "tokenizer"),
        social_weight=0,
        mlm_weight=1,
        posts=str(files / "posts.parquet"),
        output_dir=str(files / "stage1"),
        validation_posts=str(files / "posts.parquet"),
    )
    assert main(["pretrain", "--config", stage1]) == 0
    config = json.loads((files / "stage1" / "config.json").read_text())
    assert config["hidden_size"] == 16
    assert config["model_type"] == "bert"
    assert json.loads((files / "stage1" / "eval_results.json").read_text())["eval_mlm_loss"] > 0

    stage2 = write_config(files, **TINY, mlm_weight=0.05)
    options = [
        "--model_name_or_path", str(files / "stage1"), "--posts", str(files / "posts.parquet"),
        "--pairs", str(files / "pairs.parquet"), "--output_dir", str(files / "stage2"),
        "--social_temperature", "0.2", "--social_projection_sizes", "12", "8",
    ]  # fmt: skip
    assert main(["pretrain", "--config", stage2, *options]) == 0
    config = json.loads((files / "stage2" / "config.json").read_text())
    assert config["social_weight"] == 1.0  # pairs bring it: the checkpoint's was 0
    assert config["social_temperature"] == 0.2
    assert config["social_projection_sizes"] == [12, 8]


def test_streaming_writes_shards_once(files):
    config = write_config(files, **TINY, config_overrides=TINY_BERT, dataloader_num_workers=2)
    options = [
        "--config_name", "bert", "--tokenizer_name", str(files / "tokenizer"), "--streaming",
        "--posts", str(files / "posts.parquet"), "--pairs", str(files / "pairs.parquet"),
        "--output_dir", str(files / "run"),
    ]  # fmt: skip
    assert main(["pretrain", "--config", config, *options]) == 0
    shards = {path: path.stat().st_mtime_ns for path in (files / "run" / "stream").iterdir()}
    assert {path.name for path in shards} == {"posts.arrow", "pairs.arrow", "run.json"}
    # The training begins anew, and takes the shards that are there.
    weights = files / "run" / "model.safetensors"
    first = weights.read_bytes()
    weights.unlink()
    assert main(["pretrain", "--config", config, *options]) == 0
    assert weights.read_bytes() == first
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    # Of other posts there are others.
    pq.write_table(pq.read_table(files / "pairs.parquet").slice(20), files / "pairs.parquet")
    assert main(["pretrain", "--config", config, *options]) == 2
    assert main(["pretrain", "--config", config, *options, "--overwrite"]) == 0
    assert len(open_stream(files / "run" / "stream").pairs) == 100


def test_example_script_under_accelerate(files):
    config = write_config(files, **TINY, social_weight=0, mlm_weight=1)
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1",
        str(ROOT / "examples" / "run_social_pretraining.py"), "--config", config,
        "--config_name", "bert", "--config_overrides", json.dumps(TINY_BERT),
        "--tokenizer_name", str(files / "tokenizer"),
        "--posts", str(files / "posts.parquet"), "--output_dir", str(files / "out"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (files / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipes_hold_known_keys_and_the_papers_values(path):
    # bf16 is asked for on hardware that may not have it; all else is checked as it stands.
    start = ["--config_name", "bert", "--tokenizer_name", "t"]
    if not path.stem.endswith("mlm"):
        start = ["--model_name_or_path", "a"]
    parsed = parse("--config", path.stem, "--no_bf16", "--posts", ".", *start)
    model, config = parsed["objectives"], parsed["config"]
    assert len(CONFIGS) == 4
    mlm, large = path.stem.endswith("mlm"), "large" in path.stem
    assert yaml.safe_load(path.read_text())["bf16"] is True
    assert config.learning_rate == (2e-4 if mlm else 1e-4)
    assert (config.warmup_steps, config.max_steps) == (30_000, 500_000)
    assert (model.social_weight, model.mlm_weight) == ((0, 1) if mlm else (1, 0.05))
    devices = 16
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps * devices
    assert batch == (8192 if mlm and large else 6144)
    assert config.gradient_checkpointing == (large and not mlm)
    if not mlm:
        assert model.social_projection_sizes == ([1024, 512] if large else [768, 768])
        assert model.social_temperature == 0.1


def test_an_unknown_key_is_an_error_that_names_the_nearest(files, capsys):
    config = write_config(files, learning_rte=1e-3)
    assert main(["pretrain", "--config", config]) == 2
    assert "unknown key 'learning_rte'; did you mean 'learning_rate'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--posts", "."], "one of them"),
        (
            ["--posts", ".", "--model_name_or_path", "a", "--config_name", "bert"],
            "one of them",
        ),
        (["--posts", ".", "--config_name", "bert"], "config_name needs tokenizer_name"),
        (
            ["--posts", ".", "--model_name_or_path", "a", "--config_overrides", "{a: 1}"],
            "goes with config_name",
        ),
        (["--model_name_or_path", "a"], "missing: --posts"),
        (["--model_name_or_path", "a", "--posts", "gone.parquet"], "there is no gone.parquet"),
        (
            ["--model_name_or_path", "a", "--posts", ".", "--validation_translation_pairs", "."],
            "goes with translation_pairs",
        ),
    ],
)
def test_arguments_that_do_not_fit(options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        parse(*options, "--output_dir", "x", "--use_cpu")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"config_overrides": {"hidden_size": "x"}},
            "config_overrides {'hidden_size': 'x'} c",
        ),
        ({"config_overrides": TINY_BERT | {"hidden_size": 33}}, "size (33) is not a multiple"),
        ({"config_overrides": TINY_BERT | {"hidden_act": "x"}}, "'hidden_act': 'x'"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps is 0; it must be 1"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size is 0; it must be 1"),
        ({"lr_scheduler_kwargs": "x"}, "lr_scheduler_kwargs is 'x'; needed are NAME: VALUE"),
        ({"lr_scheduler_kwargs": {"x": 1}}, "lr_scheduler_kwargs {'x': 1} of lr_scheduler_type l"),
        ({"lr_scheduler_type": "foo"}, "lr_scheduler_type is 'foo'; choose from linear, "),
        ({"optim": "foo"}, "optim is 'foo'; choose from adamw_torch, "),
        ({"accelerator_config": {"a": 1}}, "accelerator_config has unknown keys ['a']; its keys"),
        ({"mlm_probability": 2}, "mlm_probability is 2.0; it must be in [0, 1)"),
        ({"resume_from_checkpoint": "nope"}, "resume_from_checkpoint is 'nope', and there is no"),
        ({"report_to": "foo"}, "report_to is 'foo'; choose from none, all, "),
        ({"max_steps": 0}, "max_steps is 0; it must be 1 or more"),
        ({"max_steps": -1, "num_train_epochs": -1}, "num_train_epochs is -1.0; it must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be a finite number"),
        ({"learning_rate": -1}, "learning_rate is -1.0; it must be 0 or more"),
        ({"seed": -1}, "seed has -1; a seed is a whole number"),
        ({"max_length": 65}, "max_length is 65; this model reads 64 at most"),
        ({"memory_limit": "-1GB"}, "memory_limit is '-1GB'; needed is a size, such as 1GB"),
    ],
)
def test_mistakes_are_told_before_posts_are_read(values, message, files, capsys, monkeypatch):
    def stop(*args, **kwargs):
        raise InputError("posts are read")

    monkeypatch.setattr("twhin_hf.data.posts.read_posts", stop)
    good = TINY | {
        "config_name": "bert",
        "config_overrides": TINY_BERT,
        "tokenizer_name": str(files / "tokenizer"),
        "posts": str(files / "posts.parquet"),
        "output_dir": str(files / "out"),
        "mlm_weight": 1,
        "social_weight": 0,
    }
    assert main(["pretrain", "--config", write_config(files, **good | values)]) == 2
    [told] = capsys.readouterr().err.splitlines()
    assert message in told
    # Nothing is left that the mended command would not go on from.
    assert main(["pretrain", "--config", write_config(files, **good)]) == 2
    assert "posts are read" in capsys.readouterr().err


def test_deepspeed_that_is_not_installed(files, capsys, monkeypatch):
    monkeypatch.setattr("twhin_hf.training.option_checks.is_deepspeed_available", lambda: False)
    options = ["--model_name_or_path", "a", "--posts", str(files), "--output_dir", "x"]
    assert main(["pretrain", *options, "--deepspeed", "nope.json"]) == 2
    assert "deepspeed is 'nope.json', and the library is not installed" in capsys.readouterr().err


def test_other_mistakes(files, capsys):
    assert main(["pretrain", "--config", str(files / "gone.yaml")]) == 2
    assert "there is no config file" in capsys.readouterr().err
    assert main(["pretrain", "--no-such-option", "1"]) == 2
    assert "there is no option --no_such_option" in capsys.readouterr().err


def test_an_override_that_the_config_does_not_know(files, capsys):
    options = [
        "--config_name", "bert", "--config_overrides", "{no_such_size: 3}",
        "--tokenizer_name", str(files / "tokenizer"), "--posts", str(files / "posts.parquet"),
        "--output_dir", str(files / "out"), "--use_cpu",
    ]  # fmt: skip
    assert main(["pretrain", *options]) == 2
    assert "BertConfig has no ['no_such_size']" in capsys.readouterr().err


def test_a_family_without_a_class(files, capsys):
    options = [
        "--config_name", "gpt2", "--tokenizer_name", str(files / "tokenizer"),
        "--posts", str(files / "posts.parquet"), "--output_dir", str(files / "out"), "--use_cpu",
    ]  # fmt: skip
    assert main(["pretrain", *options]) == 2
    assert "this is a 'gpt2' model" in capsys.readouterr().err


def test_help_lists_all_options_ours_first(capsys):
    assert main(["pretrain", "--help"]) == 0
    shown = capsys.readouterr().out
    places = [
        shown.index(text)
        for text in (
            "--posts",
            "--social_weight",
            "--lora_r",
            "--language_exponent",
            "--max_grad_norm ",
        )
    ]
    assert places == sorted(places)


def test_tokenizer_command(files, capsys):
    arguments = ["--posts", str(files / "posts.parquet"), "--vocab-size", "200"]
    assert main(["tokenizer", *arguments, "--output", str(files / "trained")]) == 0
    assert "tokens from 240 posts" in capsys.readouterr().out
    from transformers import AutoTokenizer

    assert AutoTokenizer.from_pretrained(files / "trained").mask_token == "<mask>"


def test_a_network_brings_its_objectives(files, posts, capsys):
    """From a checkpoint without them, and beside LoRA; what is saved embeds by its head."""
    users = [f"u{i % 20}" for i in range(240)] + [f"u{i % 7}" for i in range(240)]
    ids = posts["post_id"][:] + posts["post_id"][:]
    log = pa.table({"user_id": users, "post_id": ids})
    pq.write_table(log, files / "log.parquet")
    paths = {name: str(files / name) for name in ("posts.parquet", "log.parquet", "network")}
    embed = ["network", "embed", "--engagements", paths["log.parquet"], "--dimension", "6"]
    assert main([*embed, "--posts", paths["posts.parquet"], "--output", paths["network"]]) == 0
    scratch = {"config_name": "bert", "config_overrides": TINY_BERT, "mlm_weight": 1.0}
    config = write_config(files, **TINY, **scratch, tokenizer_name=str(files / "tokenizer"))
    command = ["pretrain", "--posts", paths["posts.parquet"]]
    stage1 = str(files / "stage1")
    assert main([*command, "--config", config, "--social_weight", "0", "--output_dir", stage1]) == 0
    half = TINY["per_device_train_batch_size"] // 2
    large = {"per_device_train_batch_size": half, "contrastive_batch_size": 2 * half}
    config = write_config(files, **TINY | large, head_steps=3)
    network = [*command, "--config", config, "--network", paths["network"]]
    network += ["--model_name_or_path", stage1, "--mlm_weight", "0"]
    network += ["--sentence_embedding", "engagement"]
    for name, more in (("full", []), ("adapter", ["--lora"])):
        assert main([*network, *more, "--output_dir", str(files / name)]) == 0
    recipe = ["--config", "lora", "--model_name_or_path", stage1, "--mlm_weight", "0"]
    recipe += ["--network", paths["network"], "--output_dir", str(files / "by_recipe")]
    smaller = ["--max_steps", "1", "--per_device_train_batch_size", "8", "--no_bf16", "--use_cpu"]
    smaller += ["--max_length", "32", "--row_length", "32"]
    assert main([*command, *recipe, *smaller]) == 0
    saved = json.loads((files / "by_recipe" / "encoder_config.json").read_text())
    assert (saved["engagement_weight"], saved["social_weight"]) == (1.0, 0.0)
    saved = json.loads((files / "full" / "config.json").read_text())
    assert saved["network_dimension"] == 6
    assert (saved["engagement_weight"], saved["social_weight"]) == (1.0, 0.0)
    entry = json.loads((files / "full" / "trainer_state.json").read_text())["log_history"][0]
    assert {"engagement_loss", "distillation_loss"} <= entry.keys()
    assert not {"mlm_loss", "social_loss"} & entry.keys()
    weights = load_file(files / "adapter" / "adapter_model.safetensors")
    mean = next(value for name, value in weights.items() if name.endswith("user_mean"))
    vectors = load_network(files / "network").user_vectors
    np.testing.assert_allclose(mean, np.asarray(vectors).mean(axis=0), atol=1e-6)
    # A network of another kind of posts is refused before any work.
    other = [*command, "--config", config, "--network", str(files / "gone")]
    assert main([*other, "--model_name_or_path", stage1, "--output_dir", "x"]) == 2
    assert "network: there is no" in capsys.readouterr().err


def test_the_same_command_goes_on_and_loses_nothing(files, capsys):
    config = write_config(
        files, **TINY | {"save_strategy": "steps", "save_steps": 1, "max_steps": 3},
        config_name="bert", config_overrides=TINY_BERT, tokenizer_name=str(files / "tokenizer"),
        social_weight=0, mlm_weight=1, posts=str(files / "posts.parquet"),
        output_dir=str(files / "out"),
    )  # fmt: skip
    command = ["pretrain", "--config", config]
    assert main(command) == 0
    model = files / "out" / "model.safetensors"
    whole, first = model.read_bytes(), model.stat().st_mtime_ns
    # How it is run makes no other model.
    free = ["--logging_steps", "1", "--log_level", "info", "--dataset_num_proc", "1"]
    assert main([*command, *free]) == 0
    assert model.stat().st_mtime_ns == first
    assert main([*command, "--learning_rate", "1e-5"]) == 2
    assert "learning_rate was None and is 1e-05" in capsys.readouterr().err
    assert main([*command, "--lr_scheduler_kwargs", '{"num_cycles": 3}']) == 2
    # A mistake beside --overwrite costs the finished model nothing.
    assert main([*command, "--overwrite", "--per_device_train_batch_size", "99999"]) == 2
    assert main(command) == 0
    assert model.stat().st_mtime_ns == first
    inside = ["--resume_from_checkpoint", str(files / "out" / "checkpoint-1")]
    assert main([*command, "--overwrite", *inside]) == 2
    assert "--overwrite would remove" in capsys.readouterr().err
    # A model that somebody has removed is made again.
    model.unlink()
    assert main(command) == 0
    assert model.read_bytes() == whole
