"""A plan as people read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twhin_hf.planning.plan import StagePlan, rates

if TYPE_CHECKING:
    from rich.table import Table


def plan_table(stages: Sequence[StagePlan]) -> Table:
    """A row for each stage, and the sum of hours and disk."""
    from rich.table import Table

    table = Table("stage", "time", "memory", "of", "disk", "rate")
    for stage in stages:
        table.add_row(
            stage.stage,
            duration(stage.hours),
            size(stage.memory),
            stage.memory_of,
            size(stage.disk),
            stage.rate,
        )
    table.add_section()
    hours, disk = (sum(getattr(stage, name) for stage in stages) for name in ("hours", "disk"))
    table.add_row("all", duration(hours), "", "", size(disk), "")
    return table


def rate_lines(stages: Sequence[StagePlan]) -> list[str]:
    """A line for each rate that the stages follow."""
    names = dict.fromkeys(stage.rate for stage in stages)
    return [
        f"{name}: {rates()[name].value:.3g} {rates()[name].unit} ({rates()[name].source})"
        for name in names
    ]


def duration(hours: float) -> str:
    """Hours as days, hours, minutes or seconds.

    Example:
        >>> duration(0.002), duration(0.5), duration(30), duration(1200)
        ('7.2 s', '30 min', '30 h', '50 days')
    """
    for limit, scale, unit in ((1 / 60, 3600, "s"), (1, 60, "min"), (48, 1, "h")):
        if hours < limit:
            return f"{hours * scale:.3g} {unit}"
    return f"{hours / 24:.3g} days"


def size(number: float) -> str:
    """Bytes as kB, MB, GB or TB.

    Example:
        >>> size(2_500), size(3.2e9), size(1.5e13)
        ('2.5 kB', '3.2 GB', '15 TB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} TB"
