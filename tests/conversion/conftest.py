"""Stock checkpoints of every family, with a tokenizer beside them."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def save_stock(family_config, tokenizer, tmp_path):
    """Saves a stock model of the family and gives it back with its folder."""

    def save(auto_class, folder="theirs"):
        torch.manual_seed(0)
        model = auto_class.from_config(family_config).eval()
        model.save_pretrained(tmp_path / folder)
        tokenizer.save_pretrained(tmp_path / folder)
        return model, tmp_path / folder

    return save
