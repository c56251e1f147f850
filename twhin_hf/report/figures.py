"""Figures of evaluations: the main one in words, tables, and the papers' rows beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from twhin_hf.evaluation.recommendation.results import EVERY
from twhin_hf.evaluation.suite.published import AVERAGE
from twhin_hf.evaluation.suite.tables import (
    averages,
    published_figures,
    seeds_sentence,
    suite_tables,
)
from twhin_hf.plots import comparison_chart, rows_chart
from twhin_hf.report.blocks import Block, Chart, Finding, Table
from twhin_hf.report.charts import page_spec
from twhin_hf.report.reading import Suite
from twhin_hf.report.words import explain, joined
from twhin_hf.results import CHANCE, Result, Results, notes_of, rows_by_model, starred

_ALL = (AVERAGE, EVERY)
_BLIND = (CHANCE, "random")
_ALIGNMENT = "alignment"
_DISTANCES = ("cosine distance before", "cosine distance after")
_MOST_ROWS = 12
_MOST_METRICS = 5
_MOST_MORE = 500
_PUBLISHED = {
    "hashtag": ("twhin", {"macro F1": "hashtag", "macro F1 (frozen features)": "hashtag-features"}),
    "engagement": ("twhin", {"HITS@10": "engagement"}),
    "zero-shot ner": ("tpp", {"micro F1": "ner"}),
    "zero-shot sentiment": ("tpp", {"macro F1": "sentiment"}),
    "zero-shot pos": ("tpp", {"accuracy": "pos"}),
}
"""Suite and task of the papers' figures, by the task of an evaluation and its metric."""


def finding_of(name: str, results: Results) -> Finding | None:
    """The main figure with what it means; None of results without rows."""
    if not results.results:
        return None
    if results.task == _ALIGNMENT:
        return _alignment_finding(name, results)
    metric = results.results[0].metric
    rows = headline(results, metric)
    judged = _judged(results, rows)
    row = rows[judged]
    others = {other: one for other, one in rows.items() if other != judged}
    blind = next((others[other] for other in _BLIND if other in others), None)
    baselines = {other: one for other, one in others.items() if other in _to_beat(results)}
    where = "" if row.language in _ALL else f" ({row.language})"
    if row.language == AVERAGE:
        where = " (average over the languages)"
    sentences = [f"{judged} reaches {metric} {_figure(row)}{where}."]
    if words := explain(metric):
        sentences[0] = f"{judged} reaches {metric} {_figure(row)}{where}: {words}."
    if blind is not None:
        sentences.append(f"A blind guess would reach {blind.value:.3f}.")
    if baselines:
        best = max(baselines, key=lambda other: baselines[other].value)
        sentences.append(
            f"The best of what it must beat, {best}, reaches {_figure(baselines[best])}."
        )
        if told := _difference_in_words(judged, best, baselines[best]):
            sentences.append(told)
    own = [other for other in rows if other not in results.baselines]
    if len(own) > 1 and results.options.get("compared_with_baselines") == judged:
        sentences.append(
            f"Of {len(own)} encoders it is the best on validation posts: the test had no say."
        )
    if len(row.values) > 1:
        sentences.append(
            f"It was run with {len(row.values)} seeds: from {min(row.values):.3f} to "
            f"{max(row.values):.3f}."
        )
    table = [[other, _figure(one)] for other, one in rows.items()]
    return Finding(
        f"{results.task}: {name}",
        f"{row.value:.3f}",
        f"{metric}{where}, {judged}",
        sentences,
        Table("", ["", metric], table),
    )


def results_blocks(name: str, results: Results, source: str) -> Iterator[Block]:
    """A dot-and-interval chart of the main metric of each task, and the table of all."""
    if results.task == _ALIGNMENT:
        rows = {
            f"{row.language}, {row.metric.rpartition(' ')[2]}": replace(
                row, metric="mean cosine distance"
            )
            for row in results.results
            if row.metric in _DISTANCES
        }
        before = [label for label in rows if label.endswith("before")]
        if rows:
            yield _chart(f"{name}: mean cosine distance", rows, before, source, has_lifts=False)
        yield from _tables(name, results, source)
        return
    for metric in _main_metrics(results):
        rows = headline(results, metric)
        if len(rows) > 1:
            yield _chart(f"{name}: {metric}", rows, _to_beat(results), source)
        else:
            (row,) = rows.values()
            by_language = {r.language: r for r in results.results if r.metric == metric}
            if len(by_language) > 1:
                title = f"{name}: {metric} by language"
                yield _chart(title, by_language, [], source, has_lifts=False)
            elif row.interval or len(row.values) > 1:
                yield _chart(f"{name}: {metric}", rows, [], source)
    yield from _tables(name, results, source)
    published = _published_table(name, results)
    if published is not None:
        yield published


def suite_blocks(name: str, suite: Suite, source: str) -> Iterator[Block]:
    """The papers' tables with what was measured in them."""
    figures = [
        (item.model, item.task, row.language, row.value)
        for item in suite.evaluations
        for row in item.results
    ]
    published, sources = published_figures(suite.name)
    apart = [said] if (said := seeds_sentence(suite.evaluations)) else []
    for table in suite_tables(figures, published):
        rows = {f"{model} (published)": values for model, values in table.published.items()}
        rows |= table.measured
        if len(rows) > 1 and all(averages(values) is not None for values in rows.values()):
            means = {model: averages(values) or 0.0 for model, values in rows.items()}
            chart = comparison_chart(
                {model: [value] for model, value in means.items()},
                "average",
                baselines=[model for model in rows if model not in table.measured],
            )
            spec = page_spec(chart)
            spec.pop("title", None)
            yield Chart(
                f"{name}: {table.title}",
                _described({m: Result("", "average", v) for m, v in means.items()}),
                spec,
                Table("", ["model", "average"], [[m, f"{v:.4f}"] for m, v in means.items()]),
                "Grey: what the papers report.",
                source,
                is_wide=True,
            )
        yield Table(
            f"{name}: {table.title}, per cent",
            ["model", *table.columns, AVERAGE],
            [
                [model, *map(_per_cent, [*values, averages(values)])]
                for model, values in rows.items()
            ],
            notes=[*apart, f"Published: {joined(_papers(sources))}"],
            source=source,
        )


def headline(results: Results, metric: str) -> dict[str, Result]:
    """The figure of each model over all languages, or of the language that stands last."""
    found = {}
    for model, rows in rows_by_model(results).items():
        own = [row for row in rows if row.metric == metric]
        if own:
            found[model] = next((row for row in own if row.language in _ALL), own[-1])
    return found


def _alignment_finding(name: str, results: Results) -> Finding | None:
    """The mean change of the distance between translations; None where it is not there."""
    means = {
        metric: [row.value for row in results.results if row.metric == metric]
        for metric in _DISTANCES
    }
    if not all(means.values()):
        return None
    before, after = (sum(values) / len(values) for values in means.values())
    said = f"Translations lay {before:.3f} apart before training and {after:.3f} after it"
    return Finding(
        f"{results.task}: {name}",
        f"{before:.2f} → {after:.2f}",
        "mean cosine distance of translations",
        [f"{said} ({explain('cosine distance')})."],
        Table(
            "",
            ["languages", "distance", "value"],
            [[row.language, row.metric, f"{row.value:.3f}"] for row in results.results],
            2,
        ),
    )


def _to_beat(results: Results) -> list[str]:
    """Baselines but for a blind guess, and for parts of what is judged."""
    return [
        name for name in results.baselines if name not in _BLIND and not name.startswith("ours: ")
    ]


def _judged(results: Results, rows: Mapping[str, Result]) -> str:
    """The model whose figure is told: the one that was compared, or the best."""
    compared = results.options.get("compared_with_baselines")
    if compared in rows:
        return str(compared)
    own = [name for name in rows if name not in results.baselines]
    return max(own, key=lambda name: rows[name].value)


def _main_metrics(results: Results) -> list[str]:
    """The first metric of each task; all of them have one language or more."""
    first: dict[str, str] = {}
    for row in results.results:
        first.setdefault(_task_of(row.metric), row.metric)
    return list(first.values())


def _chart(
    title: str,
    rows: Mapping[str, Result],
    baselines: Sequence[str],
    source: str,
    has_lifts: bool = True,
) -> Chart:
    has_intervals = any(row.interval for row in rows.values())
    seeds = max(len(row.values) for row in rows.values())
    note = " ".join(
        [
            *(["Lines are 95 % intervals."] if has_intervals else []),
            *(["Small rings are the seeds."] if seeds > 1 else []),
            *([f"Grey: {'what is to be beaten' if has_lifts else 'before'}."] if baselines else []),
        ]
    )
    table = Table(
        "",
        ["", "value", "95 % from", "to", "seeds"],
        [
            [
                name,
                f"{row.value:.4f}",
                *([f"{bound:.4f}" for bound in row.interval] or ["", ""]),
                ", ".join(f"{value:.4f}" for value in row.values),
            ]
            for name, row in rows.items()
        ],
    )
    drawn = {CHANCE if name in _BLIND else name: row for name, row in rows.items()}
    spec = page_spec(rows_chart(drawn, baselines, has_lifts))
    spec.pop("title", None)
    return Chart(title, _described(rows), spec, table, note, source, is_wide=True)


def _described(rows: Mapping[str, Result]) -> str:
    return "; ".join(f"{name}: {_figure(row)}" for name, row in rows.items())


def _tables(name: str, results: Results, source: str) -> Iterator[Table]:
    """A table for each task of an evaluation: its first metrics, and all figures below."""
    models = rows_by_model(results)
    every = [row for rows in models.values() for row in rows]
    tasks: dict[str, dict[str, None]] = {}
    for row in every:
        tasks.setdefault(_task_of(row.metric), {})[row.metric] = None
    for task, metrics in tasks.items():
        shown = list(metrics)[:_MOST_METRICS]
        cells: dict[tuple[str, str], dict[str, str]] = {}
        for model, rows in models.items():
            for row in rows:
                if row.metric in shown:
                    cells.setdefault((model, starred(row)), {})[row.metric] = _figure(row)
        body = [[*key, *(own.get(m, "") for m in shown)] for key, own in cells.items()]
        body.sort(key=lambda row: row[1] not in _ALL)
        first = sum(row[1] in _ALL for row in body) or _MOST_ROWS
        yield Table(
            ": ".join(filter(None, [name, task])),
            ["model", "language", *(metric.removeprefix(f"{task}: ") for metric in shown)],
            body[:first],
            2,
            _notes(every, results, len(metrics) - len(shown)),
            body[first : first + _MOST_MORE],
            source,
        )


def _notes(every: Sequence[Result], results: Results, num_left: int) -> list[str]:
    notes = ["In brackets: 95 % intervals."] if any(row.interval for row in every) else []
    seeds = max((len(row.seeds) for row in results.results), default=0)
    notes += [f"Median of {seeds} seeds."] if seeds > 1 else []
    more = "1 more metric is" if num_left == 1 else f"{num_left} more metrics are"
    notes += [f"{more} in results.json."] if num_left else []
    return notes + notes_of(every)


def _task_of(metric: str) -> str:
    """What stands before a metric's name: `new posts` of `new posts: MRR`."""
    return metric.rpartition(": ")[0]


def _published_table(name: str, results: Results) -> Table | None:
    """What the papers report of the same task and languages."""
    if "pipeline" in results.options:  # on a log of one's own
        return None
    suite, tasks = _PUBLISHED.get(results.task, ("twhin", {}))
    if not tasks:
        tasks = {row.metric: results.task for row in results.results}
    published, sources = published_figures(suite)
    figures = [
        (model, tasks[row.metric], row.language, row.value)
        for model, rows in rows_by_model(results).items()
        for row in rows
        if row.metric in tasks
    ]
    cells = {(task, language) for _, task, language, _ in figures}
    rows = {
        model: {cell: value for cell, value in values.items() if cell in cells}
        for model, values in published.items()
    }
    if not any(rows.values()):
        return None
    body = [
        [f"{model} (published)", task, language, f"{value:.4f}"]
        for model, values in rows.items()
        for (task, language), value in values.items()
    ]
    body += [
        [model, task, language, f"{value:.4f}"]
        for model, task, language, value in figures
        if any((task, language) in values for values in published.values())
    ]
    return Table(
        f"{name}: beside the papers",
        ["model", "task", "language", "value"],
        body[:_MOST_ROWS],
        3,
        [
            "The papers' figures are of their published benchmark: they compare with yours only if "
            "it is the same one.",
            f"Published: {joined(_papers(sources))}",
        ],
        body[_MOST_ROWS:],
    )


def _papers(sources: Sequence[str]) -> list[str]:
    """The papers and where to read them, each once, without their tables."""
    parts = [source.rsplit(", ", 2) for source in sources]
    return list(dict.fromkeys(f"{paper} ({address})" for paper, _, address in parts))


def _difference_in_words(judged: str, best: str, row: Result) -> str:
    found = row.details.get("difference")
    if not isinstance(found, dict):
        return ""
    interval = found.get("interval")
    if not isinstance(interval, list) or len(interval) != 2:
        return ""
    numbers = [found.get("value"), *interval, found.get("p", 1.0)]
    if not all(isinstance(one, (int, float)) for one in numbers):
        return ""
    value, low, high, p = numbers
    told = f"{judged} less {best}: {value:+.3f} (95 % interval {low:+.3f} to {high:+.3f}"
    told = f"{told}; p = {p:.3f})".replace("-0.", "−0.")
    if low > 0:
        return f"{told}: better than it, beyond what another draw of the people would change."
    if high < 0:
        return f"{told}: worse than it."
    return f"{told}: too little to tell them apart."


def _figure(row: Result) -> str:
    between = f" ({row.interval[0]:.3f}–{row.interval[1]:.3f})" if row.interval else ""
    return f"{row.value:.3f}{between}"


def _per_cent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"
