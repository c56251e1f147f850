"""Saved models of every family, as a person would save them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from server import running_hub

POOLINGS = {"bert": "cls", "modernbert": "mean", "roberta": "combined", "xlm-roberta": "mean"}
"""The pooling of a family's model here, if not `cls`: every pooling once at least."""


@pytest.fixture(scope="session")
def saved_models(small_config, tokenizer, tmp_path_factory):
    """A folder a family; the name holds a dot, as versions of models do."""
    from twhin_hf.loading.families import PRETRAINING_MODELS
    from twhin_hf.modeling import apply_settings

    torch.manual_seed(0)
    folders = {}
    for family, model_class in PRETRAINING_MODELS.items():
        folder = tmp_path_factory.mktemp("models") / f"{family}.v1"
        tokenizer.save_pretrained(folder)
        settings = {"tpp_weight": 1.0, "pooling": POOLINGS.get(family, "cls")}
        model_class(apply_settings(small_config(family), **settings)).save_pretrained(folder)
        folders[family] = folder
    return folders


@pytest.fixture(scope="session")
def saved_adapters(saved_models, tmp_path_factory):
    """A folder a family: an adapter of its saved model, with weights that make a difference."""
    pytest.importorskip("peft")
    from transformers import AutoTokenizer

    from twhin_hf.loading.families import PRETRAINING_MODELS
    from twhin_hf.training.lora import add_lora

    torch.manual_seed(1)
    folders = {}
    for family, base in saved_models.items():
        model = add_lora(PRETRAINING_MODELS[family].from_pretrained(base))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        folders[family] = tmp_path_factory.mktemp("adapters") / f"{family}.lora"
        AutoTokenizer.from_pretrained(base).save_pretrained(folders[family])
        model.save_pretrained(folders[family])
    return folders


@pytest.fixture
def without_package(tmp_path):
    """Runs `without_package.py` in a fresh process: its vectors by number of the model and kind."""
    from safetensors.torch import load_file

    def run(models, texts, dataset=None, **environment):
        tasks = {"texts": texts, "folder": str(tmp_path / "work"), "models": models}
        tasks |= {"package": str(Path(__file__).parents[2]), "dataset": dataset}
        (tmp_path / "tasks.json").write_text(json.dumps(tasks))
        script, found = Path(__file__).parent / "without_package.py", tmp_path / "found.safetensors"
        ended = subprocess.run(
            [sys.executable, "-I", script, tmp_path / "tasks.json", found],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert ended.returncode == 0, ended.stdout[-4000:]
        return load_file(found)

    return run


@pytest.fixture
def hub(monkeypatch):
    """A local Hub, and this process's client turned to it with the token of an owner."""
    from huggingface_hub import HfApi, constants

    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with running_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        # Libraries keep a client for good, perhaps one made before this Hub was up.
        endpoint = property(
            lambda api: hub.endpoint, lambda api, url: vars(api).update(endpoint=url)
        )
        monkeypatch.setattr(HfApi, "endpoint", endpoint, raising=False)
        yield hub


@pytest.fixture
def waits(monkeypatch):
    """Seconds that anybody wanted to wait; nobody does."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


@pytest.fixture
def trained(saved_models, tmp_path):
    """A folder as training and evaluation leave it, with what must stay behind."""
    import shutil

    folder = tmp_path / "stage2"
    shutil.copytree(saved_models["bert"], folder)
    record = {
        "trainer": "SocialPretrainingTrainer",
        "base_model": ["stage1", "Twitter/twhin-bert-base"],
        "data": {"pairs": 1200},
        "steps": 40,
        "epochs": 2.5,
        "tokens": 123456,
        "seconds": 1800.0,
        "hyper_parameters": {"learning_rate": 0.0001, "max_steps": 40},
        "hardware": "2 CPU cores",
        "processes": 1,
        "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
    }
    log = [{"step": step, "loss": 5.0 / step, "mlm_loss": 9.0 / step} for step in (10, 20, 40)]
    rows = [
        {"language": "en", "metric": "HITS@10", "value": 0.25, "seeds": [0], "values": [0.25]},
        {"language": "average", "metric": "HITS@10", "value": 0.123456},
    ]
    results = {
        "task": "engagement",
        "model": "/home/somebody/runs/stage2",
        "revision": None,
        "results": rows,
        "options": {"data_dir": "/home/somebody/posts", "hits_at": 10, "mood": "good"},
        "versions": {"python": "3.11"},
    }
    for name, value in (
        ("training_record.json", record),
        ("trainer_state.json", {"log_history": log}),
        ("results.json", results),
        ("training_args.json", {"output_dir": "/home/somebody/runs/stage2"}),
    ):
        (folder / name).write_text(json.dumps(value))
    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "users.parquet"):
        (folder / name).write_bytes(b"never to be seen")
    (folder / "checkpoint-20").mkdir()
    shutil.copy(folder / "model.safetensors", folder / "checkpoint-20")
    return folder
