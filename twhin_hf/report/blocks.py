"""What stands on the page: sections of charts with their tables, tables, findings, pairs, runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from twhin_hf.report.posts import Pair


@dataclass(frozen=True)
class Table:
    """A table of text cells; of a row the first `num_names` are names, the others figures.

    Args:
        title: Above it; may be empty behind a chart.
        columns: Names of the columns.
        rows: Cells, `[rows][columns]`.
        num_names: Columns of names, on the left.
        notes: Sentences below it.
        more: More rows, which are shown when they are asked for.
        source: The command that made the figures.
    """

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_names: int = 1
    notes: Sequence[str] = ()
    more: Sequence[Sequence[str]] = ()
    source: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart, and the table of what it shows.

    Args:
        title: Above it.
        description: What a reader who does not see it is told.
        spec: Vega-Lite.
        table: The figures.
        note: A sentence below it.
        source: The command that made the figures.
        is_wide: As wide as the page.
    """

    kind: ClassVar[str] = "chart"
    title: str
    description: str
    spec: dict[str, Any]
    table: Table
    note: str = ""
    source: str = ""
    is_wide: bool = False


@dataclass(frozen=True)
class Finding:
    """The main figure of an evaluation, in words.

    Args:
        title: What was judged.
        figure: Such as `0.494`.
        label: What the figure is.
        sentences: What it means, and what stands beside it.
        table: Chance, baselines, the model.
    """

    kind: ClassVar[str] = "finding"
    title: str
    figure: str
    label: str
    sentences: Sequence[str]
    table: Table


@dataclass(frozen=True)
class Pairs:
    """Mined pairs with their texts.

    Args:
        title: Above them.
        note: What they are a sample of.
        pairs: The sample.
        source: The command that mined them.
    """

    kind: ClassVar[str] = "pairs"
    title: str
    note: str
    pairs: Sequence[Pair]
    source: str = ""


@dataclass(frozen=True)
class PostMap:
    """The map of posts.

    Args:
        title: Above it.
        description: What a reader who does not see it is told.
        spec: Vega-Lite, whose data the page's script makes of `content`.
        content: Of `map_rows`.
        colours: Of each group.
        table: How many posts each group has, and some of them.
        note: A sentence below it.
    """

    kind: ClassVar[str] = "map"
    title: str
    description: str
    spec: dict[str, Any]
    content: dict[str, Any]
    colours: Mapping[str, str]
    table: Table
    note: str = ""


@dataclass(frozen=True)
class RunRecord:
    """How something was made.

    Args:
        title: Name of its folder.
        what: What the command does.
        command: As a person types it.
        facts: Seed, versions, fingerprints: name and value.
        options: JSON, indented.
    """

    kind: ClassVar[str] = "run"
    title: str
    what: str
    command: str
    facts: Sequence[tuple[str, str]]
    options: str


Block = Table | Chart | Finding | Pairs | PostMap | RunRecord


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        name: Of its anchor.
        title: Its heading.
        intro: Sentences that say how to read it.
        blocks: What stands in it.
    """

    name: str
    title: str
    intro: Sequence[str] = ()
    blocks: Sequence[Block] = field(default_factory=list)
