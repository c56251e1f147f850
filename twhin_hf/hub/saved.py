"""`push_to_hub` of a model in memory: saved to a folder, and pushed as any folder is."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from .push import push_model


def push_saved(
    model: Any,
    repo_id: str,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    private: bool = False,
    token: str | None = None,
    commit_message: str = "Upload model",
    base_model: str | None = None,
) -> str:
    """Publishes a model or an adapter with its tokenizer, code and card, in one commit.

    What a folder tells of a training stays out of the card: nobody knows what was done to a model
    in memory since it was loaded.

    Args:
        model: a `Twhin…Model`, a `Twhin…ForPreTraining` or an adapter of one.
        repo_id: `owner/name`; a name alone is one of the token's owner.
        tokenizer: by default that of the folder or repository the model was loaded from.
        private: only its owners may see it.
        token: with the right to write; by default the one that `hf auth login` has kept.
        commit_message: of the commit.
        base_model: of an adapter, the repository of its base model.

    Returns:
        The address of the commit.

    Raises:
        ValueError: no tokenizer, or as `push_model`.
    """
    if tokenizer is None:
        name = str(getattr(model.config, "_name_or_path", "") or "")
        if not name:
            raise ValueError("this model was not loaded from a folder: pass tokenizer=")
        tokenizer = AutoTokenizer.from_pretrained(name)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        # First: what saves the model reads there which special tokens a mean leaves out.
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
        done = push_model(
            folder,
            repo_id,
            private=private,
            token=token,
            message=commit_message,
            base_model=base_model,
        )
    return str(done.url)
