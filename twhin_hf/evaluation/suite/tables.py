"""Tables of a suite: models measured here beside the rows that the papers report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from twhin_hf.evaluation.suite.published import AVERAGE, read_published
from twhin_hf.results import SCREEN, Results

if TYPE_CHECKING:
    from rich.table import Table

Cell = tuple[str, str]
"""A task and a language."""

_EXTERNAL = {
    "semeval2017": ("semeval2017", "en"),
    "semeval2018-en": ("semeval2018-en", "en"),
    "semeval2018-es": ("semeval2018-es", "es"),
    "asad": ("asad", "ar"),
    "covid-ja": ("covid-ja", "ja"),
    "semeval2020-hi": ("semeval2020-hi", "hi+en"),
    "semeval2020-es": ("semeval2020-es", "es+en"),
}
# TweetEval's sentiment and emoji are SemEval-2017 Task 4A and SemEval-2018 Task 2.
_TWEETEVAL = {"semeval2017": ("sentiment", "en"), "semeval2018-en": ("emoji", "en")}
# The full table first: where a shorter one differs from it, the full one agrees with the averages.
_BY_LANGUAGE = {
    "twhin": {
        "twhin_bert_table_6": "engagement",
        "twhin_bert_table_1": "engagement",
        "twhin_bert_table_7": "hashtag",
        "twhin_bert_table_3": "hashtag",
        "twhin_bert_table_5": "hashtag-features",
    },
    "tpp": {"tpp_ner": "ner", "tpp_sentiment": "sentiment", "tpp_pos": "pos"},
}
_BY_BENCHMARK = {"twhin": _EXTERNAL, "tweeteval": _TWEETEVAL}
_MODEL = 30
"""Columns of a terminal that the models' names have."""


@dataclass(frozen=True)
class SuiteTable:
    """A table of per cent.

    Args:
        title: Above it.
        columns: Names of the columns, less the average.
        measured: Values (0 to 1) by model; None where there is none.
        published: The same of the papers' rows.
    """

    title: str
    columns: list[str]
    measured: dict[str, list[float | None]]
    published: dict[str, list[float | None]]


def published_figures(suite: str) -> tuple[dict[str, dict[Cell, float]], list[str]]:
    """What the papers report of a suite's tasks: by model, task and language; and the sources."""
    found: dict[str, dict[Cell, float]] = {}
    sources = []
    for name, task in _BY_LANGUAGE.get(suite, {}).items():
        table = read_published(name)
        sources.append(table.source)
        for model, values in table.values.items():
            own = found.setdefault(model, {})
            for language, value in values.items():
                if language != AVERAGE:
                    own.setdefault((task, language), value)
    columns = _BY_BENCHMARK.get(suite, {})
    if columns:
        table = read_published("twhin_bert_table_4")
        sources.append(table.source)
        for model, values in table.values.items():
            found.setdefault(model, {}).update(
                {cell: values[column] for column, cell in columns.items() if column in values}
            )
    return found, list(dict.fromkeys(sources))


def suite_tables(
    figures: Iterable[tuple[str, str, str, float]],
    published: Mapping[str, Mapping[Cell, float]],
) -> list[SuiteTable]:
    """A table per language with its tasks, then a table per task with its languages.

    A table of one column is left out where another has it.

    Args:
        figures: Model, task, language and value of what was measured.
        published: Of `published_figures`.
    """
    measured: dict[str, dict[Cell, float]] = {}
    for model, task, language, value in figures:
        measured.setdefault(model, {})[task, language] = value
    cells = list(dict.fromkeys(cell for values in measured.values() for cell in values))
    tables = []
    for language in dict.fromkeys(language for _, language in cells):
        own = [cell for cell in cells if cell[1] == language]
        tables.append(_table(language, own, [task for task, _ in own], measured, published))
    for task in dict.fromkeys(task for task, _ in cells):
        own = [cell for cell in cells if cell[0] == task]
        if len(own) > 1:
            tables.append(_table(task, own, [language for _, language in own], measured, published))
    return tables


def seeds_sentence(results: Iterable[Results]) -> str:
    """How far the seeds of a figure are apart, in per cent; empty where there is one seed.

    Example:
        >>> from twhin_hf.results import Result
        >>> rows = [Result("hi", "F1", 0.5, [0, 1, 2], [0.48, 0.5, 0.51])]
        >>> seeds_sentence([Results("ner", "a", rows)])
        'Medians of the seeds, whose best and worst are 3.0 apart on average and 3.0 at most.'
    """
    rows = [row for item in results for row in item.results if len(row.values) > 1]
    if not rows:
        return ""
    apart = [100 * (max(row.values) - min(row.values)) for row in rows]
    return (
        f"Medians of the seeds, whose best and worst are {np.mean(apart):.1f} apart on average "
        f"and {max(apart):.1f} at most."
    )


def averages(values: Sequence[float | None]) -> float | None:
    """The mean of a row, where it has a value in every column."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def markdown_table(table: SuiteTable) -> str:
    """The table in Markdown: per cent, the best of the measured models in bold."""
    header = ["model", *table.columns, AVERAGE]
    lines = [f"| {' | '.join(header)} |", f"| --- |{' ---: |' * (len(header) - 1)}"]
    for name, cells in _shown(table, lambda text: f"**{text}**"):
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return f"## {table.title}\n\n" + "\n".join(lines) + "\n"


def screen_tables(table: SuiteTable) -> list[Table]:
    """The table for the screen; one that is wider has its columns in several tables."""
    from rich.markup import escape
    from rich.table import Table

    rows = _shown(table, lambda text: f"[bold]{text}[/bold]")
    columns = (*table.columns, AVERAGE)
    parts: list[list[int]] = []
    room = 0
    for place, column in enumerate(columns):
        width = max(len(column), len("100.00")) + 3
        if room < width:
            parts.append([])
            room = SCREEN - _MODEL
        parts[-1].append(place)
        room -= width
    found = []
    for number, part in enumerate(parts, start=1):
        title = table.title if len(parts) == 1 else f"{table.title} ({number} of {len(parts)})"
        shown = Table(title=escape(title))
        shown.add_column("model", overflow="fold")
        for place in part:
            shown.add_column(columns[place], justify="right")
        for row, (name, cells) in enumerate(rows):
            style = "dim" if row < len(table.published) else ""
            shown.add_row(escape(name), *(cells[place] for place in part), style=style)
        found.append(shown)
    return found


def _table(
    title: str,
    cells: Sequence[Cell],
    columns: list[str],
    measured: Mapping[str, Mapping[Cell, float]],
    published: Mapping[str, Mapping[Cell, float]],
) -> SuiteTable:
    def rows(values: Mapping[str, Mapping[Cell, float]]) -> dict[str, list[float | None]]:
        return {
            model: [own.get(cell) for cell in cells]
            for model, own in values.items()
            if any(cell in own for cell in cells)
        }

    return SuiteTable(title, columns, rows(measured), rows(published))


def _shown(table: SuiteTable, bold: Callable[[str], str]) -> list[tuple[str, list[str]]]:
    """Rows of text, those of the papers first; the best of the measured ones in bold."""
    measured = {model: [*row, averages(row)] for model, row in table.measured.items()}
    best = [
        max((value for value in column if value is not None), default=None)
        for column in zip(*measured.values(), strict=True)
    ]
    rows = [
        (f"{model} (published)", [_per_cent(value) for value in (*row, averages(row))])
        for model, row in table.published.items()
    ]
    for model, row in measured.items():
        texts = [
            bold(_per_cent(value)) if value is not None and value == highest else _per_cent(value)
            for value, highest in zip(row, best, strict=True)
        ]
        rows.append((model, texts))
    return rows


def _per_cent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"
