"""From a batch of posts to the tensors that a model takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from twhin_hf.errors import InputError
from twhin_hf.training.batches import PostBatch
from twhin_hf.training.masking import mask_tokens
from twhin_hf.training.network_targets import EngagedUsers, PostVectors
from twhin_hf.training.packing import PackedLayout, pack, place, positions_in_posts


@dataclass
class PackingCollator:
    """Masks and packs a batch.

    Args:
        tokenizer: The model's tokenizer.
        row_length: Tokens that a row should hold; 0 pads instead, one post a row.
        mlm_probability: Share of the tokens to predict; 0 for none.
        seed: Seed of the masking.

    Raises:
        InputError: A tokenizer without mask or padding token, or a probability outside [0, 1).
    """

    tokenizer: PreTrainedTokenizerBase
    row_length: int = 128
    mlm_probability: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        for token in ("mask_token", "pad_token"):
            if getattr(self.tokenizer, token) is None:
                raise InputError(f"{type(self.tokenizer).__name__} has no {token}, which is needed")
        if not 0 <= self.mlm_probability < 1:
            raise InputError(f"mlm_probability is {self.mlm_probability}; it must be in [0, 1)")
        self.special_ids = np.array(self.tokenizer.all_special_ids)

    def __call__(self, batch: PostBatch) -> dict[str, Any]:
        """Tensors of one forward.

        Returns:
            `input_ids`, `segment_ids`, `position_ids` and, with masking, `labels`, all
            `[rows, width]`; `num_posts`; for pairs of posts `post_ids` `[num_posts]` and
            `positive_ids` `[num_posts, max_positives]`; and for translation pairs `pair_labels`
            `[num_posts // 2]` and `item_ids` `[num_posts]`. With a network `engagements` and
            `distillation`, the arrays of `EngagedUsers` and `PostVectors` by name.
        """
        lengths = np.asarray(batch.lengths, np.int64)
        positions = positions_in_posts(lengths)
        tokens = batch.tokens.astype(np.int64)
        layout = self._layout(lengths)
        numbers = np.repeat(np.arange(1, len(lengths) + 1), lengths)
        arrays = {
            "segment_ids": place(numbers, lengths, layout, 0),
            "position_ids": place(positions, lengths, layout, 0),
        }
        if self.mlm_probability > 0:
            tokens, labels = mask_tokens(
                tokens,
                np.repeat(batch.draws, lengths),
                positions,
                special_ids=self.special_ids,
                mask_token_id=self.tokenizer.mask_token_id,
                vocab_size=len(self.tokenizer),
                probability=self.mlm_probability,
                seed=self.seed,
            )
            arrays["labels"] = place(labels, lengths, layout, -100)
        arrays["input_ids"] = place(tokens, lengths, layout, self.tokenizer.pad_token_id)
        if batch.positive_ids is not None:
            arrays |= {"post_ids": batch.post_ids, "positive_ids": batch.positive_ids}
        if batch.pair_labels is not None and batch.item_ids is not None:
            arrays |= {"pair_labels": batch.pair_labels, "item_ids": batch.item_ids}
        tensors: dict[str, Any] = _tensors(arrays)
        tensors |= self.network_tensors((batch.engagements, batch.distillation))
        tensors["num_posts"] = len(lengths)
        return tensors

    @staticmethod
    def network_tensors(
        found: tuple[EngagedUsers | None, PostVectors | None],
    ) -> dict[str, dict[str, Tensor]]:
        """`engagements` and `distillation` as a model takes them; what is none is left out."""
        named = zip(("engagements", "distillation"), found, strict=True)
        return {name: _tensors(value._asdict()) for name, value in named if value is not None}

    def _layout(self, lengths: np.ndarray) -> PackedLayout:
        if self.row_length:
            return pack(lengths, self.row_length)
        return PackedLayout(
            np.arange(len(lengths)), np.zeros_like(lengths), len(lengths), int(lengths.max())
        )


def _tensors(arrays: Mapping[str, np.ndarray | None]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in arrays.items() if values is not None}
