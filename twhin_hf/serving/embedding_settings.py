"""What the vectors of a model are: which tokens they read, their length, and where a post is cut.

Where a model is a `SentenceTransformer`, its modules say it; else its config does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twhin_hf.errors import InputError
from twhin_hf.loading.places import reading_model
from twhin_hf.modeling.sentence_transformer_settings import (
    checkpoint_file,
    checkpoint_length,
    module_kinds,
    pooling_modes,
    read_checkpoint_json,
)
from twhin_hf.path_names import relative_path

PARTS = ("cls", "mean", "mean_all")
"""What a vector is made of: the first token, the mean of the tokens that do not frame a post, the
mean of all tokens."""

OF_CONFIG = {
    "cls": ("cls",),
    "mean": ("mean",),
    "mean_all": ("mean_all",),
    "combined": ("cls", "mean"),
}
"""The parts of each `pooling` of a config."""

_OF_POOLING_MODULE = {"cls": "cls", "mean": "mean_all"}


@dataclass(frozen=True)
class VectorSettings:
    """What the vectors of a model are.

    Args:
        pooling: Parts of a vector, side by side; each is one of `PARTS`.
        normalize: Vectors have length 1.
        max_length: Maximum sequence length; longer posts are truncated.
    """

    pooling: tuple[str, ...]
    normalize: bool
    max_length: int


def embedding_settings(
    name_or_path: str, encoder: Any, revision: str | None = None
) -> VectorSettings:
    """Reads what the vectors of a model are.

    Args:
        name_or_path: Folder or repository.
        encoder: The `Twhin…Model` that it holds.
        revision: Revision of the repository.

    Raises:
        InputError: Modules of sentence-transformers that do more than to pool and to normalize.
    """
    with reading_model(name_or_path):
        return _settings(name_or_path, encoder, revision)


def _settings(name_or_path: str, encoder: Any, revision: str | None) -> VectorSettings:
    pooling = OF_CONFIG[encoder.config.pooling]
    modules = read_checkpoint_json(name_or_path, "modules.json", revision)
    if modules is None:
        return VectorSettings(pooling, encoder.config.normalize_embeddings, encoder.max_seq_length)
    found = checkpoint_length(name_or_path, revision) or encoder.longest_post
    max_length = min(found, encoder.longest_post)
    kinds = module_kinds(modules)
    normalize = kinds[-1] == "Normalize"
    between = kinds[1 : len(kinds) - normalize]
    if between:
        options = read_checkpoint_json(
            name_or_path, f"{modules[len(between)]['path']}/config.json", revision
        )
        modes = pooling_modes(options or {})
        if between == ["Pooling"] and modes and set(modes) <= set(_OF_POOLING_MODULE):
            pooling = tuple(_OF_POOLING_MODULE[mode] for mode in modes)
        elif between == ["MultiVectorMask", "Pooling"] and modes == ["mean"]:
            pooling = OF_CONFIG["mean"]
        else:
            raise InputError(
                f"{name_or_path} is a SentenceTransformer of the modules {', '.join(kinds)} with "
                f"pooling {modes or 'unknown'}; what can be exported is a Transformer with cls or "
                "mean Pooling, and Normalize."
            )
    return VectorSettings(pooling, normalize, max_length)


def sentence_transformer_paths(name_or_path: str, revision: str | None = None) -> dict[str, Path]:
    """The files that make a model a `SentenceTransformer` of stock modules, by their paths.

    Returns:
        None where there are no such files, and none for a model that itself pools.

    Raises:
        InputError: A module whose path is no `relative_path`.
    """
    with reading_model(name_or_path):
        modules = read_checkpoint_json(name_or_path, "modules.json", revision)
        if modules is None or "Pooling" not in module_kinds(modules):
            return {}
        names = ["modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"]
        paths = filter(None, (module["path"] for module in modules))
        names += [f"{relative_path(path, 'module')}/config.json" for path in paths]
    found = {name: checkpoint_file(name_or_path, name, revision) for name in names}
    return {name: path for name, path in found.items() if path is not None}
