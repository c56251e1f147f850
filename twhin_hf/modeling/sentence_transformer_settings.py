"""The pooling that a checkpoint of sentence-transformers was trained with, as our settings."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Literal, get_args

from transformers import PreTrainedConfig
from transformers.utils import cached_file

logger = logging.getLogger(__name__)

POOLING_OF_MODULES = {
    ("Pooling", "cls"): "cls",
    ("Pooling", "mean"): "mean_all",
    ("MultiVectorMask", "Pooling", "mean"): "mean",
}
"""Our pooling by the modules that pool and the mode of the last."""

TRANSFORMER_CONFIG = "sentence_bert_config.json"
TOKENIZER_CONFIG_NAME = "tokenizer_config.json"
OPTIONS_CONFIG = "config_sentence_transformers.json"

SentenceEmbedding = Literal["pooled", "social", "engagement", "distillation", "tpp"]
POOLED, *HEAD_NAMES = get_args(SentenceEmbedding)
"""What a sentence embedding may be: the pooled tokens, or the output of an objective's head."""

_LONGEST = 1_000_000


def adopt_checkpoint_pooling(
    config: PreTrainedConfig, name_or_path: str, revision: str | None = None
) -> None:
    """Sets pooling, normalization and length of a sentence-transformers checkpoint on its config.

    All poolings are set, those of the objectives' heads too, `normalize_embeddings` where there is
    a Normalize module, and `max_seq_length`. Keys that the config has already, as that of a model
    of ours, stay; a checkpoint without `modules.json` is left alone. What our classes cannot do is
    named in a warning.

    Args:
        config: Of the checkpoint; changed in place.
        name_or_path: Its folder or repository.
        revision: Of the repository.
    """
    if hasattr(config, "pooling"):
        return
    modules = read_checkpoint_json(name_or_path, "modules.json", revision)
    if modules is None:
        return
    kinds = module_kinds(modules)
    pooled = tuple(kind for kind in kinds if kind in ("MultiVectorMask", "Pooling"))
    place = next((m["path"] for m in modules if m["type"].endswith(".Pooling")), None)
    module = place and read_checkpoint_json(name_or_path, f"{place}/config.json", revision)
    modes = pooling_modes(module or {})
    pooling = POOLING_OF_MODULES.get((*pooled, *modes))
    if pooling is None:
        logger.warning(
            "%s pools by %s, which our classes do not: its embeddings are by `pooling`, combined "
            "if not given, and are not those of sentence-transformers",
            name_or_path,
            " and ".join(modes) or "none of the modes that are known",
        )
        config.pooling = "combined"
    else:
        for key in ("pooling", *(f"{objective}_pooling" for objective in HEAD_NAMES)):
            if not hasattr(config, key):
                setattr(config, key, pooling)
    left_out = [kind for kind in kinds[1:] if kind not in (*pooled, "Normalize")]
    if left_out:
        logger.warning(
            "%s has the modules %s, which our classes leave out: its embeddings are the pooled "
            "tokens before them, and not those of sentence-transformers",
            name_or_path,
            ", ".join(left_out),
        )
    transformer, tokenizer, options = (
        read_checkpoint_json(name_or_path, file, revision) or {}
        for file in (TRANSFORMER_CONFIG, TOKENIZER_CONFIG_NAME, OPTIONS_CONFIG)
    )
    for habit in _other_habits(transformer, tokenizer, options):
        logger.warning(
            "%s %s, which our classes do not: its embeddings are not those of "
            "sentence-transformers",
            name_or_path,
            habit,
        )
    config.normalize_embeddings = "Normalize" in kinds
    # As sentence-transformers does: a checkpoint that says nothing reads what its encoder can.
    longest = getattr(config, "max_position_embeddings", None)
    config.max_seq_length = _stated_length(transformer, tokenizer) or longest


def _other_habits(
    transformer: dict[str, Any], tokenizer: dict[str, Any], options: dict[str, Any]
) -> list[str]:
    """What sentence-transformers does to texts and vectors of a checkpoint beside its modules."""
    habits = []
    if transformer.get("do_lower_case") and not tokenizer.get("do_lower_case"):
        habits.append("makes all letters of a text small (do_lower_case)")
    prompt = (options.get("prompts") or {}).get(options.get("default_prompt_name"))
    if prompt:
        habits.append(f"puts {prompt!r} before every text (default_prompt_name)")
    if options.get("truncate_dim"):
        habits.append(f"cuts a vector after {options['truncate_dim']} dimensions (truncate_dim)")
    return habits


def checkpoint_length(name_or_path: str, revision: str | None = None) -> int | None:
    """The maximum sequence length of a sentence-transformers checkpoint; None where it has none.

    Args:
        name_or_path: Its folder or repository.
        revision: Of the repository.
    """
    transformer = read_checkpoint_json(name_or_path, TRANSFORMER_CONFIG, revision) or {}
    tokenizer = read_checkpoint_json(name_or_path, TOKENIZER_CONFIG_NAME, revision) or {}
    return _stated_length(transformer, tokenizer)


def _stated_length(transformer: dict[str, Any], tokenizer: dict[str, Any]) -> int | None:
    lengths = transformer.get("max_seq_length"), tokenizer.get("model_max_length")
    found = next(filter(None, lengths), None)
    # A tokenizer that knows no length writes a very large number.
    return None if found is None or found > _LONGEST else int(found)


def module_kinds(modules: list[dict[str, Any]]) -> list[str]:
    """The classes of `modules.json`: they have moved between versions, their names have not."""
    return [module["type"].rpartition(".")[2] for module in modules]


def pooling_modes(options: dict[str, Any]) -> list[str]:
    """Of the config of a Pooling module, as it is written now or was before version 5.4.

    Example:
        >>> pooling_modes({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True})
        ['mean']
    """
    modes = options.get("pooling_mode")
    if modes is None:
        prefix = "pooling_mode_"
        modes = [
            key.removeprefix(prefix) for key in options if key.startswith(prefix) and options[key]
        ]
        return [mode.removesuffix("_tokens").removesuffix("_token") for mode in modes]
    return [modes] if isinstance(modes, str) else list(modes)


def read_checkpoint_json(name_or_path: str, file: str, revision: str | None = None) -> Any:
    """The content of a JSON file of a folder or repository; None where there is none.

    Raises:
        ValueError: The file is not JSON, or nested too deep.
    """
    path = checkpoint_file(name_or_path, file, revision)
    return None if path is None else read_json(path)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: It is not JSON, or nested too deep.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def checkpoint_file(name_or_path: str, file: str, revision: str | None = None) -> Path | None:
    """Where a file of a folder or repository lies; None where there is none.

    Raises:
        ValueError: A path, as of a module, that leaves the folder.
    """
    if ".." in (parts := file.replace("\\", "/").split("/")) or not parts[0] or ":" in parts[0]:
        raise ValueError(f"{name_or_path} names a file outside of its folder: {file!r}")
    found = cached_file(
        name_or_path,
        file,
        revision=revision or "main",
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else Path(found)
