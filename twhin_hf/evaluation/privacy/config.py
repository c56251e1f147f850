"""The options of the attacks; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from twhin_hf.errors import InputError


@dataclass(frozen=True)
class AttackConfig:
    """Attacks.

    Args:
        known_share: Share of a user's engagements that the attacker knows, from 0 to 1.
        max_users: Maximum number of users to attack.
        max_engagements: Maximum number of engagements to tell members from others by.
        resamples: Resamples of the 95 % intervals.
        seed: Seed of what the attacker knows, of the users and engagements drawn, and of the
            resamples.

    Raises:
        InputError: A share that is not above 0 and at most 1, or a number below 1.
    """

    known_share: float = 0.5
    max_users: int = 10_000
    max_engagements: int = 100_000
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.known_share <= 1:
            raise InputError(
                f"known_share is {self.known_share:g}; it must be above 0 and at most 1."
            )
        for name in ("max_users", "max_engagements", "resamples"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1.")
