"""`twhin-hf evaluate hashtag`."""

from __future__ import annotations

from typing import Literal

from twhin_hf.commands.options import (
    FineTuningOptions,
    model_identity,
    named_files,
    options_of_result,
    results_run,
    save_results,
)
from twhin_hf.table_format import TableFormat


def hashtag(
    model: str,
    data_dir: str,
    output: str,
    fine_tuning: FineTuningOptions,
    table_format: TableFormat,
    revision: str | None = None,
    hydration: str | None = None,
    languages: list[str] | None = None,
    protocols: tuple[Literal["fine-tuning", "few-shot", "features"], ...] = ("fine-tuning",),
    shots: tuple[int, ...] = (2, 4, 8, 16, 32),
    beside: list[str] | None = None,
    pooling: str | None = None,
    columns: dict[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Predict the hashtag of a post: macro F1.

    As in the TwHIN-BERT paper: fine-tuning, the best epoch on validation, the median of three
    seeds; the same with few examples per class; and a logistic regression on frozen features.

    Args:
        model: Encoder: folder or Hub repository.
        data_dir: Benchmark: hashtag-classification-id.zip, its unpacked folder, or a folder with
            texts (what `twhin-hf data hashtag` and `hashtag-build` write).
        output: Folder for results.json and plots.
        fine_tuning: Options of the fine-tuning.
        table_format: How text tables are written.
        revision: Revision of the repository.
        hydration: Texts of the posts: JSON lines of X/Twitter's API, or a table with the columns
            post_id and text.
        languages: Languages to judge (default: all).
        protocols: Protocols to run.
        shots: Examples per class of few-shot (paper: 2 4 8 16 32).
        beside: Curves (few_shot.csv) of other models, to draw in the same plot.
        pooling: Pooling of features: cls, mean, mean_all or combined; or parts
            joined by plus, heads among them, as mean+engagement
            (default: the model's own; the result states it).
        columns: Rename columns of the benchmark's tables (id, label, text): NAME=COLUMN.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from dataclasses import replace
    from pathlib import Path

    from twhin_hf.benchmarks.hashtag.loading import hashtag_languages, load_hashtag_prediction
    from twhin_hf.data.language_codes import check_language_code
    from twhin_hf.evaluation.classification import recipe_config
    from twhin_hf.evaluation.fine_tuning import options_of
    from twhin_hf.evaluation.hashtag import hashtag_rows, read_curves, write_curves
    from twhin_hf.loading.text_encoders import load_text_encoder
    from twhin_hf.plots import plot_few_shot
    from twhin_hf.printing import report
    from twhin_hf.results import Results

    run = results_run(
        output,
        "evaluate hashtag",
        options_of_result(
            table_format,
            **fine_tuning.given(),
            languages=languages,
            protocols=protocols,
            shots=shots,
            pooling=pooling,
            columns=columns,
        ),
        data={
            "data_dir": data_dir,
            "hydration": hydration,
            **named_files("beside", beside or []),
        },
        fingerprints={"model": model_identity(model, revision)},
        overwrite=overwrite,
    )
    if run.is_finished:
        return
    others = [read_curves(path) for path in beside or []]
    config = replace(recipe_config("hashtag", model, revision), **fine_tuning.given())
    encoder = None
    if "features" in protocols:
        encoder = load_text_encoder(
            model, revision, pooling=pooling, max_length=config.max_length, device=config.device
        )
    # All of them before anything long: the last one may be missing or damaged.
    loaded = {
        language: load_hashtag_prediction(
            language,
            data_dir=data_dir,
            hydration=hydration,
            columns=columns,
            table_format=table_format,
        )
        for language in languages or hashtag_languages(data_dir)
    }
    rows, curves = hashtag_rows(
        model, loaded, config, protocols, shots=shots, encoder=encoder, revision=revision
    )
    results = Results(
        task="hashtag",
        model=model,
        revision=revision,
        results=rows,
        options={**options_of(config), "data_dir": data_dir, "protocols": list(protocols)},
    )
    folder = Path(output)
    if curves:
        named = {(model, language): points for language, points in curves.items()}
        report(f"Saved in {write_curves(named, config.seeds, folder / 'few_shot.csv')}")
    for language, points in curves.items():
        drawn = {
            name: curve
            for other in others
            for (name, of_language), curve in other.items()
            if of_language == language
        }
        drawn[model] = {point.examples_per_class: point.values for point in points}
        plot = folder / f"few_shot_{check_language_code(language)}.png"
        report(f"Saved in {plot_few_shot(drawn, plot, f'Hashtag prediction, {language}')}")
    save_results(results, output, "Hashtag prediction", run.record)  # last: all is done
