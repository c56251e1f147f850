"""What a card says that no folder tells; importing nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CardMetadata:
    """Card.

    Args:
        license: Licence as the Hub names it, such as apache-2.0 (default: the base model's, where
            its folder states one).
        datasets: Repositories of the data that the model was trained on.
        languages: ISO 639 codes (default: those of the posts that the model was trained on).
    """

    license: str | None = None
    datasets: list[str] | None = None
    languages: list[str] | None = None
