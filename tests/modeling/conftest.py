"""Batches for a tiny model of each encoder family."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def batch(posts, tokenizer):
    """Twelve pairs of posts, as a function of the collator's row length."""
    from twhin_hf.data.tokenization import tokenize_posts
    from twhin_hf.training.batches import PairBatches, PostBatches
    from twhin_hf.training.collators import PackingCollator

    rows = torch.arange(24).view(2, 12).T.numpy()
    data = PairBatches(PostBatches(tokenize_posts(posts, tokenizer, max_length=64)), rows)

    def collate(row_length):
        return PackingCollator(tokenizer, row_length, seed=3)(data.__getitems__(list(range(12))))

    return collate


@pytest.fixture
def translation_batch(batch):
    """The same twelve pairs, every other one labelled a translation."""

    def collate(row_length):
        inputs = batch(row_length)
        del inputs["post_ids"], inputs["positive_ids"]
        return inputs | {"pair_labels": torch.arange(12) % 2}

    return collate
