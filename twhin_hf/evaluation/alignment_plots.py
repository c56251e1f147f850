"""Plots of translations before and after an encoder was aligned."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twhin_hf.errors import WRONG_CONTENT, InputError, reading
from twhin_hf.evaluation.alignment import Alignment, project
from twhin_hf.files import new_file
from twhin_hf.plots import COLOURS, GREY, save_chart

if TYPE_CHECKING:
    from twhin_hf.plots import Layers


@dataclass(frozen=True)
class AlignmentPoint:
    """Where a text of a pair lies.

    Args:
        languages: Of the pairs, `a-b`.
        method: Of the projection.
        when: `before` or `after`.
        pair: Number of the pair, from 0 on.
        language: Of the text.
        x: First coordinate.
        y: Second coordinate.
    """

    languages: str
    method: str
    when: str
    pair: int
    language: str
    x: float
    y: float


POINTS_FILE = "points.csv"
_COLUMNS = [field.name for field in fields(AlignmentPoint)]


def alignment_points(
    alignment: Alignment, methods: Sequence[str] = ("t-SNE",), seed: int = 0
) -> list[AlignmentPoint]:
    """Both sides of the pairs in two dimensions, before and after, by each method."""
    found = []
    for method in methods:
        for when in ("before", "after"):
            places = np.split(project(alignment.vectors[when], method, seed), 2)
            for language, side in zip(alignment.languages, places, strict=True):
                found += [
                    AlignmentPoint(
                        "-".join(alignment.languages), method, when, pair, language, x, y
                    )
                    for pair, (x, y) in enumerate(side.tolist())
                ]
    return found


def write_points(points: Iterable[AlignmentPoint], path: str | os.PathLike[str]) -> Path:
    """CSV: a row for each point."""
    path = Path(path)
    with new_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(map(asdict, points))
    return path


def read_points(path: str | os.PathLike[str]) -> list[AlignmentPoint]:
    """Reads what `write_points` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: Other columns, or values that are no numbers.
    """
    path = Path(path)
    advice = "Needed is what `evaluate alignment` writes: run it again."
    with (
        reading(path, advice, (*WRONG_CONTENT, csv.Error)),
        path.open(encoding="utf-8", newline="") as file,
    ):
        reader = csv.DictReader(file)
        if reader.fieldnames != _COLUMNS:
            raise InputError(
                f"{path} has the columns {reader.fieldnames}; needed are {_COLUMNS}. {advice}"
            )
        return [
            AlignmentPoint(
                row["languages"],
                row["method"],
                row["when"],
                int(row["pair"]),
                row["language"],
                float(row["x"]),
                float(row["y"]),
            )
            for row in reader
        ]


def plot_distances(alignments: Sequence[Alignment], path: str | os.PathLike[str]) -> Path:
    """The mean cosine distance of translations before and after, and of other texts as a line."""
    import altair as alt

    rows = [
        {
            "languages": "–".join(alignment.languages),
            "when": when,
            "distance": alignment.distances[when].cosine,
            "others": alignment.distances[when].other_cosine,
        }
        for alignment in alignments
        for when in ("before", "after")
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("languages:N", title=None, sort=None, axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("when:N", sort=["before", "after"]),
    )
    distance = alt.Y("distance:Q", title="mean cosine distance")
    colour = alt.Color(
        "when:N", scale=alt.Scale(domain=["before", "after"], range=[GREY, COLOURS[0]])
    )
    chart = alt.layer(
        base.mark_bar().encode(y=distance, color=colour),
        base.mark_text(dy=-7).encode(y=distance, text=alt.Text("distance:Q", format=".2f")),
        base.mark_tick(thickness=2, color=COLOURS[4]).encode(y="others:Q"),
    )
    title = alt.TitleParams(
        "Distance between translations", subtitle="red: texts that are no translations"
    )
    return save_chart(chart.properties(title=title, width=alt.Step(56), height=260), path)


def plot_alignment(
    alignment: Alignment,
    path: str | os.PathLike[str],
    methods: Sequence[str] = ("t-SNE",),
    seed: int = 0,
) -> Path:
    """Both sides of the pairs in two dimensions: a row a method, before on the left, after right.

    A thin line joins each text to its translation.
    """
    return plot_points(alignment_points(alignment, methods, seed), alignment, path)


def plot_points(
    points: Sequence[AlignmentPoint], alignment: Alignment, path: str | os.PathLike[str]
) -> Path:
    """The picture of `plot_alignment`, of points that are there already."""
    import altair as alt

    panels = [
        points_chart([p for p in points if (p.method, p.when) == (method, when)]).properties(
            title=f"{method}, {when}: {alignment.distances[when].cosine:.3f}", width=340, height=300
        )
        for method in dict.fromkeys(point.method for point in points)
        for when in ("before", "after")
    ]
    return save_chart(alt.concat(*panels, columns=2).resolve_scale(color="shared"), path)


def points_chart(points: Sequence[AlignmentPoint]) -> Layers:
    """Points of one projection, a colour a language; a thin line joins the texts of a pair."""
    import altair as alt

    names = list(dict.fromkeys(point.language for point in points))
    rows = [asdict(point) for point in points]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("x:Q", axis=None, scale=alt.Scale(zero=False)),
        y=alt.Y("y:Q", axis=None, scale=alt.Scale(zero=False)),
    )
    colour = alt.Color(
        "language:N", scale=alt.Scale(domain=names, range=[COLOURS[0], COLOURS[1]][: len(names)])
    )
    return alt.layer(
        base.mark_line(strokeWidth=0.5, opacity=0.5, color=GREY).encode(detail="pair:N"),
        base.mark_point(filled=True, size=14, opacity=0.9).encode(
            color=colour, tooltip=["language:N", "pair:Q"]
        ),
    )
