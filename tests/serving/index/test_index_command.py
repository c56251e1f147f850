"""`twhin-hf index`, and `search` with what it wrote."""

import json

import numpy as np
import pytest
import torch

from twhin_hf.commands.cli import main
from twhin_hf.data_fingerprint import data_fingerprint
from twhin_hf.modeling import TwhinBertModel, apply_settings
from twhin_hf.run_folder import read_run
from twhin_hf.serving.index.index import load_index
from twhin_hf.serving.search import search
from twhin_hf.serving.vectors import embed_posts
from twhin_hf.serving.vectors_config import PostVectorsConfig


def ended(*command):
    return main([*map(str, command)])


@pytest.fixture
def encoder(tiny_config, tokenizer, tmp_path):
    torch.manual_seed(0)
    tiny_config.initializer_range = 0.2
    model = TwhinBertModel(apply_settings(tiny_config))
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def vectors(encoder, posts, tmp_path):
    output = tmp_path / "vectors.parquet"
    posts.select(range(150)).to_parquet(tmp_path / "posts.parquet")
    embed_posts(
        tmp_path / "posts.parquet", output, PostVectorsConfig(encoder), progress=False, add=True
    )
    return output


def test_an_index_grows_and_shrinks_with_the_posts(vectors, encoder, posts, tmp_path, capsys):
    output, first = tmp_path / "index", data_fingerprint(vectors)
    build = ["index", "--vectors", vectors, "--output", output]
    assert ended(*build, "--add", "--shard_size", 100) == 0
    assert "150 vectors of 64 dimensions" in capsys.readouterr().out
    told = json.loads((output / "index.json").read_text())
    assert [shard["count"] for shard in told["shards"]] == [100, 50]
    assert told["made_with"]["model"] == encoder
    assert ended(*build, "--shard_size", 100) == 0

    posts.to_parquet(tmp_path / "posts.parquet")
    embed_posts(
        tmp_path / "posts.parquet", vectors, PostVectorsConfig(encoder), progress=False, add=True
    )
    assert ended(*build, "--add") == 0
    assert "90 vectors added, 240 in" in capsys.readouterr().out
    assert read_run(output)["data"]["vectors"] == [first, data_fingerprint(vectors)]
    queries = [posts["text"][7], posts["text"][200]]
    exact = search(vectors, queries, encoder, k=5, device="cpu")
    found = search(output, queries, encoder, k=5, device="cpu")
    for one, other in zip(found, exact, strict=True):
        assert [hit.post_id for hit in one] == [hit.post_id for hit in other]
        np.testing.assert_allclose([h.score for h in one], [h.score for h in other], atol=1e-5)

    unwanted = tmp_path / "unwanted.txt"
    unwanted.write_text(f"{exact[0][0].post_id}\nunknown\n")
    assert ended("index", "--output", output, "--delete", unwanted) == 0
    assert "1 vectors deleted, 239 left" in capsys.readouterr().out
    assert ended(*build, "--add") == 0
    assert "0 vectors added, 239 in" in capsys.readouterr().out
    command = ["search", "--vectors", output, "--model", encoder, "--query", queries[0], "-k", 1]
    assert ended(*command) == 0
    assert f" {exact[0][1].post_id} " in capsys.readouterr().out


def test_what_the_command_refuses(vectors, encoder, tmp_path, capsys):
    output = tmp_path / "index"
    build = ["index", "--vectors", vectors, "--output", output]
    assert ended("index", "--output", output) == 2
    assert "Give --vectors" in capsys.readouterr().err
    assert ended("index", "--output", output, "--delete", vectors) == 2
    assert ended(*build, "--metric", "inner_product") == 0
    for option in ([], ["--add", "--metric", "cosine"]):
        assert ended(*build, *option) == 2
        assert "metric was 'inner_product' and is 'cosine'" in capsys.readouterr().err
    assert load_index(output).config.metric == "inner_product"
    model = TwhinBertModel.from_pretrained(encoder)
    with torch.no_grad():
        model.encoder.layer[-1].output.LayerNorm.weight.mul_(2)
    model.save_pretrained(tmp_path / "other")
    command = ["search", "--vectors", output, "--model", tmp_path / "other", "--query", "a"]
    assert ended(*command) == 2
    err = capsys.readouterr().err
    assert f"were made with {encoder} (" in err
    assert f"the model given is {tmp_path / 'other'} (" in err
    assert ended(*build, "--overwrite") == 0
    assert load_index(output).config.metric == "cosine"
