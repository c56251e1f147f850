"""`twhin-hf evaluate recommendation`."""

from __future__ import annotations

from typing import Any

from twhin_hf.commands.options import (
    EncoderOptions,
    model_identity,
    options_of_result,
    results_run,
)
from twhin_hf.data.split_config import SplitConfig
from twhin_hf.errors import InputError
from twhin_hf.evaluation.recommendation.config import RecommendationJudgingConfig
from twhin_hf.table_format import TableFormat


def recommendation(
    posts: str,
    engagements: str,
    output: str,
    encoder: EncoderOptions,
    config: RecommendationJudgingConfig,
    split: SplitConfig,
    table_format: TableFormat,
    network: str | None = None,
    split_seed: int = 0,
    relations: list[str] | None = None,
    columns: dict[str, str] | None = None,
    post_columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    base_model: str | None = None,
    overwrite: bool = False,
) -> None:
    """Judge an encoder and its network as recommenders are: new posts, known posts, new users.

    Some users, some engagements with training posts and all with test posts are kept out; a network
    and an engagement model learn from the rest, and each engagement kept out is ranked among all
    posts and among 1,000. Beside the model stand its parts and what it must beat: a random order,
    popularity, the mean of what a user engaged with (TF-IDF + SVD, the encoder), and ALS (pip
    install 'twhin_hf[als]').

    What was learnt from is written to training_engagements.parquet. An encoder that was trained by
    the whole log has seen some of what is to be found, but for new posts: give `twhin-hf run`
    visible_engagements.parquet, which adds what known users did with validation and test posts.

    Args:
        posts: Posts (post_id, text, lang): Parquet, CSV or JSON lines; file or folder.
        engagements: Whole engagement log (user_id, post_id).
        output: Folder for results.json, the two logs and recall.png.
        encoder: Encoder to judge.
        config: Options of judging.
        split: By what posts are split.
        table_format: How text tables are written.
        network: Network folder, embedded from training_engagements.parquet of the same options
            (default: embed it here).
        split_seed: Seed of the split by a hash.
        relations: Relations to keep (default: all).
        columns: Rename columns of the log: NAME=COLUMN.
        post_columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the readers.
        base_model: Encoder to judge as well, by the mean of what a user engaged with: folder or Hub
            repository.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from dataclasses import replace
    from pathlib import Path

    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from twhin_hf.data.post_times import read_post_times
    from twhin_hf.data.posts import read_posts
    from twhin_hf.data.time_splits import make_split
    from twhin_hf.evaluation.recommendation.baselines import HYBRID
    from twhin_hf.evaluation.recommendation.evaluation import judge_split
    from twhin_hf.evaluation.recommendation.results import plot_recall, task_tables, with_models
    from twhin_hf.evaluation.recommendation.splits import (
        check_network,
        log_table,
        split_recommendation,
    )
    from twhin_hf.files import new_file
    from twhin_hf.loading.places import check_local_path
    from twhin_hf.network.folder import load_network
    from twhin_hf.network.log import read_log
    from twhin_hf.printing import report
    from twhin_hf.results import Results, write_results

    check_local_path(encoder.model)
    models = {"model": encoder.identity()}
    if base_model:
        models["base_model"] = model_identity(base_model)
    data = {"posts": posts, "engagements": engagements}
    run = results_run(
        output,
        "evaluate recommendation",
        options_of_result(
            config,
            split,
            table_format,
            **encoder.of_vectors(),
            split_seed=split_seed,
            relations=relations,
            columns=columns,
            post_columns=post_columns,
        ),
        data=data | ({"network": network} if network else {}),
        fingerprints=models,
        overwrite=overwrite,
    )
    if run.is_finished:
        return
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
    ends = made.ends(table["post_id"])
    log = read_log(engagements, posts, post_ends=ends, relations=relations, **reading)
    parts = split_recommendation(log, table, made.names, config)
    given = load_network(network) if network else None
    if given is not None:
        check_network(given, parts)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("training", parts.training_log), ("visible", parts.visible_log)):
        with new_file(folder / f"{name}_engagements.parquet") as path:
            pq.write_table(log_table(part), path)
    times = None
    try:
        found = read_post_times(table["post_id"], posts, engagements, **reading)
        times = np.asarray(pc.fill_null(found, 0))
    except InputError as error:
        report(f"Recency is left out: {error}")
    loaded = encoder.load()
    base = replace(encoder, model=base_model, revision=None).load() if base_model else None
    rows = judge_split(
        parts,
        loaded,
        network=given,
        stock={Path(base_model).name: base} if base_model and base else None,
        times=times,
        config=config,
    )
    results = with_models(
        rows,
        HYBRID,
        Results(
            task="recommendation",
            model=encoder.model,
            revision=encoder.revision,
            results=[],
            options={
                **made.record(),
                "split_seed": split_seed,
                **options_of_result(config),
                "max_length": encoder.max_length,
                "class": loaded.kind,
                "pooling": loaded.pooling,
                "engagements": parts.counts,
            },
        ),
    )
    path = write_results(replace(results, run=run.record or {}), output)
    for shown in task_tables(results, config):
        report(str(shown.title), shown)
    report(f"Saved with 95 % intervals, at every k and by language, in {path}")
    report(f"Saved in {plot_recall(results, folder / 'recall.png', config)}")
