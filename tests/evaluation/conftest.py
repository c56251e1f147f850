"""A tiny checkpoint, and texts whose label is easy to learn."""

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from transformers import BertConfig, BertForMaskedLM


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, tokenizer):
    """A tiny checkpoint of masked language modelling, which holds no pooler."""
    folder = tmp_path_factory.mktemp("checkpoint")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=40,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def splits(texts):
    """60 + 30 + 30 posts with the script they are written in as their label, of three scripts."""
    names = ["arabic", "kana", "latin"]
    scripts = {0: "latin", 2: "arabic", 3: "kana"}
    rows = [(text, names.index(scripts[i % 4])) for i, text in enumerate(texts) if i % 4 in scripts]
    parts = {"train": rows[:60], "validation": rows[60:90], "test": rows[90:120]}
    return DatasetDict(
        {
            name: Dataset.from_dict(
                {"text": [text for text, _ in part], "label": [label for _, label in part]}
            ).cast_column("label", ClassLabel(names=names))
            for name, part in parts.items()
        }
    )
