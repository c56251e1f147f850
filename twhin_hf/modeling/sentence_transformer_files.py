"""The files that make a saved model a `SentenceTransformer` with the embedding of its config.

`cls`, `mean` and `mean_all` are made of stock modules and need no code of ours: with trust or
without, a `SentenceTransformer` holds the stock encoder, and what it saves names no code.
`combined` has no stock counterpart: its vectors are the `embeddings` of our own class, loaded with
`trust_remote_code`. Without trust it cannot encode, and what is saved then lacks the code that its
config names, until `twhin_hf.complete_folder` puts it back.

Where the config's `sentence_embedding` is a head, its linear layers follow the pooling that it
reads, and its output is scaled to length 1: all heads are compared by cosine in use, also that of
TPP which was trained by dot products (`bce`).
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from transformers import PreTrainedConfig

from .heads import NORMALIZING_HEADS
from .sentence_transformer_settings import TOKENIZER_CONFIG_NAME, TRANSFORMER_CONFIG, read_json
from .settings import POOLED

logger = logging.getLogger(__name__)

TRANSFORMER = "sentence_transformers.models.Transformer"
POOLING = "sentence_transformers.models.Pooling"
DENSE = "sentence_transformers.models.Dense"
NORMALIZE = "sentence_transformers.models.Normalize"
MASK = "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"


Step = tuple[str, str, dict[str, Any], dict[str, Tensor]]
"""Name, class, options and weights of a module that follows the transformer."""


def sentence_transformer_files(
    config: PreTrainedConfig,
    max_length: int,
    special_tokens: Sequence[str] = (),
    layers: Sequence[tuple[Tensor, Tensor]] = (),
) -> dict[str, bytes]:
    """What each file of a SentenceTransformer holds.

    Args:
        config: With our settings and `hidden_size`.
        max_length: Maximum sequence length; longer texts are truncated.
        special_tokens: That frame every text, as `["[CLS]", "[SEP]"]`; without them `mean`, which
            leaves them out, is made by our class too.
        layers: Weight `[out, in]` and bias `[out]` of each linear layer of the head that
            `sentence_embedding` names (`head_layers`); without them the pooled tokens are the
            embedding.

    Returns:
        Contents by their path in the folder; none where a head reads `mean` and the special tokens
        are not known, for stock modules could not leave them out.

    Example:
        >>> from transformers import BertConfig
        >>> from twhin_hf.modeling import apply_settings
        >>> config = apply_settings(BertConfig(hidden_size=8), pooling="cls")
        >>> sorted(sentence_transformer_files(config, 128))
        ['1_Pooling/config.json', 'modules.json', 'sentence_bert_config.json']
    """
    head = config.sentence_embedding if layers else POOLED
    pooling = config.pooling if head == POOLED else getattr(config, f"{head}_pooling")
    steps: list[Step] = []
    transformer: dict[str, Any] = {"max_seq_length": max_length, "do_lower_case": False}
    if pooling in ("cls", "mean_all") or (pooling == "mean" and special_tokens):
        if pooling == "mean":
            skipped = {
                "skiplist_words": list(special_tokens),
                "skiplist_tasks": ["query", "document"],
            }
            steps.append(("MultiVectorMask", MASK, skipped, {}))
        steps.append(("Pooling", POOLING, _pooling(config.hidden_size, pooling), {}))
        # No code of ours is needed, and none may be named: what is loaded without trust and saved
        # again would name it still, and not hold it.
        transformer["config_args"] = {"auto_map": {}}
    elif layers:
        return {}
    else:
        transformer |= {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": {"method": "forward", "method_output_name": "embeddings"}},
            "module_output_name": "sentence_embedding",
        }
    if layers and head in NORMALIZING_HEADS:
        # They scale what they read to length √width.
        (weight, bias), *others = layers
        layers = [(weight * weight.shape[1] ** 0.5, bias), *others]
        steps.append(("Normalize", NORMALIZE, {}, {}))
    for number, (weight, bias) in enumerate(layers, start=1):
        activation = "Identity" if number == len(layers) else "ReLU"
        options = {
            "in_features": weight.shape[1],
            "out_features": weight.shape[0],
            "bias": True,
            "activation_function": f"torch.nn.modules.{_ACTIVATIONS[activation]}.{activation}",
        }
        steps.append(("Dense", DENSE, options, {"linear.weight": weight, "linear.bias": bias}))
    if layers or config.normalize_embeddings:
        steps.append(("Normalize", NORMALIZE, {}, {}))
    return _module_files(transformer, steps)


_ACTIVATIONS = {"Identity": "linear", "ReLU": "activation"}
"""Their modules below `torch.nn.modules`."""


def head_layers(
    folder: str | os.PathLike[str], config: PreTrainedConfig
) -> list[tuple[Tensor, Tensor]]:
    """The linear layers of the head that is the sentence embedding, from a folder's weights.

    Args:
        folder: Of a model or an adapter.
        config: Its `sentence_embedding` names the head.

    Returns:
        Weight `[out, in]` and bias `[out]` of each layer in order, in float32; nothing where the
        folder has no such head, or the embedding is the pooled tokens.
    """
    pattern = re.compile(
        rf"(?:base_model\.model\.)?{config.sentence_embedding}_head\."
        r"(?:layers\.(\d+)|projection)\.(weight|bias)"
    )
    found: dict[tuple[int, str], Tensor] = {}
    for path in Path(folder).glob("*.safetensors"):
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 # a file is no mapping
                if match := pattern.fullmatch(name):
                    place = int(match[1] or 0), match[2]
                    found[place] = tensors.get_tensor(name).float().contiguous()
    return [(found[i, "weight"], found[i, "bias"]) for i in range(len(found) // 2)]


def plain_sentence_transformer_files(
    config: PreTrainedConfig, pooling: str, max_length: int, normalize_embeddings: bool = False
) -> dict[str, bytes]:
    """The same of an encoder for stock software, which reads `1_Pooling/config.json`.

    Args:
        config: With `hidden_size`.
        pooling: `cls`, or `mean` or `mean_all`, both of which are the mean of all tokens.
        max_length: Maximum sequence length; longer texts are truncated.
        normalize_embeddings: Scale vectors to length 1.

    Returns:
        Contents by their path in the folder.
    """
    steps: list[Step] = [("Pooling", POOLING, _pooling(config.hidden_size, pooling), {})]
    if normalize_embeddings:
        steps.append(("Normalize", NORMALIZE, {}, {}))
    return _module_files({"max_seq_length": max_length, "do_lower_case": False}, steps)


def _pooling(width: int, pooling: str) -> dict[str, Any]:
    return {
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling in ("mean", "mean_all"),
        # Some versions of text-embeddings-inference ask for these too.
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }


def _module_files(transformer: dict[str, Any], steps: Sequence[Step]) -> dict[str, bytes]:
    modules = [{"idx": 0, "name": "0", "path": "", "type": TRANSFORMER}]
    files = {TRANSFORMER_CONFIG: _as_json(transformer)}
    for number, (name, kind, options, weights) in enumerate(steps, start=1):
        path = f"{number}_{name}"
        modules.append({"idx": number, "name": str(number), "path": path, "type": kind})
        files[f"{path}/config.json"] = _as_json(options)
        if weights:
            files[f"{path}/model.safetensors"] = save(weights, metadata={"format": "pt"})
    return files | {"modules.json": _as_json(modules)}


def _as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def write_sentence_transformer_files(
    folder: str | os.PathLike[str], config: PreTrainedConfig, max_length: int
) -> None:
    """Writes the files; special tokens and the head's weights are those in the folder.

    Args:
        folder: Of the saved model.
        config: Of the model.
        max_length: Maximum sequence length; longer texts are truncated.
    """
    folder = Path(folder)
    tokens = special_tokens_of(folder)
    layers = head_layers(folder, config)
    files = sentence_transformer_files(config, max_length, tokens, layers)
    if not files and (folder / TOKENIZER_CONFIG_NAME).is_file():
        logger.warning(
            "%s is no SentenceTransformer: its tokenizer names no cls_token and sep_token, which "
            "the %s head leaves out; set them, or train the head on mean_all or cls",
            folder,
            config.sentence_embedding,
        )
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)


def special_tokens_of(folder: Path) -> list[str]:
    """First and last token of every text, of the tokenizer in a folder; none where there is none.

    BERT frames a text by its `cls_token` and `sep_token`; where a tokenizer has `<s>` and `</s>`
    these are the same two.
    """
    path = folder / TOKENIZER_CONFIG_NAME
    if not path.is_file():
        return []
    content = read_json(path)
    found = [content.get(key) for key in ("cls_token", "sep_token")]
    # A token with options of its own is written as a mapping.
    tokens = [token["content"] if isinstance(token, dict) else token for token in found]
    return tokens if all(tokens) else []
