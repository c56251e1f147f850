"""Texts as no one expects them go all the way: read, tokenized, packed, embedded, mined."""

from __future__ import annotations

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset

from twhin_hf.data.posts import read_posts
from twhin_hf.data.tokenization import tokenize_posts
from twhin_hf.modeling import TwhinBertModel, apply_settings
from twhin_hf.modeling.settings import POOLINGS
from twhin_hf.network.folder import Network
from twhin_hf.network.mining import MiningConfig, mine_pairs
from twhin_hf.network.near_duplicates import sketch_texts
from twhin_hf.training.packing import pack

PLANES = {
    f"plane{plane}": "a"
    + "".join(chr((plane << 16) + place) for place in (*range(0, 800, 7), 0xFFFF))
    for plane in range(17)
}
ODD = PLANES | {
    "zero": "a\0b",
    "controls": "".join(map(chr, range(1, 32))) + "x\x7f\x85\u2028\u2029y",
    "marks": "e" + "\u0301" * 500,
    "joined": "\U0001f469\u200d" * 200 + "\U0001f469",
    "turned": "\u202eabc\u202c \u2066def\u2069",
    "wide": "\ufdfa" * 300,  # NFKC makes eighteen letters of each
    "words": "ab " * 300,
    "nothing_left": "RT @somebody: https://t.co/abc @other",
    "marks_alone": "\u0301\u0302\u20dd",
    "separators": "\u2581\u2581 \u2581",
    "special": "<s> </s> <pad> <mask> <unk> [CLS]",
}
BLANK = {
    "empty": "",
    "blanks": " \t\r\n ",
    "invisible": "\u200b\u200e\ufeff\u00ad",
    "nulls": "\0\0",
}
MEGABYTE = {
    "long_word": "a" * 2**20,
    "long_emoji": "\U0001f30b" * 2**18,
    "long_lines": "a\n" * 2**19,
    "long_marks": "e" + "\u0301" * 2**19,
}


@pytest.fixture(scope="module")
def odd_posts():
    """Posts whose texts are no one's idea of a text."""
    texts = ODD | MEGABYTE
    return Dataset.from_dict({"post_id": list(texts), "text": list(texts.values())})


@pytest.fixture
def encoder(tiny_config, tokenizer):
    torch.manual_seed(0)
    return TwhinBertModel(apply_settings(tiny_config)).eval(), tokenizer


def written(folder, ending, texts):
    """A table of texts."""
    path = folder / f"posts.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table({"post_id": list(texts), "text": list(texts.values())}), path)
    elif ending == "jsonl":
        rows = [{"post_id": name, "text": text} for name, text in texts.items()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        rows = [[name, '"' + text.replace('"', '""') + '"'] for name, text in texts.items()]
        content = "post_id,text\n" + "".join(",".join(row) + "\n" for row in rows)
        path.write_text(content, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_posts_are_read_as_they_are_and_in_their_order(tmp_path, ending):
    texts = ODD | BLANK | MEGABYTE
    found = read_posts(written(tmp_path, ending, texts), directory=tmp_path).dataset
    expected = {name: text[:10_000] for name, text in texts.items() if name not in BLANK}
    assert found["post_id"] == list(expected)
    assert found["text"] == list(expected.values())


def test_half_characters_of_json_are_replaced(tmp_path):
    texts = {"half": "a\ud83d", "other": "\udf0bb", "whole": "\U0001f30b"}
    found = read_posts(written(tmp_path, "jsonl", texts), directory=tmp_path).dataset
    assert found["text"] == ["a\ufffd", "\ufffdb", "\U0001f30b"]


def test_every_post_is_tokenized_and_packed_once(odd_posts, tokenizer):
    tokenized = tokenize_posts(odd_posts, tokenizer, max_length=32)
    assert tokenized["post_id"] == odd_posts["post_id"]
    lengths = np.array(list(map(len, tokenized["input_ids"])))
    assert lengths.min() >= 2
    assert lengths.max() == 32
    ids = np.concatenate(tokenized["input_ids"])
    assert ids.max() < len(tokenizer)
    layout = pack(lengths, 64)
    taken = np.zeros((layout.num_rows, layout.width), int)
    for row, column, length in zip(layout.rows, layout.columns, lengths, strict=True):
        taken[row, column : column + length] += 1
    assert taken.max() == 1
    assert taken.sum() == lengths.sum()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_vectors_are_finite_and_in_order(encoder, pooling):
    model, tokenizer = encoder
    texts = [*ODD.values(), *BLANK.values(), *([MEGABYTE["long_word"]] * (pooling == "cls"))]
    options = {"max_length": 32, "pooling": pooling, "tokenizer": tokenizer}
    together = model.encode(texts, 8, convert_to_numpy=True, **options)
    assert np.isfinite(together).all()
    turned = model.encode(texts[::-1], 8, convert_to_numpy=True, **options)
    np.testing.assert_allclose(together, turned[::-1], atol=1e-5)


def test_half_characters_are_embedded_as_the_replacement_character(encoder):
    model, tokenizer = encoder
    texts = ["a\ud83d", "\udf0b", "\ud83c\udf0b", "a"]
    mended = ["a\ufffd", "\ufffd", "\U0001f30b", "a"]
    expected = model.encode(mended, tokenizer=tokenizer)
    np.testing.assert_array_equal(model.encode(texts, tokenizer=tokenizer), expected)


def test_odd_posts_are_mined(odd_posts, tmp_path):
    rng = np.random.default_rng(0)
    count = len(odd_posts)
    network = Network(
        user_ids=pa.array([], pa.string()),
        post_ids=pa.array(odd_posts["post_id"]),
        relations=["engage"],
        user_vectors=np.zeros((0, 8), np.float32),
        post_vectors=rng.normal(size=(count, 8)).astype(np.float32),
        relation_vectors=np.zeros((1, 8), np.float32),
        user_degrees=np.zeros(0, np.int64),
        post_degrees=np.ones(count, np.int64),
    )
    config = MiningConfig(k=5, min_similarity=-1.0, max_text_similarity=1.1, mutual=False)
    mine_pairs(network, odd_posts, tmp_path / "pairs.parquet", config, progress=False)
    pairs = pq.read_table(tmp_path / "pairs.parquet")
    assert set(pairs["anchor_id"].to_pylist()) <= set(odd_posts["post_id"])
    assert len(pairs) > count


def test_sketches_of_odd_texts_are_those_of_each_alone():
    texts = [*ODD.values(), *BLANK.values()]
    together = sketch_texts(pa.array(texts))
    alone = np.concatenate([sketch_texts(pa.array([text])) for text in texts])
    np.testing.assert_array_equal(together, alone)


def test_planes_are_all_there():
    assert len({ord(text[1]) >> 16 for text in PLANES.values()}) == 1 + sys.maxunicode // 2**16
