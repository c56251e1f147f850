"""A tiny model of each encoder family, and batches for it."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, ModernBertConfig, RobertaConfig, XLMRobertaConfig

from twhin_hf.modeling import MODELS

CONFIGS = {
    "bert": BertConfig,
    "modernbert": ModernBertConfig,
    "roberta": RobertaConfig,
    "xlm-roberta": XLMRobertaConfig,
}


@pytest.fixture(params=sorted(MODELS))
def family(request) -> str:
    """The `model_type` of each family."""
    return request.param


@pytest.fixture
def family_config(family, tokenizer):
    """Two layers without dropout, its weights large enough that a wrong mask shows."""
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 130,
        "initializer_range": 0.2,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if family == "modernbert":
        # The second layer sees four tokens to either side.
        special = {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
        return ModernBertConfig(**sizes, **special, local_attention=8)
    dropouts = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return CONFIGS[family](**sizes, **dropouts)


@pytest.fixture
def batch(posts, tokenizer):
    """Twelve pairs of posts, as a function of the collator's row length."""
    from twhin_hf.data.tokenization import tokenize_posts
    from twhin_hf.training.batches import Pairs, Posts
    from twhin_hf.training.collators import PackingCollator

    rows = torch.arange(24).view(2, 12).T.numpy()
    data = Pairs(Posts(tokenize_posts(posts, tokenizer, max_length=64)), rows)

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
