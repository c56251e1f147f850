"""A model's folder before it goes out: what belongs to it, what is missing, what must not go."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from twhin_hf.errors import InputError
from twhin_hf.files import new_file, read_json_object

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

_VOCABULARY = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "bpe.codes", "*.model")
_PLACE = re.compile(
    r"""(?:^|(?<=[\s"'`(=\[]))(?:file://)?
    (?:/(?:home|Users|root|mnt|media|tmp|var|opt|srv|work|workspace|data|scratch|content|kaggle)/
    |[A-Za-z]:\\|~/)[^\s"'`)\]]*
    |(?<=")(?:/[\w.@-]+){2,}""",
    re.VERBOSE,
)
_USERS = re.compile(r'"user_ids?"\s*:\s*[\[{"\d]')


def model_files(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """What of a folder goes out with its model.

    Returns:
        Files by their path in the repository, and the paths that are left behind: checkpoints,
        optimizers, states, pickles, logs, whatever a model does not need.

    Raises:
        FileNotFoundError: No folder, or no config in it.
        InputError: A network folder, weights that are a pickle, or no tokenizer.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; give that of a saved model")
    if (folder / "network.json").exists():
        raise InputError(
            f"{folder} is a network folder: its vectors of users are personal data and never go "
            "out; give the folder of a model"
        )
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    code = {path.name for path in CODE.glob("*.py") if path.name != "__init__.py"}
    chosen = {
        name: path
        for name, path in names.items()
        if any(fnmatch(name, pattern) for pattern in BELONGS) or name in code
        if "checkpoint-" not in name
    }
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


def check_files(files: dict[str, bytes | Path]) -> None:
    """Checks what is about to leave the house.

    Raises:
        InputError: A pickle, vectors of a network, an optimizer's state, ids of users, or a path
            of this machine; it says where.
    """
    for name, content in files.items():
        if name.endswith(".safetensors"):
            assert isinstance(content, Path)
            _check_tensors(name, content)
        elif name.endswith((".json", ".md", ".txt")) and not _is_vocabulary(name):
            text = content if isinstance(content, bytes) else content.read_bytes()
            _check_text(name, text.decode("utf-8"))


def _check_tensors(name: str, path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as tensors:
            keys = set(tensors.keys())
    except SafetensorError as error:
        raise InputError(
            f"{name} is no safetensors file ({error}); save the model again"
        ) from error
    states = sorted(key for key in keys if "exp_avg" in key or "momentum_buffer" in key)
    if states or keys <= {"vectors"}:
        what = "the state of an optimizer" if states else "vectors of a network"
        raise InputError(f"{name} holds {what}, which never goes out; save the model alone")


def _check_text(name: str, text: str) -> None:
    place = _PLACE.search(text)
    if place:
        line = text.count("\n", 0, place.start()) + 1
        raise InputError(
            f"{name}, line {line}, names a path of this machine: {place.group()!r}; put the name "
            "of a model or data set in its place"
        )
    if _USERS.search(text):
        raise InputError(f"{name} holds ids of users; take them out before it is published")


def _is_vocabulary(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _VOCABULARY)


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
    """Where the classes of a family stand, or would stand."""
    return CODE / f"modeling_twhin_{model_type.replace('-', '_')}.py"


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
    """A value as the content of a file."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
