"""What a trained encoder gives of posts: pooled, by its heads, and both side by side."""

import numpy as np
import torch

from twhin_hf.loading.auto import load_with_heads
from twhin_hf.loading.text_encoders import feature_sets, length_normalized
from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings


def test_sets_are_those_of_encode(tiny_config, tokenizer, texts, tmp_path):
    torch.manual_seed(0)
    settings = {"engagement_weight": 1.0, "distillation_weight": 1.0, "network_dimension": 6}
    settings |= {"pooling": "combined", "engagement_pooling": "cls"}
    TwhinBertForPreTraining(apply_settings(tiny_config, **settings)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    sets = feature_sets(str(tmp_path), texts[:7])
    assert list(sets) == [
        "engagement + distillation",
        "combined",
        "combined + engagement + distillation",
    ]
    model = load_with_heads(str(tmp_path))
    heads = [
        length_normalized(model.encode(texts[:7], name, convert_to_numpy=True))
        for name in ("engagement", "distillation")
    ]
    pooled = model.bert.encode(texts[:7], convert_to_numpy=True)
    np.testing.assert_allclose(sets["combined"], pooled, atol=1e-5)
    np.testing.assert_allclose(sets["engagement + distillation"], np.hstack(heads), atol=1e-5)
    together = np.hstack([length_normalized(pooled), *heads])
    np.testing.assert_allclose(sets["combined + engagement + distillation"], together, atol=1e-5)


def test_an_encoder_without_heads_has_one_set(tiny_config, tokenizer, texts, tmp_path):
    settings = {"social_weight": 0.0, "mlm_weight": 1.0, "pooling": "mean"}
    TwhinBertForPreTraining(apply_settings(tiny_config, **settings)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert list(feature_sets(str(tmp_path), texts[:3])) == ["mean"]
