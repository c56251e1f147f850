"""Hypothesis that gives the same examples each time and writes nothing."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "twhin_hf",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=15,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("twhin_hf")
