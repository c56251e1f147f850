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
from twhin_hf.training.masking import IGNORED, mask_tokens
from twhin_hf.training.network_targets import EngagedUsers, PostVectors
from twhin_hf.training.packing import (
    PackedLayout,
    end_to_end,
    pack,
    place,
    positions_in_posts,
    rounded_up,
    segment_boundaries,
)


@dataclass
class PackingCollator:
    """Masks and packs a batch.

    Args:
        tokenizer: The model's tokenizer.
        row_length: Tokens that a row should hold; 0 pads instead, one post a row.
        is_flat: Lay all posts end to end in one row, for attention that takes such (flash
            attention), whatever the `row_length`.
        mlm_probability: Share of the tokens to predict; 0 for none.
        seed: Seed of the masking.

    Raises:
        InputError: A tokenizer without mask or padding token, or a probability outside [0, 1).
    """

    tokenizer: PreTrainedTokenizerBase
    row_length: int = 128
    mlm_probability: float = 0.15
    seed: int = 0
    is_flat: bool = False

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
            `[rows, width]`; `num_posts`; with masking `masked_positions` `[num_masked]`, and of one
            flat row `boundaries` `[num_segments + 1]` and `longest`; for pairs of posts `post_ids`
            `[num_posts]` and `positive_ids` `[num_posts, max_positives]`; and for translation pairs
            `pair_labels` `[num_posts // 2]`, their sum `num_translations`, and `item_ids`
            `[num_posts]`. With a network `engagements` and `distillation`, the arrays of
            `EngagedUsers` and `PostVectors` by name. What a model would have to read from its
            tensors, and so wait for a GPU, comes as numbers.

        Raises:
            InputError: Labels of pairs that are not 0 or 1.
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
        known: dict[str, int] = {"num_posts": len(lengths)}
        if self.is_flat:
            arrays["boundaries"], known["longest"] = segment_boundaries(lengths, layout.width)
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
            arrays["labels"] = place(labels, lengths, layout, IGNORED)
            arrays["masked_positions"] = self._masked_positions(arrays["labels"])
        arrays["input_ids"] = place(tokens, lengths, layout, self.tokenizer.pad_token_id)
        if batch.positive_ids is not None:
            arrays |= {"post_ids": batch.post_ids, "positive_ids": batch.positive_ids}
        if batch.pair_labels is not None and batch.item_ids is not None:
            arrays |= {"pair_labels": batch.pair_labels, "item_ids": batch.item_ids}
            known["num_translations"] = _num_translations(batch.pair_labels)
        tensors: dict[str, Any] = _tensors(arrays)
        tensors |= self.network_tensors((batch.engagements, batch.distillation))
        return tensors | known

    @staticmethod
    def network_tensors(
        found: tuple[EngagedUsers | None, PostVectors | None],
    ) -> dict[str, dict[str, Tensor]]:
        """`engagements` and `distillation` as a model takes them; what is none is left out."""
        named = zip(("engagements", "distillation"), found, strict=True)
        return {name: _tensors(value._asdict()) for name, value in named if value is not None}

    def _masked_positions(self, labels: np.ndarray) -> np.ndarray:
        """Places of the tokens to predict; of a flat row filled up to one of few numbers."""
        labels = labels.flatten()
        places = np.flatnonzero(labels != IGNORED)
        other = int(labels.argmin())  # no label is below that of what is ignored
        if not self.is_flat or labels[other] != IGNORED:
            return places
        return np.append(places, np.full(rounded_up(len(places)) - len(places), other))

    def _layout(self, lengths: np.ndarray) -> PackedLayout:
        if self.is_flat:
            return end_to_end(lengths)
        if self.row_length:
            return pack(lengths, self.row_length)
        return PackedLayout(
            np.arange(len(lengths)), np.zeros_like(lengths), len(lengths), int(lengths.max())
        )


def _num_translations(pair_labels: np.ndarray) -> int:
    found = np.unique(pair_labels)
    if not np.isin(found, (0, 1)).all():
        raise InputError(
            f"the labels of pairs are {found.tolist()}; a label is 1 (translation) or 0 (none)"
        )
    return int(pair_labels.sum())


def _tensors(arrays: Mapping[str, np.ndarray | None]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in arrays.items() if values is not None}
