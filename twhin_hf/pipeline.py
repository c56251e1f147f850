"""The main job: from an engagement log to an encoder, and what the social loss was worth.

The posts are split first. The network, the pairs, the tokenizer and the encoders see the training
posts alone; the held-out posts come in only to judge. Every stage leaves its result in the output
folder, and a run that was broken off goes on after the last stage that ended.
"""

from __future__ import annotations

import gc
import logging
import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from datasets import Dataset
from rich.console import Console
from transformers import AutoTokenizer, set_seed
from transformers.trainer_utils import get_last_checkpoint

from twhin_hf.benchmarks.engagement.benchmark import EngagementBenchmark, build_benchmark
from twhin_hf.data.posts import read_posts
from twhin_hf.data.splits import check_no_leak, split_posts
from twhin_hf.data.synthetic import generate_network
from twhin_hf.data.tokenization import train_unigram_tokenizer
from twhin_hf.evaluation.engagement import engagement_rows, evaluate_engagement
from twhin_hf.files import read_json, write_text
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.loading.quiet import quiet_loading
from twhin_hf.network.embedding import embed_network
from twhin_hf.network.folder import Network, load_network, save_network
from twhin_hf.network.log import read_log
from twhin_hf.network.mining import mine_pairs
from twhin_hf.pipeline_config import PipelineConfig
from twhin_hf.plots import plot_comparison, plot_losses
from twhin_hf.results import Result, Results, results_table, write_results
from twhin_hf.training.initialization import load_pretraining_model, new_pretraining_model
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer

logger = logging.getLogger(__name__)

COMPARED_MODELS = {"untrained": "untrained", "mlm": "MLM", "mlm_social": "MLM + social"}
"""Folder and name of the three encoders that are compared."""


@quiet_loading()  # the heads that a stage adds are no news here
def run_pipeline(config: PipelineConfig, console: Console | None = None) -> Results:
    """Runs all stages that have not ended yet.

    Returns:
        HITS@10 and MRR of each encoder, as in `results.json`.

    Raises:
        ValueError: Bad input, or an output folder of a run with other options.
        FileNotFoundError: A file that is not there.
    """
    output = Path(config.output)
    console = console or Console()
    datasets.disable_progress_bars()
    _claim(output, config)

    console.rule("1 · posts and engagements")
    config = _with_data(config, output / "data")
    posts, _ = read_posts(str(config.posts), columns=config.log.post_columns)
    splits = split_posts(posts["post_id"], config.split_seed)
    training_posts = posts.filter(
        lambda _, row: splits[row] == "train", with_indices=True, desc="Splitting posts"
    )
    held_out = [
        post_id for post_id, split in zip(posts["post_id"], splits, strict=True) if split != "train"
    ]

    console.rule("2 · network of users and posts")
    network = _network(config, held_out, output / "network")
    check_no_leak(network.post_ids, held_out, what="The network")

    console.rule("3 · pairs of socially similar posts")
    pairs = _pairs(config, network, training_posts, output / "pairs.parquet")
    for column in ("anchor_id", "positive_id"):
        check_no_leak(pairs[column], held_out, what="The set of pairs")

    console.rule("4 · encoders")
    tokenizer = _tokenizer(config, training_posts, output / "tokenizer")
    histories = {
        seed: _encoders(config, seed, training_posts, pairs, tokenizer, output / f"seed{seed}")
        for seed in config.seeds
    }

    console.rule("5 · engagement prediction on posts never seen")
    graph = read_log(str(config.engagements), config.posts, **vars(config.log))
    benchmark = build_benchmark(
        graph,
        network,
        posts.with_format("arrow")[:],
        splits,
        records_per_user=config.records_per_user,
        max_posts=config.max_posts,
    )
    results = _evaluate(config, benchmark, output)
    write_results(results, output)
    console.print(_table(results))
    plot_losses(histories[config.seeds[0]], output / "losses.png")
    plot_comparison(_hits(results), output / "hits.png")
    console.print(f"Everything is in [bold]{output}[/bold]: results.json, losses.png, hits.png, …")
    return results


def _with_data(config: PipelineConfig, folder: Path) -> PipelineConfig:
    """The config with generated data where none is given."""
    if config.engagements:
        return config
    assert config.synthetic is not None
    files = {name: folder / f"{name}.parquet" for name in ("engagements", "posts")}
    if not all(file.exists() for file in files.values()):
        generate_network(config.synthetic).save(folder)
    return replace(config, engagements=str(files["engagements"]), posts=str(files["posts"]))


def _claim(output: Path, config: PipelineConfig) -> None:
    """Notes the options in the output folder, and refuses one that another run has made.

    Seeds and the evaluation may change: they leave what is there as it is.
    """
    note = output / "pipeline.yaml"
    free = ("seeds", "evaluation", "records_per_user", "max_posts", "output")
    kept = {key: value for key, value in asdict(config).items() if key not in free}
    text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
    if note.exists() and note.read_text(encoding="utf-8") != text:
        raise ValueError(
            f"{output} holds a run with other options (see {note}); choose another output, or "
            "remove the folder"
        )
    write_text(note, text)


def _network(config: PipelineConfig, held_out: list[str], folder: Path) -> Network:
    if not (folder / "network.json").exists():
        graph = read_log(
            str(config.engagements), config.posts, exclude_posts=held_out, **vars(config.log)
        )
        save_network(embed_network(graph, config.network, output=folder, resume=True), folder)
    return load_network(folder)


def _pairs(config: PipelineConfig, network: Network, posts: Dataset, path: Path) -> pa.Table:
    if not path.exists():
        mine_pairs(network, posts, path, config.mining)
    return pq.read_table(path)


def _tokenizer(config: PipelineConfig, posts: Dataset, folder: Path) -> Any:
    if not (folder / "tokenizer_config.json").exists():
        train_unigram_tokenizer(posts["text"], config.vocab_size, progress=False).save_pretrained(
            folder
        )
    return AutoTokenizer.from_pretrained(folder)


def _encoders(
    config: PipelineConfig,
    seed: int,
    posts: Dataset,
    pairs: pa.Table,
    tokenizer: Any,
    folder: Path,
) -> dict[str, list[dict]]:
    """The three encoders of a seed; the last two differ in the social loss alone.

    MLM goes on with the batches of the social stage, the same posts in the same order with the
    same masks, so that both see as many steps and as many real tokens.
    """
    mlm_only = config.settings | {"social_weight": 0.0, "mlm_weight": 1.0}

    def untrained() -> Any:
        return new_pretraining_model("bert", tokenizer, config.encoder, **mlm_only)

    set_seed(seed)
    if not (folder / "untrained" / "config.json").exists():
        model = untrained()
        model.save_pretrained(folder / "untrained")
        tokenizer.save_pretrained(folder / "untrained")

    def train(name: str, model: Callable[[], Any], stage: dict, pairs: pa.Table | None) -> list:
        target = folder / name
        if not (target / "trainer_state.json").exists():
            set_seed(seed)
            options = SocialPretrainingConfig(
                output_dir=str(target),
                seed=seed,
                **{"report_to": [], "save_strategy": "no"} | config.training | stage,
            )
            trainer = SocialPretrainingTrainer(
                model(), options, posts, pairs, processing_class=tokenizer
            )
            trainer.train(resume_from_checkpoint=target.exists() and get_last_checkpoint(target))
            trainer.save_model()
            trainer.save_state()
            del trainer
            gc.collect()
        return read_json(target / "trainer_state.json")["log_history"]

    stage1 = folder / "stage1"

    def checkpoint(settings: dict) -> Callable[[], Any]:
        return lambda: load_pretraining_model(str(stage1), tokenizer, **settings)

    social = {"social_weight": 1.0, "mlm_weight": 0.05} | config.settings
    return {
        "stage 1: MLM": train("stage1", untrained, config.stage1, None),
        "stage 2: MLM": train("mlm", checkpoint(mlm_only), config.stage2, pairs),
        "stage 2: MLM + social": train("mlm_social", checkpoint(social), config.stage2, pairs),
    }


def _evaluate(config: PipelineConfig, benchmark: EngagementBenchmark, output: Path) -> Results:
    options = config.evaluation
    lengths = {key: config.training[key] for key in ("max_length",) if key in config.training}
    rows = []
    for folder, name in COMPARED_MODELS.items():
        by_seed = []
        for seed in config.seeds:
            model = load_post_encoder(str(output / f"seed{seed}" / folder))
            result = evaluate_engagement(model, benchmark, options, **lengths)
            by_seed.append(engagement_rows(result, options))
            hits = next(row for row in reversed(by_seed[-1]) if row.metric.startswith("HITS"))
            logger.info("%s, seed %d: %s %.4f", name, seed, hits.metric, hits.value)
        rows += [_median(list(same), name, config.seeds) for same in zip(*by_seed, strict=True)]
    return Results(
        task="engagement",
        model=str(output),
        results=rows,
        options={"pipeline": asdict(config), "benchmark": benchmark.counts},
    )


def _median(rows: list[Result], model: str, seeds: list[int]) -> Result:
    """One row of several encoders' rows: the median of their values."""
    values = [row.value for row in rows]
    return Result(
        language=rows[0].language,
        metric=rows[0].metric,
        value=statistics.median(values),
        seeds=seeds,
        values=values,
        details=rows[0].details | {"model": model},
    )


def _hits(results: Results) -> dict[str, list[float]]:
    """HITS@k over all languages, one value per seed, of each encoder."""
    rows = [row for row in results.results if row.metric.startswith("HITS")]
    last = {row.details["model"]: row for row in rows}  # the average stands behind the languages
    return {name: row.values for name, row in last.items()}


def _table(results: Results) -> Any:
    by_model: dict[str, list[Result]] = {}
    for row in results.results:
        by_model.setdefault(row.details["model"], []).append(row)
    return results_table(
        {
            name: Results(task=results.task, model=name, results=rows)
            for name, rows in by_model.items()
        },
        title="Engagement prediction on posts never seen",
    )
