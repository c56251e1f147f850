"""Work on what lies on this machine asks no network, though nothing forbids it to."""

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

ROOT = Path(__file__).parent.parent
FORBIDDING = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
FORBIDDING += ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "DISABLE_TELEMETRY", "HF_ENDPOINT")
ENCODER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
ENCODER |= {"intermediate_size": 16, "max_position_embeddings": 40}
FEW = ["--per_device_train_batch_size", "8", "--max_steps", "2", "--max_length", "16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("no_network")


@pytest.fixture(scope="module")
def command(folder):
    """Runs a program where every try to ask a network fails; tells what was tried."""

    def run(program, *arguments):
        log = folder / "network.log"
        log.unlink(missing_ok=True)
        environment = {key: value for key, value in os.environ.items() if key not in FORBIDDING}
        environment |= {
            "PYTHONPATH": f"{ROOT / 'tests' / 'no_network'}{os.pathsep}{ROOT}",
            "NETWORK_LOG": str(log),
            "OMP_NUM_THREADS": "1",
            "HF_HOME": str(folder / "hf"),  # nothing is in the cache
            "CUDA_VISIBLE_DEVICES": "",
        }
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        return done, log.read_text(encoding="utf-8") if log.exists() else ""

    return run


@pytest.fixture(scope="module")
def twhin_hf(command):
    """Runs commands one after the other in one process."""
    program = (
        "import json, sys\n"
        "from twhin_hf.commands.cli import main\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    assert main(line) == 0, line"
    )

    def run(*lines):
        done, tried = command(program, json.dumps([[*map(str, line)] for line in lines]))
        assert tried == ""
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]

    return run


ASKING = {
    "socket": "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
    "names": "import socket; socket.getaddrinfo('example.org', 80)",
    "udp": "import socket as s; s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 9))",
    "hub": "import huggingface_hub as h; h.get_session().get('https://example.org')",
    "subprocess": (
        "import subprocess, sys\n"
        "code = 'import socket; socket.getaddrinfo(\"example.org\", 80)'\n"
        "sys.exit(subprocess.run([sys.executable, '-c', code]).returncode)"
    ),
}


@pytest.mark.parametrize("asking", ASKING.values(), ids=ASKING)
def test_what_asks_is_noticed(command, asking):
    """Else the tests below would say nothing."""
    done, tried = command(asking)
    assert done.returncode != 0
    assert tried


@pytest.fixture(scope="module")
def finished(twhin_hf, folder):
    """An encoder of a whole run on generated data."""
    config = {
        "output": str(folder / "run"),
        "synthetic": {
            "num_users": 200,
            "num_posts": 600,
            "num_engagements": 6000,
            "languages": ["en", "ja"],
        },
        "network": {"dimension": 16, "epochs": 1, "threads": 1},
        "mining": {"k": 5},
        "objectives": {
            "MLM + social": {"mlm_weight": 0.05, "social_weight": 1.0},
            "engagement": {"engagement_weight": 1.0, "sentence_embedding": "engagement"},
        },
        "vocab_size": 500,
        "encoder": ENCODER,
        "training": {"max_length": 32, "use_cpu": True, "dataloader_num_workers": 1},
        "stage1": {"max_steps": 2, "per_device_train_batch_size": 8},
        "stage2": {"max_steps": 2, "per_device_train_batch_size": 8, "head_steps": 1},
        "evaluation": {"max_epochs": 1, "seeds": [0]},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    twhin_hf(["run", "--config", folder / "run.yaml"])
    return folder / "run" / "seed0" / "engagement"


def test_a_whole_run(folder, finished):
    assert (folder / "run" / "results.json").exists()
    assert (finished / "model.safetensors").exists()


def test_training_and_using_a_model(twhin_hf, folder, finished):
    data = folder / "run" / "data"
    posts, log = data / "posts.parquet", data / "engagements.parquet"
    start = ["--model_name_or_path", finished.with_name("mlm_social"), "--use_cpu", *FEW]
    pairs = folder / "run" / "pairs.parquet"
    texts = [f"post number {i}" for i in range(40)]
    languages = {"lang_a": ["en"] * 20, "lang_b": ["ja"] * 20}
    translations = {"text_a": texts[:20], "text_b": texts[20:], **languages}
    pq.write_table(pa.table(translations), folder / "translations.parquet")
    alone = ["--device", "cpu"]
    vectors = folder / "vectors.parquet"
    twhin_hf(
        ["pretrain", *start, "--posts", posts, "--pairs", pairs, "--output_dir", folder / "pre"],
        [
            *("tpp", *start, "--translation_pairs", folder / "translations.parquet"),
            *("--output_dir", folder / "tpp"),
        ],
        [
            *("evaluate", "engagement", "--model", finished, "--posts", posts, *alone),
            *("--engagements", log, "--network", folder / "run" / "network"),
            *("--output", folder / "judged", "--max_epochs", "1", "--seeds", "0"),
        ],
        ["embed", "--model", finished, "--input", posts, "--output", vectors],
        [
            *("search", "--vectors", vectors, "--posts", posts, "--model", finished),
            *("--query", "a post", "-k", "2"),
        ],
        ["push", "--model", finished, "--repo", "me/name", "--dry_run"],
    )
    assert np.isfinite(pq.read_table(vectors)["embedding"].to_pylist()).all()


def test_a_sentence_transformer(command, finished):
    pytest.importorskip("sentence_transformers")
    program = (
        "import sys\n"
        "from sentence_transformers import SentenceTransformer\n"
        "model = SentenceTransformer(sys.argv[1], device='cpu', trust_remote_code=False)\n"
        "print(model.encode(['a']).shape)"
    )
    done, tried = command(program, finished)
    assert tried == ""
    assert done.returncode == 0, done.stderr[-3000:]
