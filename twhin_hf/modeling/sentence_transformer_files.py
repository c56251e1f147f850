"""The files that make a saved model a `SentenceTransformer` with the pooling of its config.

`cls` and `mean` are made of stock modules and need no code of ours. `combined` has no stock
counterpart: its vectors are the `embeddings` of our own class, loaded with `trust_remote_code`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

TRANSFORMER = "sentence_transformers.models.Transformer"
POOLING = "sentence_transformers.models.Pooling"
MASK = "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"


def sentence_transformer_files(
    config: PreTrainedConfig, max_length: int, special_tokens: Sequence[str] = ()
) -> dict[str, Any]:
    """What each file of a SentenceTransformer holds.

    Args:
        config: With `pooling` and `hidden_size`.
        max_length: Maximum sequence length; longer texts are truncated.
        special_tokens: That frame every text, as `["[CLS]", "[SEP]"]`; without them `mean`, which
            leaves them out, is made by our class too.

    Returns:
        JSON values by their path in the folder.

    Example:
        >>> from transformers import BertConfig
        >>> from twhin_hf.modeling import apply_settings
        >>> config = apply_settings(BertConfig(hidden_size=8), pooling="cls")
        >>> sorted(sentence_transformer_files(config, 128))
        ['1_Pooling/config.json', 'modules.json', 'sentence_bert_config.json']
    """
    steps: list[tuple[str, str, dict[str, Any]]] = []
    transformer: dict[str, Any] = {"max_seq_length": max_length, "do_lower_case": False}
    if config.pooling == "cls" or (config.pooling == "mean" and special_tokens):
        if config.pooling == "mean":
            skipped = {
                "skiplist_words": list(special_tokens),
                "skiplist_tasks": ["query", "document"],
            }
            steps.append(("MultiVectorMask", MASK, skipped))
        steps.append(("Pooling", POOLING, _pooling(config.hidden_size, config.pooling)))
    else:
        transformer |= {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": {"method": "forward", "method_output_name": "embeddings"}},
            "module_output_name": "sentence_embedding",
        }
    return _module_files(transformer, steps)


def plain_sentence_transformer_files(
    config: PreTrainedConfig, pooling: str, max_length: int
) -> dict[str, Any]:
    """The same of an encoder for stock software, which reads `1_Pooling/config.json`.

    Args:
        config: With `hidden_size`.
        pooling: `cls`, or `mean` of all tokens.
        max_length: Maximum sequence length; longer texts are truncated.

    Returns:
        JSON values by their path in the folder.
    """
    steps = [("Pooling", POOLING, _pooling(config.hidden_size, pooling))]
    return _module_files({"max_seq_length": max_length, "do_lower_case": False}, steps)


def _pooling(width: int, pooling: str) -> dict[str, Any]:
    return {
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
        # Some versions of text-embeddings-inference ask for these too.
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }


def _module_files(
    transformer: dict[str, Any], steps: Sequence[tuple[str, str, dict[str, Any]]]
) -> dict[str, Any]:
    modules = [{"idx": 0, "name": "0", "path": "", "type": TRANSFORMER}]
    files: dict[str, Any] = {"modules.json": modules, "sentence_bert_config.json": transformer}
    for number, (name, kind, options) in enumerate(steps, start=1):
        path = f"{number}_{name}"
        modules.append({"idx": number, "name": str(number), "path": path, "type": kind})
        files[f"{path}/config.json"] = options
    return files


def write_sentence_transformer_files(
    folder: str | os.PathLike[str], config: PreTrainedConfig, max_length: int
) -> None:
    """Writes the files; special tokens are those of the tokenizer in the folder.

    Args:
        folder: Of the model.
        config: Of the model.
        max_length: Maximum sequence length; longer texts are truncated.
    """
    folder = Path(folder)
    tokens = special_tokens_of(folder)
    for path, value in sentence_transformer_files(config, max_length, tokens).items():
        file = folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def special_tokens_of(folder: Path) -> list[str]:
    """First and last token of every text, of the tokenizer in a folder; none where there is none.

    BERT frames a text by its `cls_token` and `sep_token`; where a tokenizer has `<s>` and `</s>`
    these are the same two.
    """
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return []
    content = json.loads(path.read_text(encoding="utf-8"))
    found = [content.get(key) for key in ("cls_token", "sep_token")]
    # A token with options of its own is written as a mapping.
    tokens = [token["content"] if isinstance(token, dict) else token for token in found]
    return tokens if all(tokens) else []
