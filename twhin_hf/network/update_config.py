"""Options of `update_network`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twhin_hf.errors import InputError


@dataclass(frozen=True)
class NetworkUpdateConfig:
    """Update.

    Method, dimension and all else are those with which the network was embedded.

    Args:
        freeze: Side whose vectors stay as they are: users, posts or none. Users and posts that are
            new to the network are learnt on both sides.
        epochs: Passes over the new engagements and the repeated ones (default: 2; 3 for twhin); for
            als how often each side is solved (default: 1).
        learning_rate: Learning rate of Adagrad; als has none (default: the network's).
        replay: Old engagements that a user or post repeats so as not to forget them, for each new
            one that it has.
        min_replay: Minimum number of old engagements that a user or post with a new one repeats,
            as far as it has them.
        seed: Seed of the order, the negatives and the repeated engagements. One thread repeats an
            update exactly.
        threads: CPU threads (default: as many as torch uses).
        device: Device (default: GPU if available; als runs on the CPU).

    Raises:
        InputError: A value that cannot work.
    """

    freeze: Literal["none", "users", "posts"] = "none"
    epochs: int | None = None
    learning_rate: float | None = None
    replay: float = 1.0
    min_replay: int = 20
    seed: int = 0
    threads: int | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if self.freeze not in ("none", "users", "posts"):
            raise InputError(f"freeze is {self.freeze!r}; it must be none, users or posts.")
        for name, least in {"epochs": 1, "threads": 1, "seed": 0, "min_replay": 0}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; it must be at least {least}.")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate}; it must be above 0.")
        if not 0 <= self.replay < float("inf"):
            raise InputError(f"replay is {self.replay}; it must be a number of 0 or more.")
