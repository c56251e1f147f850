"""A head's output as the sentence embedding of a saved folder."""

import json
import logging
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, BertConfig

from twhin_hf.hub.folder import complete_folder, model_files
from twhin_hf.loading.auto import load_post_encoder, load_with_heads
from twhin_hf.loading.families import MODELS, PRETRAINING_MODELS
from twhin_hf.modeling import TwhinBertForPreTraining, TwhinBertModel, apply_settings
from twhin_hf.modeling.sentence_transformer_files import sentence_transformer_files

SOCIAL = {"sentence_embedding": "social", "social_pooling": "mean"}


def saved(model_class, config, tokenizer, folder, **settings):
    torch.manual_seed(0)
    tokenizer.save_pretrained(folder)
    model = model_class(apply_settings(config, **settings)).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    ("head", "pooling"),
    [("social", "cls"), ("tpp", "mean_all"), ("engagement", "mean"), ("distillation", "mean_all")],
)
def test_a_saved_head_is_a_sentence_transformer(
    family, family_config, tokenizer, texts, tmp_path, head, pooling
):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    settings = {f"{head}_weight": 1.0, "sentence_embedding": head, f"{head}_pooling": pooling}
    settings |= {"social_projection_sizes": [24, 16, 12], "tpp_projection_size": 8}
    settings |= {"network_dimension": 8, "distillation_hidden_sizes": [10]}
    saved(PRETRAINING_MODELS[family], family_config, tokenizer, tmp_path, **settings)
    model = load_with_heads(str(tmp_path))
    expected = model.encode(texts[:9], head, normalize_embeddings=True)
    assert expected.shape == (9, 12 if head == "social" else 8)
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(theirs.encode(texts[:9]), expected, atol=1e-5)
    assert theirs.get_embedding_dimension() == expected.shape[1]
    # The encoder alone gives the pooled tokens.
    assert type(load_post_encoder(str(tmp_path))) is MODELS[family]
    assert load_post_encoder(str(tmp_path)).encode(texts[0]).shape == (64,)


def test_files_by_hand():
    config = apply_settings(
        BertConfig(hidden_size=2), sentence_embedding="social", social_pooling="cls"
    )
    layers = [
        (torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([7.0, 8.0, 9.0])),
        (torch.ones(1, 3), torch.zeros(1)),
    ]
    files = sentence_transformer_files(config, 128, (), layers)
    kinds = [m["type"].rpartition(".")[2] for m in json.loads(files["modules.json"])]
    assert kinds == ["Transformer", "Pooling", "Dense", "Dense", "Normalize"]
    first, second = (json.loads(files[f"{i}_Dense/config.json"]) for i in (2, 3))
    assert (first["in_features"], first["out_features"]) == (2, 3)
    assert first["activation_function"] == "torch.nn.modules.activation.ReLU"
    assert (second["in_features"], second["out_features"]) == (3, 1)
    assert second["activation_function"] == "torch.nn.modules.linear.Identity"
    # A mean of the content takes the special tokens; without them no file says something else.
    config.social_pooling = "mean"
    assert sentence_transformer_files(config, 128, (), layers) == {}
    assert "1_MultiVectorMask/config.json" in sentence_transformer_files(
        config, 128, ["[CLS]", "[SEP]"], layers
    )


def test_a_model_without_the_head_is_saved_as_pooled(tiny_config, tokenizer, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        model = saved(TwhinBertModel, tiny_config, tokenizer, tmp_path, **SOCIAL)
    assert "TwhinBertModel has no social head: the sentence embedding of" in caplog.text
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["sentence_embedding"] == "pooled"
    assert not list(tmp_path.glob("*_Dense"))
    assert model.config.sentence_embedding == "social"


def test_special_tokens_that_are_not_known(tiny_config, tokenizer, tmp_path, caplog):
    """Trainer writes the tokenizer after the model; one that names none gets a warning."""
    model = TwhinBertForPreTraining(apply_settings(tiny_config, **SOCIAL))
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "modules.json").exists()
    assert not caplog.records
    (tmp_path / "tokenizer_config.json").write_text("{}")
    model.save_pretrained(tmp_path)
    assert "is no SentenceTransformer: its tokenizer names no cls_token" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sentence_embedding": "max"}, "sentence_embedding is 'max'; choose one of"),
        ({"sentence_embedding": "tpp"}, "tpp_weight is 0.0: there is no such head"),
        (SOCIAL | {"social_pooling": "combined"}, "social_pooling is 'combined', which no module"),
    ],
)
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(ValueError, match=message):
        apply_settings(BertConfig(), **settings)


def test_what_is_published(tiny_config, tokenizer, tmp_path):
    saved(TwhinBertForPreTraining, tiny_config, tokenizer, tmp_path, **SOCIAL)
    chosen, _ = model_files(tmp_path)
    weights = {"3_Dense/model.safetensors", "4_Dense/model.safetensors"}
    assert weights | {"3_Dense/config.json", "5_Normalize/config.json"} <= chosen.keys()
    before = {name: (tmp_path / name).read_bytes() for name in weights}
    # Without its modules they are made again, of the weights that lie there.
    for path in tmp_path.glob("*_*/"):
        shutil.rmtree(path)
    (tmp_path / "modules.json").unlink()
    assert "modules.json" in complete_folder(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in weights} == before
    weight = load_file(tmp_path / "model.safetensors")["social_head.layers.1.weight"]
    assert load_file(tmp_path / "4_Dense/model.safetensors")["linear.weight"].equal(weight)
    # A stock class keeps the config and loses the head.
    AutoModel.from_pretrained(tmp_path).save_pretrained(tmp_path / "stock")
    tokenizer.save_pretrained(tmp_path / "stock")
    complete_folder(tmp_path / "stock")
    config = json.loads((tmp_path / "stock" / "config.json").read_text())
    assert config["sentence_embedding"] == "pooled"
    assert not list((tmp_path / "stock").glob("*_Dense"))


def test_a_head_reads_vectors_of_any_length(tiny_config, tokenizer, texts, tmp_path):
    """Normalized embeddings are for whoever uses them, and not for the heads."""
    settings = {"tpp_weight": 1.0, "tpp_pooling": "cls", "normalize_embeddings": True}
    saved(TwhinBertForPreTraining, tiny_config, tokenizer, tmp_path, **settings)
    model = load_with_heads(str(tmp_path))
    pooled = model.bert.encode(texts[:3], pooling="cls", normalize_embeddings=False)
    with torch.inference_mode():
        torch.testing.assert_close(model.encode(texts[:3], "tpp"), model.tpp_head(pooled))


@pytest.mark.parametrize(
    "settings",
    [{"pooling": "cls"}, {"pooling": "mean"}, {"pooling": "mean_all"}, SOCIAL],
    ids=["cls", "mean", "mean_all", "social"],
)
def test_what_is_saved_without_trust_loads_with_trust(
    family, family_config, tokenizer, texts, tmp_path, settings
):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    ours = tmp_path / "ours"
    saved(PRETRAINING_MODELS[family], family_config, tokenizer, ours, **settings)
    first = sentence_transformers.SentenceTransformer(str(ours), device="cpu")
    expected = first.encode(texts[:5])
    for trust in (False, True):
        folder = tmp_path / f"again-{trust}"
        loaded = sentence_transformers.SentenceTransformer(
            str(ours), device="cpu", trust_remote_code=trust
        )
        loaded.save_pretrained(str(folder))
        again = sentence_transformers.SentenceTransformer(
            str(folder), device="cpu", trust_remote_code=True
        )
        np.testing.assert_allclose(again.encode(texts[:5]), expected, atol=1e-6)
        for auto_class in (AutoModel, AutoModelForMaskedLM):
            auto_class.from_pretrained(folder, trust_remote_code=True)
    # With its code put back, it is ours again.
    assert f"modeling_twhin_{family.replace('-', '_')}.py" in complete_folder(folder)
    ours_again = AutoModel.from_pretrained(folder, trust_remote_code=True)
    found = ours_again.encode(texts[:5], tokenizer=tokenizer)
    by_ours = load_post_encoder(str(ours)).encode(texts[:5])
    torch.testing.assert_close(found, by_ours, atol=1e-5, rtol=1e-4)


def test_what_a_stock_class_saves_loads_by_ours_and_is_completed(
    family, family_config, tokenizer, texts, tmp_path
):
    """With trust, transformers looks for the code that the config names; no folder can help it."""
    saved(PRETRAINING_MODELS[family], family_config, tokenizer, tmp_path / "ours")
    folder = tmp_path / "again"
    AutoModel.from_pretrained(tmp_path / "ours").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    expected = load_post_encoder(str(tmp_path / "ours")).encode(texts[:5])
    assert load_post_encoder(str(folder)).encode(texts[:5]).equal(expected)
    with pytest.raises(OSError, match=r"modeling_twhin_\w+\.py"):
        AutoModel.from_pretrained(folder, trust_remote_code=True)
    complete_folder(folder)
    ours = AutoModel.from_pretrained(folder, trust_remote_code=True)
    assert ours.encode(texts[:5]).equal(expected)
