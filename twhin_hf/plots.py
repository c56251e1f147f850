"""Plots of training losses, of encoders side by side, of few-shot results and of reliability."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twhin_hf.errors import InputError
from twhin_hf.files import new_file
from twhin_hf.results import CHANCE, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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

COLOURS = ("#9aa5b1", "#3b7dd8", "#e07a2f", "#3c9d6b", "#8a5fbf", "#c94f6d")


def plot_losses(log_histories: Mapping[str, Sequence[dict]], path: str | os.PathLike[str]) -> Path:
    """One panel for each logged figure, one line for each run.

    Args:
        log_histories: A Trainer's `state.log_history` by the name to show. Of each entry `step`
            and those of `PANELS` that it has are used.
        path: The picture; its ending tells the format.

    Raises:
        InputError: No entry holds any of these.
    """
    lines = {
        panel: {
            name: np.array([[e["step"], e[panel]] for e in history if panel in e and "step" in e])
            for name, history in log_histories.items()
            if any(panel in entry and "step" in entry for entry in history)
        }
        for panel in PANELS
    }
    lines = {panel: by_name for panel, by_name in lines.items() if by_name}
    if not lines:
        raise InputError(
            f"No entry of {list(log_histories)} holds a step with any of {list(PANELS)}. "
            "Give the log_history of a Trainer that logged at least once."
        )
    figure, axes = new_figure(len(lines))
    colours = dict(zip(log_histories, colours_of(len(log_histories)), strict=True))
    for axis, (panel, by_name) in zip(axes, lines.items(), strict=True):
        for name, points in by_name.items():
            axis.plot(
                points[:, 0],
                points[:, 1],
                color=colours[name],
                label=name,
                linewidth=1.8,
                marker="o" if len(points) < 3 else None,
            )
        values = np.concatenate([points[:, 1] for points in by_name.values()])
        if panel.endswith("_accuracy"):
            axis.set_ylim(0, 1)
            axis.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        elif values.min() > 0 and values.max() > 10 * values.min():
            axis.set_yscale("log")
        axis.set_title(PANELS[panel])
        axis.set_xlabel("step")
    handles = {
        label: handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False
    )
    return save_figure(figure, path)


def plot_comparison(
    values: Mapping[str, Sequence[float]],
    path: str | os.PathLike[str],
    metric: str = "HITS@10",
    *,
    baselines: Collection[str] = (),
    intervals: Mapping[str, Sequence[float]] | None = None,
    chance: float | None = None,
) -> Path:
    """A bar for each model at the median of its seeds, each seed a point.

    Beside the value stands the factor over the best baseline, or, without baselines, from the
    second bar on, over the bar to its left.

    Args:
        values: One figure a seed by the model's name, the weakest model first.
        path: The picture; its ending tells the format.
        metric: Names the figure.
        baselines: Names of those models that the others are to beat; their bars are grey.
        intervals: `[low, high]` by the model's name, drawn as error bars; may be empty.
        chance: What a blind guess gives, drawn as a line.

    Raises:
        InputError: No model, or a model without a figure; a baseline or an interval of none.
    """
    intervals = {name: bounds for name, bounds in (intervals or {}).items() if len(bounds)}
    empty = [name for name, seeds in values.items() if not len(seeds)]
    if empty or not values:
        raise InputError(f"No {metric} of {empty or 'any model'}; give at least one seed each.")
    if unknown := sorted({*baselines, *intervals} - set(values)):
        raise InputError(f"No {metric} of {unknown}; values has {list(values)}.")
    figure, (axis,) = new_figure(1, width=1.6 * len(values) + 2.2)
    medians = {name: float(np.median(seeds)) for name, seeds in values.items()}
    tops = {name: max([*seeds, *intervals.get(name, ())]) for name, seeds in values.items()}
    best = max(baselines, key=lambda name: medians[name], default=None)
    # The first colour is the baselines' grey.
    colours = iter(colours_of(len(values) + 1)[1:] if baselines else colours_of(len(values)))
    before: float | None = None
    for place, (name, seeds) in enumerate(values.items()):
        median, is_baseline = medians[name], name in baselines
        axis.bar(place, median, width=0.6, color=COLOURS[0] if is_baseline else next(colours))
        if name in intervals:
            axis.plot(
                [place + 0.2] * 2, intervals[name], color="#333333", marker="_", linewidth=1.4
            )
        spread = np.linspace(-0.12, 0.12, len(seeds)) if len(seeds) > 1 else np.zeros(1)
        axis.scatter(
            place + spread, seeds, s=22, color="white", edgecolor="#333333", linewidth=0.9, zorder=4
        )
        over = None if is_baseline else medians[best] if best else before
        lift = f"\n× {median / over:.2f}" if over else ""
        axis.annotate(
            f"{median:.3f}{lift}",
            (place, tops[name]),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            weight="bold",
        )
        before = median
    if chance is not None:
        axis.axhline(chance, color="#c94f6d", linestyle="--", linewidth=1.2, zorder=3)
        axis.annotate(
            f"chance {chance:.3f}",
            (1, chance),
            xycoords=("axes fraction", "data"),
            xytext=(3, -3),
            textcoords="offset points",
            annotation_clip=False,
            color="#c94f6d",
            size="small",
        )
    axis.set_xticks(range(len(values)), [textwrap.fill(name, 18) for name in values])
    axis.tick_params(axis="x", length=0)
    axis.set_ylim(0, 1.25 * max(tops.values()) or 1)
    axis.set_ylabel(metric)
    runs = sorted({len(seeds) for seeds in values.values()})
    named = f"{runs[0]} seeds" if len(runs) == 1 else "its seeds"
    title = f"{metric}, median of {named}" if runs[-1] > 1 else metric
    title += ", 95 % interval over users" if intervals else ""
    axis.set_title(title + (f"\n× over {best}" if best else ""))
    return save_figure(figure, path)


def plot_results(
    by_model: Mapping[str, Sequence[Result]],
    path: str | os.PathLike[str],
    baselines: Collection[str] = (),
) -> Path:
    """The first metric over all languages, a bar for each model, chance a line.

    Args:
        by_model: Rows of each model and baseline, the average of several languages last.
        path: The picture; its ending tells the format.
        baselines: Names of those that the others are to beat.
    """
    first = next(iter(by_model.values()))[0].metric
    found = {
        name: [row for row in rows if row.metric == first][-1] for name, rows in by_model.items()
    }
    chance = found.pop(CHANCE, None)
    return plot_comparison(
        {name: row.values or [row.value] for name, row in found.items()},
        path,
        first,
        baselines=[name for name in baselines if name != CHANCE],
        intervals={name: row.interval for name, row in found.items() if row.interval},
        chance=None if chance is None else chance.value,
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
    empty = [name for name, curve in curves.items() if not curve]
    if empty or not curves:
        raise InputError(f"No {metric} of {empty or 'any model'}; give at least one figure each.")
    figure, (axis,) = new_figure(1)
    shots = sorted({number for curve in curves.values() for number in curve})
    for (name, curve), colour in zip(curves.items(), colours_of(len(curves)), strict=True):
        places = sorted(curve)
        axis.plot(
            places,
            [float(np.median(curve[place])) for place in places],
            color=colour,
            label=name,
            linewidth=1.8,
            marker="o",
            markersize=4,
        )
        axis.fill_between(
            places,
            [min(curve[place]) for place in places],
            [max(curve[place]) for place in places],
            color=colour,
            alpha=0.18,
            linewidth=0,
        )
    axis.set_xscale("log", base=2)
    axis.set_xticks(shots, [str(number) for number in shots])
    axis.minorticks_off()
    axis.set_xlabel("training examples per class")
    axis.set_ylabel(metric)
    axis.set_title(title)
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    return save_figure(figure, path)


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
    if not len(predicted) or len(predicted) != len(observed):
        raise InputError(
            f"{len(predicted)} predictions and {len(observed)} shares; give one of each a bin."
        )
    figure, (axis,) = new_figure(1)
    points = [(x, y) for x, y in zip(predicted, observed, strict=True) if x > 0 and y > 0]
    ends = [0.7 * min(map(min, points), default=0.1), 1.4 * max(map(max, points), default=1.0)]
    axis.plot(ends, ends, color=COLOURS[0], linestyle="--", linewidth=1.2, label="calibrated")
    axis.plot(
        [x for x, _ in points], [y for _, y in points], color=COLOURS[1], marker="o", markersize=5
    )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("predicted probability")
    axis.set_ylabel("share that happened")
    axis.set_title("Reliability" + ("" if error is None else f", calibration error {error:.2g}"))
    axis.legend(frameon=False)
    return save_figure(figure, path)


def new_figure(panels: int, width: float | None = None) -> tuple[Figure, list[Axes]]:
    """A figure without pyplot: no window, no global state, any thread."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(panels, 2)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width or 4.6 * columns, 3.2 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, columns, place + 1) for place in range(panels)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#dddddd", linewidth=0.7)
        axis.set_axisbelow(True)
    return figure, axes


def colours_of(count: int) -> list[Any]:
    """A colour for each of so many lines."""
    return [COLOURS[place % len(COLOURS)] for place in range(count)]


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Writes a figure, whole or not at all."""
    path = Path(path)
    with new_file(path) as partial:
        figure.savefig(partial, dpi=150)
    return path
