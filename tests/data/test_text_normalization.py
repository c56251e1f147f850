"""Tokenizers that normalize texts as encoders of tweets expect, and that know more tokens."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import (
    CONFIG_MAPPING,
    AutoTokenizer,
    BertTokenizer,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

from twhin_hf.commands.cli import main
from twhin_hf.data.text_normalization import add_normalization, add_tokens, prepare_tokenizer
from twhin_hf.data.tokenization import train_unigram_tokenizer
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings
from twhin_hf.training.initialization import load_pretraining_model

TWEETS = [
    "@ana look: https://t.co/x?y=1 now",
    "no handle @ here, mail a@b.c",
    "  two  spaces @bob,@eve http",
    "@a@b httpx #tag \n@line end",
    "@ünï naïve",
    "",
]


def xlm_t(text):
    """`preprocess` of the model card of cardiffnlp/twitter-xlm-roberta-base."""
    words = ["@user" if t.startswith("@") and len(t) > 1 else t for t in text.split(" ")]
    return " ".join("http" if t.startswith("http") else t for t in words)


@pytest.fixture
def trained(texts):
    return train_unigram_tokenizer(texts, 200, progress=False)


def normalized(tokenizer, text):
    return tokenizer.backend_tokenizer.normalizer.normalize_str(text)


def test_xlm_t_is_its_own_function(tokenizer):
    before = {text: normalized(tokenizer, xlm_t(text)) for text in TWEETS}
    add_normalization(tokenizer, "xlm-t")
    assert {text: normalized(tokenizer, text) for text in TWEETS} == before


def test_bertweet_by_hand(trained):
    add_normalization(trained, "bertweet")
    found = normalized(trained, "@ana: it’s on HTTPS://x.y/z … or www.x.y a@b.c")
    assert found == "@USER: it's on HTTPURL ... or HTTPURL a@b.c"


def test_twice_is_once(trained, tmp_path):
    add_normalization(trained, "xlm-t")
    trained.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    state = again.backend_tokenizer.to_str()
    add_normalization(again, "xlm-t")
    assert again.backend_tokenizer.to_str() == state


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "roberta"])
def test_the_tokenizers_of_families_keep_it_when_loaded(family, tmp_path):
    words = ["a", "read", "@", "user", "http", ":", "/", "."]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *words, "<mask>"]
    vocabulary = {piece: row for row, piece in enumerate(pieces)}
    own = {
        "bert": lambda: BertTokenizer(
            vocab={w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
        ),
        "xlm-roberta": lambda: XLMRobertaTokenizer(vocab=[(p, -1.0) for p in pieces]),
        "roberta": lambda: RobertaTokenizer(vocab=vocabulary, merges=[]),
    }[family]()
    own.model_max_length = 40
    before = own("a <mask> read [MASK]")
    found = prepare_tokenizer(own, ["@user", "🌋"], "xlm-t")
    CONFIG_MAPPING[family]().save_pretrained(tmp_path)
    found.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in TWEETS:
        assert again(text) == found(text)
    assert again("@ana read http://a")["input_ids"] == again("@bob read https://b")["input_ids"]
    # All else is as it was.
    assert again("a <mask> read [MASK]") == before
    assert again.special_tokens_map == own.special_tokens_map
    assert (again.model_max_length, again.padding_side) == (40, own.padding_side)
    # And once more changes nothing.
    twice = prepare_tokenizer(again, ["@user", "🌋"], "xlm-t")
    assert twice.backend_tokenizer.to_str() == found.backend_tokenizer.to_str()


def test_added_tokens_are_whole(trained):
    add_normalization(trained, "xlm-t")
    assert add_tokens(trained, ["@user", "🫠"]) == 2
    assert add_tokens(trained, ["@user"]) == 0
    tokens = trained.tokenize("@ana a 🫠 b")
    assert "@user" in tokens
    assert "🫠" in tokens


@pytest.mark.parametrize("token", ["", " @user"])
def test_tokens_that_are_none(trained, token):
    with pytest.raises(ValueError, match="add_tokens has"):
        add_tokens(trained, [token])


def test_unknown_normalization(trained):
    with pytest.raises(ValueError, match="normalize_texts is 'tweets'; choose one of xlm-t"):
        add_normalization(trained, "tweets")


def test_a_checkpoint_is_given_embeddings_for_new_tokens(tiny_config, trained, tmp_path):
    tiny_config.vocab_size = len(trained)
    model = TwhinBertForPreTraining(apply_settings(tiny_config, mlm_weight=1.0))
    model.save_pretrained(tmp_path / "start")
    old = model.base_model.get_input_embeddings().weight
    add_tokens(trained, ["@user", "http"])
    grown = load_pretraining_model(str(tmp_path / "start"), trained, add_tokens=True)
    rows = grown.base_model.get_input_embeddings().weight
    assert len(rows) == len(trained) == len(old) + 2
    torch.testing.assert_close(rows[: len(old)], old)
    assert grown.get_output_embeddings().weight is rows
    assert not torch.equal(rows[-1], rows[-2])


def test_pretrain_stores_what_encode_needs(tiny_config, tokenizer, posts, tmp_path):
    start, out = str(tmp_path / "start"), str(tmp_path / "out")
    TwhinBertForPreTraining(apply_settings(tiny_config, pooling="cls")).save_pretrained(start)
    tokenizer.save_pretrained(start)
    posts.to_parquet(tmp_path / "posts.parquet")
    options = ["--max_steps", "2", "--save_strategy", "no", "--report_to", "none"]
    options += ["--per_device_train_batch_size", "4", "--social_weight", "0", "--mlm_weight", "1"]
    options += ["--add_tokens", "@user", "http", "--normalize_texts", "xlm-t"]
    files = ["--posts", str(tmp_path / "posts.parquet"), "--output_dir", out]
    command = ["pretrain", "--model_name_or_path", start, *files, *options]
    assert main(command) == 0
    encoder = load_post_encoder(out)
    texts = ["@ana reads https://a.b", "@bob reads http://c.d"]
    vectors = encoder.encode(texts, convert_to_numpy=True)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert not np.allclose(vectors[0], encoder.encode("she reads it", convert_to_numpy=True))
    served = SentenceTransformer(out, device="cpu").encode(texts)
    np.testing.assert_allclose(served, vectors, atol=1e-5)


def test_lora_does_not_train_new_tokens(tmp_path, capsys, posts):
    posts.to_parquet(tmp_path / "posts.parquet")
    files = ["--posts", str(tmp_path / "posts.parquet"), "--output_dir", str(tmp_path / "out")]
    more = ["--model_name_or_path", "start", "--lora", "--add_tokens", "@user"]
    assert main(["pretrain", *files, *more]) == 2
    assert "train in full with add_tokens first" in capsys.readouterr().err
