"""Runs a whole suite, and writes results.json and tables.md."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from twhin_hf.evaluation.suite.running import (
    Model,
    SuiteOptions,
    figures_of,
    run_tasks,
    write_suite_results,
)
from twhin_hf.evaluation.suite.tables import (
    SuiteTable,
    averages,
    markdown_table,
    published_figures,
    seeds_sentence,
    suite_tables,
)
from twhin_hf.evaluation.suite.tasks import find_tasks
from twhin_hf.files import write_text
from twhin_hf.results import Results
from twhin_hf.run_folder import describe_run, lock_folder

logger = logging.getLogger(__name__)


class SuiteReport(NamedTuple):
    """What a suite gave.

    Args:
        results: Median over the seeds of each language, for each model and task.
        tables: One per language, and one per task of several languages, beside the published rows.
        missing: Names of the tasks whose data is not there.
        files: Results.json and tables.md.
    """

    results: list[Results]
    tables: list[SuiteTable]
    missing: list[str]
    files: list[Path]


def run_suite(
    suite: str,
    models: Sequence[str],
    data_dir: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: SuiteOptions | None = None,
    overwrite: bool = False,
) -> SuiteReport:
    """Runs all tasks of a paper for several models, beside the published figures.

    Every task whose data is there is run for each model and seed. The same call continues where it
    stopped.

    Args:
        suite: `twhin`, `tpp` or `tweeteval`.
        models: Folders or Hub repositories, `MODEL` or `MODEL@REVISION`.
        data_dir: Folder with one folder per task; see `twhin_hf.evaluation.suite.tasks`.
        output: Folder for results.json, tables.md and the results of each run.
        options: Languages, seeds and options of the fine-tuning (default: the paper's).
        overwrite: Run again what is there of other options or data.

    Raises:
        FileNotFoundError: The data or a model folder is not there.
        InputError: An unknown suite, no task, a model twice, or results of other options or data
            in the output folder, which are not written over, or another process in it.
    """
    options = options or SuiteOptions()
    tasks, missing = find_tasks(suite, Path(data_dir), options)
    if missing:
        logger.info("Without data in %s, left out: %s", data_dir, ", ".join(missing))
    given = {"suite": suite, "models": list(models), **asdict(options)}
    # The data's fingerprints are with each evaluation.
    record = describe_run("evaluate suite", given, {}, None)
    with lock_folder(output):
        results = run_tasks([Model.parse(text) for text in models], tasks, output, overwrite)
        published, sources = published_figures(suite)
        tables = suite_tables(figures_of(results), published)
        files = write_suite(suite, results, tables, sources, output, record)
    return SuiteReport(results, tables, missing, files)


def write_suite(
    suite: str,
    results: Sequence[Results],
    tables: Sequence[SuiteTable],
    sources: Sequence[str],
    folder: str | os.PathLike[str],
    record: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Writes results.json and tables.md of a whole suite.

    Args:
        suite: Name of the suite.
        results: Results of `run_tasks`.
        tables: Tables of `suite_tables`.
        sources: Where the published figures beside them are from.
        folder: Output folder.
        record: Of the command.

    Returns:
        The two files.
    """
    means = {
        table.title: {model: averages(row) for model, row in table.measured.items()}
        for table in tables
    }
    path = write_suite_results(suite, results, means, sources, folder, record)
    named = "\n".join(f"- {source}" for source in sources)
    text = "\n".join(markdown_table(table) for table in tables)
    about = ("Per cent; the average stands where a row is whole.", seeds_sentence(results))
    written = Path(folder) / "tables.md"
    write_text(
        written,
        f"# {suite}\n\n{' '.join(filter(None, about))} Published rows, one figure each:\n\n"
        f"{named or '- none'}\n\n{text}",
    )
    return [path, written]
