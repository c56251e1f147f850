"""Fixtures that every test may use: tiny tokenizers, models and posts, all made here."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

# Before any import of a Hugging Face library: no network is asked, nothing is left behind.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="twhin_hf_tests_")

import numpy as np
import pytest
import torch

from twhin_hf.loading.families import MODELS
from twhin_hf.training.initialization import DROPOUTS

# Tiny models: a second thread costs more than it brings.
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def capabilities():
    """A processor without special instructions, so that trainings are alike on all; the real one.

    Where it multiplies in bfloat16, trainings would be in bfloat16 by default.
    """
    real = getattr(torch.cpu, "get_capabilities", dict)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
        yield real


INNER_SIZE = {"distilbert": "hidden_dim"}
"""What a family's config calls its `intermediate_size`, where transformers has no common name."""

LANGUAGES = ("en", "es", "ar", "ja")
ALPHABETS = ("abcdefghij", "klmnopqrst", "ابتثجحخدذر", "あいうえおかきくけこ")


class SmallDisks:
    """File systems of so many KiB."""

    def __init__(self, folder):
        self.folder, self.mounted = folder, []

    def __call__(self, kibibytes):
        disk = self.folder / f"disk-{len(self.mounted)}"
        disk.mkdir()
        try:
            self._mount(disk, f"size={kibibytes}k")
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("no right to mount a file system")
        self.mounted.append(disk)
        return disk

    def enlarge(self, disk):
        self._mount(disk, "remount,size=64m")

    def _mount(self, disk, options):
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(disk)]
        subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path):
    """Makes small file systems; a test is skipped where nobody may mount one."""
    disks = SmallDisks(tmp_path)
    yield disks
    for disk in disks.mounted:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture(autouse=True)
def own_engines():
    """Holds the package to engines that it opens and closes.

    The default engine of Ibis has no memory limit and is never closed: DuckDB then reports leaks on
    the screen when the process ends.
    """
    yield
    ibis = sys.modules.get("ibis")
    if ibis and ibis.options.default_backend:
        ibis.options.default_backend = None  # this test fails, and not all that follow it
        pytest.fail("a table in memory was read by the default engine of Ibis; open one for it")


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """A Spark of two threads, which every engine of Spark in a test's process is."""
    pytest.importorskip("pyspark", reason="needs twhin_hf[spark]")
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("Spark needs Java 17")
    from twhin_hf.engines import EngineConfig, open_engine

    folder = tmp_path_factory.mktemp("spark")
    with open_engine("600MB", temp_directory=folder, config=EngineConfig("spark")) as connection:
        yield connection


@pytest.fixture
def launch(tmp_path_factory):
    """Runs a command of twhin-hf in so many processes of `accelerate launch`, or of torchrun."""
    script = tmp_path_factory.mktemp("launch") / "command.py"
    script.write_text(
        "import os, sys\n"
        "from twhin_hf.commands.cli import main\n"
        "assert os.environ.get('WORLD_SIZE') == sys.argv[1], 'not launched'\n"
        "sys.exit(main(sys.argv[2:]))\n"
    )
    config = Path(__file__).parents[1] / "examples" / "accelerate_configs" / "many_cpus.yaml"

    def run(processes, arguments, launcher="accelerate"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        number = str(processes)
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", number]
        command += ["--master-port", port]
        if launcher == "accelerate":
            command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
            command += [str(config), "--num_processes", number, "--main_process_port", port]
        return subprocess.run(
            [*command, str(script), number, *arguments],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """240 short posts of made-up words in four scripts."""
    rng = np.random.default_rng(0)
    words = [
        ["".join(rng.choice(list(alphabet), rng.integers(2, 6))) for _ in range(60)]
        for alphabet in ALPHABETS
    ]
    return [" ".join(rng.choice(words[i % 4], rng.integers(3, 25))) for i in range(240)]


@pytest.fixture(scope="session")
def tokenizer(texts, tmp_path_factory):
    """A unigram tokenizer of those posts, saved and loaded again."""
    from transformers import AutoTokenizer

    from twhin_hf.data.tokenization import train_unigram_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    train_unigram_tokenizer(texts, 300, progress=False).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def posts(texts):
    """The posts as a data set."""
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "post_id": [f"p{i}" for i in range(len(texts))],
            "text": texts,
            "lang": [LANGUAGES[i % 4] for i in range(len(texts))],
        }
    )


@pytest.fixture(scope="session")
def pairs():
    """120 pairs: post i with post i + 120."""
    import pyarrow as pa

    return pa.table(
        {
            "anchor_id": [f"p{i}" for i in range(120)],
            "positive_id": [f"p{i + 120}" for i in range(120)],
            "similarity": pa.array(np.full(120, 0.9), pa.float32()),
        }
    )


@pytest.fixture
def tiny_config(tokenizer):
    """A two-layer BERT without dropout, so that two ways to compute a thing can be compared."""
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=130,
        pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


@pytest.fixture(params=sorted(MODELS))
def family(request) -> str:
    """The `model_type` of each family."""
    return request.param


@pytest.fixture(scope="session")
def small_config(tokenizer):
    """Makes the config of a family, small, its weights large enough that a wrong mask shows."""

    def make(family: str, **settings):
        sizes = {
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            INNER_SIZE.get(family, "intermediate_size"): 48,
            "max_position_embeddings": 130,
            "initializer_range": 0.2,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        }
        if family == "modernbert":
            sizes["cls_token_id"] = tokenizer.cls_token_id
            sizes["sep_token_id"] = tokenizer.sep_token_id
            sizes["local_attention"] = 8  # the second layer sees four tokens to either side
        return MODELS[family].config_class(**sizes | settings)

    return make


@pytest.fixture
def family_config(family, small_config):
    """Two layers without dropout."""
    config = small_config(family)
    for name in DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, 0.0)
    return config


@pytest.fixture(scope="session")
def translation_pairs(texts):
    """80 translation pairs: English post 4i with Spanish post 4i + 1, and 20 of them with Arabic.

    The English text of a triple is on side a of one pair and on side b of the other.
    """
    from datasets import Dataset

    spanish = [(4 * i, "en", 4 * i + 1, "es") for i in range(60)]
    arabic = [(4 * i + 2, "ar", 4 * i, "en") for i in range(20)]
    rows = spanish + arabic
    return Dataset.from_dict(
        {
            "text_a": [texts[row[0]] for row in rows],
            "text_b": [texts[row[2]] for row in rows],
            "lang_a": [row[1] for row in rows],
            "lang_b": [row[3] for row in rows],
            "source": ["test"] * len(rows),
        }
    )


@pytest.fixture
def varlen(monkeypatch):
    """torch's attention over flat rows needs a GPU: a plain one of the same signature stands in."""
    import types

    import torch.nn.functional as F

    from twhin_hf.modeling.packed_attention import VARLEN, register_varlen_attention

    def varlen_attn(query, key, value, cu_q, cu_k, max_q, max_k, *, window_size=(-1, -1)):
        places = torch.arange(len(query), device=query.device)
        posts = torch.searchsorted(cu_q[1:].long(), places, right=True)
        ahead = places - places[:, None]
        left, right = (size if size >= 0 else max_q for size in window_size)
        seen = (posts == posts[:, None]) & (ahead >= -left) & (ahead <= right)
        states = [states.transpose(0, 1) for states in (query, key, value)]
        return F.scaled_dot_product_attention(*states, seen).transpose(0, 1)

    module = types.ModuleType("torch.nn.attention.varlen")
    module.varlen_attn = varlen_attn
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", module)
    register_varlen_attention()
    return VARLEN
