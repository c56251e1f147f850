"""A saved model of each encoder family, each with another pooling."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import BertConfig, ModernBertConfig, RobertaConfig, XLMRobertaConfig

from twhin_hf.modeling import MODELS, apply_settings

CONFIGS = {
    "bert": BertConfig,
    "modernbert": ModernBertConfig,
    "roberta": RobertaConfig,
    "xlm-roberta": XLMRobertaConfig,
}
POOLINGS = {"bert": "combined", "modernbert": "mean", "roberta": "cls", "xlm-roberta": "cls"}


@pytest.fixture(scope="session")
def saved_encoders(tokenizer, tmp_path_factory):
    """Folders by family. XLM-R's is a SentenceTransformer with Normalize."""
    folders = {}
    for family, pooling in POOLINGS.items():
        sizes = {
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            # ModernBERT's second layer sees four tokens to either side.
            "num_hidden_layers": 2 if family == "modernbert" else 1,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 130,
            "initializer_range": 0.2,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        }
        if family == "modernbert":
            special = {"cls_token_id": tokenizer.cls_token_id}
            sizes |= special | {"sep_token_id": tokenizer.sep_token_id, "local_attention": 8}
        torch.manual_seed(0)
        model = MODELS[family](apply_settings(CONFIGS[family](**sizes), pooling=pooling))
        folder = tmp_path_factory.mktemp(family)
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
        folders[family] = folder
    modules = json.loads((folders["xlm-roberta"] / "modules.json").read_text())
    kind = "sentence_transformers.models.Normalize"
    modules.append({"idx": 2, "name": "2", "path": "2_Normalize", "type": kind})
    (folders["xlm-roberta"] / "modules.json").write_text(json.dumps(modules))
    return folders
