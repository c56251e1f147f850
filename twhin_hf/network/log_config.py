"""Options of `read_log`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from twhin_hf.errors import InputError
from twhin_hf.value_checks import check_memory_limit


@dataclass(frozen=True)
class LogConfig:
    """Engagement log.

    Args:
        relations: Relations to keep (default: all).
        min_user_degree: Minimum number of engagements of a user.
        min_post_degree: Minimum number of engagements of a post.
        before: Keep only engagements before this time (ISO date or time, or seconds since 1970);
            the log needs the column timestamp then (default: all).
        max_unknown_posts: Maximum share of the log's posts that may be without text.
        columns: Rename columns of the log: NAME=COLUMN.
        post_columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the reader; the interpreter, the ids and blocks of edges come
            on top, so that the default stays below 1 GB if ids are few.
        threads: Threads of the reader (default: all cores).
        temp_directory: Folder to spill to (default: the system's folder for temporary files).

    Raises:
        InputError: A minimum degree below 1, or a memory limit that is no size.
    """

    relations: list[str] | None = None
    min_user_degree: int = 1
    min_post_degree: int = 1
    before: int | str | None = None
    max_unknown_posts: float = 0.5
    columns: dict[str, str] | None = None
    post_columns: dict[str, str] | None = None
    memory_limit: str = "600MB"
    threads: int | None = None
    temp_directory: str | None = None

    def __post_init__(self) -> None:
        for side, degree in (("user", self.min_user_degree), ("post", self.min_post_degree)):
            if degree < 1:
                raise InputError(f"min_{side}_degree is {degree}; it must be at least 1.")
        check_memory_limit(self.memory_limit)
