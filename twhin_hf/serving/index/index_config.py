"""Options of `build_index`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twhin_hf.errors import InputError

Metric = Literal["cosine", "inner_product"]


def check_metric(metric: str) -> None:
    """Checks the name of a metric.

    Raises:
        InputError: An unknown one.
    """
    if metric not in ("cosine", "inner_product"):
        raise InputError(f"metric is {metric!r}; known are cosine and inner_product.")


@dataclass(frozen=True)
class IndexConfig:
    """How an index of vectors is built.

    Args:
        metric: What neighbours are ranked by: cosine, or the inner product of the vectors as they
            are.
        shard_size: Most vectors of a shard; memory holds one while it is built.
        exact_limit: Search a shard exactly up to this number of vectors; above it by a fast-scan
            code, whose candidates the vectors themselves rank.
        target_recall: Recall@10 against exact search that a larger shard aims for.

    Raises:
        InputError: An unknown metric, sizes below 1 or a recall that is no share.
    """

    metric: Metric = "cosine"
    shard_size: int = 1_000_000
    exact_limit: int = 150_000
    target_recall: float = 0.95

    def __post_init__(self) -> None:
        check_metric(self.metric)
        for name in ("shard_size", "exact_limit"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be 1 or more.")
        if not 0 < self.target_recall <= 1:
            raise InputError(f"target_recall is {self.target_recall}; it must be in (0, 1].")
