"""A config that speaks of more weights than the files hold is refused before there is room made."""

import json

import pytest
import torch
from transformers import PreTrainedModel

from twhin_hf.conversion.convert import convert_checkpoint
from twhin_hf.errors import InputError
from twhin_hf.evaluation.fine_tuning import load_classifier
from twhin_hf.loading.auto import load_post_encoder, load_with_heads
from twhin_hf.loading.families import MODELS, PRETRAINING_MODELS
from twhin_hf.loading.pretrained import num_weights
from twhin_hf.modeling import apply_settings

_SIZES = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size"),
)


@pytest.fixture
def folder(tiny_config, tokenizer, tmp_path):
    """A model with heads."""
    folder = tmp_path / "model"
    PRETRAINING_MODELS["bert"](tiny_config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def claim(folder, **values):
    """Changes the config."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("model_type", MODELS)
def test_the_weights_of_each_family(model_type):
    config = apply_settings(MODELS[model_type].config_class())
    with torch.device("meta"):
        parameters = MODELS[model_type](config).parameters()
        assert num_weights(config) == sum(weights.numel() for weights in parameters)


@pytest.mark.parametrize("key", _SIZES)
@pytest.mark.parametrize("load", [load_post_encoder, load_with_heads])
def test_what_the_files_cannot_hold_is_refused_before_it_is_made(folder, monkeypatch, key, load):
    load(str(folder))
    claim(folder, **{key: 10**7})
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", lambda *_, **__: pytest.fail("made"))
    with pytest.raises(InputError, match=r"speaks of [\d,]+ (weights|layers), and its files"):
        load(str(folder))


@pytest.mark.parametrize(
    "values",
    [
        {"num_hidden_layers": -40_000, "vocab_size": 10**7},
        {"num_hidden_layers": 2.5},
        {"type_vocab_size": -(10**7), "vocab_size": 10**7},
    ],
)
def test_sizes_that_are_none(folder, monkeypatch, values):
    claim(folder, **values)
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", lambda *_, **__: pytest.fail("made"))
    with pytest.raises(InputError):
        load_post_encoder(str(folder))


def test_files_of_another_name_are_looked_at(folder):
    (folder / "model.safetensors").rename(folder / "own.safetensors")
    claim(folder, transformers_weights="own.safetensors")
    load_post_encoder(str(folder))
    claim(folder, vocab_size=10**7)
    with pytest.raises(InputError, match="speaks of"):
        load_post_encoder(str(folder))


def test_conversion_names_a_family_that_has_no_class(tmp_path):
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=8, d_model=4, d_kv=2, d_ff=4, num_layers=1, num_heads=2)
    T5EncoderModel(config).save_pretrained(tmp_path / "t5")
    with pytest.raises(InputError, match="this is a 't5' model"):
        convert_checkpoint(str(tmp_path / "t5"), tmp_path / "out")


def test_classifiers_and_conversion_look_too(folder, tmp_path, monkeypatch):
    claim(folder, num_hidden_layers=10**7)
    with pytest.raises(InputError, match="speaks of"):
        load_classifier(str(folder), ["a", "b"], is_sequence=True, seed=0)
    with pytest.raises(InputError, match="speaks of"):
        convert_checkpoint(str(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_in_several_files_count_together(folder):
    load_with_heads(str(folder)).save_pretrained(folder, max_shard_size="10KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    assert len(list(folder.glob("*.safetensors"))) > 1
    load_post_encoder(str(folder))
    claim(folder, vocab_size=10**7)
    with pytest.raises(InputError, match="speaks of"):
        load_post_encoder(str(folder))


def test_a_file_that_was_cut_is_found_before_any_is_read(folder, monkeypatch):
    load_with_heads(str(folder)).save_pretrained(folder, max_shard_size="10KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    last = sorted(folder.glob("*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-1])
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(InputError, match=f"{last.name} cannot be used"):
        load_post_encoder(str(folder))


def test_a_deep_encoder_of_little_width_is_within_the_bound(folder, tiny_config):
    tiny_config.update({"num_hidden_layers": 30, "hidden_size": 4, "intermediate_size": 4})
    tiny_config.update({"num_attention_heads": 1})
    MODELS["bert"](tiny_config).half().save_pretrained(folder)
    assert load_post_encoder(str(folder)).config.num_hidden_layers == 30
