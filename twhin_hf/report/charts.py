"""Charts that only a report has: languages, bars of counts, the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from twhin_hf.maps.layout import SIDE
from twhin_hf.plots import COLOURS, GREY

if TYPE_CHECKING:
    import altair as alt

    from twhin_hf.plots import Layers

_MOST_LANGUAGES = 24
_MOST_CLASSES = 7
"""Colours but the grey of the rest."""
_MARGIN = 60
_REST = "other"
POSTS = "posts"
"""Name of the map's data in its chart; the page fills it in."""


def page_spec(chart: Any) -> dict[str, Any]:
    """A chart as the page's script draws it: as wide as its place, in the page's colours."""
    spec = chart.properties(width="container").to_dict()
    spec.pop("config", None)
    spec.pop("$schema", None)
    return spec | {"autosize": {"type": "fit-x", "contains": "padding"}}


def languages_chart(shares: Mapping[str, Mapping[str, float]]) -> alt.Chart:
    """A bar for each language and moment, the most frequent languages first.

    Args:
        shares: Shares of 1 by language, by the moment (before and after re-sampling).
    """
    import altair as alt

    moments = list(shares)
    names = sorted(shares[moments[0]], key=lambda name: -shares[moments[0]][name])
    rows = [
        {"language": name, "when": when, "share": shares[when].get(name, 0.0)}
        for name in names[:_MOST_LANGUAGES]
        for when in moments
    ]
    colours = [GREY, COLOURS[0]] if len(moments) > 1 else [COLOURS[0]]
    return (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of the posts", axis=alt.Axis(format="%")),
            y=alt.Y("language:N", title=None, sort=None),
            yOffset=alt.YOffset("when:N", sort=moments),
            color=alt.Color(
                "when:N",
                scale=alt.Scale(domain=moments, range=colours),
                legend=alt.Legend() if len(moments) > 1 else None,
            ),
            tooltip=["language:N", "when:N", alt.Tooltip("share:Q", format=".2%")],
        )
        .properties(height=22 * len(rows) // len(moments))
    )


def bars_chart(counts: Mapping[str, int], x_title: str, y_title: str) -> alt.Chart:
    """Bars in the order of the counts."""
    import altair as alt

    rows = [{"bar": name, "count": count} for name, count in counts.items()]
    return (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(color=COLOURS[0])
        .encode(
            x=alt.X("bar:N", title=x_title, sort=None, axis=alt.Axis(labelOverlap=True)),
            y=alt.Y("count:Q", title=y_title, axis=alt.Axis(format="~s")),
            tooltip=[
                alt.Tooltip("bar:N", title=x_title),
                alt.Tooltip("count:Q", title=y_title, format=","),
            ],
        )
        .properties(height=220)
    )


def map_colours(names: Sequence[str], has_rest: bool) -> dict[str, str]:
    """The colour of each class, the rest being grey.

    Example:
        >>> map_colours(["en", "other"], True)
        {'en': '#3b7dd8', 'other': '#7d8794'}
    """
    found = {name: COLOURS[place % _MOST_CLASSES] for place, name in enumerate(names)}
    return found | ({names[-1]: GREY} if has_rest else {})


def map_chart(colours: Mapping[str, str], layouts: Sequence[str]) -> Layers:
    """Posts as points, to be zoomed and moved; `chosen` is the post that has a ring.

    Args:
        colours: Of each class.
        layouts: Encoders to choose from; the last is shown first.
    """
    import altair as alt

    encoder = alt.param(
        name="encoder",
        value=len(layouts) - 1,
        bind=alt.binding_radio(
            options=list(range(len(layouts))), labels=list(layouts), name="Encoder "
        )
        if len(layouts) > 1
        else alt.Undefined,
    )
    chosen = alt.param(name="chosen", value=-1)
    ends = [-_MARGIN, SIDE + _MARGIN]
    zoom = alt.selection_interval(name="zoom", bind="scales")
    base = (
        alt.Chart(alt.NamedData(name=POSTS))
        .transform_calculate(px="datum.x[encoder]", py="datum.y[encoder]")
        .encode(
            x=alt.X("px:Q", axis=None, scale=alt.Scale(domain=ends, nice=False)),
            y=alt.Y("py:Q", axis=None, scale=alt.Scale(domain=ends, nice=False, reverse=True)),
        )
    )
    points = base.mark_point(filled=True, size=26, opacity=0.75).encode(
        color=alt.Color(
            "group:N",
            scale=alt.Scale(domain=list(colours), range=list(colours.values())),
            legend=None,  # it stands in the page: a canvas does not follow its colours
        ),
        tooltip=[alt.Tooltip("text:N", title="post"), alt.Tooltip("language:N", title="language")],
    )
    ring = (
        base.transform_filter("datum.number === chosen")
        .mark_point(size=240, strokeWidth=3, opacity=1)
        .encode(stroke=alt.value(COLOURS[4]))
    )
    return (
        alt.layer(points.add_params(zoom), ring).add_params(encoder, chosen).properties(height=560)
    )


def map_rows(content: Mapping[str, Any], most: int, seed: int) -> dict[str, Any]:
    """What the page's script makes the map's points of.

    Args:
        content: Of a page of `twhin-hf map`.
        most: Posts at most, drawn at random.
        seed: Of the draw.

    Returns:
        `coloring`, `layouts` and `groups` (names), `x` and `y` (by layout), and for each post
        `group`, `language` and `text` (None without texts); `hasRest` of the groups.
    """
    number = len(content["language"])
    rows = np.arange(number)
    if number > most:
        rows = np.sort(np.random.default_rng(seed).choice(number, most, replace=False))
    colourings = content["colorings"]
    colouring = next((found for found in colourings if found["name"] == "language"), colourings[0])
    groups = np.asarray(colouring["of"], int)[rows]
    names, has_rest = list(map(str, colouring["classes"])), bool(colouring["hasRest"])
    if number and not 0 <= min(colouring["of"]) <= max(colouring["of"]) < len(names):
        raise ValueError("a post is of no class")
    if len(names) > _MOST_CLASSES + has_rest:
        groups = np.minimum(groups, _MOST_CLASSES)
        names, has_rest = [*names[:_MOST_CLASSES], _REST], True
    languages = np.asarray(content["languages"], str)[np.asarray(content["language"], int)[rows]]
    texts = content["texts"]
    layouts = content["layouts"]
    return {
        "coloring": str(colouring["name"]),
        "layouts": [str(layout["name"]) for layout in layouts],
        "groups": names,
        "hasRest": has_rest,
        "x": [_places(layout["x"])[rows].tolist() for layout in layouts],
        "y": [_places(layout["y"])[rows].tolist() for layout in layouts],
        "group": groups.tolist(),
        "language": languages.tolist(),
        "text": None if texts is None else [str(texts[row]) for row in rows.tolist()],
    }


def _places(values: Sequence[float]) -> np.ndarray:
    return np.rint(np.clip(np.asarray(values, float), 0, SIDE)).astype(int)
