"""Checkpoints of others into a folder of ours, every weight compared afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from twhin_hf.conversion.checkpoints import checkpoint_path, modern_name, read_config, read_weights
from twhin_hf.conversion.fairseq import TOKEN_TYPES, check_vocabulary, fairseq_file, read_fairseq
from twhin_hf.errors import InputError
from twhin_hf.files import new_folder, write_json
from twhin_hf.hub.cards import CONVERSION_NAME
from twhin_hf.hub.sections import license_of_folder
from twhin_hf.loading.families import (
    MODELS,
    PRETRAINING_MODELS,
    may_have_pooler,
    model_class,
)
from twhin_hf.loading.places import reading_model
from twhin_hf.loading.pretrained import check_size
from twhin_hf.modeling import apply_settings
from twhin_hf.modeling.sentence_transformer_settings import adopt_checkpoint_pooling
from twhin_hf.modeling.settings import HEAD_NAMES, POOLED

_OBJECTIVES = {f"{name}_weight": f"{name}_head." for name in HEAD_NAMES}
_NO_POOLER = (
    "The checkpoint holds no pooler, and the folder holds none: stock AutoModel fills "
    "pooler_output with RANDOM numbers at every load. Read embeddings, encode() or "
    "last_hidden_state."
)
_POOLER_LEFT_OUT = (
    "The checkpoint's pooler ({names}) is LEFT OUT: our classes have none, and stock AutoModel "
    "will fill pooler_output of this folder with RANDOM numbers. {why} Read embeddings, encode() "
    "or last_hidden_state."
)
_WHY = {
    "bert": "BERT's was trained to tell the next sentence, not to embed a text.",
    "roberta": "The pretraining of RoBERTa and XLM-R trains no pooler: unless somebody has tuned "
    "it, it was noise already.",
}


@dataclass(frozen=True)
class Conversion:
    """What came of a conversion.

    Args:
        model: The class that was saved.
        compared: How many tensors of the checkpoint were compared with what loads from the folder.
        max_difference: The largest between two numbers; anything but 0 is an error before.
        renamed: Name in the folder by name in the checkpoint, where they differ by more than the
            encoder's prefix.
        dropped: Tensors of the checkpoint that the folder does not hold.
        added: Tensors of the folder that the checkpoint did not hold.
        notes: What a person must know.
    """

    model: str
    compared: int
    max_difference: float
    renamed: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Checkpoint:
    """Config and weights, with each weight's name in the file."""

    config: Any
    weights: dict[str, Tensor]
    origins: dict[str, str]
    dropped: list[str]
    added: list[str]
    tokens: list[str] | None = None


def convert_checkpoint(
    checkpoint: str,
    output: str | Path,
    *,
    tokenizer: str | None = None,
    revision: str | None = None,
    pooling: str | None = None,
) -> Conversion:
    """Makes a folder of ours from any checkpoint of a family that has a class here.

    A checkpoint with a head for masked language modelling becomes a `Twhin…ForPreTraining`, one
    without it a `Twhin…Model`; nothing is drawn at random. Old names (`LayerNorm.gamma`, no
    `bert.` in front, `pytorch_model.bin`) and those of fairseq become today's. A network is asked
    only for the repositories that `checkpoint` and `tokenizer` name.

    Args:
        checkpoint: Folder or repository in the format of transformers, or a folder of fairseq
            (`model.pt` and `dict.txt`).
        output: A new folder.
        tokenizer: Folder or repository; by default the checkpoint's own.
        revision: Of the checkpoint's repository.
        pooling: Of the model; by default the checkpoint's own (of sentence-transformers too:
            `adopt_checkpoint_pooling`), or `combined`.

    Raises:
        FileNotFoundError: Nothing is there, or a file is missing.
        FileExistsError: The output is there already.
        InputError: A family that has no class here, a pickle that holds more than tensors, weights
            that are missing, of another shape or changed on the way, or a tokenizer that does not
            fit.
    """
    check_output(output)
    path = checkpoint_path(checkpoint, revision)
    source = _read(path)
    _apply_objectives(source, pooling)
    target, places, notes = _fit(source)
    kept = {new: source.weights[old] for old, new in places.items()}
    loaded_tokenizer = load_tokenizer(tokenizer, path)
    if source.tokens is not None:
        check_vocabulary(source.tokens, loaded_tokenizer)
    with new_folder(output) as folder:
        model = target.from_pretrained(
            None, config=source.config, state_dict=kept, dtype=_widest(kept)
        )
        encoder = model.base_model
        encoder.check_tokenizer(loaded_tokenizer)
        # First: what saves the model reads there which special tokens a mean leaves out.
        loaded_tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
        write_json(folder / CONVERSION_NAME, origin_of(checkpoint, path))
        again = target.from_pretrained(folder, local_files_only=True)
        difference = compare_weights(kept, again.state_dict())
    dropped = [source.origins[name] for name in source.weights if name not in places]
    added = [new for old, new in places.items() if old in source.added]
    return Conversion(
        model=target.__name__,
        compared=len(kept) - len(added),
        max_difference=difference,
        renamed={
            new: source.origins[old]
            for old, new in places.items()
            if old not in source.added and not new.endswith(source.origins[old])
            if not source.origins[old].endswith(new)
        },
        dropped=[*source.dropped, *dropped],
        added=added,
        notes=[*notes, *_notes(source, [name for name in dropped if "pooler." in name], added)],
    )


def origin_of(checkpoint: str, path: Path) -> dict[str, Any]:
    """What a card tells of a converted model; a folder is told by its name alone.

    Args:
        checkpoint: Folder or repository that was converted.
        path: Where it lies.
    """
    name = path.resolve().name if Path(checkpoint).exists() else checkpoint
    return {"converted_from": name, "license": license_of_folder(path)}


def _read(path: Path) -> _Checkpoint:
    file = fairseq_file(path)
    if file is not None:
        found = read_fairseq(file)
        origins = {name: found.renamed.get(name, name) for name in found.weights}
        return _Checkpoint(
            found.config, found.weights, origins, found.dropped, [TOKEN_TYPES], found.tokens
        )
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder; give the one that it lies in")
    if (path / "adapter_config.json").is_file():
        raise InputError(
            f"{path} holds an adapter, not a model; `twhin-hf convert --merge` merges it into its "
            "base, `--to_encoder` writes that as a plain encoder",
            faq="adapters",
        )
    weights, origins = {}, {}
    for old, value in read_weights(path).items():
        weights[modern_name(old)], origins[modern_name(old)] = value, old
    config = read_config(path, weights)
    model_class(config, MODELS)
    with reading_model(path):
        check_size(config, sum(weight.nbytes for weight in weights.values()), path)
        adopt_checkpoint_pooling(config, str(path))
    return _Checkpoint(config, weights, origins, [], [])


def _apply_objectives(source: _Checkpoint, pooling: str | None) -> None:
    """The objectives that the checkpoint has heads for; MLM where it says nothing."""
    settings: dict[str, Any] = {"pooling": pooling} if pooling else {}
    is_ours = hasattr(source.config, "mlm_weight")
    for weight, head in _OBJECTIVES.items():
        if not any(name.startswith(head) for name in source.weights):
            settings[weight] = 0.0
            if f"{getattr(source.config, 'sentence_embedding', POOLED)}_weight" == weight:
                settings["sentence_embedding"] = POOLED
    weights = [settings.get(k, getattr(source.config, k, 0.0)) for k in _OBJECTIVES]
    if not is_ours or not any([*weights, source.config.mlm_weight]):
        settings["mlm_weight"] = 1.0
    # Its code is not the folder's; saving names ours.
    source.config.__dict__.pop("auto_map", None)
    apply_settings(source.config, **settings)


def _fit(source: _Checkpoint) -> tuple[Any, dict[str, str], list[str]]:
    """The class that a checkpoint fills, and the place in it of each weight that has one.

    Raises:
        InputError: The encoder would not be whole, or a weight has another shape.
    """
    config, notes = source.config, []
    target: Any = model_class(config, PRETRAINING_MODELS)
    prefix = f"{target.base_model_prefix}."
    with torch.device("meta"), reading_model("the checkpoint's config"):
        encoder = model_class(config, MODELS)(config).state_dict()
        whole = target(config).state_dict()
    tied = target._tied_weights_keys
    places = {}
    for name in source.weights:
        bare = name.removeprefix(prefix)
        place = prefix + bare if bare in encoder else name
        # A copy in place of what it is a copy of.
        if place in tied and tied[place] not in {*source.weights, f"{prefix}{bare}"}:
            place = tied[place]
        if place in whole:
            places[name] = place
    found = set(places.values())
    lacking = [name for name in whole if name not in found and tied.get(name) not in found]
    if any(name.startswith(prefix) for name in lacking):
        raise InputError(
            f"the checkpoint lacks {len(lacking)} weights of {target.__name__}, and random ones "
            f"are no conversion: {', '.join(lacking)}"
        )
    reshaped = [
        f"{name} ({list(source.weights[name].shape)} in place of {list(whole[place].shape)})"
        for name, place in places.items()
        if source.weights[name].shape != whole[place].shape
    ]
    if reshaped:
        raise InputError(f"weights do not fit the config: {', '.join(reshaped)}")
    if lacking:
        if any(not place.startswith(prefix) for place in found):
            notes.append(
                "The head for masked language modelling is LEFT OUT, for it is not whole: "
                f"{', '.join(lacking)} are missing."
            )
        target = model_class(config, MODELS)
        places = {n: p.removeprefix(prefix) for n, p in places.items() if p.startswith(prefix)}
    return target, places, notes


def _widest(weights: Mapping[str, Tensor]) -> torch.dtype:
    """That of the weights; the widest, which holds all numbers, where there are several."""
    return reduce(torch.promote_types, {value.dtype for value in weights.values()})


def compare_weights(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> float:
    """The largest difference between weights and what was loaded from a folder; it must be 0.

    Raises:
        InputError: A weight is missing or another; the names are told.
    """
    changed = {
        name: (value.to(found[name].dtype) - found[name]).abs().max().item()
        if name in found and value.numel()
        else float(name not in found)
        for name, value in expected.items()
    }
    wrong = [f"{name} (by {change:g})" for name, change in changed.items() if change != 0]
    if wrong:
        raise InputError(f"{len(wrong)} weights differ after the conversion: {', '.join(wrong)}")
    return max(changed.values(), default=0.0)


def _notes(source: _Checkpoint, poolers: list[str], added: list[str]) -> list[str]:
    notes = []
    family = source.config.model_type
    if poolers:
        why = _WHY["bert" if family == "bert" else "roberta"]
        notes.append(_POOLER_LEFT_OUT.format(names=", ".join(poolers), why=why))
    elif may_have_pooler(source.config):
        notes.append(_NO_POOLER)
    if added:
        notes.append(f"{', '.join(added)}: zeros, as fairseq has no token types.")
    return notes


def load_tokenizer(name: str | None, path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a name, or of a folder.

    Raises:
        FileNotFoundError: The folder has none.
    """
    folder = path if path.is_dir() else path.parent
    own = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "*.model")
    if name is None and not any(found for pattern in own for found in folder.glob(pattern)):
        raise FileNotFoundError(
            f"{folder} holds no tokenizer; name one as --tokenizer, such as "
            "FacebookAI/xlm-roberta-base for XLM-R of fairseq"
        )
    if name is not None:
        folder = checkpoint_path(name)
    with reading_model(folder):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def check_output(output: str | Path) -> None:
    """Checks that a folder can be written.

    Raises:
        FileExistsError: Something is there already.
    """
    path = Path(output)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise FileExistsError(f"{output} is there already; give a new folder")
