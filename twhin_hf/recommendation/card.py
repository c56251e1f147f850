"""What a person reads of an engagement model: its card, and how far its probabilities hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from twhin_hf.hub.card_metadata import CardMetadata
from twhin_hf.hub.cards import card_template, check_card
from twhin_hf.hub.client import COMMIT
from twhin_hf.hub.sections import merge_cards
from twhin_hf.plots import plot_reliability
from twhin_hf.printing import in_words, number
from twhin_hf.recommendation.folder import FLOOR, Saved, users_below_floor

RELIABILITY_PLOT = "reliability.png"


def draw_reliability(settings: dict[str, Any], path: Path) -> Path:
    """Draws what the fit measured of its probabilities.

    Args:
        settings: Of the model.
        path: The picture.
    """
    found = settings["reliability"]
    return plot_reliability(
        found["predicted"], found["observed"], path, settings["figures"]["calibration_error"]
    )


def engagement_card(
    saved: Saved,
    repo_id: str | None = None,
    existing: str | None = None,
    metadata: CardMetadata | None = None,
) -> str:
    """The text of a card.

    Args:
        saved: The model, with all of its users.
        repo_id: `owner/name`; None for a folder that stays at home, with people's own ids.
        existing: The card that is there; what was written in it by hand stays.
        metadata: What no folder tells.

    Raises:
        InputError: Metadata that the Hub's library does not read back as they were written.
    """
    given = metadata or CardMetadata()
    name = repo_id.rpartition("/")[2] if repo_id else "Recommender"
    data = ModelCardData(
        model_name=name,
        library_name="twhin_hf",
        tags=["twhin_hf", "recommendation", "engagement"],
        license=given.license,
        datasets=given.datasets,
        language=given.languages,
    )
    figures = saved.settings["figures"]
    left_out = int(users_below_floor(saved).sum()) if repo_id else 0
    body = card_template("recommender.md.jinja").render(
        name=name,
        repo_id=repo_id,
        commit=COMMIT,
        num_users=f"{len(saved.user_ids) - left_out:,}",
        num_posts=f"{len(saved.post_ids):,}",
        left_out=f"{left_out:,}" if left_out else "",
        floor=FLOOR,
        pooling=saved.settings["pooling"],
        words=0 if saved.words is None else saved.words.dimension,
        dimension=saved.parameters.dimension,
        figures={in_words(name): number(value) for name, value in figures.items()},
        picture=RELIABILITY_PLOT,
    )
    text = f"---\n{data.to_yaml()}\n---\n\n{body.strip()}\n"
    text = merge_cards(existing, text) if existing else text
    check_card(text)
    return text
