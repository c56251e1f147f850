"""A model on the Hub in one commit: weights, tokenizer, code, card and results."""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import PreTrainedTokenizerBase

from twhin_hf.errors import InputError
from twhin_hf.files import read_json_object, read_text
from twhin_hf.hub.card_metadata import CardMetadata
from twhin_hf.hub.cards import LOSSES_PLOT, CardFacts, model_card, picture_of, read_facts
from twhin_hf.hub.client import CARD, Push, publish
from twhin_hf.hub.folder import (
    ADAPTER_CONFIG,
    BELONGS,
    CODE,
    as_json,
    check_files,
    missing_files,
    model_files,
)
from twhin_hf.modeling.sentence_transformer_files import TOKENIZER_CONFIG_NAME

BASE = "base_model_name_or_path"
_REPOSITORY = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_ABSOLUTE = re.compile(r"^(?:/|[A-Za-z]:[\\/]|~/)")


def push_to_hub(
    model_or_folder: Any,
    repo_id: str,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    private: bool = False,
    token: str | None = None,
    commit_message: str = "Upload model",
    base_model: str | None = None,
    metadata: CardMetadata | None = None,
    dry_run: bool = False,
) -> Push:
    """Checks a model or an adapter, and publishes it with tokenizer, code and card in one commit.

    `model.push_to_hub(repo_id)` works too, as for every model of transformers: it uploads what
    `save_pretrained` writes, without these checks and without a card of the training.

    Args:
        model_or_folder: A folder that holds a saved model or adapter and its tokenizer; or a
            `Twhin…Model`, a `Twhin…ForPreTraining` or an adapter of one. What a folder says about
            its training goes into the card; of a model in memory nobody knows what was done to it
            since it was loaded.
        repo_id: `owner/name`, created if missing; a name alone is one of the token's owner.
        tokenizer: Of a model in memory; by default the one it was loaded with.
        private: Only its owners may see it.
        token: Token with the right to write; by default the one that `hf auth login` has kept.
        commit_message: Commit message.
        base_model: Of an adapter, the repository of its base model.
        metadata: For the card: what no folder tells, as the licence.
        dry_run: Publish nothing and ask no network.

    Returns:
        What went out, or would go.

    Raises:
        FileNotFoundError: No such folder, or no model in it.
        InputError: No tokenizer, or as `push_model`.
    """

    def push(folder: str | Path) -> Push:
        if dry_run:
            return plan_push(folder, repo_id, base_model=base_model, metadata=metadata)
        options: dict[str, Any] = {"private": private, "token": token, "base_model": base_model}
        options["metadata"] = metadata
        return push_model(folder, repo_id, message=commit_message, **options)

    if isinstance(model_or_folder, (str, Path)):
        if tokenizer is not None:
            raise InputError("tokenizer is for a model in memory; save it in the folder instead")
        return push(model_or_folder)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        model_or_folder.save_pretrained(folder)
        if not (folder / TOKENIZER_CONFIG_NAME).exists():
            raise InputError("this model was not loaded with a tokenizer: pass tokenizer=")
        return push(folder)


def plan_push(
    folder: str | Path,
    repo_id: str,
    card: str | None = None,
    base_model: str | None = None,
    metadata: CardMetadata | None = None,
) -> Push:
    """What a push would publish; asks no network.

    Args:
        folder: Of a saved model and its tokenizer; results (`results*.json`) and what training
            left (`training_record.json`, `trainer_state.json`) go into the card. An adapter's
            folder goes out as an adapter.
        repo_id: `owner/name`.
        card: That is there already; by default the folder's `README.md`, if it is one of ours.
        base_model: The repository of an adapter's base model, where it was trained on a folder.
        metadata: For the card: what no folder tells.

    Raises:
        FileNotFoundError: No such folder, or no model in it.
        InputError: Something that must not go out, or that the model lacks.
    """
    folder = Path(folder)
    chosen, left_behind = model_files(folder)
    files: dict[str, bytes | Path] = {**chosen, **missing_files(folder)}
    facts = read_facts(folder)
    if ADAPTER_CONFIG in files:
        facts = replace(facts, adapter=facts.adapter | {BASE: published_base(facts, base_model)})
        files[ADAPTER_CONFIG] = as_json(facts.adapter)
    elif base_model:
        raise InputError(f"{folder} holds no adapter: a base model is that of an adapter alone")
    for path in sorted(folder.glob("results*.json")):
        files[path.name] = public_results(path, repo_id)
    if picture := picture_of(facts):
        files[picture] = _drawn(facts, picture)
    if card is None and (folder / CARD).exists():
        own = read_text(folder / CARD)
        card = own if "<!-- twhin_hf:begin" in own else None
    files[CARD] = model_card(facts, repo_id, card, metadata).encode()
    check_files(files)
    return Push(repo_id, files, [name for name in left_behind if name not in files])


def published_base(facts: CardFacts, base_model: str | None) -> str:
    """The base model that an adapter names when it goes out.

    Args:
        facts: Of the adapter.
        base_model: In place of the one that it was trained on.

    Raises:
        InputError: It is no name of a repository: nobody else could load the adapter.
    """
    name = base_model or str(facts.adapter[BASE])
    if not _REPOSITORY.fullmatch(name) or Path(name).exists():
        raise InputError(
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
    metadata: CardMetadata | None = None,
) -> Push:
    """Publishes a model or an adapter in one commit: all of it is there, or nothing.

    A push that was cut off is simply begun again: large files that had arrived are not sent twice,
    and what has not changed is not sent at all.

    Args:
        folder: As `plan_push` takes.
        repo_id: `owner/name`; made where there is none. A name alone is one of the token's owner.
        private: Only its owners may see it.
        card: To begin with, where the repository has none; by default as `plan_push` says.
        token: Token with the right to write; by default the one that `hf auth login` has kept.
        message: Commit message.
        base_model: Of an adapter, as `plan_push` takes.
        metadata: For the card, as `plan_push` takes.

    Raises:
        FileNotFoundError: No such folder, or no model in it.
        InputError: Something that must not go out, no token or one that may not write, a public
            repository where a private one is asked for, or a Hub that does not answer.
    """
    return publish(
        lambda name, there: plan_push(folder, name, there, base_model, metadata),
        repo_id,
        card,
        _is_ours,
        message,
        private=private,
        token=token,
    )


def public_results(path: Path, repo_id: str) -> bytes:
    """Results as they may be seen: the model by its name, places by their last part."""
    content = read_json_object(path)
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


def _drawn(facts: CardFacts, name: str) -> bytes:
    from twhin_hf.plots import plot_losses, plot_results

    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        if name == LOSSES_PLOT:
            history = {facts.record.get("trainer", "training"): facts.history}
            return plot_losses(history, path).read_bytes()
        results = next(results for results in facts.results if results.baselines)
        rows = {**results.baselines, "this model": results.results}
        return plot_results(rows, path, list(results.baselines)).read_bytes()


def _is_ours(name: str) -> bool:
    """Whether an earlier push has put it there; what people have added stays."""
    code = (CODE / name).exists() and "/" not in name and name.endswith(".py")
    return code or any(fnmatch(name, pattern) for pattern in BELONGS)
