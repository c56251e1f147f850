"""Options of the split into training, validation and test posts; importing nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twhin_hf.errors import InputError


@dataclass(kw_only=True)
class SplitConfig:
    """Split.

    Args:
        split: How posts are split into train, validation and test: at random by a hash, or by time.
            By time, posts of train and the engagements with them are before validation_from, those
            of validation before test_from, and posts of test come then. A post's time is its
            timestamp, or else that of its first engagement.
        validation_from: Time at which validation begins: ISO date or time, or seconds since 1970
            (default: that by which 0.8 of the posts are there).
        test_from: Time at which test begins (default: that by which 0.9 of the posts are there).

    Raises:
        InputError: Another split, times without a split by time, or one time without the other.
    """

    split: Literal["hash", "time"] = "hash"
    validation_from: int | str | None = None
    test_from: int | str | None = None

    def __post_init__(self) -> None:
        has_time = [self.validation_from is not None, self.test_from is not None]
        if self.split not in ("hash", "time"):
            raise InputError(f"split is {self.split!r}; choose from hash, time")
        if self.split == "hash" and any(has_time):
            raise InputError(
                "validation_from and test_from belong to a split by time: give split=time as well "
                "(`--split time`), or leave them out"
            )
        if any(has_time) and not all(has_time):
            raise InputError(
                "validation_from and test_from go together: give both, or none, and the posts' "
                "times decide"
            )
