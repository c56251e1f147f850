"""Frozen vectors of texts from any encoder, and which tokens they were made from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from twhin_hf.devices import pick_device
from twhin_hf.errors import InputError
from twhin_hf.loading.auto import (
    embedding_sentence,
    is_adapter,
    load_config,
    load_post_encoder,
    load_with_heads,
)
from twhin_hf.loading.families import MODELS
from twhin_hf.loading.joined import is_joined, load_joined_encoder
from twhin_hf.loading.places import reading_model
from twhin_hf.modeling.sentence_transformer_settings import checkpoint_file

logger = logging.getLogger(__name__)


class TextEncoder(NamedTuple):
    """An encoder that is ready to use.

    Args:
        encode: Vectors `[texts, width]`, float32, of a list of texts.
        pooling: Which tokens the vectors are made from, for `results.json`.
        kind: The class that makes them.
    """

    encode: Callable[[Sequence[str]], np.ndarray]
    pooling: str
    kind: str


def load_text_encoder(
    name_or_path: str,
    revision: str | None = None,
    *,
    pooling: str | None = None,
    batch_size: int = 32,
    max_length: int | None = None,
    device: str | None = None,
) -> TextEncoder:
    """Loads any encoder: one of our families, or whatever sentence-transformers loads.

    A sentence-transformers model (one with `modules.json`) keeps its own pooling, unless `pooling`
    asks for another; so does a checkpoint that we saved. A checkpoint of one of our families
    without a pooling of its own has that of `twhin_hf.modeling`. An encoder of another family
    is read by sentence-transformers, which takes the mean of all tokens.

    Args:
        name_or_path: Folder or repository, of a model or of an adapter (peft).
        revision: Revision of the repository.
        pooling: `cls`, `mean` (of tokens that are not special), `mean_all` (of all tokens) or
            `combined` (`cls` and `mean`); or poolings and heads joined by plus, such as
            `engagement` or `combined+engagement`, each part scaled to length 1.
        batch_size: Texts encoded at once.
        max_length: Maximum sequence length; longer texts are truncated. By default 128, or that of
            the sentence-transformers model.
        device: `cuda` where there is one, else `cpu`, by default.

    Raises:
        InputError: A pooling that is asked of a family that has no class here, or a head that the
            checkpoint does not have.
    """
    device = pick_device(device)
    config = load_config(name_or_path, revision)
    is_family = config.model_type in MODELS
    is_ours = is_adapter(name_or_path, revision) or getattr(config, "pooling", None) is not None
    if pooling and not is_family:
        raise InputError(
            f"pooling={pooling!r} is asked of a {config.model_type!r} model; it can be chosen of "
            f"{sorted(MODELS)} only. Leave it out."
        )
    if pooling is not None and is_joined(pooling):
        joined = load_joined_encoder(name_or_path, pooling, revision, device)

        def encode_parts(texts: Sequence[str]) -> np.ndarray:
            return joined.encode(
                texts, batch_size=batch_size, max_length=max_length, convert_to_numpy=True
            )

        return TextEncoder(encode_parts, pooling, type(joined.model).__name__)
    if is_family and (
        pooling or is_ours or checkpoint_file(name_or_path, "modules.json", revision) is None
    ):
        model = load_post_encoder(name_or_path, revision).to(device)
        chosen = pooling or model.config.pooling
        if pooling or max_length:
            logger.info("Here: %s", embedding_sentence(model, chosen, max_length))

        def encode(texts: Sequence[str]) -> np.ndarray:
            return model.encode(
                texts, batch_size=batch_size, max_length=max_length, pooling=chosen
            ).numpy()

        return TextEncoder(encode, chosen, type(model).__name__)
    return _sentence_transformer(name_or_path, revision, batch_size, max_length, device)


def feature_sets(
    name_or_path: str, texts: Sequence[str], *, batch_size: int = 64, device: str | None = None
) -> dict[str, np.ndarray]:
    """What a pretrained encoder gives of texts: pooled, by its heads, and both side by side.

    Args:
        name_or_path: Folder or repository of a `Twhin…ForPreTraining`.
        texts: The posts.
        batch_size: Texts encoded at once.
        device: `cuda` where there is one, else `cpu`, by default.

    Returns:
        float32 `[texts, width]` by the name of the set, such as `mean`,
        `engagement + distillation` and `mean + engagement + distillation`; parts of several are
        scaled to length 1. A model without heads of engagements has the pooled one alone.
    """
    model: Any = load_with_heads(name_or_path).to(pick_device(device)).eval()
    config = model.config
    encoder = model.base_model
    names = [name for name in ("engagement", "distillation") if name in model.heads()]
    pooled = {
        pooling: encoder.encode(list(texts), pooling=pooling, batch_size=batch_size)
        for pooling in sorted({config.pooling, *(config.__dict__[f"{n}_pooling"] for n in names)})
    }
    with torch.inference_mode():
        outputs = [
            model.heads()[name](pooled[getattr(config, f"{name}_pooling")].to(model.device)).cpu()
            for name in names
        ]
    own = pooled[config.pooling].numpy()
    if not names:
        return {config.pooling: own}
    heads = [values.numpy() for values in outputs]
    joined = " + ".join(names)
    return {
        joined: side_by_side(*heads),
        config.pooling: own,
        f"{config.pooling} + {joined}": side_by_side(own, *heads),
    }


def length_normalized(features: np.ndarray) -> np.ndarray:
    """Rows brought to length 1, float32 [posts, width]; a row of zeros stays as it is.

    Example:
        >>> length_normalized(np.array([[3.0, 4.0], [0.0, 0.0]]))
        array([[0.6, 0.8],
               [0. , 0. ]], dtype=float32)
    """
    features = np.asarray(features, dtype=np.float32)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)


def side_by_side(*parts: np.ndarray) -> np.ndarray:
    """Feature sets of the same posts as one, each brought to length 1 so that none outweighs.

    Args:
        *parts: Features [posts, width] each.

    Returns:
        Float32 [posts, sum of the widths].
    """
    return np.concatenate([length_normalized(part) for part in parts], axis=1)


def _sentence_transformer(
    name_or_path: str,
    revision: str | None,
    batch_size: int,
    max_length: int | None,
    device: str,
) -> TextEncoder:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InputError(
            f"{name_or_path} is read by sentence-transformers; install it: "
            "pip install sentence-transformers"
        ) from error
    with reading_model(name_or_path):
        model: Any = SentenceTransformer(
            name_or_path, revision=revision, device=device, trust_remote_code=False
        )
    if max_length is not None:
        model.max_seq_length = max_length

    def encode(texts: Sequence[str]) -> np.ndarray:
        vectors = model.encode(list(texts), batch_size=batch_size, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    # Renamed within version 6 of sentence-transformers.
    dimension = getattr(model, "get_embedding_dimension", None) or (
        model.get_sentence_embedding_dimension
    )
    modes = [getattr(module, "pooling_mode", None) for module in model]
    named = next((mode for mode in modes if mode is not None), "that of its modules")
    stated = named if isinstance(named, str) else "+".join(named)
    logger.info(
        "%s, by sentence-transformers: %s pooling, %s dimensions, %s, at most %s tokens",
        name_or_path,
        stated,
        dimension(),
        "scaled to length 1" if type(model[-1]).__name__ == "Normalize" else "not normalized",
        model.max_seq_length,
    )
    return TextEncoder(encode, f"{stated} (sentence-transformers)", type(model).__name__)
