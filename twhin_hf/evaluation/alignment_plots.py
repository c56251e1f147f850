"""Plots of translations before and after an encoder was aligned."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from twhin_hf.evaluation.alignment import Alignment, project
from twhin_hf.plots import colours_of, new_figure, save_figure


def plot_distances(alignments: Sequence[Alignment], path: str | os.PathLike[str]) -> Path:
    """The mean cosine distance of translations before and after, and of other texts as a line."""
    figure, (axis,) = new_figure(1, width=1.6 * len(alignments) + 2.6)
    places = np.arange(len(alignments))
    for offset, when, colour in zip((-0.2, 0.2), ("before", "after"), colours_of(2), strict=True):
        distances = [alignment.distances[when] for alignment in alignments]
        values = [found.cosine for found in distances]
        bars = axis.bar(places + offset, values, width=0.4, color=colour, label=when)
        axis.bar_label(bars, fmt="%.2f", padding=2)
        axis.hlines(
            [found.other_cosine for found in distances],
            places + offset - 0.2,
            places + offset + 0.2,
            color="#333333",
            linestyle="dotted",
            label="texts that are no translations" if when == "after" else "",
        )
    axis.set_xticks(places, ["–".join(alignment.languages) for alignment in alignments])
    axis.tick_params(axis="x", length=0)
    axis.set_ylabel("mean cosine distance")
    axis.set_title("Distance between translations")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return save_figure(figure, path)


def plot_alignment(
    alignment: Alignment,
    path: str | os.PathLike[str],
    methods: Sequence[str] = ("t-SNE",),
    seed: int = 0,
) -> Path:
    """Both sides of the pairs in two dimensions: a row a method, before on the left, after right.

    A thin line joins each text to its translation.
    """
    from matplotlib.collections import LineCollection

    figure, axes = new_figure(2 * len(methods))
    panels = [(method, when) for method in methods for when in ("before", "after")]
    for axis, (method, when) in zip(axes, panels, strict=True):
        sides = np.split(project(alignment.vectors[when], method, seed), 2)
        axis.add_collection(
            LineCollection(
                list(np.stack(sides, axis=1)), colors="#bbbbbb", linewidths=0.3, zorder=1
            )
        )
        for side, language, colour in zip(
            sides, alignment.languages, colours_of(3)[1:], strict=True
        ):
            axis.scatter(side[:, 0], side[:, 1], s=6, color=colour, label=language, zorder=2)
        axis.set_title(f"{method}, {when}: {alignment.distances[when].cosine:.3f}")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return save_figure(figure, path)
