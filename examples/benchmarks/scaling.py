"""Time and memory of each stage at 1, 4, 16 and 64 times the data: is the cost of a unit the same?

    python examples/benchmarks/scaling.py
    python examples/benchmarks/scaling.py --factors 1 4 --stages log mining

Each stage runs at each size in a process of its own, on what the stage before it wrote. The process
runs the stage on a small network first, so that imports and first uses are not counted; then it
measures processor seconds, and how far the peak of its memory rises. A stage that takes less than
`--seconds` is repeated, and the median counts. What every run pays once weighs on the small sizes:
the column "each further unit" is the cost that large data adds, between the two largest sizes.
Results go to the screen as Markdown, and with `--picture` as curves.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Job = Callable[[], float]

USERS, POSTS, ENGAGEMENTS = 1_500, 6_000, 90_000
"""Of size 1; each post has 15 engagements at every size."""

UNITS = {
    "generate": "engagement",
    "import": "engagement",
    "log": "engagement",
    "embedding": "engagement",
    "mining": "post",
    "tokenizing": "post",
    "training": "real token",
    "encoding": "post",
}
"""The stages, in the order of the data, and what the cost of each should follow."""

STEPS = 60
"""Steps of 128 posts that training is measured by, at each size."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--factors", nargs="+", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--stages", nargs="+", choices=list(UNITS), default=list(UNITS))
    parser.add_argument("--seconds", type=float, default=2.0, help="repeat shorter stages")
    parser.add_argument("--threads", type=int, default=1, help="of every library")
    parser.add_argument("--picture", help="PNG file to draw the curves to")
    parser.add_argument("--output", help="JSON file for the figures")
    parser.add_argument("--stage", choices=list(UNITS), help=argparse.SUPPRESS)
    parser.add_argument("--factor", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        print(json.dumps(measure(args)))
        return
    figures: dict[str, dict[int, dict[str, float]]] = {stage: {} for stage in UNITS}
    with tempfile.TemporaryDirectory() as work:
        for factor in [0, *args.factors]:
            for stage in UNITS:
                # Size 0 is the small network of the first uses. What later stages read is made too.
                measured = run(stage, factor, work, args)
                if factor and stage in args.stages:
                    figures[stage][factor] = measured
                    print(f"{stage} × {factor}: {measured}", file=sys.stderr, flush=True)
    if args.output:
        Path(args.output).write_text(json.dumps(figures, indent=1))
    print(table(figures, args.factors))
    if args.picture:
        draw(figures, args.picture)


def run(stage: str, factor: int, work: str, args: argparse.Namespace) -> dict[str, float]:
    """One stage at one size, in a process of its own."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    command = [sys.executable, __file__, "--stage", stage, "--factor", str(factor)]
    command += ["--work", work, "--seconds", str(args.seconds), "--threads", str(args.threads)]
    ran = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | dict.fromkeys(names, str(args.threads)),
    )
    if ran.returncode:
        sys.exit(f"{stage} × {factor} failed:\n{ran.stderr[-2000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Units, seconds (processor, wall) and MiB of one stage at one size."""
    import torch

    torch.set_num_threads(args.threads)
    work = Path(args.work)
    folder = work / str(args.factor)
    folder.mkdir(exist_ok=True)
    prepare = STAGES[args.stage]
    if args.factor:
        prepare(work / "0", work / "first", args)()
        shutil.rmtree(work / "first", ignore_errors=True)
    times, walls = [], []
    job = prepare(folder, folder, args)
    before = peak_mib()
    while not times or (args.factor and sum(times) < args.seconds and len(times) < 7):
        job = job if not times else prepare(folder, folder, args)
        began, wall = time.process_time(), time.perf_counter()
        units = job()
        times.append(time.process_time() - began)
        walls.append(time.perf_counter() - wall)
    return {
        "units": units,
        "processor": statistics.median(times),
        "wall": statistics.median(walls),
        "mib": peak_mib() - before,
    }


def peak_mib() -> float:
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**20


# A stage: `source` and `output` are folders of one size, the same but for the first uses. It reads
# what it needs, and gives a function that does the work to be measured and returns its units.


def generate(source: Path, output: Path, args: argparse.Namespace) -> Job:
    from twhin_hf import SyntheticConfig, generate_network

    size = 0.2 if source.name == "0" else float(args.factor)
    config = SyntheticConfig(
        num_users=int(USERS * size),
        num_posts=int(POSTS * size),
        num_engagements=int(ENGAGEMENTS * size),
    )

    def job() -> float:
        network = generate_network(config)
        network.save(output)
        return network.engagements.num_rows

    output.mkdir(exist_ok=True)
    return job


def import_(source: Path, output: Path, args: argparse.Namespace) -> Job:
    from twhin_hf.network.sources.importing import import_log

    log = source / "engagements.parquet"
    return lambda: (
        import_log("table", log, output / "imported", threads=args.threads).engagements_read
    )


def log(source: Path, output: Path, args: argparse.Namespace) -> Job:
    return lambda: read_graph(source, args).report.rows


def embedding(source: Path, output: Path, args: argparse.Namespace) -> Job:
    from twhin_hf import NetworkEmbeddingConfig, embed_network, save_network

    graph = read_graph(source, args)
    # As many passes at every size: the default takes fewer over a longer log.
    config = NetworkEmbeddingConfig(dimension=64, epochs=2, threads=args.threads)

    def job() -> float:
        save_network(embed_network(graph, config, progress=False), output / "network")
        return graph.num_edges

    return job


def mining(source: Path, output: Path, args: argparse.Namespace) -> Job:
    from twhin_hf import MiningConfig, load_network, mine_pairs

    network = load_network(source / "network")
    # The index of large data at every size: exact search grows with the square.
    config = MiningConfig(exact_limit=0, threads=args.threads)
    output.mkdir(exist_ok=True)

    def job() -> float:
        posts, pairs = source / "posts.parquet", output / "pairs.parquet"
        mine_pairs(network, posts, pairs, config, progress=False)
        return network.num_posts

    return job


def tokenizing(source: Path, output: Path, args: argparse.Namespace) -> Job:
    import pyarrow.parquet as pq

    from twhin_hf import read_posts, train_unigram_tokenizer
    from twhin_hf.data.tokenization import tokenize_posts

    folder = source.parent / "tokenizer"
    if not folder.exists():
        texts = pq.read_table(source / "posts.parquet", columns=["text"])["text"].to_pylist()
        train_unigram_tokenizer(texts, 2_000, progress=False).save_pretrained(folder)
    tokenizer = load_tokenizer(folder)

    def job() -> float:
        posts = read_posts(source / "posts.parquet", threads=args.threads).dataset
        return len(tokenize_posts(posts, tokenizer))

    return job


def training(source: Path, output: Path, args: argparse.Namespace) -> Job:
    import pyarrow.parquet as pq
    from transformers import set_seed

    from twhin_hf import (
        SocialPretrainingConfig,
        SocialPretrainingTrainer,
        new_pretraining_model,
        read_posts,
    )

    tokenizer = load_tokenizer(source.parent / "tokenizer")
    set_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 256, "max_position_embeddings": 64}
    trainer = SocialPretrainingTrainer(
        new_pretraining_model("bert", tokenizer, sizes, mlm_weight=0.05, social_weight=1.0),
        SocialPretrainingConfig(
            output_dir=str(output / "training"),
            per_device_train_batch_size=64,
            max_steps=STEPS,
            max_length=48,
            logging_steps=STEPS,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
        ),
        read_posts(source / "posts.parquet", threads=args.threads).dataset,
        pairs=pq.read_table(source / "pairs.parquet"),
        processing_class=tokenizer,
    )

    def job() -> float:
        trainer.train()
        trainer.save_model(str(output / "model"))
        return next(entry["tokens"] for entry in trainer.state.log_history if "tokens" in entry)

    return job


def encoding(source: Path, output: Path, args: argparse.Namespace) -> Job:
    from twhin_hf import PostVectorsConfig, embed_posts

    config = PostVectorsConfig(model=str(source / "model"), device="cpu")
    output.mkdir(exist_ok=True)

    def job() -> float:
        posts, vectors = source / "posts.parquet", output / "vectors.parquet"
        return embed_posts(posts, vectors, config, overwrite=True, progress=False).num_posts

    return job


def read_graph(source: Path, args: argparse.Namespace) -> Any:
    from twhin_hf import read_log

    log, posts = source / "engagements.parquet", source / "posts.parquet"
    return read_log(log, posts, threads=args.threads)


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


STAGES: dict[str, Callable[[Path, Path, argparse.Namespace], Job]] = {
    "generate": generate,
    "import": import_,
    "log": log,
    "embedding": embedding,
    "mining": mining,
    "tokenizing": tokenizing,
    "training": training,
    "encoding": encoding,
}


def table(figures: dict[str, dict[int, dict[str, float]]], factors: list[int]) -> str:
    """Markdown: microseconds of a unit at each size, how even they are, and memory."""
    sizes = sorted(factors)
    rows = [
        "| stage | unit | "
        + " | ".join(f"µs a unit × {size}" for size in sizes)
        + " | dearest / cheapest | each further unit | peak memory, MiB above the start: "
        + " / ".join(f"× {size}" for size in sizes)
        + " | bytes each further unit |",
        "| --- | --- |" + " --- |" * (len(sizes) + 4),
    ]
    for stage, unit in UNITS.items():
        found = figures[stage]
        if not found:
            continue
        costs = [1e6 * found[size]["processor"] / found[size]["units"] for size in sizes]
        memory = [found[size]["mib"] for size in sizes]
        rows.append(
            f"| {stage} | {unit} | "
            + " | ".join(f"{cost:.3g}" for cost in costs)
            + f" | {max(costs) / min(costs):.2f} | {further(found, sizes, 'processor', 1e6)} | "
            + " / ".join(f"{mib:.0f}" for mib in memory)
            + f" | {further(found, sizes, 'mib', 2**20)} |"
        )
    return "\n".join(rows)


def further(found: dict[int, dict[str, float]], sizes: list[int], figure: str, scale: float) -> str:
    """What each further unit costs between the two largest sizes."""
    if len(sizes) < 2:
        return ""
    small, large = (found[size] for size in sizes[-2:])
    more = large["units"] - small["units"]
    return f"{scale * (large[figure] - small[figure]) / more:.3g}" if more > 0 else "–"


def draw(figures: dict[str, dict[int, dict[str, float]]], path: str) -> None:
    """Curves of processor time and memory, each stage against its units."""
    import altair as alt

    from twhin_hf.plots import save_chart

    rows = [
        {
            "name": f"{stage}, by {UNITS[stage]}",
            "size": size,
            "microseconds": 1e6 * found[size]["processor"] / found[size]["units"],
            "MiB": max(1.0, found[size]["mib"]),
        }
        for stage, found in figures.items()
        for size in sorted(found)
    ]
    sizes = sorted({row["size"] for row in rows})
    base = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_line(point=True)
        .encode(
            x=alt.X(
                "size:Q",
                title="size of the data (1: 6,000 posts)",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(values=sizes, labelExpr="'× ' + datum.label"),
            ),
            color=alt.Color("name:N", sort=None, scale=alt.Scale(scheme="tableau20")),
        )
        .properties(width=400, height=280)
    )
    panels = [
        base.encode(y=alt.Y(f"{figure}:Q", scale=alt.Scale(type="log"))).properties(title=title)
        for figure, title in (
            ("microseconds", "Processor time of a unit"),
            ("MiB", "Peak memory above the start"),
        )
    ]
    save_chart(alt.hconcat(*panels), path)


if __name__ == "__main__":
    main()
