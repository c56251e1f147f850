"""What LoRA trains, takes and gives beside full training of the social stage, in one run.

    twhin-hf run --config examples/citeulike/paper.yaml
    python examples/benchmarks/lora.py --run runs/citeulike_paper

Each way goes on from the run's checkpoint of MLM with the run's own options, in a process of its
own, so that its peak memory is its own: stage 2 in full, and LoRA of each rank with its own
learning rate. Quality is engagement prediction on posts never seen.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from math import prod
from pathlib import Path
from typing import Any

import yaml


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, help="folder of a run of `twhin-hf run`")
    parser.add_argument("--seed", type=int, default=0, help="of the run's seeds (default: 0)")
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 64])
    parser.add_argument(
        "--lora-learning-rate", type=float, default=5e-3, help="(default: %(default)s)"
    )
    parser.add_argument("--output", default="runs/lora", help="(default: %(default)s)")
    args = parser.parse_args()
    run, output = Path(args.run), Path(args.output)
    config = yaml.safe_load((run / "pipeline.yaml").read_text())
    split = [sys.executable, "-m", "twhin_hf.commands.cli", "split", "--posts", config["posts"]]
    seed = ["--seed", str(config["split_seed"])]
    subprocess.run([*split, *seed, "--output", str(output / "split")], check=True)
    common = {
        "model_name_or_path": str(run / f"seed{args.seed}" / "stage1"),
        "posts": str(output / "split" / "train.parquet"),
        "pairs": str(run / "pairs.parquet"),
        "seed": args.seed,
        "save_strategy": "no",
        "report_to": "none",
        "social_weight": 1.0,
        "mlm_weight": 0.05,
    }
    common |= config["settings"] | config["training"] | config["stage2"]
    ways = {"full": common}
    for rank in args.ranks:
        lora = {"lora": True, "lora_r": rank, "lora_alpha": 2 * rank}
        ways[f"LoRA, r = {rank}"] = common | lora | {"learning_rate": args.lora_learning_rate}
    figures = {}
    for number, (way, options) in enumerate(ways.items()):
        folder = output / f"way{number}"
        figures[way] = train(options | {"output_dir": str(folder)}, folder)
    qualities = evaluate(run, config, args.seed, [output / f"way{n}" for n in range(len(ways))])
    show(figures, *qualities)


def train(options: dict[str, Any], folder: Path) -> dict[str, float]:
    """Trains in a process of its own; seconds, peak memory, and what was trained."""
    from safetensors import safe_open

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "options.yaml").write_text(yaml.safe_dump(options))
    command = [sys.executable, "-m", "twhin_hf.commands.cli", "pretrain"]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--config", str(folder / "options.yaml")])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"training failed; see above ({folder})")
    weights = folder / ("adapter_model.safetensors" if "lora" in options else "model.safetensors")
    with safe_open(weights, "np") as file:
        trained = sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return {
        "seconds": time.perf_counter() - start,
        "gigabytes": usage.ru_maxrss * 1024 / 1e9,
        "trained": trained,
        "megabytes": weights.stat().st_size / 1e6,
    }


def evaluate(
    run: Path, config: dict[str, Any], seed: int, folders: list[Path]
) -> tuple[float, list[float]]:
    """HITS@10 of the checkpoint that all began from, and of each folder."""
    import pyarrow as pa

    from twhin_hf.benchmarks.engagement.benchmark import build_benchmark
    from twhin_hf.data.posts import read_posts
    from twhin_hf.data.splits import split_posts
    from twhin_hf.evaluation.engagement import (
        EngagementConfig,
        engagement_rows,
        evaluate_engagement,
    )
    from twhin_hf.loading.auto import load_post_encoder
    from twhin_hf.network.folder import load_network
    from twhin_hf.network.log import read_log

    posts, _ = read_posts(config["posts"])
    splits = split_posts(posts["post_id"], config["split_seed"])
    graph = read_log(config["engagements"], config["posts"], **config["log"])
    table: pa.Table = posts.with_format("arrow")[:]
    network = load_network(run / "network")
    benchmark = build_benchmark(graph, network, table, splits, records_per_user=5, max_posts=None)
    options = EngagementConfig(max_epochs=60, patience=5)
    max_length = config["training"].get("max_length")

    def hits(folder: Path) -> float:
        model = load_post_encoder(str(folder))
        result = evaluate_engagement(model, benchmark, options, max_length=max_length)
        rows = engagement_rows(result, options)
        return next(row.value for row in reversed(rows) if row.metric.startswith("HITS"))

    return hits(run / f"seed{seed}" / "stage1"), [hits(folder) for folder in folders]


def show(figures: dict[str, dict[str, float]], before: float, after: list[float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Stage 2 in full and by LoRA")
    columns = ("", "trained", "of full", "saved, MB", "peak memory, GB", "minutes", "HITS@10")
    for column in columns:
        table.add_column(column, justify="right")
    table.add_row("before", "0", "", "", "", "", f"{before:.4f}")
    full = figures["full"]["trained"]
    for (way, values), hits in zip(figures.items(), after, strict=True):
        table.add_row(
            way,
            f"{values['trained']:,}",
            f"{values['trained'] / full:.1%}",
            f"{values['megabytes']:.2f}",
            f"{values['gigabytes']:.2f}",
            f"{values['seconds'] / 60:.1f}",
            f"{hits:.4f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
