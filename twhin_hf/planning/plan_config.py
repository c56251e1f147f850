"""Options of `plan_run`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twhin_hf.errors import InputError


@dataclass(frozen=True)
class PlanConfig:
    """The run to plan.

    Args:
        posts: Number of posts that the encoder reads.
        engagements: Number of engagements in the log.
        log: What the log is: a table (parquet, csv, or json for JSON lines), or the JSON of a
            network (bluesky, mastodon, x).
        users: Number of users (default: engagements / 500, as in the paper).
        network_posts: Number of posts in the network (default: engagements / 100, as in the paper,
            and at most posts).
        model: Encoder: small (6 layers of 384), base (12 of 768) or large (24 of 1024), with the
            papers' vocabulary of 250,002 tokens.
        gpus: Number of GPUs for the encoder; with 0 it runs on the cores.
        cores: Number of CPU cores, of all machines together, for all else.
        dimension: Dimension of the network vectors.
        network_epochs: Passes over the engagements.
        pairs_per_post: Mined pairs for each post of the network.
        tokens_per_post: Mean length of a post (measured on tweets of four languages).
        mlm_epochs: Passes over the posts in stage 1.
        social_epochs: Passes over the pairs in stage 2.
        peak_tflops: Peak of one GPU in bfloat16 without sparsity (default: H100; A100: 312).
        utilization: Share of that peak that training reaches (default: the rate in the table).

    Raises:
        InputError: A number that is not above 0, or a share above 1.
    """

    posts: float
    engagements: float
    log: Literal["parquet", "csv", "json", "bluesky", "mastodon", "x"] = "parquet"
    users: float | None = None
    network_posts: float | None = None
    model: Literal["small", "base", "large"] = "base"
    gpus: int = 0
    cores: int = 2
    dimension: int = 256
    network_epochs: float = 10
    pairs_per_post: float = 5
    tokens_per_post: float = 26.6
    mlm_epochs: float = 1
    social_epochs: float = 1
    peak_tflops: float = 989
    utilization: float | None = None

    def __post_init__(self) -> None:
        if self.gpus < 0:
            raise InputError(f"gpus is {self.gpus}; it must be 0 (none) or more.")
        for name, value in vars(self).items():
            if name in ("model", "log", "gpus") or value is None:
                continue
            if not 0 < value < float("inf"):
                raise InputError(f"{name} is {value}; it must be a number above 0.")
        if self.utilization is not None and self.utilization > 1:
            raise InputError(f"utilization is {self.utilization}; it is a share, at most 1.")

    @property
    def num_users(self) -> float:
        """Users of the log."""
        return self.users or max(1.0, self.engagements / 500)

    @property
    def num_network_posts(self) -> float:
        """Posts of the network."""
        return self.network_posts or min(self.posts, max(1.0, self.engagements / 100))
