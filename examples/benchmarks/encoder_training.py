"""What else the same start could have been trained to, at equal processor time, in one run.

    twhin-hf run --config examples/citeulike/config.yaml --model_name_or_path all-MiniLM-L6-v2
    python examples/benchmarks/encoder_training.py --run runs/citeulike

Each way goes on from the encoder that the run began from, with the run's network, posts, options:

- `full`: what the run trains;
- `lora`: the same steps with LoRA of all linear layers (of a BERT);
- `mnrl`: sentence-transformers' `MultipleNegativesRankingLoss` on pairs mined from that network, as
  many steps as `full`'s processor time allows;
- `batch`: batches of `--batch-size` posts by cached gradients, as many posts in all as `full`.

Every one is judged by engagement prediction on posts never seen, with the features that validation
chooses (of `mnrl` there is one). Figures are the median over the seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, help="folder of a run of `twhin-hf run`")
    parser.add_argument("--ways", nargs="+", default=["full", "lora", "mnrl", "batch"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--lora-learning-rate", type=float, default=3e-3, help="%(default)s")
    parser.add_argument("--mnrl-learning-rate", type=float, default=3e-4, help="%(default)s")
    parser.add_argument("--temperature", type=float, default=0.05, help="of mnrl: %(default)s")
    parser.add_argument("--batch-size", type=int, default=1024, help="of batch: %(default)s")
    parser.add_argument("--output", default="runs/encoder_training", help="%(default)s")
    args = parser.parse_args()
    run, output = Path(args.run), Path(args.output)
    config = yaml.safe_load((run / "pipeline.yaml").read_text())
    prepare(run, config, output)
    judge = judged(run, config)
    for seed in args.seeds:
        for way in args.ways:
            folder = output / f"seed{seed}" / way
            note = folder / "figures.json"
            if not note.exists():
                figures = train(way, folder, run, config, seed, args)
                figures |= judge(folder)
                note.write_text(json.dumps(figures, indent=1))
    show(args.ways, args.seeds, output)


def prepare(run: Path, config: dict[str, Any], output: Path) -> None:
    """The training posts of the run's split, and pairs mined among them."""
    if not (output / "split" / "train.parquet").exists():
        command("split", posts=config["posts"], seed=config["split_seed"], output=output / "split")
    if not (output / "pairs.parquet").exists():
        posts = output / "split" / "train.parquet"
        command("network", "mine", network=run / "network", posts=posts, min_similarity=0.5,
                output=output / "pairs.parquet")  # fmt: skip


def command(*words: str, **options: Any) -> float:
    """Runs a command of the package; its processor seconds."""
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen([sys.executable, "-m", "twhin_hf.commands.cli", *words, *given])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{words[0]} failed; see above")
    return usage.ru_utime + usage.ru_stime


def train(
    way: str, folder: Path, run: Path, config: dict[str, Any], seed: int, args: Any
) -> dict[str, Any]:
    """Trains one way into its folder; processor seconds and steps."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder.parent.parent
    if way == "mnrl":
        allowed = json.loads((folder.parent / "full" / "figures.json").read_text())["seconds"]
        return train_mnrl(folder, data, config, seed, allowed, args)
    (objective,) = config["objectives"].values()
    options = {
        "model_name_or_path": config["model_name_or_path"],
        "posts": str(data / "split" / "train.parquet"),
        "network": str(run / "network"),
        "dropout": config["dropout"],
        "mlm_weight": 0.0,
        "seed": seed,
        "save_strategy": "no",
        "report_to": "none",
        "output_dir": str(folder),
    }
    options |= config["settings"] | objective | config["training"] | config["stage2"]
    if way == "lora":
        options |= {"lora": True, "lora_r": 16, "lora_alpha": 32}
        options |= {"lora_target_modules": ["query", "key", "value", "dense"], "lora_dropout": 0.0}
        options["learning_rate"] = args.lora_learning_rate
    elif way == "batch":
        posts = options["max_steps"] * options["per_device_train_batch_size"]
        options["contrastive_batch_size"] = args.batch_size
        options["max_steps"] = posts // args.batch_size
    (folder / "options.yaml").write_text(yaml.safe_dump(options))
    seconds = command("pretrain", config=folder / "options.yaml")
    return {"seconds": seconds, "steps": options["max_steps"]}


def train_mnrl(
    folder: Path, data: Path, config: dict[str, Any], seed: int, allowed: float, args: Any
) -> dict[str, Any]:
    """As many steps as fit the processor time: a few are timed first."""
    import pyarrow.parquet as pq
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    from twhin_hf.data.posts import read_posts
    from twhin_hf.training.sentence_losses import social_sentences

    posts = read_posts(str(data / "split" / "train.parquet")).dataset
    pairs = social_sentences(posts, pq.read_table(data / "pairs.parquet"))
    dataset = pairs.dataset.remove_columns("label")

    def fit(steps: int) -> tuple[Any, float]:
        model = SentenceTransformer(
            config["model_name_or_path"], device="cpu", trust_remote_code=False
        )
        model.max_seq_length = config["training"]["max_length"]
        for module in model.modules():
            if type(module).__name__ == "Dropout":
                module.p = config["dropout"]
        arguments = SentenceTransformerTrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=config["stage2"]["per_device_train_batch_size"] // 2,
            learning_rate=args.mnrl_learning_rate,
            warmup_steps=config["stage2"]["warmup_steps"],
            bf16=config["training"].get("bf16", False),
            use_cpu=True,
            dataloader_drop_last=True,
            save_strategy="no",
            report_to="none",
            seed=seed,
        )
        loss = MultipleNegativesRankingLoss(model, scale=1 / args.temperature)
        trainer = SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=dataset, loss=loss
        )
        before = time.process_time()
        trainer.train()
        return model, time.process_time() - before

    trial = 20
    steps = int(allowed / (fit(trial)[1] / trial))
    model, seconds = fit(steps)
    model.save(str(folder))
    return {"seconds": seconds, "steps": steps}


def judged(run: Path, config: dict[str, Any]) -> Callable[[Path], dict[str, Any]]:
    """What judges a folder by the run's own benchmark: its features and their figures."""
    from twhin_hf.benchmarks.engagement.benchmark import build_benchmark
    from twhin_hf.data.posts import read_posts
    from twhin_hf.data.splits import split_posts
    from twhin_hf.evaluation.engagement import choose_features
    from twhin_hf.loading.text_encoders import feature_sets, load_text_encoder
    from twhin_hf.modeling.settings import POOLINGS
    from twhin_hf.network.folder import load_network
    from twhin_hf.network.log import read_log
    from twhin_hf.recommendation.engagement_config import EngagementConfig

    posts, _ = read_posts(config["posts"])
    splits = split_posts(posts["post_id"], config["split_seed"])
    graph = read_log(config["engagements"], config["posts"], **config["log"])
    table = posts.with_format("arrow")[:]
    network = load_network(run / "network")
    made = json.loads((run / "results.json").read_text())["options"]["pipeline"]
    sizes = {name: made[name] for name in ("records_per_user", "max_posts")}
    benchmark = build_benchmark(graph, network, table, splits, **sizes)
    options = EngagementConfig(**made["evaluation"])

    def judge(folder: Path) -> dict[str, Any]:
        if (folder / "options.yaml").exists():
            sets = feature_sets(str(folder), benchmark.texts)
        else:
            encoder = load_text_encoder(str(folder))
            sets = {"mean": encoder.encode(benchmark.texts)}
        (pooled,) = (name for name in sets if name in POOLINGS)
        figures = {}
        for name, features in {"chosen": sets, "pooled": {pooled: sets[pooled]}}.items():
            choice = choose_features(features, benchmark, options)
            (result,) = choice.results.values()
            figures[name] = {
                "features": choice.chosen,
                "validation": choice.validation[choice.chosen],
                "hits": statistics.median(result.hits),
                "mrr": statistics.median(result.mrr),
            }
        return figures

    return judge


def show(ways: list[str], seeds: list[int], output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "", "minutes", "steps", "HITS@10", "seeds", "MRR", "pooled: HITS@10", "validation"
    )
    for way in ways:
        notes = [output / f"seed{seed}" / way / "figures.json" for seed in seeds]
        runs = [json.loads(note.read_text()) for note in notes]
        hits = [run["chosen"]["hits"] for run in runs]
        table.add_row(
            way,
            f"{statistics.median(run['seconds'] for run in runs) / 60:.1f}",
            f"{runs[0]['steps']}",
            f"{statistics.median(hits):.3f}",
            ", ".join(f"{value:.3f}" for value in hits),
            f"{statistics.median(run['chosen']['mrr'] for run in runs):.3f}",
            f"{statistics.median(run['pooled']['hits'] for run in runs):.3f}",
            f"{statistics.median(run['chosen']['validation'] for run in runs):.3f}",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
