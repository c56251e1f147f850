"""A saved model of each encoder family, each with another pooling."""

from __future__ import annotations

import json

import pytest
import torch

from twhin_hf.loading.families import MODELS
from twhin_hf.modeling import apply_settings

POOLINGS = {"bert": "combined", "modernbert": "mean"}
"""The pooling of a family's model here, if not `cls`."""


@pytest.fixture(scope="session")
def saved_encoders(small_config, tokenizer, tmp_path_factory):
    """Folders by family. XLM-R's is a SentenceTransformer with Normalize."""
    folders = {}
    for family, model_class in MODELS.items():
        # ModernBERT's second layer is unlike its first.
        config = small_config(family, num_hidden_layers=2 if family == "modernbert" else 1)
        torch.manual_seed(0)
        model = model_class(apply_settings(config, pooling=POOLINGS.get(family, "cls")))
        folder = tmp_path_factory.mktemp(family)
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
        folders[family] = folder
    modules = json.loads((folders["xlm-roberta"] / "modules.json").read_text())
    kind = "sentence_transformers.models.Normalize"
    modules.append({"idx": 2, "name": "2", "path": "2_Normalize", "type": kind})
    (folders["xlm-roberta"] / "modules.json").write_text(json.dumps(modules))
    return folders
