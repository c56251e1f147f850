"""What is written is read back as it was, whatever it is."""

from __future__ import annotations

import csv
import json
import math
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_bombs import PACKINGS

from twhin_hf.data.posts import read_posts
from twhin_hf.data.translation.pairs import read_translation_pairs, write_published_json_lines
from twhin_hf.evaluation.hashtag import read_curves, write_curves
from twhin_hf.files import read_json, read_yaml, write_json
from twhin_hf.hub.sections import merge_cards, read_card
from twhin_hf.lines import iterate_lines, read_blocks
from twhin_hf.network.checkpoint import Position, load_checkpoint, save_checkpoint
from twhin_hf.network.folder import Network, load_network, save_network
from twhin_hf.network.pairs import PAIR_SCHEMA, read_pairs
from twhin_hf.results import Result, Results, read_results, write_results

CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXT = st.text(CHARACTERS, max_size=12)
NAME = st.text(CHARACTERS, min_size=1, max_size=6)
NUMBER = st.floats(-1e6, 1e6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
VISIBLE = TEXT.map(lambda text: f"a{text}")
POSTS = st.dictionaries(VISIBLE, VISIBLE, min_size=1, max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("written")


@given(value=JSON)
def test_json_and_yaml(folder, value):
    write_json(folder / "a.json", value)
    assert read_json(folder / "a.json") == value
    text = yaml.safe_dump(value, allow_unicode=True)
    (folder / "a.yaml").write_text(text, encoding="utf-8", newline="")
    assert read_yaml(folder / "a.yaml") == yaml.safe_load(text)


RESULT = st.builds(
    Result,
    language=TEXT,
    metric=TEXT,
    value=NUMBER,
    seeds=st.lists(st.integers(0, 9), max_size=2),
    values=st.lists(NUMBER, max_size=2),
    details=st.dictionaries(NAME.map("x{}".format), JSON, max_size=2),
    interval=st.just([]) | st.lists(NUMBER, min_size=2, max_size=2),
)


@given(
    results=st.builds(
        Results,
        task=TEXT,
        model=TEXT,
        results=st.lists(RESULT, max_size=2),
        revision=st.none() | TEXT,
        options=st.dictionaries(TEXT, JSON, max_size=2),
        versions=st.dictionaries(TEXT, TEXT, min_size=1, max_size=2),
        baselines=st.dictionaries(TEXT, st.lists(RESULT, max_size=1), max_size=2),
    )
)
def test_results(folder, results):
    write_results(results, folder / "results.json")
    assert read_results(folder / "results.json") == results


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "jsonl.gz", "csv"])
@settings(max_examples=8)
@given(posts=POSTS)
def test_posts(folder, ending, posts):
    path = folder / f"posts.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table({"post_id": list(posts), "text": list(posts.values())}), path)
    elif ending == "csv":
        # The module csv writes no line break of a cell as another.
        assume(not any("\r" in text for text in (*posts, *posts.values())))
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("post_id", "text"), *posts.items()])
    else:
        rows = [json.dumps({"post_id": name, "text": text}) for name, text in posts.items()]
        content = ("\n".join(rows) + "\n").encode()
        path.write_bytes(PACKINGS["gz"](content) if ending.endswith("gz") else content)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        found = read_posts(path, directory=scratch).dataset
        assert dict(zip(found["post_id"], found["text"], strict=True)) == posts


LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=9)


@pytest.mark.parametrize("ending", ["txt", *PACKINGS])
@given(texts=st.lists(LINE, min_size=1, max_size=5))
def test_lines(folder, ending, texts):
    path = folder / f"a.{ending}"
    content = "".join(f"{text}\n" for text in texts).encode()
    assume(not content.startswith((b"\x1f\x8b", b"BZh", "\ufeff".encode())))
    path.write_bytes(PACKINGS[ending](content) if ending in PACKINGS else content)
    assert list(iterate_lines(path)) == texts
    found = [line for block in read_blocks(path, 4) for line in block.lines.to_pylist()]
    assert found == [f"{text}\n" for text in texts]


@given(
    rows=st.lists(st.tuples(TEXT, TEXT, st.floats(-1, 1, width=32)), min_size=1, max_size=4),
)
def test_mined_pairs(folder, rows):
    table = pa.table(dict(zip(PAIR_SCHEMA.names, zip(*rows, strict=True), strict=True)))
    pq.write_table(table.cast(PAIR_SCHEMA), folder / "pairs.parquet")
    ids = table.select(["anchor_id", "positive_id"])
    assert read_pairs(folder / "pairs.parquet").equals(ids.cast(PAIR_SCHEMA.remove(2)))


@given(
    users=st.lists(TEXT, max_size=3, unique=True),
    posts=st.lists(TEXT, max_size=3, unique=True),
    relations=st.lists(TEXT, max_size=2, unique=True),
    dimension=st.integers(1, 4),
    metadata=st.dictionaries(NAME.map("x{}".format), JSON, max_size=2),
)
def test_networks(folder, users, posts, relations, dimension, metadata):
    rng = np.random.default_rng(0)
    sides = [rng.normal(size=(len(side), dimension)) for side in (users, posts, relations)]
    network = Network(
        pa.array(users, pa.string()),
        pa.array(posts, pa.string()),
        relations,
        *(side.astype(np.float32) for side in sides),
        rng.integers(0, 9, len(users)),
        rng.integers(0, 9, len(posts)),
        metadata,
    )
    with tempfile.TemporaryDirectory(dir=folder) as place:
        save_network(network, place)
        again = load_network(place)
        assert again.user_ids.equals(network.user_ids)
        assert again.post_ids.equals(network.post_ids)
        assert again.relations == relations
        for name in ("user_vectors", "post_vectors", "relation_vectors", "post_degrees"):
            np.testing.assert_array_equal(getattr(again, name), getattr(network, name))
        assert metadata.items() <= again.metadata.items()


@given(rows=st.integers(0, 4), epoch=st.integers(0, 9), identity=st.dictionaries(TEXT, JSON))
def test_checkpoints_of_embeddings(folder, rows, epoch, identity):
    identity = json.loads(json.dumps(identity))
    tensors = {"users": torch.randn(rows, 3), "posts": torch.randn(2, 3)}
    save_checkpoint(folder / "a.safetensors", tensors, Position(epoch, 1, [0.5]), identity)
    found = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    assert load_checkpoint(folder / "a.safetensors", found, identity) == (epoch, 1, [0.5])
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


@given(model=TEXT, values=st.lists(NUMBER, min_size=1, max_size=3))
def test_curves(folder, model, values):
    assume("\r" not in model)
    curves = {(model, "en"): [SimpleNamespace(examples_per_class=5, values=values)]}
    write_curves(curves, list(range(len(values))), folder / "curves.csv")
    assert read_curves(folder / "curves.csv") == {(model, "en"): {5: values}}


@settings(max_examples=8)
@given(pairs=st.lists(st.tuples(VISIBLE, VISIBLE), min_size=1, max_size=4, unique=True))
def test_published_translation_pairs(folder, pairs):
    table = pa.table({"text_a": [a for a, _ in pairs], "text_b": [b for _, b in pairs]})
    write_published_json_lines(table, folder / "pairs.jsonl")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        found = read_translation_pairs(folder / "pairs.jsonl", directory=scratch)
        # Of an item all combinations are read: its texts of side b with each other too.
        assert set(pairs) <= set(zip(found["text_a"], found["text_b"], strict=True))


@given(license_=st.from_regex(r"[a-z0-9.-]{1,8}", fullmatch=True), body=TEXT)
def test_cards(license_, body):
    card = f"---\nlicense: '{license_}'\n---\n# {body}\n"
    once = merge_cards(card, "---\ntags:\n- a\n---\n")
    assert read_card(once).data.to_dict() == {"license": license_, "tags": ["a"]}
    assert merge_cards(once, "---\ntags:\n- a\n---\n") == once


def test_numbers_that_json_has_no_word_for(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(Path(tmp_path) / "a.json", math.nan)
