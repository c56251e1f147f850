"""`twhin-hf evaluate engagement`."""

from __future__ import annotations

from typing import Any, Literal

from twhin_hf.commands.options import (
    EncoderOptions,
    model_identity,
    options_of_result,
    results_run,
    save_results,
)
from twhin_hf.data.split_config import SplitConfig
from twhin_hf.errors import InputError
from twhin_hf.recommendation.engagement_config import EngagementConfig
from twhin_hf.table_format import TableFormat


def engagement(
    posts: str,
    engagements: str,
    network: str,
    output: str,
    encoder: EncoderOptions,
    config: EngagementConfig,
    split: SplitConfig,
    table_format: TableFormat,
    split_seed: int = 0,
    max_posts: int = 10_000,
    records_per_user: int | Literal["all"] = 1,
    columns: dict[str, str] | None = None,
    post_columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    baselines: bool = True,
    base_model: str | None = None,
    overwrite: bool = False,
) -> None:
    """Predict who engages with posts never seen: HITS@10 and MRR.

    As in the TwHIN-BERT paper: frozen post features, two projections, the engaged post among 1,000.
    The network must have been embedded without the validation and test posts (`twhin-hf split`),
    and, where posts are split by time, without the engagements of their time (`--before`).
    An encoder without a pooling of its own is judged by combined, as in the paper. Beside it stand
    what it must beat: chance, TF-IDF + SVD of the words, and the encoder that its training began
    from. A folder that holds the model gets the results too, for its card.

    Args:
        posts: Posts (post_id, text, lang): Parquet, CSV or JSON lines; file or folder.
        engagements: Whole engagement log (user_id, post_id).
        network: Network folder with the users' vectors.
        output: Folder for results.json.
        encoder: Encoder to judge.
        config: Options of the predictor.
        split: By what posts are split.
        table_format: How text tables are written.
        split_seed: Seed of the split by a hash that the network was embedded with.
        max_posts: Maximum number of posts per language (paper: 10,000).
        records_per_user: Number of records of a user per language, or all (paper: 1).
        columns: Rename columns of the log: NAME=COLUMN.
        post_columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the readers.
        baselines: Judge the baselines as well.
        base_model: Encoder that the training began from, to judge as well: folder or Hub repository
            (default: the one that the model's record names, where it is a folder here). Where
            `--pooling` names a head, it is judged by its own pooling.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    import logging
    from dataclasses import asdict, replace
    from pathlib import Path

    from twhin_hf.benchmarks.engagement.benchmark import build_benchmark
    from twhin_hf.data.posts import read_posts
    from twhin_hf.data.time_splits import check_unseen, make_split
    from twhin_hf.evaluation.baselines import evaluate_baselines, find_stock_encoder
    from twhin_hf.evaluation.engagement import engagement_rows, evaluate_engagement
    from twhin_hf.evaluation.engagement_results import baseline_rows, difference_sentence
    from twhin_hf.loading.joined import has_head
    from twhin_hf.loading.places import check_local_path
    from twhin_hf.network.folder import load_network
    from twhin_hf.network.log import read_log
    from twhin_hf.printing import report
    from twhin_hf.results import Results, results_path, write_model_results

    if records_per_user != "all" and records_per_user < 1:
        raise InputError(f"--records_per_user is {records_per_user}; give 1 or more, or all")
    check_local_path(encoder.model)
    models = {"model": encoder.identity()}
    if base_model:
        models["base_model"] = model_identity(base_model)
    run = results_run(
        output,
        "evaluate engagement",
        options_of_result(
            config,
            split,
            table_format,
            **encoder.of_vectors(),
            split_seed=split_seed,
            max_posts=max_posts,
            records_per_user=records_per_user,
            columns=columns,
            post_columns=post_columns,
            baselines=baselines,
        ),
        data={"posts": posts, "engagements": engagements, "network": network},
        fingerprints=models,
        overwrite=overwrite,
    )
    if run.is_finished:
        return
    most_records = None if records_per_user == "all" else records_per_user
    vectors = load_network(network)
    read, _ = read_posts(
        posts, columns=post_columns, table_format=table_format, memory_limit=memory_limit
    )
    table = read.with_format("arrow")[:]
    reading: dict[str, Any] = {
        "table_format": table_format,
        "columns": columns,
        "post_columns": post_columns,
        "memory_limit": memory_limit,
    }
    made = make_split(split, split_seed, table["post_id"], posts, engagements, **reading)
    check_unseen(vectors, table["post_id"], made)
    loaded = encoder.load()
    stock = {}
    if baselines:
        began = base_model
        if not began:
            began, told = find_stock_encoder(encoder.model)
            logging.getLogger(__name__).info("%s", told)
        if began:
            pooling = encoder.pooling
            # Training brought the heads: the encoder before it is judged by its own pooling.
            if pooling and has_head(pooling):
                pooling = None
            stock[began] = replace(encoder, model=began, revision=None, pooling=pooling).load()
    benchmark = build_benchmark(
        read_log(engagements, posts, post_ends=made.ends(table["post_id"]), **reading),
        vectors,
        table,
        made.names,
        max_posts=max_posts,
        records_per_user=most_records,
    )
    found = evaluate_engagement(loaded, benchmark, config)
    beside = evaluate_baselines(found, benchmark, config, stock) if baselines else {}
    results = Results(
        task="engagement",
        model=encoder.model,
        revision=encoder.revision,
        results=engagement_rows(found, config),
        baselines=baseline_rows(found, beside, config),
        options={
            **made.record(),
            "split_seed": split_seed,
            "max_posts": max_posts,
            "records_per_user": most_records,
            **{name: value for name, value in asdict(config).items() if name != "seeds"},
            "max_length": encoder.max_length,
            "class": loaded.kind,
            "pooling": loaded.pooling,
            "pooling_of_baselines": {name: own.pooling for name, own in stock.items()},
            "benchmark": benchmark.counts,
        },
    )
    if results_path(output).resolve().parent != Path(encoder.model).resolve():
        saved = write_model_results(results, encoder.model)
        if saved:
            report(f"Saved in {saved}, for the model's card")
    save_results(results, output, "Engagement prediction on posts never seen", run.record)
    for name, rows in results.baselines.items():
        report(difference_sentence(name, rows))
