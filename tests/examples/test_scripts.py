"""The scripts for `accelerate launch`: each explains itself and runs on something tiny.

`tests/commands` launches `run_social_pretraining.py` and `run_tpp.py`, whose options are those of
the commands.
"""

import importlib
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from twhin_hf.commands.cli import main
from twhin_hf.commands.spelling import RECIPES
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
TINY = {
    "max_steps": 2,
    "per_device_train_batch_size": 8,
    "max_length": 32,
    "save_strategy": "no",
    "report_to": "none",
    "use_cpu": True,
    "disable_tqdm": True,
    "bf16": False,
    "dataloader_num_workers": 0,
}


@pytest.fixture
def files(posts, pairs, translation_pairs, tiny_config, tokenizer, tmp_path):
    """A checkpoint, posts, pairs of posts and translation pairs."""
    model = TwhinBertForPreTraining(apply_settings(tiny_config, pooling="mean"))
    model.save_pretrained(tmp_path / "checkpoint")
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    posts.to_parquet(tmp_path / "posts.parquet")
    pq.write_table(pairs, tmp_path / "pairs.parquet")
    translation_pairs.to_parquet(tmp_path / "translations.parquet")
    return tmp_path


@pytest.fixture
def hashtags(texts, tmp_path):
    """A benchmark of two languages as a folder of tables, and a checkpoint beside it."""
    for split, rows in (("train", 80), ("validation", 20), ("test", 20)):
        table = {
            "id": [f"{split}{row}" for row in range(rows)],
            "text": texts[:rows],
            "label": [f"tag{row % 3}" for row in range(rows)],
        }
        (tmp_path / "hashtags" / "en").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table), tmp_path / "hashtags" / "en" / f"{split}.parquet")
    return str(tmp_path / "hashtags")


@pytest.fixture
def engagements(texts, tmp_path):
    """Posts and records of two languages, each with 25 posts to rank among."""
    random = np.random.default_rng(0)
    for language, own in (("en", texts[::4]), ("es", texts[1::4])):
        for split, first, last in (("train", 0, 20), ("validation", 20, 35), ("test", 35, 60)):
            ids = [f"{language}{row}" for row in range(first, last)]
            for part, table in (
                ("posts", {"id": ids, "text": own[first:last]}),
                ("records", {"user": random.normal(size=(len(ids), 8)).tolist(), "id": ids}),
            ):
                folder = tmp_path / "engagements" / part / language
                folder.mkdir(parents=True, exist_ok=True)
                pq.write_table(pa.table(table), folder / f"{split}.parquet")
    return str(tmp_path / "engagements")


def script(name, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module(name)


def options(folder, config, **values):
    """Options of a tiny run over a recipe, and over none where it is None."""
    values = {**TINY, **values}
    if config:
        values = yaml.safe_load((RECIPES / config).read_text()) | values
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return ["--config", str(path), "--model_name_or_path", str(folder / "checkpoint")]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(path), run_name="__main__")
    assert not stopped.value.code
    assert "usage: " in (printed := capsys.readouterr().out)
    # Whoever reads the file finds how it is run, and whoever runs it what it takes.
    command = "python" if path.stem == "fix_random_pooler" else "accelerate launch"
    assert f"{command} examples/{path.name}" in path.read_text()
    assert ("--config" in printed) == (command == "accelerate launch")


def test_the_table_names_every_example_and_its_files_are_there():
    text = (EXAMPLES / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert not [link for link in links if not (EXAMPLES / link).exists()]
    examples = {path.name for path in (*SCRIPTS, *EXAMPLES.glob("notebooks/*.ipynb"))}
    assert examples <= {Path(link).name for link in links} | {"fix_random_pooler.py"}
    folders = {path.parent.name for path in EXAMPLES.glob("*/*")} - {"__pycache__"}
    assert folders <= {Path(link).parts[0] for link in links}
    for command in re.findall(r"`(accelerate launch [^`]+)`", text):
        files = [word for word in command.split() if word.startswith("examples/")]
        assert all((EXAMPLES.parent / name).is_file() for name in files), command


def test_joint(files, capsys):
    data = {
        "posts": str(files / "posts.parquet"),
        "pairs": str(files / "pairs.parquet"),
        "translation_pairs": str(files / "translations.parquet"),
        "output_dir": str(files / "joint"),
    }
    assert main(["pretrain", *options(files, "joint.yaml", **data, logging_steps=1)]) == 0
    logged = json.loads((files / "joint" / "trainer_state.json").read_text())["log_history"]
    # Two steps, one of each kind of batch.
    steps = {loss: sum(loss in log for log in logged[:2]) for loss in ("social_loss", "tpp_loss")}
    assert steps == {"social_loss": 1, "tpp_loss": 1}
    command = ["evaluate", "retrieval", "--model", data["output_dir"]]
    command += ["--pairs", data["translation_pairs"], "--output", data["output_dir"]]
    assert main(command) == 0
    results = json.loads((files / "joint" / "results.json").read_text())["results"]
    directions = {"en→es", "es→en", "en→ar", "ar→en"}
    assert directions < {row["language"] for row in results}
    assert "Translations found" in capsys.readouterr().out


def test_lora(files, posts):
    pytest.importorskip("peft")
    data = {
        "posts": str(files / "posts.parquet"),
        "pairs": str(files / "pairs.parquet"),
        "output_dir": str(files / "adapter"),
    }
    assert main(["pretrain", *options(files, "lora.yaml", **data, warmup_steps=0)]) == 0
    load_post_encoder(data["output_dir"]).save_pretrained(files / "merged")
    adapter, merged, before = (
        load_post_encoder(str(folder)).encode(posts["text"][:4], pooling="mean")
        for folder in (files / "adapter", files / "merged", files / "checkpoint")
    )
    assert np.allclose(adapter, merged, atol=1e-6)
    assert not np.allclose(adapter, before, atol=1e-4)


def test_hashtag(files, hashtags, texts, monkeypatch):
    from transformers import AutoModelForSequenceClassification

    main = script("run_hashtag", monkeypatch).main
    tiny = {"max_steps": -1, "num_train_epochs": 2, "save_strategy": "epoch"}
    data = {"benchmark": hashtags, "output_dir": str(files / "classifier"), "learning_rate": 1e-3}
    found = main(options(files, "hashtag.yaml", **tiny, **data))
    assert 0 <= found["test_macro_f1"] <= 1
    folder = files / "classifier"
    assert json.loads((folder / "test_results.json").read_text()) == found
    monkeypatch.setattr("transformers.Trainer.train", pytest.fail)
    assert main(options(files, "hashtag.yaml", **tiny, **data)) == found  # it is finished
    with pytest.raises(ValueError, match="language was None and is 'es'"):
        main(options(files, "hashtag.yaml", **tiny, **data, language="es"))
    assert not (folder / "training_args.bin").exists()
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "tag0", 1: "tag1", 2: "tag2"}
    # The encoder in it is still one of ours: the code that its config names is there.
    encoder = load_post_encoder(str(folder))
    assert encoder.encode(texts[:2]).shape == (2, 32)
    assert (folder / "modeling_twhin_bert.py").exists()

    with pytest.raises(ValueError, match="missing: --model_name_or_path, --benchmark"):
        main(["--output_dir", str(folder), "--use_cpu"])


def test_engagement_on_two_processes(files, engagements):
    config = files / "config.yaml"
    config.write_text(yaml.safe_dump({"seeds": [0, 1], "max_epochs": 2, "pooling": "mean"}))
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_port", "0",
        str(EXAMPLES / "run_engagement.py"), "--config", str(config),
        "--model", str(files / "checkpoint"), "--benchmark", engagements,
        "--output", str(files / "results"),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((files / "results" / "results.json").read_text())["results"]
    hits = {row["language"]: row for row in results if row["metric"] == "HITS@10"}
    assert list(hits) == ["en", "es", "average"]
    assert hits["en"]["details"]["candidates"] == 25
    assert len(hits["es"]["values"]) == 2


def test_engagement_by_hand(files, engagements, monkeypatch, capsys):
    main = script("run_engagement", monkeypatch).main
    arguments = [
        "--model", str(files / "checkpoint"), "--benchmark", engagements,
        "--output", str(files / "results"), "--seeds", "0", "--max_epochs", "1",
        "--languages", "es",
    ]  # fmt: skip
    main(arguments)
    results = json.loads((files / "results" / "results.json").read_text())["results"]
    assert [row["language"] for row in results] == ["es", "es"]
    monkeypatch.setattr("twhin_hf.commands.options.save_results", pytest.fail)
    main(arguments)
    with pytest.raises(ValueError, match="max_epochs was 1 and is 2"):
        main([*arguments, "--max_epochs", "2"])
    with pytest.raises(ValueError, match="missing: --benchmark, --output"):
        main(["--model", "m"])


def test_an_unknown_option_is_told(files, hashtags, monkeypatch):
    main = script("run_hashtag", monkeypatch).main
    told = r"no option --no_such; `run_hashtag.py --help` lists the options"
    with pytest.raises(ValueError, match=told):
        main([*options(files, None), "--benchmark", hashtags, "--no_such", "1"])
    with pytest.raises(ValueError, match="unknown key 'benchmrk'; did you mean 'benchmark'"):
        main(options(files, None, benchmrk="x"))
