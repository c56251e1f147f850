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


@pytest.fixture
def network_batch(batch):
    """The same 24 posts with ten users of a network of 6 dimensions, and vectors of 20 of them."""

    def collate(row_length):
        random = torch.Generator().manual_seed(5)
        engaged = torch.rand(10, 24, generator=random) < 0.2
        users, posts = engaged.nonzero(as_tuple=True)
        vectors = torch.randn(20, 6, generator=random)
        engagements = {
            "content_ids": torch.arange(24),
            "user_vectors": torch.randn(10, 6, generator=random),
            "pair_users": users,
            "pair_posts": posts,
            "user_posts": posts,
            "user_post_counts": engaged.sum(dim=1),
            "log_frequencies": torch.randn(24, generator=random),
        }
        distillation = {"posts": torch.arange(20), "vectors": vectors, "all_vectors": vectors}
        return batch(row_length) | {"engagements": engagements, "distillation": distillation}

    return collate
