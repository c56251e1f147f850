"""`twhin-hf evaluate suite`."""

from __future__ import annotations

from typing import Literal

from twhin_hf.commands.options import FineTuningOptions


def suite(
    suite: Literal["twhin", "tpp", "tweeteval"],
    model: list[str],
    data_dir: str,
    output: str,
    fine_tuning: FineTuningOptions,
    languages: list[str] | None = None,
    hydration: str | None = None,
    pooling: str | None = None,
    overwrite: bool = False,
) -> None:
    """Run all tasks of a paper for several models, beside the published figures.

    Every task whose data is there is run for each model and seed; the same command continues where
    it stopped. Writes results.json and tables.md: a table per language with the average, the best
    in bold, beside what the papers report. twhin: engagement, hashtag, frozen features and the
    external benchmarks of TwHIN-BERT. tpp: zero-shot transfer of entities, sentiment and parts of
    speech. tweeteval: TweetEval's seven tasks.

    Args:
        suite: Suite of tasks.
        model: Models: folders or Hub repositories, MODEL or MODEL@REVISION.
        data_dir: Folder with one folder per task. twhin: engagement, hashtag, semeval2017,
            semeval2018-en, semeval2018-es, asad, covid-ja, semeval2020-hi, semeval2020-es.
            tweeteval: emoji, emotion, hate, irony, offensive, sentiment, stance. tpp: ner,
            sentiment, pos, each with train/en.… and test/LANGUAGE.…, such as train/en.conllu; of
            sentiment train/en.csv, or train/en.text.txt beside train/en.labels.txt.
        output: Output folder; the same one to continue.
        fine_tuning: Options of the fine-tuning.
        languages: Languages to judge (default: all in the data).
        hydration: Texts of benchmarks that hold ids alone.
        pooling: Pooling of frozen features: cls, mean, mean_all or combined; or parts
            joined by plus, heads among them, as mean+engagement (default: each model's own).
        overwrite: Run again what the output holds of other options.
    """
    from twhin_hf.evaluation.suite.running import SuiteOptions
    from twhin_hf.evaluation.suite.tables import screen_tables, seeds_sentence
    from twhin_hf.evaluation.suite.whole import run_suite
    from twhin_hf.printing import report

    given = fine_tuning.given()
    options = SuiteOptions(
        languages=tuple(languages) if languages else None,
        seeds=given.pop("seeds", None),
        device=given.pop("device", None),
        fine_tuning=given,
        pooling=pooling,
        hydration=hydration,
    )
    found = run_suite(suite, model, data_dir, output, options, overwrite)
    for table in found.tables:
        for shown in screen_tables(table):
            report(str(shown.title), shown)
    if apart := seeds_sentence(found.results):
        report(apart)
    if found.missing:
        report(f"Without data in {data_dir}, left out: {', '.join(found.missing)}")
    report(f"Saved in {' and '.join(map(str, found.files))}")
