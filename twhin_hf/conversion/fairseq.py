"""Checkpoints of fairseq's RoBERTa and XLM-R (`model.pt`, `dict.txt`), read without fairseq.

Weights are those of `fairseq.models.roberta`: one token type less than transformers has, and the
projections of queries, keys and values in one matrix in its older versions.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import (
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    RobertaConfig,
    XLMRobertaConfig,
)

from twhin_hf.conversion.checkpoints import load_tensors
from twhin_hf.errors import InputError
from twhin_hf.files import read_text
from twhin_hf.loading.places import reading_model

TOKEN_TYPES = "roberta.embeddings.token_type_embeddings.weight"
_BEFORE = re.compile(r"^(?:encoder|decoder)\.(?:sentence_encoder\.)?")
_LAYER = r"^layers\.(\d+)\."
_NAMES = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^embed_tokens\.", "roberta.embeddings.word_embeddings."),
        (r"^embed_positions\.", "roberta.embeddings.position_embeddings."),
        (r"^(?:emb_layer_norm|layernorm_embedding)\.", "roberta.embeddings.LayerNorm."),
        (_LAYER + r"self_attn\.q_proj\.", r"roberta.encoder.layer.\1.attention.self.query."),
        (_LAYER + r"self_attn\.k_proj\.", r"roberta.encoder.layer.\1.attention.self.key."),
        (_LAYER + r"self_attn\.v_proj\.", r"roberta.encoder.layer.\1.attention.self.value."),
        (_LAYER + r"self_attn\.out_proj\.", r"roberta.encoder.layer.\1.attention.output.dense."),
        (
            _LAYER + r"self_attn_layer_norm\.",
            r"roberta.encoder.layer.\1.attention.output.LayerNorm.",
        ),
        (_LAYER + r"fc1\.", r"roberta.encoder.layer.\1.intermediate.dense."),
        (_LAYER + r"fc2\.", r"roberta.encoder.layer.\1.output.dense."),
        (_LAYER + r"final_layer_norm\.", r"roberta.encoder.layer.\1.output.LayerNorm."),
        (r"^lm_head\.weight$", "lm_head.decoder.weight"),
        (r"^lm_head\.", "lm_head."),
    )
]
_JOINED = re.compile(_LAYER + r"self_attn\.in_proj_(weight|bias)$")
_NOT_THE_ENCODERS = re.compile(r"^classification_heads\.|(^|\.)(version|_float_tensor)$")


class FairseqCheckpoint(NamedTuple):
    """What is in a folder of fairseq.

    Args:
        config: Of the family in transformers.
        weights: By their names in transformers.
        renamed: Name in fairseq by name in transformers.
        dropped: Names in fairseq of what belongs to no encoder: heads of tasks, bookkeeping.
        tokens: By id; of RoBERTa numbers of GPT-2's tokens.
    """

    config: PreTrainedConfig
    weights: dict[str, Tensor]
    renamed: dict[str, str]
    dropped: list[str]
    tokens: list[str]


def fairseq_file(path: Path) -> Path | None:
    """The weights of a fairseq checkpoint; none where it is another kind."""
    if path.is_file():
        return path if path.suffix == ".pt" else None
    file = path / "model.pt"
    return file if file.is_file() and not (path / "config.json").is_file() else None


def read_fairseq(path: Path) -> FairseqCheckpoint:
    """Reads weights, sizes and vocabulary.

    Args:
        path: Of `model.pt`; `dict.txt` lies beside it.

    Raises:
        FileNotFoundError: There is no `dict.txt`.
        InputError: Objects that are no weights, an architecture that is not RoBERTa's, no number
            of attention heads, or a vocabulary of another size.
    """
    content = load_tensors(path, argparse.Namespace)
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not all(isinstance(own, str) for own in model):
        found = (
            sorted(map(str, content))[:5] if isinstance(content, dict) else type(content).__name__
        )
        raise InputError(f"{path} holds {found} and no 'model': it is not fairseq's")
    with reading_model(path):
        return _read(content, path)


def _read(content: dict[str, Any], path: Path) -> FairseqCheckpoint:
    options = _options(content)
    weights, renamed, dropped = _in_transformers(content["model"], path)
    embeddings = weights["roberta.embeddings.word_embeddings.weight"]
    weights[TOKEN_TYPES] = embeddings.new_zeros(1, embeddings.shape[1])
    tokens = _tokens(path.with_name("dict.txt"), len(embeddings))
    config = _config(weights, options, tokens, path)
    return FairseqCheckpoint(config, weights, renamed, dropped, tokens)


def check_vocabulary(tokens: list[str], tokenizer: PreTrainedTokenizerBase) -> None:
    """Checks that a tokenizer has the ids that a fairseq checkpoint was trained with.

    Of GPT-2's tokens `dict.txt` knows numbers alone; their count is all that can be compared.

    Args:
        tokens: By id.
        tokenizer: To be saved beside the weights.

    Raises:
        InputError: Another token under some id, or another count.
    """
    if _are_numbers(tokens):
        if len(tokenizer) != len(tokens):
            raise InputError(
                f"the tokenizer has {len(tokenizer):,} tokens and dict.txt {len(tokens):,}"
            )
        return
    found = tokenizer.convert_ids_to_tokens(list(range(min(len(tokens), len(tokenizer)))))
    for number, (token, expected) in enumerate(zip(found, tokens, strict=False)):
        if token != expected:
            raise InputError(
                f"token {number} is {expected!r} in dict.txt and {token!r} in the tokenizer: the "
                "checkpoint was trained with another; give its own as --tokenizer"
            )
    if len(tokenizer) != len(tokens):
        raise InputError(
            f"the tokenizer has {len(tokenizer):,} tokens and dict.txt {len(tokens):,}"
        )


def _in_transformers(
    model: dict[str, Tensor], path: Path
) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    weights: dict[str, Tensor] = {}
    renamed: dict[str, str] = {}
    dropped, unknown = [], []
    for own, weight in model.items():
        name = _BEFORE.sub("", own)
        if joined := _JOINED.match(name):
            stem = f"roberta.encoder.layer.{joined[1]}.attention.self."
            parts = zip(("query", "key", "value"), weight.chunk(3), strict=True)
            found = {f"{stem}{part}.{joined[2]}": rows for part, rows in parts}
        elif _NOT_THE_ENCODERS.search(name):
            dropped.append(own)
            continue
        else:
            new = next((p.sub(text, name) for p, text in _NAMES if p.search(name)), None)
            if new is None:
                unknown.append(own)
                continue
            found = {new: weight}
        weights |= found
        renamed |= dict.fromkeys(found, own)
    if unknown or "roberta.embeddings.word_embeddings.weight" not in weights:
        raise InputError(
            f"{path} is no RoBERTa or XLM-R of fairseq whose layers transformers has: "
            + (f"it holds {unknown[:5]}" if unknown else "it holds no embed_tokens")
        )
    return weights, renamed, dropped


def _options(content: dict[str, Any]) -> dict[str, Any]:
    """The options it was trained with, as any version of fairseq has kept them."""
    found = content.get("args") or (content.get("cfg") or {}).get("model") or {}
    return vars(found) if isinstance(found, argparse.Namespace) else dict(found)


def _tokens(path: Path, size: int) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; it came with the checkpoint")
    lines = read_text(path).splitlines()
    pieces = [line.removesuffix(" #fairseq:overwrite").rsplit(" ", 1)[0] for line in lines]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *pieces, "<mask>"]
    if len(tokens) != size:
        raise InputError(
            f"{path} makes {len(tokens):,} tokens (with five special ones) and the model embeds "
            f"{size:,}; it belongs to another checkpoint"
        )
    return tokens


def _config(
    weights: dict[str, Tensor], options: dict[str, Any], tokens: list[str], path: Path
) -> PreTrainedConfig:
    if not isinstance(options.get("encoder_attention_heads"), int):
        raise InputError(
            f"{path} does not say how many attention heads it has, and its weights do not show it; "
            "add it: {'model': weights, 'args': {'encoder_attention_heads': 12}}"
        )
    activation = options.get("activation_fn", "gelu")
    if activation != "gelu":
        raise InputError(f"{path} has the activation {activation!r}; RoBERTa's is 'gelu'")
    layers = {int(n.split(".")[3]) for n in weights if n.startswith("roberta.encoder.layer.")}
    kind = RobertaConfig if _are_numbers(tokens) else XLMRobertaConfig
    dropouts = {
        "hidden_dropout_prob": options.get("dropout", 0.1),
        "attention_probs_dropout_prob": options.get("attention_dropout", 0.1),
    }
    first_layer = weights.get("roberta.encoder.layer.0.intermediate.dense.weight", torch.empty(0))
    return kind(
        vocab_size=len(tokens),
        hidden_size=weights[TOKEN_TYPES].shape[1],
        num_hidden_layers=len(layers),
        num_attention_heads=options["encoder_attention_heads"],
        intermediate_size=first_layer.shape[0],
        max_position_embeddings=len(weights["roberta.embeddings.position_embeddings.weight"]),
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        **dropouts,
    )


def _are_numbers(tokens: list[str]) -> bool:
    """Whether the vocabulary is GPT-2's, whose tokens fairseq writes as numbers."""
    pieces = [token for token in tokens[4:-1] if not token.startswith("madeupword")]
    return bool(pieces) and all(piece.isdigit() for piece in pieces)
