"""Options of `serve`; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from twhin_hf.errors import InputError


@dataclass(frozen=True)
class ServiceLimits:
    """Limits.

    Args:
        max_body: Maximum size of a request in bytes.
        max_items: Maximum number of texts, users, posts or engagements of a request, and of posts
            of a history.
        max_characters: Maximum length of a text or an id in characters.
        max_k: Maximum number of posts that a question may ask for.
        max_requests: Requests under way at once; further ones are told to come again (503).
        batch_texts: Texts of several requests that are encoded at once; on a GPU more are faster.

    Raises:
        InputError: A number below 1.
    """

    max_body: int = 1_000_000
    max_items: int = 256
    max_characters: int = 10_000
    max_k: int = 1_000
    max_requests: int = 128
    batch_texts: int = 8

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1.")
