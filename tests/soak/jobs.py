"""Long commands that are killed, and what a run that was never killed leaves of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
TRAINING = {
    "per_device_train_batch_size": 16,
    "max_length": 32,
    "save_steps": 5,
    "save_total_limit": 2,
    "logging_steps": 4,
    "learning_rate": 1e-3,
    "use_cpu": True,
    "disable_tqdm": True,
    "report_to": "none",
}

TIMES = ("second", "runtime", "minutes", "data_wait")
"""Keys of JSON whose values no two runs share."""
RECORDS = ("run.json", "training_record.json", "training_args.json", ".lock", "pipeline.yaml")
"""Files that tell of the process; their options are what the runs were started with."""


@dataclass(frozen=True)
class Job:
    """A command, its working folder and what it makes there.

    Args:
        name: Of the command.
        arguments: Of `twhin-hf`, relative to the working folder; the data is in `data`.
        product: File or folder that it makes, which is compared.
        workers: Processes that it starts, one of which is killed too.
    """

    name: str
    arguments: list[str]
    product: str
    workers: bool = False


def make_data(folder: Path, main: Callable[[list[str]], int]) -> None:
    """Data, and what each command needs of the ones before it."""

    def run(*words: str) -> None:
        if main(list(words)) != 0:
            raise RuntimeError(f"twhin-hf {' '.join(words)} failed")

    data = folder / "data"
    run("synthesize", "--output", str(data), "--num_users", "600", "--num_posts", "3000",
        "--num_engagements", "30000", "--languages", "en", "ar", "--num_translation_pairs", "400",
        "--hashtag_share", "0.5")  # fmt: skip
    posts, log = str(data / "posts.parquet"), str(data / "engagements.parquet")
    run("split", "--posts", posts, "--output", str(data / "split"))
    run("network", "embed", "--engagements", log, "--posts", str(data / "split" / "train.parquet"),
        "--max_unknown_posts", "1", "--output", str(data / "network"), "--dimension", "16",
        "--epochs", "3", "--threads", "1", "--no_progress")  # fmt: skip
    run("network", "mine", "--network", str(data / "network"), "--posts", posts, "--output",
        str(data / "pairs.parquet"), "--threads", "1", "--no_progress")  # fmt: skip
    run("tokenizer", "--posts", posts, "--output", str(data / "tokenizer"), "--vocab_size", "500",
        "--no_progress")  # fmt: skip
    repeated = pq.read_table(posts).to_pylist() * 6
    rows = [row | {"post_id": str(number)} for number, row in enumerate(repeated)]
    pq.write_table(pa.Table.from_pylist(rows), data / "many.parquet")  # two parts
    config = data / "encoder.yaml"
    config.write_text(
        yaml.safe_dump(TRAINING | {"config_name": "bert", "config_overrides": TINY, "max_steps": 2})
    )
    run("pretrain", "--config", str(config), "--tokenizer_name", str(data / "tokenizer"),
        "--posts", posts, "--social_weight", "0", "--mlm_weight", "1", "--output_dir",
        str(data / "encoder"))  # fmt: skip
    run("data", "engagement-build", "--posts", posts, "--engagements", log, "--network",
        str(data / "network"), "--output", str(data / "suite" / "engagement"), "--no_progress",
        "--min_language_users", "1")  # fmt: skip


def jobs(folder: Path) -> list[Job]:
    """All of them; their configs are written beside the data."""
    data = folder / "data"
    start = {"config_name": "bert", "config_overrides": TINY, "tokenizer_name": "data/tokenizer"}
    pretrain = TRAINING | start | {"max_steps": 60, "posts": "data/posts.parquet"}
    stages = [
        {"output_dir": "one", "max_steps": 24},
        {"output_dir": "two", "max_steps": 24, "seed": 7},
    ]
    pairs = next(iter(sorted(data.glob("*translation*"))))
    configs: dict[str, dict[str, Any]] = {
        "pretrain": pretrain
        | {"pairs": "data/pairs.parquet", "dataloader_num_workers": 2, "social_weight": 1.0},
        "tpp": TRAINING | start | {"translation_pairs": f"data/{pairs.name}", "stages": stages},
        "run": {
            "engagements": "data/engagements.parquet",
            "posts": "data/posts.parquet",
            "encoder": TINY,
            "vocab_size": 500,
            "network": {"dimension": 16, "epochs": 6, "threads": 1, "checkpoint_minutes": 0.005},
            "mining": {"threads": 1},
            "objectives": {
                "MLM + social": {"mlm_weight": 0.05, "social_weight": 1.0},
                "engagement": {"engagement_weight": 1.0, "sentence_embedding": "engagement"},
            },
            "training": {
                **{name: TRAINING[name] for name in ("max_length", "use_cpu", "disable_tqdm")},
                "save_strategy": "steps",
                "save_steps": 5,
                "save_total_limit": 2,
                "logging_steps": 4,
            },
            "stage1": {"max_steps": 20, "per_device_train_batch_size": 16},
            "stage2": {"max_steps": 20, "per_device_train_batch_size": 16, "head_steps": 5},
            "evaluation": {"max_epochs": 2, "seeds": [0]},
            "records_per_user": None,
        },
    }
    for name, values in configs.items():
        (data / f"{name}.yaml").write_text(yaml.safe_dump(values))
    log = ["--engagements", "data/engagements.parquet", "--posts", "data/posts.parquet"]
    return [
        Job(
            "network embed",
            ["network", "embed", *log, "--output", "box/out", "--dimension", "64", "--epochs", "60",
             "--threads", "1", "--checkpoint_minutes", "0.005", "--no_progress"],
            "box/out",
        ),
        Job(
            "network mine",
            ["network", "mine", "--network", "data/network", "--posts", "data/posts.parquet",
             "--output", "box/out/pairs.parquet", "--threads", "1", "--no_progress", "--k", "50"],
            "box/out/pairs.parquet",
        ),
        Job(
            "tokenizer",
            ["tokenizer", "--posts", "data/posts.parquet", "--output", "box/out", "--vocab_size",
             "800", "--no_progress"],
            "box/out",
        ),
        Job("pretrain", ["pretrain", "--config", "data/pretrain.yaml", "--output_dir", "box/out"],
            "box/out", workers=True),
        Job("tpp", ["tpp", "--config", "data/tpp.yaml", "--output_dir", "box/out"], "box/out"),
        Job(
            "embed",
            ["embed", "--input", "data/many.parquet", "--output", "box/out/vectors.parquet",
             "--model", "data/encoder", "--device", "cpu", "--no_progress", "--processes", "2"],
            "box/out/vectors.parquet",
            workers=True,
        ),
        Job(
            "evaluate suite",
            ["evaluate", "suite", "--suite", "twhin", "--model", "data/encoder", "--data_dir",
             "data/suite", "--output", "box/out", "--device", "cpu", "--seeds", "0", "1", "2"],
            "box/out",
        ),
        Job("run", ["run", "--config", "data/run.yaml", "--output", "box/out"], "box/out"),
    ]  # fmt: skip


def contents(product: Path) -> dict[str, str]:
    """A hash of each file that a run has made, but for times and for what tells of the process."""
    files = [product] if product.is_file() else sorted(product.rglob("*"))
    found = {}
    for path in files:
        name = path.name if product.is_file() else path.relative_to(product).as_posix()
        parts = Path(name).parts
        if not path.is_file() or path.name in RECORDS or path.suffix == ".png":
            continue
        if any(part.startswith((".", "checkpoint-")) for part in parts):
            continue
        found[name] = hashlib.blake2b(_content(path), digest_size=8).hexdigest()
    return found


def _content(path: Path) -> bytes:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        columns = [column.combine_chunks().to_pylist() for column in table.columns]
        return repr((table.column_names, columns)).encode()
    if path.suffix == ".json":
        return json.dumps(_timeless(json.loads(path.read_text())), sort_keys=True).encode()
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _timeless(inner)
            for name, inner in value.items()
            if not any(word in name for word in TIMES)
        }
    if isinstance(value, list):
        return [_timeless(inner) for inner in value]
    return value


def quantile(values: list[float], share: float) -> float:
    """A quantile of a list; 0 of none."""
    return float(np.quantile(values, share)) if values else 0.0
