"""`twhin-hf evaluate classification`."""

from __future__ import annotations

from typing import Literal

from twhin_hf.commands.options import (
    FineTuningOptions,
    model_identity,
    options_of_result,
    results_run,
    save_results,
)
from twhin_hf.table_format import TableFormat


def classification(
    benchmark: str,
    model: str,
    data_dir: str,
    output: str,
    fine_tuning: FineTuningOptions,
    table_format: TableFormat,
    revision: str | None = None,
    hydration: str | None = None,
    protocols: tuple[Literal["fine-tuning", "features"], ...] = ("fine-tuning",),
    pooling: str | None = None,
    columns: dict[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Judge a model on a published classification benchmark, by the metric of its publication.

    Benchmarks: semeval2017 (Task 4A), semeval2018-en and -es (Task 2), asad, covid-ja,
    semeval2020-hi and -es (Task 9), umsab-LANGUAGE, tweeteval-TASK.

    Args:
        benchmark: Name of the benchmark, such as umsab-ar.
        model: Encoder: folder or Hub repository.
        data_dir: Published files: a folder, or a table.
        output: Folder for results.json.
        fine_tuning: Options of the fine-tuning.
        table_format: How text tables are written.
        revision: Revision of the repository.
        hydration: Texts of a benchmark that holds ids alone: JSON lines of X/Twitter's API, or a
            table with the columns post_id and text.
        protocols: Fine-tuning, and a logistic regression on frozen features.
        pooling: Pooling of features: cls, mean, mean_all or combined; or parts
            joined by plus, heads among them, as mean+engagement
            (default: the model's own; the result states it).
        columns: Rename columns of tables (text, label, id): NAME=COLUMN.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from dataclasses import replace

    from twhin_hf.benchmarks.classification.benchmarks import find_benchmark, load_benchmark
    from twhin_hf.evaluation.classification import (
        classification_row,
        evaluate_classification,
        recipe_config,
    )
    from twhin_hf.evaluation.fine_tuning import options_of
    from twhin_hf.evaluation.frozen_features import evaluate_features, feature_row
    from twhin_hf.loading.text_encoders import load_text_encoder
    from twhin_hf.results import Results

    known = find_benchmark(benchmark)
    run = results_run(
        output,
        "evaluate classification",
        options_of_result(
            table_format,
            **fine_tuning.given(),
            benchmark=benchmark,
            protocols=protocols,
            pooling=pooling,
            columns=columns,
        ),
        data={"data_dir": data_dir, "hydration": hydration},
        fingerprints={"model": model_identity(model, revision)},
        overwrite=overwrite,
    )
    if run.is_finished:
        return
    splits, notes, _ = load_benchmark(benchmark, data_dir, hydration, columns, table_format)
    config = replace(recipe_config(benchmark, model, revision), **fine_tuning.given())
    rows = []
    if "features" in protocols:
        encoder = load_text_encoder(
            model, revision, pooling=pooling, max_length=config.max_length, device=config.device
        )
        found = evaluate_features(encoder, splits, known.metric)
        rows.append(feature_row(known.language, known.metric, found))
    if "fine-tuning" in protocols:
        runs = evaluate_classification(model, splits, known.metric, config, revision=revision)
        rows.append(classification_row(known.language, known.metric, runs, config.seeds))
    results = Results(
        task=benchmark,
        model=model,
        revision=revision,
        results=rows,
        options={
            **options_of(config),
            "data_dir": data_dir,
            "protocols": list(protocols),
            "source": known.source,
            "notes": notes,
        },
    )
    save_results(results, output, benchmark, run.record)
