import pytest
import torch
from transformers import ElectraConfig

from twhin_hf.loading.families import MODELS, PRETRAINING_MODELS
from twhin_hf.training.initialization import load_pretraining_model, new_pretraining_model

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 70,
}


@pytest.mark.parametrize("family", sorted(MODELS))
def test_a_new_model_of_each_family(family, tokenizer, tmp_path):
    torch.manual_seed(0)
    model = new_pretraining_model(family, tokenizer, TINY, tpp_weight=0.5)
    assert type(model) is PRETRAINING_MODELS[family]
    assert len(model.get_input_embeddings().weight) == len(tokenizer)
    for token in ("pad", "bos", "eos"):
        key = f"{token}_token_id"
        assert getattr(model.config, key) == getattr(tokenizer, key)
    model.save_pretrained(tmp_path)
    again = load_pretraining_model(str(tmp_path), tokenizer, tpp_loss="cosine")
    assert type(again) is type(model)
    assert again.config.tpp_weight == 0.5
    assert again.config.tpp_loss == "cosine"
    found = again.state_dict()
    for name, value in model.state_dict().items():
        assert found[name].equal(value), name
    # A new model of a saved config, with another number of layers.
    longer = new_pretraining_model(str(tmp_path), tokenizer, {"num_hidden_layers": 3})
    assert longer.config.num_hidden_layers == 3


def test_a_family_without_a_class(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="'electra' model"):
        new_pretraining_model("electra", tokenizer)
    ElectraConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'electra' model"):
        load_pretraining_model(str(tmp_path), tokenizer)


def test_the_social_head_of_a_new_model_reads_the_mean(tokenizer, tmp_path):
    model = new_pretraining_model("bert", tokenizer, TINY)
    assert model.config.social_pooling == "mean"
    asked = new_pretraining_model("bert", tokenizer, TINY, social_pooling="cls")
    assert asked.config.social_pooling == "cls"
    asked.save_pretrained(tmp_path)
    assert new_pretraining_model(str(tmp_path), tokenizer).config.social_pooling == "cls"
