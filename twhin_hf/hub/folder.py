"""A model's folder before it goes out: what belongs to it, what is missing, what must not go."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from twhin_hf.errors import InputError
from twhin_hf.files import new_file, read_json_object
from twhin_hf.hub.guard import check_link
from twhin_hf.path_names import path_name, relative_path

CODE = Path(__file__).parent.parent / "modeling"

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER = (ADAPTER_CONFIG, "adapter_model.safetensors", "encoder_config.json")
"""Files of an adapter (peft)."""

BELONGS = (
    *ADAPTER,
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-?????-of-?????.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "*.model",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "[0-9]_*/config.json",
    "[0-9]_*/model.safetensors",
)
"""Files of a model or an adapter, as patterns; beside them go code, card, results and pictures."""

_TEXTS = (".md", ".txt", ".json", ".csv", ".tsv", ".yaml", ".yml", ".cff", "LICENSE", "NOTICE")
"""Endings of other files that may go out if they are named: what can be read through."""


def model_files(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """What of a folder goes out with its model.

    Returns:
        Files by their path in the repository, and the paths that are left behind: whatever is not
        known to be a part of a model (`BELONGS`).

    Raises:
        FileNotFoundError: No folder, or no config in it.
        InputError: A network folder, weights that are a pickle, no tokenizer, or a link out of the
            folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; give that of a saved model")
    if (folder / "network.json").exists():
        raise InputError(
            f"{folder} is a network folder: its vectors of users are personal data and never go "
            "out; give the folder of a model",
            faq="push-refused",
        )
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    code = {path.name for path in CODE.glob("*.py") if path.name != "__init__.py"}
    chosen = {name: path for name, path in names.items() if belongs(name) or name in code}
    for name, path in names.items():
        # The card is made of these.
        if name in chosen or (path.parent == folder and path.suffix in (".json", ".md")):
            check_link(name, path)
    if ADAPTER_CONFIG in chosen:
        _check_adapter(folder, names)
    elif "config.json" not in chosen:
        raise FileNotFoundError(
            f"{folder} holds no config.json; save the model there: model.save_pretrained(folder)"
        )
    if not any(name.endswith(".safetensors") and "/" not in name for name in chosen):
        pickles = [name for name in names if fnmatch(name, "pytorch_model*.bin")]
        found = f"its weights are a pickle ({pickles[0]})" if pickles else "it holds no weights"
        raise InputError(
            f"{folder}: {found}, and model.safetensors is needed; load the model and save it again"
        )
    if ADAPTER_CONFIG in chosen:
        # Trainer leaves the config of the whole model there; an adapter has no use for its code.
        chosen = {n: path for n, path in chosen.items() if not n.endswith(".py")}
        chosen.pop("config.json", None)
    if "tokenizer_config.json" not in chosen:
        raise InputError(
            f"{folder} holds no tokenizer; save it there: tokenizer.save_pretrained(folder)"
        )
    return chosen, sorted(names.keys() - chosen.keys())


def belongs(name: str) -> bool:
    """Whether a path in a folder or repository is that of a part of a model or an adapter.

    Example:
        >>> [belongs(name) for name in ("model.safetensors", "checkpoint-20/model.safetensors")]
        [True, False]
    """
    return any(
        name.count("/") == pattern.count("/") and fnmatch(name, pattern) for pattern in BELONGS
    )


def named_files(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Other files of a folder, which go out because they were named.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: A path that leaves the folder, or a file that is no text.
    """
    found = {}
    for name in names:
        path = folder / relative_path(name, "file")
        if not path.is_file():
            raise FileNotFoundError(f"there is no {path}; name files by their paths in the folder")
        if not name.endswith(_TEXTS):
            raise InputError(
                f"{name} is no text that could be looked through before it goes out; needed is one "
                f"of {', '.join(_TEXTS)}"
            )
        found[name] = path
    return found


def _check_adapter(folder: Path, names: Iterable[str]) -> None:
    """Checks that an adapter is one of ours and no pickle.

    Raises:
        InputError: It is not.
    """
    if ADAPTER[1] not in names:
        raise InputError(
            f"{folder} holds no {ADAPTER[1]}; save the adapter again, a pickle never goes out"
        )
    if ADAPTER[2] not in names:
        raise InputError(
            f"{folder} is no adapter of this package (no {ADAPTER[2]}, which says how it pools); "
            "publish what training with --lora has saved"
        )


def missing_files(folder: Path) -> dict[str, bytes]:
    """What a folder lacks to load as ours by its own code and as a SentenceTransformer.

    A model that stock classes have saved keeps the `auto_map` in its config and loses the code
    that it names; `merge_and_unload`, fine-tuning and untrusted loading all do so.

    Returns:
        Contents by path: `config.json` with the right `auto_map`, code, modules; nothing for a
        folder that is whole.

    Raises:
        InputError: A model that is none of ours.
    """
    if (folder / ADAPTER_CONFIG).exists():
        return {}
    config = read_json_object(folder / "config.json")
    family = family_file(str(config.get("model_type")))
    if not family.exists() or "pooling" not in config:
        raise InputError(
            f"{folder} is no model of this package (a {config.get('model_type')!r} model without "
            "our settings); load it with a Twhin…Model and save that"
        )
    missing: dict[str, bytes] = {}
    wanted = auto_classes(family)
    if config.get("auto_map") != wanted or not _has_its_code(folder / family.name):
        # What its classes read and write must fit each other: all of the code is taken anew.
        config["auto_map"] = wanted
        missing["config.json"] = as_json(config)
        missing |= {file: (CODE / file).read_bytes() for file in sorted(code_files(family))}
    if not (folder / "modules.json").exists():
        from twhin_hf.modeling.settings import POOLED

        missing |= _sentence_transformer(folder)
        if config.get("sentence_embedding", POOLED) != POOLED and not any(
            name.endswith("_Dense/config.json") for name in missing
        ):
            # Its head was lost when a stock class saved it.
            config["sentence_embedding"] = POOLED
            missing["config.json"] = as_json(config)
    return missing


def complete_folder(folder: str | Path) -> list[str]:
    """Writes what a folder lacks (`missing_files`), and returns the names."""
    folder = Path(folder)
    missing = missing_files(folder)
    for name, content in missing.items():
        with new_file(folder / name) as partial:
            partial.write_bytes(content)
    return sorted(missing)


def family_file(model_type: str) -> Path:
    """Where the classes of a family stand, or would stand.

    Raises:
        InputError: No `path_name`.
    """
    return CODE / path_name(f"modeling_twhin_{model_type.replace('-', '_')}.py", "model type")


def auto_classes(file: Path) -> dict[str, str]:
    """The `auto_map` of a family's file, read without importing it."""
    found = {}
    for item in ast.parse(file.read_text(encoding="utf-8")).body:
        for line in item.body if isinstance(item, ast.ClassDef) else ():
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "_auto_class":
                assert isinstance(item, ast.ClassDef)
                found[ast.literal_eval(line.value)] = f"{file.stem}.{item.name}"
    return found


def code_files(file: Path) -> set[str]:
    """A file of code and the siblings that it imports, directly or through others.

    Raises:
        FileNotFoundError: One of them is missing.
    """
    from transformers.dynamic_module_utils import get_relative_import_files

    return {file.name, *(Path(sibling).name for sibling in get_relative_import_files(file))}


def _has_its_code(file: Path) -> bool:
    try:
        return bool(code_files(file))
    except FileNotFoundError:
        return False


def _sentence_transformer(folder: Path) -> dict[str, bytes]:
    import torch

    from twhin_hf.loading.families import MODELS, model_class, stock_config
    from twhin_hf.loading.places import reading_model
    from twhin_hf.modeling.sentence_transformer_files import (
        head_layers,
        sentence_transformer_files,
        special_tokens_of,
    )

    config: Any = stock_config(folder)
    with reading_model(folder):
        with torch.device("meta"):
            length = model_class(config, MODELS)(config).max_seq_length
        tokens, layers = special_tokens_of(folder), head_layers(folder, config)
        return sentence_transformer_files(config, length, tokens, layers)


def as_json(value: Any) -> bytes:
    """A value as the content of a file.

    Raises:
        ValueError: NaN or infinity, for which JSON has no word.
    """
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
