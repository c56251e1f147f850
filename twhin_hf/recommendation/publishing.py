"""An engagement model on the Hub in one commit: hashed ids, nobody's engagements, a card."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from twhin_hf.errors import InputError
from twhin_hf.files import process_folder
from twhin_hf.hub.card_metadata import CardMetadata
from twhin_hf.hub.client import CARD, Push, publish
from twhin_hf.hub.folder import model_files
from twhin_hf.hub.guard import check_files
from twhin_hf.privacy.keys import HASH_PATTERN
from twhin_hf.recommendation import folder
from twhin_hf.recommendation.card import RELIABILITY_PLOT, draw_reliability, engagement_card

_TABLES = {"users.parquet": "user_id", "posts.parquet": "post_id"}
_VECTORS = "users.safetensors"
_FILES = (
    *_TABLES,
    _VECTORS,
    "posts.safetensors",
    "engagements.safetensors",
    "model.safetensors",
    "words.json",
    "words.safetensors",
    folder.CONFIG,
    RELIABILITY_PLOT,
)


def push_recommender(
    saved: folder.Saved,
    repo_id: str,
    *,
    key: bytes,
    private: bool = False,
    token: str | None = None,
    message: str = "Upload the recommender",
    card: str | None = None,
    metadata: CardMetadata | None = None,
    dry_run: bool = False,
) -> Push:
    """Publishes an engagement model: all of it is there, or nothing.

    Args:
        saved: What `folder.load` gives.
        repo_id: `owner/name`; made where there is none.
        key: Secret key of the hashes that stand for ids.
        private: Only its owners may see it.
        token: Token with the right to write; by default the one that `hf auth login` has kept.
        message: Commit message.
        card: To begin with, where the repository has none.
        metadata: For the card: what no folder tells, as the licence.
        dry_run: Publish nothing and ask no network.

    Raises:
        InputError: Something that must not go out, a key that is none, no token or one that may
            not write, or a Hub that does not answer.
    """
    # It stays until the process ends: whoever called may look at what went out.
    path = Path(tempfile.mkdtemp(dir=process_folder())) / "model"
    folder.save(saved, path, key)
    draw_reliability(saved.settings, path / RELIABILITY_PLOT)
    going, left_behind = recommender_files(path)

    def plan(name: str, there: str | None) -> Push:
        text = engagement_card(saved, name, there, metadata)
        files = going | {CARD: text.encode()}
        # Vectors of users, which no other model may bring, are in that one file.
        check_files({name: file for name, file in files.items() if name != _VECTORS})
        return Push(name, files, left_behind)

    if dry_run:
        return plan(repo_id, card)
    return publish(plan, repo_id, card, _is_ours, message, private=private, token=token)


def recommender_files(path: Path) -> tuple[dict[str, bytes | Path], list[str]]:
    """What goes out of a folder that `folder.save` has written with a key.

    Args:
        path: The folder.

    Returns:
        Files by their path in it, and the paths of the encoder's that are left behind.

    Raises:
        InputError: An id that is no hash, or an encoder that may not go out.
    """
    _check_ids(path)
    going: dict[str, bytes | Path] = {
        name: path / name for name in _FILES if (path / name).exists()
    }
    if not (path / folder.ENCODER).is_dir():
        return going, []
    chosen, others = model_files(path / folder.ENCODER)
    going |= {f"{folder.ENCODER}/{name}": file for name, file in chosen.items()}
    return going, [f"{folder.ENCODER}/{name}" for name in others]


def _is_ours(name: str) -> bool:
    return name in _FILES or name.startswith(f"{folder.ENCODER}/")


def _check_ids(path: Path) -> None:
    """Raises an InputError where an id is no hash."""
    for name, column in _TABLES.items():
        for value in pq.read_table(path / name)[column].to_pylist():
            if not re.fullmatch(HASH_PATTERN, value):
                raise InputError(f"{name} holds an id that is no hash; it never goes out")
