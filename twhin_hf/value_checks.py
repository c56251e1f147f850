"""Checks of the values of configs, for their `__post_init__`; importing nothing heavy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

from twhin_hf.errors import InputError

_MEMORY = re.compile(
    r"\s*(\d+\.?\d*|\.\d+)(?:e\d+)?\s*"
    r"(?:%|bytes?|i?b|[kmgt](?:i?b)?|(?:kilo|mega|giga|tera)bytes?)\s*",
    re.IGNORECASE,
)
"""Sizes as DuckDB reads them, without its words for no limit."""
_MOST_SEED = 2**32 - 1  # NumPy's


def check_least(config: Any, least: float, *names: str) -> None:
    """Checks that fields of a dataclass are numbers of at least so much.

    A field whose default is None may be None.

    Raises:
        InputError: One is not.

    Example:
        >>> from twhin_hf.data.synthetic_config import SyntheticConfig
        >>> check_least(SyntheticConfig(), 10**9, "num_users")
        Traceback (most recent call last):
        ...
        twhin_hf.errors.InputError: num_users is 5000; it must be 1000000000 or more
    """
    _check(config, names, lambda value: value >= least, f"{least} or more")


def check_above_zero(config: Any, *names: str) -> None:
    """As `check_least`, for numbers above 0.

    Raises:
        InputError: One is not.
    """
    _check(config, names, lambda value: value > 0, "above 0")


def check_share(config: Any, *names: str) -> None:
    """As `check_least`, for numbers from 0 to below 1.

    Raises:
        InputError: One is not.
    """
    _check(config, names, lambda value: 0 <= value < 1, "in [0, 1)")


def check_finite(config: Any) -> None:
    """Checks that no field is infinite or no number: no file of JSON could hold it.

    Raises:
        InputError: One is.
    """
    for entry in fields(config):
        value = getattr(config, entry.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{entry.name} is {value}; it must be a finite number")


def check_choice(config: Any, name: str, choices: Iterable[str]) -> None:
    """Checks that a field is one of some texts, or of an enumeration of them.

    Raises:
        InputError: It is not.
    """
    value = getattr(config, name)
    allowed = list(choices)
    if getattr(value, "value", value) not in allowed:
        raise InputError(f"{name} is {value!r}; choose from {', '.join(allowed)}")


def check_seeds(seeds: Iterable[int], name: str = "seeds") -> None:
    """Checks that there are seeds, and that the generators take them.

    Raises:
        InputError: There is none, or one that is below 0 or too large.
    """
    found = list(seeds)
    if not found:
        raise InputError(f"{name} is empty: name at least one")
    for seed in found:
        if not (isinstance(seed, Integral) and 0 <= seed <= _MOST_SEED):
            raise InputError(
                f"{name} has {seed!r}; a seed is a whole number from 0 to {_MOST_SEED}"
            )


def check_memory_limit(limit: str) -> None:
    """Checks that a limit of the reader's memory is a size.

    Raises:
        InputError: It is not.

    Example:
        >>> check_memory_limit("600MB")
        >>> check_memory_limit("600")
        Traceback (most recent call last):
        ...
        twhin_hf.errors.InputError: memory_limit is '600'; needed is a size, such as 1GB or 600MB
    """
    found = _MEMORY.fullmatch(str(limit))
    is_whole = found is not None and (found[0].strip()[-1] != "%" or float(found[1]) <= 100)
    if found is None or not is_whole or not float(found[1]) > 0:
        raise InputError(f"memory_limit is {limit!r}; needed is a size, such as 1GB or 600MB")


def _check(config: Any, names: Iterable[str], is_good: Callable[[Any], bool], needed: str) -> None:
    defaults = {entry.name: entry.default for entry in fields(config)}
    for name in names:
        value = getattr(config, name)
        if value is None and defaults[name] is None:
            continue
        if not (isinstance(value, Real) and is_good(value)):
            raise InputError(f"{name} is {value!r}; it must be {needed}")
