"""Charts of training, of encoders side by side, of few-shot results and of reliability.

Each is made once, in Vega-Lite: `plot_…` writes it as a picture, and a report shows it on its page.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twhin_hf.errors import InputError
from twhin_hf.files import new_file
from twhin_hf.results import CHANCE, Result

if TYPE_CHECKING:
    import altair as alt

    Layers = alt.LayerChart | alt.FacetChart

PANELS = {
    "loss": "Total loss",
    "mlm_loss": "MLM loss",
    "social_loss": "Social loss (NT-Xent)",
    "social_accuracy": "Pairs found in the batch",
    "engagement_loss": "Engagement loss",
    "engagement_accuracy": "Engaged posts found in the batch",
    "distillation_loss": "Distillation loss",
    "distillation_accuracy": "Network vectors found in the batch",
    "tpp_loss": "TPP loss",
    "tpp_accuracy": "Translations told",
}
"""The figures of a log that are drawn, in this order, and their titles."""

GREY = "#7d8794"
COLOURS = ("#3b7dd8", "#c4621c", "#2f8f5b", "#8f63c9", "#c94f6d", "#1d8a99", "#96703f", GREY)
"""Each has a contrast of 3 : 1 or more against white and against a dark page."""
INK = "#1b2430"
_LOG = 10
"""An axis of losses is logarithmic from this ratio of the largest to the smallest on."""

Rows = list[dict[str, Any]]


def plot_losses(log_histories: Mapping[str, Sequence[dict]], path: str | os.PathLike[str]) -> Path:
    """One panel for each logged figure, one line for each run.

    Args:
        log_histories: A Trainer's `state.log_history` by the name to show. Of each entry `step`
            and those of `PANELS` that it has are used.
        path: The picture; its ending tells the format.

    Raises:
        InputError: No entry holds any of these.
    """
    import altair as alt

    names = list(log_histories)
    lines = {
        panel: [
            {"name": name, "run": name, "x": entry["step"], "y": entry[panel]}
            for name, history in log_histories.items()
            for entry in history
            if "step" in entry and math.isfinite(entry.get(panel, math.nan))
        ]
        for panel in PANELS
    }
    panels = [
        curve_chart(
            rows, names, "step", panel.endswith("_accuracy"), panel.endswith("loss")
        ).properties(title=PANELS[panel], width=340, height=220)
        for panel, rows in lines.items()
        if rows
    ]
    if not panels:
        raise InputError(
            f"No entry of {names} holds a step with any of {list(PANELS)}. "
            "Give the log_history of a Trainer that logged at least once."
        )
    return save_chart(alt.concat(*panels, columns=2).resolve_scale(color="shared"), path)


def curve_chart(
    rows: Rows,
    names: Sequence[str],
    x_title: str,
    is_share: bool = False,
    is_loss: bool = True,
    legend: Sequence[str] | None = None,
) -> Layers:
    """A line for each run over steps or tokens, a colour for each name.

    Args:
        rows: `name`, `run` (of one name there may be several), `x` and `y` of each point.
        names: All that have a colour, in this order.
        x_title: What `x` counts.
        is_share: `y` is a share of 1.
        is_loss: Its axis may be logarithmic.
        legend: The names that stand in the legend; all where it is None.
    """
    import altair as alt

    values = [row["y"] for row in rows]
    is_log = is_loss and not is_share and min(values) > 0 and max(values) > _LOG * min(values)
    if is_share:
        scale, axis = alt.Scale(domain=[0, 1]), alt.Axis(format=".0%")
    else:
        scale, axis = alt.Scale(type="log" if is_log else "linear", zero=False), alt.Axis()
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("x:Q", title=x_title, axis=alt.Axis(format="~s")),
        y=alt.Y("y:Q", title=None, scale=scale, axis=axis),
        color=_colour(names, legend),
        detail="run:N",
        tooltip=[
            alt.Tooltip("run:N", title="run"),
            alt.Tooltip("x:Q", title=x_title, format=","),
            alt.Tooltip("y:Q", title="value", format=".4~g"),
        ],
    )
    few = len(rows) <= 3 * len({row["run"] for row in rows})
    return alt.layer(base.mark_line(), base.mark_point(filled=True, opacity=1.0 if few else 0.0))


def plot_comparison(
    values: Mapping[str, Sequence[float]],
    path: str | os.PathLike[str],
    metric: str = "HITS@10",
    *,
    baselines: Collection[str] = (),
    intervals: Mapping[str, Sequence[float]] | None = None,
    chance: float | None = None,
) -> Path:
    """A row for each model: a point at the median of its seeds, each seed a ring, its interval.

    Above the point stands its value, and the factor over the best baseline, or, without baselines,
    from the second row on, over the row above.

    Args:
        values: One figure a seed by the model's name, the weakest model first.
        path: The picture; its ending tells the format.
        metric: Names the figure.
        baselines: Names of those models that the others are to beat; they are grey.
        intervals: `[low, high]` by the model's name, drawn as lines; may be empty.
        chance: What a blind guess gives, drawn as a dashed line.

    Raises:
        InputError: No model, or a model without a figure; a baseline or an interval of none.
    """
    chart = comparison_chart(
        values, metric, baselines=baselines, intervals=intervals, chance=chance
    )
    return save_chart(chart.properties(width=420), path)


def comparison_chart(
    values: Mapping[str, Sequence[float]],
    metric: str = "HITS@10",
    *,
    baselines: Collection[str] = (),
    intervals: Mapping[str, Sequence[float]] | None = None,
    chance: float | None = None,
    has_lifts: bool = True,
) -> Layers:
    """The chart of `plot_comparison`, without its width; without factors where they say nothing."""
    import altair as alt

    intervals = {name: bounds for name, bounds in (intervals or {}).items() if len(bounds)}
    empty = [name for name, seeds in values.items() if not len(seeds)]
    if empty or not values:
        raise InputError(f"No {metric} of {empty or 'any model'}; give at least one seed each.")
    if unknown := sorted({*baselines, *intervals} - set(values)):
        raise InputError(f"No {metric} of {unknown}; values has {list(values)}.")
    medians = {name: float(np.median(seeds)) for name, seeds in values.items()}
    best = max(baselines, key=lambda name: medians[name], default=None)
    rows: Rows = []
    before: float | None = None
    for name, seeds in values.items():
        is_baseline = name in baselines
        over = None if is_baseline else medians[best] if best else before
        lift = f"  × {medians[name] / over:.2f}" if over and has_lifts else ""
        low, high = intervals.get(name, [medians[name]] * 2)
        rows.append(
            {
                "name": textwrap.fill(name, 26, break_long_words=False),
                "kind": "baseline" if is_baseline else "model",
                "value": medians[name],
                "low": low,
                "high": high,
                "label": f"{medians[name]:.3f}{lift}",
                "seeds": list(map(float, seeds)) if len(seeds) > 1 else [],
            }
        )
        before = medians[name]
    tops = [max([*seeds, *intervals.get(name, ())]) for name, seeds in values.items()]
    most = max([*tops, chance or 0.0]) or 1.0
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=["model", "baseline"], range=[COLOURS[0], GREY]),
        legend=None,
    )
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y(
            "name:N",
            title=None,
            sort=[row["name"] for row in rows],
            axis=alt.Axis(labelExpr=_LINES, labelLimit=220, grid=False, ticks=False),
        ),
        tooltip=[
            alt.Tooltip("name:N", title="model"),
            alt.Tooltip("value:Q", title=metric, format=".4f"),
            alt.Tooltip("low:Q", title="from", format=".4f"),
            alt.Tooltip("high:Q", title="to", format=".4f"),
        ],
    )
    scale = alt.Scale(domain=[0, 1.15 * most], nice=False)

    def x(field: str) -> alt.X:
        axis = alt.Axis(tickCount=6, labelOverlap=True)
        return alt.X(f"{field}:Q", title=metric, scale=scale, axis=axis)

    layers: list[Any] = [
        base.mark_rule(strokeWidth=3, opacity=0.55).encode(x=x("low"), x2="high:Q", color=colour),
        base.mark_point(filled=True, size=110, opacity=1).encode(x=x("value"), color=colour),
        base.mark_text(dy=-15, fontWeight="bold").encode(x=x("value"), text="label:N"),
        base.transform_flatten(["seeds"])
        .transform_filter("isValid(datum.seeds)")
        .mark_point(size=22, yOffset=11, opacity=0.9)
        .encode(x=x("seeds"), color=colour),
    ]
    if chance is not None:
        at = alt.Chart(alt.InlineData(values=[{"chance": chance, "label": f"chance {chance:.3f}"}]))
        layers += [
            at.mark_rule(strokeDash=[5, 4], color=COLOURS[4]).encode(x=x("chance")),
            at.mark_text(align="left", dx=3, baseline="bottom").encode(
                x=x("chance"), y=alt.value(-3), text="label:N"
            ),
        ]
    runs = sorted({len(seeds) for seeds in values.values()})
    named = f"{runs[0]} seeds" if len(runs) == 1 else "its seeds"
    title = [f"{metric}, median of {named}" if runs[-1] > 1 else metric]
    title[0] += ", 95 % interval" if intervals else ""
    title += [f"× over {best}"] if best and has_lifts else []
    return alt.layer(*layers).properties(
        title=alt.TitleParams(title, offset=22), height=50 * len(rows)
    )


def plot_results(
    by_model: Mapping[str, Sequence[Result]],
    path: str | os.PathLike[str],
    baselines: Collection[str] = (),
) -> Path:
    """The first metric over all languages, a row for each model, chance a line.

    Args:
        by_model: Rows of each model and baseline, the average of several languages last.
        path: The picture; its ending tells the format.
        baselines: Names of those that the others are to beat.
    """
    first = next(iter(by_model.values()))[0].metric
    found = {
        name: [row for row in rows if row.metric == first][-1] for name, rows in by_model.items()
    }
    return save_chart(rows_chart(found, baselines).properties(width=420), path)


def rows_chart(
    found: Mapping[str, Result], baselines: Collection[str] = (), has_lifts: bool = True
) -> Layers:
    """The chart of `plot_comparison` of one figure by the names to show; chance is its line."""
    rows = dict(found)
    chance = rows.pop(CHANCE, None)
    metric = next(iter(found.values())).metric
    return comparison_chart(
        {name: row.values or [row.value] for name, row in rows.items()},
        metric,
        baselines=[name for name in baselines if name in rows],
        intervals={name: row.interval for name, row in rows.items() if row.interval},
        chance=None if chance is None else chance.value,
        has_lifts=has_lifts,
    )


def plot_few_shot(
    curves: Mapping[str, Mapping[int, Sequence[float]]],
    path: str | os.PathLike[str],
    title: str,
    metric: str = "macro F1",
) -> Path:
    """A line a model over the examples per class: the median of the seeds, and their range.

    Args:
        curves: Values of each seed by examples per class, by the model's name.
        path: The picture; its ending tells the format.
        title: Above the panel.
        metric: Names the figure.

    Raises:
        InputError: No model, or a model without a figure.
    """
    return save_chart(few_shot_chart(curves, metric).properties(title=title, width=380), path)


def few_shot_chart(
    curves: Mapping[str, Mapping[int, Sequence[float]]], metric: str = "macro F1"
) -> Layers:
    """The chart of `plot_few_shot`, without its title and width."""
    import altair as alt

    empty = [name for name, curve in curves.items() if not curve]
    if empty or not curves:
        raise InputError(f"No {metric} of {empty or 'any model'}; give at least one figure each.")
    rows: Rows = [
        {
            "name": name,
            "examples": number,
            "value": float(np.median(values)),
            "low": float(min(values)),
            "high": float(max(values)),
        }
        for name, curve in curves.items()
        for number, values in sorted(curve.items())
    ]
    shots = sorted({row["examples"] for row in rows})
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X(
            "examples:Q",
            title="training examples per class",
            scale=alt.Scale(type="log", base=2, nice=False),
            axis=alt.Axis(values=shots, labelBound=False, labelFlush=False),
        ),
        color=_colour(list(curves)),
        tooltip=[
            alt.Tooltip("name:N", title="model"),
            alt.Tooltip("examples:Q", title="examples per class"),
            *(alt.Tooltip(f"{name}:Q", format=".4f") for name in ("value", "low", "high")),
        ],
    )
    value = alt.Y("value:Q", title=metric)
    return alt.layer(
        base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q", title=metric), y2="high:Q"),
        base.mark_line().encode(y=value),
        base.mark_point(filled=True, size=45, opacity=1).encode(y=value),
    ).properties(height=260)


def plot_reliability(
    predicted: Sequence[float],
    observed: Sequence[float],
    path: str | os.PathLike[str],
    error: float | None = None,
) -> Path:
    """Predicted probabilities against how often it happened, a point for each bin.

    Args:
        predicted: Mean prediction of each bin.
        observed: Share of each bin that happened; what is 0 has no place on axes of powers of ten.
        path: The picture; its ending tells the format.
        error: Expected calibration error, for the title.

    Raises:
        InputError: No bin, or not one share for each prediction.
    """
    title = "Reliability" + ("" if error is None else f", calibration error {error:.2g}")
    chart = reliability_chart(predicted, observed).properties(title=title, width=340)
    return save_chart(chart, path)


def reliability_chart(predicted: Sequence[float], observed: Sequence[float]) -> Layers:
    """The chart of `plot_reliability`, without its title and width."""
    import altair as alt

    if not len(predicted) or len(predicted) != len(observed):
        raise InputError(
            f"{len(predicted)} predictions and {len(observed)} shares; give one of each a bin."
        )
    points: Rows = [
        {"x": float(x), "y": float(y), "name": "measured"}
        for x, y in zip(predicted, observed, strict=True)
        if x > 0 and y > 0
    ]
    values = [value for point in points for value in (point["x"], point["y"])] or [0.1, 1.0]
    ends = [0.7 * min(values), 1.4 * max(values)]
    scale = alt.Scale(type="log", domain=ends, nice=False)
    axis = alt.Axis(format=".1~g", labelOverlap=True)
    x = alt.X("x:Q", title="predicted probability", scale=scale, axis=axis)
    y = alt.Y("y:Q", title="share that happened", scale=scale, axis=axis)
    line = [{"x": end, "y": end, "name": "calibrated"} for end in ends]
    colour = alt.Color(
        "name:N",
        title=None,
        scale=alt.Scale(domain=["calibrated", "measured"], range=[GREY, COLOURS[0]]),
    )
    measured = alt.Chart(alt.InlineData(values=points)).encode(
        x=x,
        y=y,
        color=colour,
        tooltip=[
            alt.Tooltip("x:Q", title="predicted", format=".3~g"),
            alt.Tooltip("y:Q", title="happened", format=".3~g"),
        ],
    )
    return alt.layer(
        alt.Chart(alt.InlineData(values=line))
        .mark_line(strokeDash=[5, 4])
        .encode(x=x, y=y, color=colour),
        measured.mark_line(),
        measured.mark_point(filled=True, size=50, opacity=1),
    ).properties(height=300)


def chart_config(ink: str, background: str | None = None, font: str = "sans-serif") -> dict:
    """How all charts look: of one ink, which a page may leave to its own colours.

    Args:
        ink: Of texts, axes and lines that have no colour of their own.
        background: Colour behind the chart; none where it is None.
        font: Of all texts.
    """
    faint = {"gridColor": ink, "gridOpacity": 0.13, "domainOpacity": 0.45, "tickOpacity": 0.45}
    return {
        "background": background or "transparent",
        "font": font,
        "view": {"stroke": None},
        "axis": {
            **faint,
            **{f"{part}Color": ink for part in ("label", "title", "domain", "tick")},
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titlePadding": 8,
        },
        "legend": {
            "orient": "bottom",
            "columns": 3,
            "title": None,
            "labelColor": ink,
            "labelFontSize": 12,
            "labelLimit": 240,
            "symbolOpacity": 1,
        },
        "header": {"labelColor": ink, "titleColor": ink, "labelFontSize": 12},
        "title": {"color": ink, "anchor": "start", "fontSize": 13, "fontWeight": 600},
        "text": {"color": ink, "fontSize": 12},
        "rule": {"color": ink},
        "line": {"strokeWidth": 2},
    }


def save_chart(chart: Any, path: str | os.PathLike[str]) -> Path:
    """Writes a chart as a picture, whole or not at all.

    Args:
        chart: Of Vega-Altair.
        path: The picture: `.png`, `.svg` or `.pdf`.

    Raises:
        InputError: Another ending.
    """
    import vl_convert

    path = Path(path)
    writers: dict[str, Any] = {
        ".png": lambda spec, **more: vl_convert.vegalite_to_png(spec, scale=2, **more),
        ".svg": lambda spec, **more: vl_convert.vegalite_to_svg(spec, **more).encode(),
        ".pdf": vl_convert.vegalite_to_pdf,
    }
    if path.suffix not in writers:
        raise InputError(f"{path}: a picture ends in {', '.join(writers)}.")
    spec = chart.to_dict() | {"config": chart_config(INK, "white"), "padding": 12}
    drawn = writers[path.suffix](spec, vl_version=vega_lite_version())
    with new_file(path) as partial:
        partial.write_bytes(drawn)
    return path


def vega_lite_version() -> str:
    """The version of Vega-Lite that charts are written in, as vl-convert names it."""
    import altair as alt

    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def _colour(names: Iterable[str], shown: Sequence[str] | None = None) -> Any:
    """A colour for each name, in their order; some of them in the legend."""
    import altair as alt

    domain = list(names)
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(domain))]
    return alt.Color(
        "name:N",
        title=None,
        scale=alt.Scale(domain=domain, range=colours),
        legend=alt.Legend(values=list(shown or domain)) if len(domain) > 1 else None,
    )


_LINES = "split(datum.label, '\\n')"
"""Labels of an axis in as many lines as they have."""
