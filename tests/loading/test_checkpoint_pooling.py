import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizer,
    XLMRobertaConfig,
)

from twhin_hf.conversion.convert import convert_checkpoint
from twhin_hf.conversion.encoder import convert_to_encoder
from twhin_hf.data.tokenization import train_unigram_tokenizer
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.loading.text_encoders import load_text_encoder
from twhin_hf.modeling import (
    TwhinBertForPreTraining,
    TwhinBertModel,
    TwhinXLMRobertaModel,
    apply_settings,
)
from twhin_hf.modeling.sentence_transformer_settings import adopt_checkpoint_pooling
from twhin_hf.training.initialization import load_pretraining_model

ST = "sentence_transformers.models."


@pytest.fixture
def stock(tiny_config, tokenizer, tmp_path):
    """A stock encoder with the given modules, as a folder."""
    torch.manual_seed(0)
    tiny_config.initializer_range = 0.2

    def make(modes=("mean",), *, normalize=False, others=(), model_class=BertModel, positions=None):
        tiny_config.max_position_embeddings = positions or tiny_config.max_position_embeddings
        model_class(tiny_config).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        kinds = ["Transformer", "Pooling", *others, *(["Normalize"] if normalize else [])]
        modules = [
            {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": ST + kind}
            for i, kind in enumerate(kinds)
        ]
        (tmp_path / "modules.json").write_text(json.dumps(modules))
        keys = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
        options = {f"pooling_mode_{key}": mode in modes for mode, key in keys.items()}
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(
            json.dumps({"word_embedding_dimension": 32} | options)
        )
        if normalize:
            (tmp_path / f"{len(kinds) - 1}_Normalize").mkdir()
        return str(tmp_path)

    return make


@pytest.mark.parametrize(("modes", "normalize"), [(["mean"], True), (["cls"], False)])
def test_encode_is_that_of_sentence_transformers(stock, texts, modes, normalize, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder, some = stock(modes, normalize=normalize), ["", *texts[:9]]
    expected = sentence_transformers.SentenceTransformer(folder, device="cpu").encode(some)
    model = load_post_encoder(folder)
    assert model.config.normalize_embeddings is normalize
    np.testing.assert_allclose(model.encode(some), expected, atol=1e-5)
    # Saved by us it is the same, for our class and for theirs.
    model.save_pretrained(tmp_path / "again")
    np.testing.assert_allclose(load_post_encoder(tmp_path / "again").encode(some), expected, 1e-5)
    again = sentence_transformers.SentenceTransformer(str(tmp_path / "again"), device="cpu")
    np.testing.assert_allclose(again.encode(some), expected, atol=1e-5)
    # What is asked for decides.
    norms = model.encode(some, normalize_embeddings=not normalize).norm(dim=1)
    assert torch.allclose(norms, torch.ones(10), atol=1e-4) is not normalize


def test_the_heads_read_what_the_checkpoint_was_trained_with(stock, tokenizer):
    folder = stock(["mean"], normalize=True)
    config = load_pretraining_model(folder, tokenizer, tpp_weight=1.0, tpp_pooling="cls").config
    assert config.pooling == config.social_pooling == "mean_all"
    assert config.tpp_pooling == "cls"
    assert config.normalize_embeddings


@pytest.mark.parametrize(
    ("modes", "others", "pooling", "message"),
    [
        (["max"], [], "combined", r"pools by max, .* by `pooling`, combined if not given"),
        (["cls", "mean"], [], "combined", r"pools by cls and mean"),
        (["cls"], ["Dense"], "cls", r"has the modules Dense, which our classes leave out"),
    ],
)
def test_what_our_classes_cannot_do_is_said(stock, caplog, modes, others, pooling, message):
    with caplog.at_level(logging.WARNING):
        config = load_post_encoder(stock(modes, others=others)).config
    assert config.pooling == pooling
    (record,) = caplog.records
    assert re.search(message, record.getMessage())


@pytest.mark.parametrize(
    ("file", "content", "habit"),
    [
        ("sentence_bert_config.json", {"do_lower_case": True}, r"all letters of a text small"),
        (
            "config_sentence_transformers.json",
            {"prompts": {"query": "query: "}, "default_prompt_name": "query"},
            r"puts 'query: ' before every text",
        ),
        ("config_sentence_transformers.json", {"truncate_dim": 8}, r"after 8 dimensions"),
    ],
)
def test_what_else_our_classes_do_not_is_said(stock, caplog, file, content, habit):
    folder = Path(stock())
    if "do_lower_case" in content:
        _set_in(folder / "tokenizer_config.json", do_lower_case=False)
    (folder / file).write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        load_post_encoder(str(folder))
    (record,) = caplog.records
    assert re.search(f"{habit} .*, which our classes do not", record.getMessage())


def test_what_changes_nothing_is_not_said(stock, caplog):
    folder = Path(stock())
    _set_in(folder / "tokenizer_config.json", do_lower_case=True)
    (folder / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    options = {"prompts": {"query": "query: "}, "default_prompt_name": None, "truncate_dim": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(options))
    with caplog.at_level(logging.WARNING):
        load_post_encoder(str(folder))
    assert not caplog.records


def _set_in(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_checkpoint_that_names_no_length_reads_what_it_can(stock, texts):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = stock(positions=300)
    config = Path(folder) / "tokenizer_config.json"
    values = json.loads(config.read_text())
    values.pop("model_max_length", None)
    config.write_text(json.dumps(values))
    some = [" ".join(texts)]
    expected = sentence_transformers.SentenceTransformer(folder, device="cpu").encode(some)
    model = load_post_encoder(folder)
    assert model.max_seq_length == 300
    np.testing.assert_allclose(model.encode(some), expected, atol=1e-5)


def test_a_converted_checkpoint_keeps_its_pooling(stock, texts, tmp_path):
    folder = stock(["mean"], normalize=True)
    convert_checkpoint(folder, tmp_path / "ours")
    expected = load_post_encoder(folder).encode(texts[:5])
    found = load_post_encoder(str(tmp_path / "ours"))
    assert (found.config.pooling, found.config.normalize_embeddings) == ("mean_all", True)
    np.testing.assert_allclose(found.encode(texts[:5]), expected, atol=1e-6)
    convert_to_encoder(str(tmp_path / "ours"), tmp_path / "plain")
    plain = load_post_encoder(str(tmp_path / "plain"))
    np.testing.assert_allclose(plain.encode(texts[:5]), expected, atol=1e-6)


def test_a_model_of_ours_says_itself_how_it_pools(stock):
    config = apply_settings(BertConfig(), pooling="cls")
    adopt_checkpoint_pooling(config, stock(["mean"], normalize=True))
    assert config.pooling == "cls"
    assert not config.normalize_embeddings


def test_mlm_without_a_head(stock, tokenizer, caplog):
    folder = stock()
    with caplog.at_level(logging.INFO):
        assert load_pretraining_model(folder, tokenizer).config.mlm_weight == 0
    assert f"mlm_weight is 0: {folder} has no head" in caplog.text
    assert load_pretraining_model(folder, tokenizer, mlm_weight=0.3).config.mlm_weight == 0.3
    with pytest.raises(ValueError, match="are all 0: there is nothing to learn"):
        load_pretraining_model(folder, tokenizer, social_weight=0.0)


def test_mlm_with_a_head_whose_decoder_is_tied(stock, tokenizer):
    # The decoder, tied to the embeddings, is in no file.
    folder = stock(model_class=BertForMaskedLM)
    assert load_pretraining_model(folder, tokenizer).config.mlm_weight == 0.05


def test_every_way_to_load_a_checkpoint_reads_it_the_same(stock, texts, tmp_path, caplog):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = stock(["mean"], normalize=True)
    (Path(folder) / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    some = ["", "\u200d", "a [SEP] b [CLS]", "</s>", " ".join(texts)]
    expected = sentence_transformers.SentenceTransformer(folder, device="cpu").encode(some)
    convert_checkpoint(folder, tmp_path / "converted")
    caplog.set_level(logging.INFO)
    for found in (
        TwhinBertModel.from_pretrained(folder).encode(some),
        TwhinBertForPreTraining.from_pretrained(folder).base_model.encode(some),
        load_post_encoder(folder).encode(some),
        load_text_encoder(folder).encode(some),
        load_text_encoder(folder, pooling="mean_all").encode(some),
        load_post_encoder(str(tmp_path / "converted")).encode(some),
        sentence_transformers.SentenceTransformer(str(tmp_path / "converted"), device="cpu").encode(
            some
        ),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    told = "mean_all pooling, 32 dimensions, scaled to length 1, at most 9 tokens"
    assert told in caplog.text
    assert "mean pooling, 32 dimensions, scaled to length 1, at most 9 tokens" in caplog.text
    # What is asked for decides.
    model = TwhinBertModel.from_pretrained(folder, pooling="cls", max_seq_length=5)
    assert (model.config.pooling, model.max_seq_length) == ("cls", 5)


@pytest.mark.parametrize("pooling", ["cls", "mean", "mean_all"])
@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_a_saved_model_is_the_same_sentence_transformer_for_every_text(
    kind, pooling, texts, tmp_path
):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = str(tmp_path / "model")
    tokenizer = train_unigram_tokenizer(texts, 200, progress=False)
    if kind == "bert":
        words = sorted({word for text in texts for word in text.lower().split()})[:200]
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", *words]
        tokenizer = BertTokenizer(vocab={w: i for i, w in enumerate(dict.fromkeys(vocabulary))})
    options = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 32}
    sizes = options | {"intermediate_size": 32, "vocab_size": len(tokenizer)}
    tokens = {"pad_token_id": tokenizer.pad_token_id, "initializer_range": 0.2}
    config, model_class = {
        "bert": (BertConfig, TwhinBertModel),
        "xlm-roberta": (XLMRobertaConfig, TwhinXLMRobertaModel),
    }[kind]
    torch.manual_seed(0)
    tokenizer.save_pretrained(folder)
    model = model_class(config(**sizes, **tokens), pooling=pooling)
    model.save_pretrained(folder)
    some = ["", " ", "\u200d", "a [SEP] b", "[CLS]", "[SEP] [SEP]", "a </s> b", "<s>", texts[0]]
    theirs = sentence_transformers.SentenceTransformer(folder, device="cpu").encode(some)
    np.testing.assert_allclose(model_class.from_pretrained(folder).encode(some), theirs, atol=1e-5)
