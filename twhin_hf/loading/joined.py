"""Vectors of several parts side by side: poolings, and outputs of a model's heads.

A pooling is written `mean+engagement`: each part is a pooling of the tokens or the head of an
objective, scaled to length 1, and all of them stand side by side in that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from twhin_hf.errors import InputError
from twhin_hf.loading.auto import load_post_encoder, load_with_heads
from twhin_hf.modeling.post_encoder import finish_embeddings, list_of_texts
from twhin_hf.modeling.settings import HEAD_NAMES, POOLINGS


def is_joined(pooling: str | None) -> bool:
    """Whether a pooling asks for more than one of the tokens': a head, or several parts."""
    return pooling is not None and pooling not in POOLINGS


def pooling_parts(pooling: str) -> tuple[str, ...]:
    """The parts of a pooling.

    Raises:
        InputError: A part that is no pooling and no head, or one that is there twice.

    Example:
        >>> pooling_parts("mean+engagement")
        ('mean', 'engagement')
    """
    parts = tuple(pooling.split("+"))
    unknown = [part for part in parts if part not in (*POOLINGS, *HEAD_NAMES)]
    if unknown:
        raise InputError(
            f"pooling is {pooling!r}, and {unknown[0]!r} is no part; choose of "
            f"{', '.join((*POOLINGS, *HEAD_NAMES))}, joined by + as in mean+engagement"
        )
    if len(set(parts)) < len(parts):
        raise InputError(f"pooling is {pooling!r}: a part is there twice; leave it out once")
    return parts


class JoinedEncoder:
    """A model whose vectors are several parts side by side, each of length 1.

    Args:
        model: A `Twhin…ForPreTraining` with the heads among the parts, or a `Twhin…Model` if none
            is one.
        pooling: Of `pooling_parts`.

    Raises:
        InputError: An unknown part, or a head that the model does not have.
    """

    def __init__(self, model: Any, pooling: str):
        self.model, self.pooling, self.parts = model, pooling, pooling_parts(pooling)
        present = [n for n in HEAD_NAMES if getattr(model, f"{n}_head", None) is not None]
        missing = [part for part in self.parts if part in HEAD_NAMES and part not in present]
        if missing:
            raise InputError(
                f"pooling is {pooling!r}, and the checkpoint has no {missing[0]} head; it has "
                f"{', '.join(present) or 'none'}. A head is made by training with its weight "
                f"({missing[0]}_weight) above 0",
                faq="heads",
            )

    def encode(
        self,
        texts: str | Sequence[str],
        batch_size: int = 64,
        max_length: int | None = None,
        normalize_embeddings: bool | None = None,
        pooling: str | None = None,
        *,
        convert_to_numpy: bool = False,
    ) -> Any:
        """Vectors of texts.

        Args:
            texts: The posts, or a single one.
            batch_size: How many posts of `max_length` tokens per batch may hold.
            max_length: Maximum sequence length, as `encode` of the `Twhin…Model` takes it.
            normalize_embeddings: Scale the whole vector to length 1 too; without it its length is
                the square root of the number of parts.
            pooling: That of this encoder, or None.
            convert_to_numpy: Give a NumPy array in place of a tensor.

        Returns:
            float32 `[len(texts), sum of the parts' widths]` on the CPU, in the order of `texts`;
            without the first dimension for a single text.

        Raises:
            InputError: Another pooling, or as the models say.
        """
        if pooling not in (None, self.pooling):
            raise InputError(f"this encoder gives {self.pooling!r}; load another for {pooling!r}")
        posts = list_of_texts(texts)
        options: dict[str, Any] = {
            "batch_size": batch_size,
            "max_length": max_length,
            "normalize_embeddings": True,
        }
        blocks = [
            self.model.encode(posts, part, **options)
            if part in HEAD_NAMES
            else self.model.base_model.encode(posts, pooling=part, **options)
            for part in self.parts
        ]
        return finish_embeddings(
            torch.cat(blocks, dim=-1),
            is_single=isinstance(texts, str),
            normalize_embeddings=bool(normalize_embeddings),
            convert_to_numpy=convert_to_numpy,
        )


def has_head(pooling: str) -> bool:
    """Whether a part of a pooling is the output of a head, which an untrained encoder lacks."""
    return any(part in HEAD_NAMES for part in pooling_parts(pooling))


def load_joined_encoder(
    name_or_path: str, pooling: str, revision: str | None = None, device: str = "cpu"
) -> JoinedEncoder:
    """Loads a model for a pooling of several parts, with its heads if one of them is a head.

    Args:
        name_or_path: A folder or a repository, or an adapter (peft).
        pooling: Such as `mean+engagement`.
        revision: Revision of the repository.
        device: Of the model.

    Raises:
        InputError: As `JoinedEncoder`, `load_with_heads` and `load_post_encoder`.
    """
    load = load_with_heads if has_head(pooling) else load_post_encoder
    return JoinedEncoder(load(name_or_path, revision).to(device), pooling)
