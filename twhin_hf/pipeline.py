"""The main job: from an engagement log and any encoder to a better one, and what it is worth.

The posts are split first. The network, the pairs, a new tokenizer and the encoders see the training
posts alone; the held-out posts come in only to judge, beside chance, TF-IDF + SVD and the encoder
that training began from. Every stage leaves its result in the output folder, and a run that was
broken off goes on after the last stage that ended.
"""

from __future__ import annotations

import gc
import itertools
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import yaml
from datasets import Dataset
from rich.console import Console
from transformers import set_seed

from twhin_hf.benchmarks.engagement.benchmark import EngagementBenchmark, build_benchmark
from twhin_hf.data.posts import read_posts
from twhin_hf.data.splits import check_no_leak
from twhin_hf.data.synthetic import generate_network
from twhin_hf.data.text_normalization import prepare_tokenizer
from twhin_hf.data.time_splits import Split, check_unseen, make_split
from twhin_hf.data.tokenization import train_unigram_tokenizer
from twhin_hf.errors import InputError
from twhin_hf.evaluation.baselines import TFIDF, evaluate_baselines, tfidf_features
from twhin_hf.evaluation.engagement import choose_features, evaluate_post_features
from twhin_hf.evaluation.engagement_results import (
    EngagementResult,
    baseline_rows,
    combine_training_seeds,
    difference_sentence,
    pool_training_seeds,
)
from twhin_hf.files import new_folder, read_json, write_text
from twhin_hf.loading.auto import load_tokenizer
from twhin_hf.loading.fingerprint import model_fingerprint
from twhin_hf.loading.places import check_place
from twhin_hf.loading.quiet import quiet_loading
from twhin_hf.loading.text_encoders import (
    TextEncoder,
    feature_sets,
    load_text_encoder,
    side_by_side,
)
from twhin_hf.network.embedding import embed_network
from twhin_hf.network.folder import Network, load_network, save_network
from twhin_hf.network.log import read_log
from twhin_hf.network.mining import mine_pairs
from twhin_hf.network.pairs import read_pairs
from twhin_hf.pipeline_config import PipelineConfig, folder_name
from twhin_hf.pipeline_stages import (
    StageInputs,
    forget_stages,
    options_of,
    options_of_log,
    options_of_mining,
    options_of_network,
    options_of_split,
    stage_run,
)
from twhin_hf.plots import plot_losses, plot_results
from twhin_hf.report.writing import PAGE, write_report
from twhin_hf.results import (
    Result,
    Results,
    read_results,
    results_path,
    results_table,
    rows_by_model,
    write_model_results,
    write_results,
)
from twhin_hf.run_folder import fingerprints_of, run_folder
from twhin_hf.scratch import scratch_folder
from twhin_hf.training.checkpoints import newest_checkpoint, remove_checkpoints
from twhin_hf.training.initialization import load_pretraining_model, new_pretraining_model
from twhin_hf.training.runs import with_effect
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer
from twhin_hf.training.streaming import STREAM_NAME, TokenStream, open_stream, write_stream

logger = logging.getLogger(__name__)

_REPORT = "report"
"""The folder of the run's page."""


@quiet_loading()  # the heads that a stage adds are no news here
def run_pipeline(
    config: PipelineConfig, console: Console | None = None, *, overwrite: bool = False
) -> Results:
    """Runs all stages that have not ended yet.

    Each stage has a record of its options and of what it was made from, which says last of all that
    it is finished (`twhin_hf.run_folder`): a run that was killed goes on, a mistake in the options
    of a later stage does not cost an earlier one, and a finished stage is never taken for one of
    other options.

    Args:
        config: The main job.
        console: Where it is shown.
        overwrite: Begin anew where the output holds a finished run, or one of other options.

    Returns:
        HITS@10 and MRR of each encoder and of the baselines, as in `results.json`.

    Raises:
        InputError: Bad input, or an output folder of a run with other options.
        FileNotFoundError: A file that is not there.
    """
    output = Path(config.output)
    if config.model_name_or_path:
        check_place(config.model_name_or_path)
    console = console or Console()
    datasets.disable_progress_bars()
    options = options_of(config)
    prints = _data_fingerprints(config)
    with run_folder(
        output,
        "run",
        options,
        # Stages say themselves what differs; these leave what is there as it is.
        free=("seeds", "evaluation", "records_per_user", "max_posts") if overwrite else options,
        fingerprints=prints,
        seed=config.split_seed,
        results=("pipeline.yaml", "network.json", "results.json", "pairs.parquet", "seed*"),
        overwrite=overwrite,
        discard=forget_stages,
    ) as run:
        if run.is_finished and results_path(output).exists():
            results = read_results(output)
            console.print(_table(results))
            if (page := output / _REPORT / PAGE).exists():
                console.print(f"Look at it: {page}", markup=False)
            return results
        results = _run_stages(config, output, console, prints)
        text = yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True)
        write_text(output / "pipeline.yaml", text)
    _show(output, console, config.log.memory_limit)
    return results


def _show(output: Path, console: Console, memory_limit: str) -> None:
    """Writes the page of the run; what it lacks costs the run nothing."""
    console.print(f"Everything is in {output}: results.json, losses.png, hits.png, …", markup=False)
    try:
        page = write_report([output], output / _REPORT, memory_limit=memory_limit, overwrite=True)
        console.print(f"Look at it: {page}", markup=False)
    except (InputError, OSError) as error:
        logger.warning("There is no page of the run: %s", error)


def _data_fingerprints(config: PipelineConfig) -> dict[str, str]:
    return fingerprints_of({"engagements": config.engagements, "posts": config.posts})


def _run_stages(
    config: PipelineConfig, output: Path, console: Console, prints: dict[str, str]
) -> Results:
    numbers = itertools.count(1)
    console.rule(f"{next(numbers)} · posts and engagements")
    config = _with_data(config, output / "data")
    begin = StageInputs(
        options_of_split(config) | {"log": options_of_log(config)},
        prints or _data_fingerprints(config),  # none is there before data are generated
    )
    posts, _ = read_posts(
        str(config.posts),
        columns=config.log.post_columns,
        table_format=config.table_format,
        memory_limit=config.log.memory_limit,
    )
    table = posts.with_format("arrow")[:]
    split = make_split(
        config,
        config.split_seed,
        table["post_id"],
        str(config.posts),
        config.engagements,
        columns=config.log.columns,
        post_columns=config.log.post_columns,
        table_format=config.table_format,
        memory_limit=config.log.memory_limit,
    )
    training_posts = posts.select(np.flatnonzero(split.names == "train"))
    held_out = table["post_id"].filter(pa.array(split.names != "train"))

    console.rule(f"{next(numbers)} · network of users and posts")
    made_from = begin.then(network=options_of_network(config))
    network = _network(config, held_out, split, output / "network", made_from)
    check_unseen(network, table["post_id"], split)

    pairs = None
    if config.needs_pairs:
        console.rule(f"{next(numbers)} · pairs of socially similar posts")
        made_from = made_from.then(mining=options_of_mining(config))
        pairs = _pairs(config, network, training_posts, output / "pairs.parquet", made_from)
        for column in ("anchor_id", "positive_id"):
            check_no_leak(pairs[column], held_out, what="The set of pairs")

    console.rule(f"{next(numbers)} · encoders")
    texts = {name: getattr(config, name) for name in ("normalize_texts", "add_tokens")}
    words = begin.then(vocab_size=config.vocab_size, **texts)
    tokenizer = _tokenizer(config, training_posts, output / "tokenizer", words)
    made_from = made_from.then(**texts)
    if config.model_name_or_path:
        start = {"model_name_or_path": model_fingerprint(config.model_name_or_path)}
        made_from = made_from._replace(data=made_from.data | start)
    else:
        made_from = made_from.then(vocab_size=config.vocab_size)
    histories = {
        seed: _encoders(
            config,
            seed,
            training_posts,
            pairs,
            network,
            tokenizer,
            output / f"seed{seed}",
            made_from,
        )
        for seed in config.seeds
    }

    console.rule(f"{next(numbers)} · engagement prediction on posts never seen")
    graph = read_log(
        str(config.engagements),
        config.posts,
        post_ends=split.ends(table["post_id"]),
        table_format=config.table_format,
        **vars(config.log),
    )
    benchmark = build_benchmark(
        graph,
        network,
        table,
        split.names,
        records_per_user=config.records_per_user,
        max_posts=config.max_posts,
    )
    results = _evaluate(config, benchmark, split, output)
    write_results(results, output)
    console.print(_table(results))
    for name, rows in results.baselines.items():
        console.print(difference_sentence(name, rows))
    plot_losses(histories[config.seeds[0]], output / "losses.png")
    plot_results(rows_by_model(results), output / "hits.png", list(results.baselines))
    return results


def _with_data(config: PipelineConfig, folder: Path) -> PipelineConfig:
    """The config with generated data where none is given."""
    if config.engagements:
        return config
    assert config.synthetic is not None
    files = {name: folder / f"{name}.parquet" for name in ("engagements", "posts")}
    stage = StageInputs({"synthetic": asdict(config.synthetic)}, {})
    with stage_run(folder, "synthesize", stage, config.synthetic.seed) as is_due:
        if is_due:
            generate_network(config.synthetic).save(folder)
    return replace(config, engagements=str(files["engagements"]), posts=str(files["posts"]))


def _network(
    config: PipelineConfig,
    held_out: pa.ChunkedArray,
    split: Split,
    folder: Path,
    stage: StageInputs,
) -> Network:
    with stage_run(folder, "network", stage, config.network.seed) as is_due:
        if is_due:
            log = replace(config.log, before=split.before or config.log.before)
            graph = read_log(
                str(config.engagements),
                config.posts,
                exclude_posts=held_out,
                table_format=config.table_format,
                **vars(log),
            )
            save_network(embed_network(graph, config.network, output=folder, resume=True), folder)
    return load_network(folder)


def _pairs(
    config: PipelineConfig, network: Network, posts: Dataset, path: Path, stage: StageInputs
) -> pa.Table:
    with stage_run(path, "pairs", stage, config.mining.seed) as is_due:
        if is_due:
            mine_pairs(network, posts, path, config.mining)
    return read_pairs(path)


def _tokenizer(config: PipelineConfig, posts: Dataset, folder: Path, stage: StageInputs) -> Any:
    if not config.model_name_or_path:
        with stage_run(folder, "tokenizer", stage) as is_due:
            if is_due:
                trained = train_unigram_tokenizer(
                    posts["text"],
                    config.vocab_size,
                    progress=False,
                    normalization=config.normalize_texts,
                )
                with new_folder(folder) as partial:
                    trained.save_pretrained(partial)
    tokenizer = load_tokenizer(config.model_name_or_path or str(folder))
    return prepare_tokenizer(tokenizer, config.add_tokens, config.normalize_texts)


def _encoders(
    config: PipelineConfig,
    seed: int,
    posts: Dataset,
    pairs: pa.Table | None,
    network: Network,
    tokenizer: Any,
    folder: Path,
    before: StageInputs,
) -> dict[str, list[dict]]:
    """The encoders of a seed, which differ in their objectives alone.

    All go on from the same weights with the same batches, the same posts in the same order with the
    same masks, so that they see as many steps and as many real tokens.
    """
    mlm_only = config.settings_at_first()
    all_pairs = pairs

    def start() -> Any:
        if config.model_name_or_path:
            return load_pretraining_model(
                config.model_name_or_path,
                tokenizer,
                dropout=config.dropout,
                add_tokens=bool(config.add_tokens),
                **mlm_only,
            )
        return new_pretraining_model("bert", tokenizer, config.encoder, **mlm_only)

    def train(
        name: str,
        model: Callable[[], Any],
        stage: dict,
        made_from: StageInputs,
        pairs: pa.Table | None = None,
    ) -> list:
        target = folder / name
        with stage_run(target, "pretrain", made_from, seed) as is_due:
            if not is_due:
                return read_json(target / "trainer_state.json")["log_history"]
            set_seed(seed)
            options = config.training_config(stage, str(target), seed)
            loaded = model()
            learns = loaded.config.engagement_weight + loaded.config.distillation_weight > 0
            if not learns:
                options.head_steps = 0
            data: Dataset | TokenStream = posts
            if config.streaming:
                place = folder.parent / f"{STREAM_NAME}-{options.max_length}"
                data = _stream(config, posts, all_pairs, tokenizer, options, place, before)
                data = data if pairs is not None else TokenStream(data.posts)
            trainer = SocialPretrainingTrainer(
                loaded,
                options,
                data,
                None if config.streaming else pairs,
                network=network if learns else None,
                processing_class=tokenizer,
            )
            trainer.train(resume_from_checkpoint=newest_checkpoint(target))
            trainer.save_model()
            trainer.save_state()
            if "save_strategy" not in config.training | stage:
                remove_checkpoints(target)
            del trainer, loaded
            gc.collect()
        return read_json(target / "trainer_state.json")["log_history"]

    histories = {}
    set_seed(seed)
    made_from = before.then(
        seed=seed, encoder=config.encoder, dropout=config.dropout, settings=config.settings
    )
    began = config.model_name_or_path
    if not began:
        began = str(folder / "untrained")
        with stage_run(folder / "untrained", "initialize", made_from, seed) as is_due:
            if is_due:
                with new_folder(folder / "untrained") as partial:
                    start().save_pretrained(partial)
                    tokenizer.save_pretrained(partial)
    made_from = made_from.then(training=with_effect(config.training))
    if config.streaming:
        made_from = made_from.then(streaming=True)
    if config.stage1 is not None:
        made_from = made_from.then(stage1=with_effect(config.stage1))
        histories["stage 1: MLM"] = train("stage1", start, config.stage1, made_from)
        began = str(folder / "stage1")
    for name, given in config.objectives.items():
        settings = config.settings_of(given, network.dimension)

        def checkpoint(settings: dict[str, Any] = settings) -> Any:
            return load_pretraining_model(
                str(began),
                tokenizer,
                dropout=config.dropout,
                add_tokens=bool(config.add_tokens),
                **settings,
            )

        histories[name] = train(
            folder_name(name),
            checkpoint,
            config.stage2,
            made_from.then(stage2=with_effect(config.stage2), objective=given),
            pairs,
        )
    return histories


def _stream(
    config: PipelineConfig,
    posts: Dataset,
    pairs: pa.Table | None,
    tokenizer: Any,
    options: SocialPretrainingConfig,
    folder: Path,
    before: StageInputs,
) -> TokenStream:
    """The shards of tokens that all encoders of one length are trained on."""
    stage = before.then(max_length=options.max_length, max_missing_pairs=options.max_missing_pairs)
    with stage_run(folder, "stream", stage, config.split_seed) as is_due:
        if is_due:
            with new_folder(folder) as partial, scratch_folder(folder.parent) as scratch:
                write_stream(
                    partial,
                    posts,
                    pairs,
                    tokenizer,
                    max_length=options.max_length,
                    max_missing_pairs=options.max_missing_pairs,
                    seed=config.split_seed,
                    num_proc=options.dataset_num_proc,
                    memory_limit=config.log.memory_limit,
                    directory=scratch,
                )
    return open_stream(folder)


def _evaluate(
    config: PipelineConfig, benchmark: EngagementBenchmark, split: Split, output: Path
) -> Results:
    options = config.evaluation
    words = _word_features(benchmark)
    rows: list[Result] = []
    judged: dict[str, dict[str, EngagementResult]] = {}
    models: dict[str, dict[int, Any]] = {}
    for name in config.objectives:
        runs: dict[int, Any] = {}
        beside: dict[int, Any] = {}
        for seed in config.seeds:
            folder = output / f"seed{seed}" / folder_name(name)
            logger.info("Judging %s, seed %d", name, seed)
            sets = feature_sets(str(folder), benchmark.texts)
            choice = choose_features(sets, benchmark, options)
            runs[seed] = choice.results
            logger.info(
                "%s, seed %d is judged by its vectors %s, the best on validation posts",
                *(name, seed, choice.chosen),
            )
            if words is not None:
                joined = side_by_side(sets[choice.chosen], words)
                beside[seed] = evaluate_post_features(joined, benchmark, options)
            models.setdefault(name, {})[seed] = choice
        for label, found in ((name, runs), (f"{name}, beside {TFIDF}", beside)):
            if not found:
                continue
            judged[label] = pool_training_seeds(found)
            chosen = [models[name][seed].chosen for seed in config.seeds]
            rows += [
                replace(row, details=row.details | {"model": label, "features": chosen})
                for row in combine_training_seeds(found, options)
            ]
    validation = {
        name: float(np.mean([max(result.validation.values()) for result in results.values()]))
        for name, results in judged.items()
    }
    best = max(validation, key=lambda name: validation[name])
    stock = {_start_name(config): _start_encoder(config, output)}
    logger.info("Judging %s, %s and chance", _start_name(config), TFIDF)
    baselines = evaluate_baselines(judged[best], benchmark, options, stock, words)
    results = Results(
        task="engagement",
        model=str(output),
        results=rows,
        baselines=baseline_rows(judged[best], baselines, options),
        options={
            "pipeline": asdict(config),
            **split.record(),
            "benchmark": benchmark.counts,
            "compared_with_baselines": best,
        },
    )
    for name in config.objectives:
        own = [row for row in rows if row.details["model"] == name]
        for seed in config.seeds:
            folder = output / f"seed{seed}" / folder_name(name)
            write_model_results(replace(results, model=name, results=own), folder)
    return results


def _word_features(benchmark: EngagementBenchmark) -> np.ndarray | None:
    """TF-IDF + SVD of the posts; None where no language has words."""
    try:
        return tfidf_features(benchmark)
    except ValueError as error:
        logger.warning("Nothing is judged beside %s: %s", TFIDF, error)
        return None


def _start_name(config: PipelineConfig) -> str:
    if config.model_name_or_path:
        stem = Path(config.model_name_or_path).name
        return f"{stem} + MLM" if config.stage1 is not None else f"{stem} (start)"
    return "untrained" if config.stage1 is None else "MLM (start)"


def _start_encoder(config: PipelineConfig, output: Path) -> TextEncoder:
    """The encoder that the objectives began from, of the first seed."""
    name = config.model_name_or_path
    if config.stage1 is not None or not name:
        folder = "untrained" if config.stage1 is None else "stage1"
        name = str(output / f"seed{config.seeds[0]}" / folder)
    return load_text_encoder(name)


def _table(results: Results) -> Any:
    """All that is compared, by language; of several languages the average alone."""
    shown = {
        name: [row for row in rows if row.language == rows[-1].language]
        for name, rows in rows_by_model(results).items()
    }
    return results_table(
        {
            name: Results(task=results.task, model=name, results=rows)
            for name, rows in shown.items()
        },
        title="Engagement prediction on posts never seen",
    )
