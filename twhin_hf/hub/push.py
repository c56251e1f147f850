"""A model on the Hub in one commit: weights, tokenizer, code, card and results."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .cards import LOSSES, CardFacts, has_losses, model_card, read_facts
from .client import CARD, Push, open_repository
from .folder import (
    ADAPTER_CONFIG,
    BELONGS,
    CODE,
    as_json,
    check_files,
    missing_files,
    model_files,
)

BASE = "base_model_name_or_path"
_REPOSITORY = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_ABSOLUTE = re.compile(r"^(?:/|[A-Za-z]:[\\/]|~/)")


def plan_push(
    folder: str | Path, repo_id: str, card: str | None = None, base_model: str | None = None
) -> Push:
    """What a push would publish; asks no network.

    Args:
        folder: of a saved model and its tokenizer; results (`results*.json`) and what training
            left (`training_record.json`, `trainer_state.json`) go into the card. An adapter's
            folder goes out as an adapter.
        repo_id: `owner/name`.
        card: that is there already; by default the folder's `README.md`, if it is one of ours.
        base_model: the repository of an adapter's base model, where it was trained on a folder.

    Raises:
        FileNotFoundError: no such folder, or no model in it.
        ValueError: something that must not go out, or that the model lacks.
    """
    folder = Path(folder)
    chosen, left_behind = model_files(folder)
    files: dict[str, bytes | Path] = {**chosen, **missing_files(folder)}
    facts = read_facts(folder)
    if ADAPTER_CONFIG in files:
        facts = replace(facts, adapter=facts.adapter | {BASE: published_base(facts, base_model)})
        files[ADAPTER_CONFIG] = as_json(facts.adapter)
    elif base_model:
        raise ValueError(f"{folder} holds no adapter: a base model is that of an adapter alone")
    for path in sorted(folder.glob("results*.json")):
        files[path.name] = public_results(path, repo_id)
    if has_losses(facts):
        files[LOSSES] = _losses(facts)
    if card is None and (folder / CARD).exists():
        own = (folder / CARD).read_text(encoding="utf-8")
        card = own if "<!-- twhin_hf:begin" in own else None
    files[CARD] = model_card(facts, repo_id, card).encode()
    check_files(files)
    return Push(repo_id, files, [name for name in left_behind if name not in files])


def published_base(facts: CardFacts, base_model: str | None) -> str:
    """The base model that an adapter names when it goes out.

    Args:
        facts: of the adapter.
        base_model: in place of the one that it was trained on.

    Raises:
        ValueError: it is no name of a repository: nobody else could load the adapter.
    """
    name = base_model or str(facts.adapter[BASE])
    if not _REPOSITORY.fullmatch(name) or Path(name).exists():
        raise ValueError(
            f"the adapter stands on {name!r}, a folder that nobody else has; publish that model, "
            "and name its repository: --base-model owner/name"
        )
    return name


def push_model(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    card: str | None = None,
    token: str | None = None,
    message: str = "Upload model",
    base_model: str | None = None,
) -> Push:
    """Publishes a model or an adapter in one commit: all of it is there, or nothing.

    A push that was cut off is simply begun again: large files that had arrived are not sent twice,
    and what has not changed is not sent at all.

    Args:
        folder: as `plan_push` takes.
        repo_id: `owner/name`; made where there is none. A name alone is one of the token's owner.
        private: only its owners may see it.
        card: to begin with, where the repository has none; by default as `plan_push` says.
        token: with the right to write; by default the one that `hf auth login` has kept.
        message: of the commit.
        base_model: of an adapter, as `plan_push` takes.

    Raises:
        FileNotFoundError: no such folder, or no model in it.
        ValueError: something that must not go out, no token or one that may not write, a public
            repository where a private one is asked for, or a Hub that does not answer.
    """
    # Before anything is asked of the Hub.
    plan = plan_push(folder, repo_id, card, base_model)
    repository = open_repository(repo_id, private=private, token=token)
    there = repository.card()
    if there is not None or repository.repo_id != repo_id:
        plan = plan_push(folder, repository.repo_id, there or card, base_model)
    deleted = sorted(name for name in repository.files - plan.files.keys() if _is_ours(name))
    url = repository.commit(plan.files, deleted, message)
    return replace(plan, deleted=deleted, url=url)


def public_results(path: Path, repo_id: str) -> bytes:
    """Results as they may be seen: the model by its name, places by their last part."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content = _without_places(content) | {"model": repo_id}
    return as_json(content)


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_places(item) for item in value]
    if isinstance(value, str) and _ABSOLUTE.match(value):
        return re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value


def _losses(facts: CardFacts) -> bytes:
    from twhin_hf.evaluation.pictures import plot_losses

    with TemporaryDirectory() as folder:
        history = {facts.record.get("trainer", "training"): facts.history}
        return plot_losses(history, Path(folder) / LOSSES).read_bytes()


def _is_ours(name: str) -> bool:
    """Whether an earlier push has put it there; what people have added stays."""
    code = (CODE / name).exists() and "/" not in name and name.endswith(".py")
    return code or any(fnmatch(name, pattern) for pattern in BELONGS)
