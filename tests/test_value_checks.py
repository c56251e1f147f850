"""Values of configs."""

from dataclasses import dataclass

import duckdb
import pytest

from twhin_hf.engines import open_engine
from twhin_hf.errors import InputError
from twhin_hf.value_checks import (
    check_choice,
    check_finite,
    check_least,
    check_memory_limit,
    check_seeds,
    check_share,
)


@dataclass
class Options:
    rate: float = 0.5
    width: int | None = None
    kind: str = "small"


@pytest.mark.parametrize(
    "limit", ["1GB", "600 MB", "1g", "0.5GiB", ".5GB", "1e3MB", "80%", "2 gigabytes", "64mib"]
)
def test_a_memory_limit_that_the_engine_takes_is_taken(limit):
    check_memory_limit(limit)
    duckdb.connect(config={"memory_limit": limit}).close()


@pytest.mark.parametrize("limit", ["abc", "", "1", "0", "0GB", "-1GB", "-1", "1PB", "1,5GB"])
def test_what_is_no_size_is_told(limit):
    with pytest.raises(InputError, match=f"memory_limit is '{limit}'; needed is a size"):
        check_memory_limit(limit)
    with pytest.raises(InputError, match="memory_limit"), open_engine(limit):
        pass


def test_numbers():
    check_least(Options(), 0.5, "rate", "width")
    for value in (float("nan"), 0.4, None, "0.6"):
        with pytest.raises(InputError, match=r"rate is .*; it must be 0\.5 or more"):
            check_least(Options(rate=value), 0.5, "rate")
    with pytest.raises(InputError, match=r"rate is 1; it must be in \[0, 1\)"):
        check_share(Options(rate=1), "rate")
    check_finite(Options())
    with pytest.raises(InputError, match="rate is inf; it must be a finite number"):
        check_finite(Options(rate=float("inf")))


def test_choices_and_seeds():
    check_choice(Options(), "kind", ["small", "large"])
    with pytest.raises(InputError, match="kind is 'small'; choose from large"):
        check_choice(Options(), "kind", ["large"])
    check_seeds([0, 2**32 - 1])
    for seeds in ([], [-1], [2**32], [None]):
        with pytest.raises(InputError, match="seeds "):
            check_seeds(seeds)
