"""Options of `write_report`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from twhin_hf.errors import InputError


@dataclass(frozen=True)
class ReportConfig:
    """What the page shows.

    Args:
        num_pairs: Number of mined pairs to show with their texts, drawn at random.
        max_points: Maximum number of posts on the map, drawn at random.
        seed: Random seed of both draws.

    Raises:
        InputError: A negative number.
    """

    num_pairs: int = 50
    max_points: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_pairs", "max_points"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be 0 or more.")
