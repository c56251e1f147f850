import dataclasses
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

import twhin_hf.hub.datasets
from twhin_hf.commands.cli import main
from twhin_hf.data.splits import split_posts
from twhin_hf.hub.client import Push
from twhin_hf.network.folder import Network, save_network
from twhin_hf.privacy.keys import hash_ids

WORDS = [f"{a}{b}{c}" for a in ("ka", "lo", "mi") for b in ("ra", "so", "tu") for c in "bdfgklmn"]


@pytest.fixture
def uploads(monkeypatch):
    """Uploads that were asked for; none goes anywhere."""
    asked = []

    def push(folder, repo_id, *, private):
        assert private
        asked.append((str(folder), repo_id))
        return Push(repo_id, {}, url=f"https://hub/{repo_id}")

    monkeypatch.setattr(twhin_hf.hub.datasets, "push_dataset", push)
    return asked


def write_posts(path, count=200):
    rng = np.random.default_rng(0)
    texts = [f"{' '.join(rng.choice(WORDS, 9))} #{'ab'[i % 2]}" for i in range(count)]
    table = {"post_id": [f"p{i}" for i in range(count)], "text": texts, "lang": ["en"] * count}
    pq.write_table(pa.table(table), path)
    return table["post_id"]


def test_hashtag(tmp_path, capsys, uploads):
    folder = tmp_path / "set" / "in"
    folder.mkdir(parents=True)
    for start, split in ((0, "train"), (10, "dev"), (20, "test")):
        rows = "".join(f"{start + i}\t{'ab'[i % 2]}\n" for i in range(10))
        (folder / f"{split}.tsv").write_text(f"ID\tlabel\n{rows}")
    posts = [{"id": str(i), "text": f"text {i} #A #B"} for i in range(30)]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, posts)))
    command = ["data", "hashtag", "--data-dir", str(folder.parent)]
    command += ["--hydration", str(tmp_path / "texts.jsonl"), "--output", str(tmp_path / "out")]
    assert main(command) == 0
    assert uploads == []
    loaded = load_dataset(str(tmp_path / "out"), "id", cache_dir=str(tmp_path / "cache"))
    assert loaded["test"]["text"][:2] == ["text 20 #B", "text 21 #A"]
    assert main(command) == 0
    assert main([*command, "--languages", "in"]) == 2
    assert "languages was None and is ['in']" in capsys.readouterr().err
    command[-1] = str(tmp_path / "again")
    assert main([*command, "--push-to-hub", "me/tags", "--languages", "in"]) == 0
    assert uploads == [(command[-1], "me/tags")]
    assert "Uploaded: https://hub/me/tags" in capsys.readouterr().out


def test_hashtag_with_other_names_of_columns(tmp_path):
    (tmp_path / "en").mkdir()
    for start, split in ((0, "train"), (10, "dev"), (20, "test")):
        rows = "".join(f"{start + i}\t{'ab'[i % 2]}\ttext {i}\n" for i in range(10))
        (tmp_path / "en" / f"{split}.tsv").write_text(f"number\ttag\ttext\n{rows}")
    command = ["data", "hashtag", "--data_dir", str(tmp_path), "--output", str(tmp_path / "out")]
    (tmp_path / "config.yaml").write_text("columns: {id: number, label: tag}\nprogress: false\n")
    assert main([*command, "--config", str(tmp_path / "config.yaml")]) == 0
    loaded = load_dataset(str(tmp_path / "out"), "en", cache_dir=str(tmp_path / "cache"))
    assert loaded["test"]["id"][:2] == ["20", "21"]


def test_hashtag_build_and_contamination(tmp_path, capsys):
    write_posts(tmp_path / "posts.parquet")
    command = ["data", "hashtag-build", "--posts", str(tmp_path / "posts.parquet")]
    assert main([*command, "--output", str(tmp_path / "out"), "--max-posts", "150"]) == 0
    assert "en: 200 posts with a hashtag" in capsys.readouterr().out
    loaded = load_dataset(str(tmp_path / "out"), "en", cache_dir=str(tmp_path / "cache"))
    assert sum(len(own) for own in loaded.values()) == 150
    assert "#" not in "".join(loaded["train"]["text"][:])
    command = ["data", "contamination", "--pretraining", str(tmp_path / "posts.parquet")]
    command += [
        "--benchmark",
        str(tmp_path / "out" / "en"),
        "--output",
        str(tmp_path / "c.parquet"),
    ]
    assert main(command) == 0
    assert "150 of 150 posts (100.00%)" in capsys.readouterr().out
    assert pq.read_table(tmp_path / "c.parquet").column_names == ["text", "id", "overlap"]
    (tmp_path / "seen.csv").write_text("body\nanother text\n")
    command[3:] = [str(tmp_path / "seen.csv"), "--benchmark", str(tmp_path / "out" / "en")]
    assert main(command) == 2
    assert "`--columns text=...`" in capsys.readouterr().err
    assert main([*command, "--columns", "text=body"]) == 0
    assert "0 of 150 posts" in capsys.readouterr().out
    (tmp_path / "benchmark.csv").write_text("words\none text\n")
    command[-1] = str(tmp_path / "benchmark.csv")
    assert main([*command, "--columns", "text=body"]) == 2
    assert "`--benchmark_columns text=...`" in capsys.readouterr().err
    assert main([*command, "--columns", "text=body", "--benchmark_columns", "text=words"]) == 0
    assert "0 of 1 posts" in capsys.readouterr().out


def test_builders_by_time(tmp_path, capsys):
    """Of 200 posts, 160 are of train, 20 of validation and 20 of test."""
    ids = write_posts(tmp_path / "posts.parquet")
    rng = np.random.default_rng(0)
    posts = rng.permutation(np.append(np.arange(200), rng.integers(200, size=1800)))
    log = {
        "user_id": rng.integers(30, size=2000),
        "post_id": [ids[post] for post in posts],
        "at": posts,
    }
    pq.write_table(pa.table(log), tmp_path / "log.parquet")
    zeros = np.zeros((160, 3), np.float32)
    network = Network(
        user_ids=pa.array([str(i) for i in range(30)]),
        post_ids=pa.array(ids[:160]),
        relations=["engage"],
        user_vectors=rng.random((30, 3), np.float32),
        post_vectors=zeros,
        relation_vectors=zeros[:1],
        user_degrees=np.ones(30, np.int64),
        post_degrees=np.ones(160, np.int64),
        metadata={"before": "1970-01-01T00:02:40Z"},
    )
    save_network(network, tmp_path / "network")
    given = ["--split", "time", "--posts", str(tmp_path / "posts.parquet")]
    given += ["--engagements", str(tmp_path / "log.parquet")]
    hashtags = ["--log_columns", "timestamp=at", "--output", str(tmp_path / "hashtags")]
    assert main(["data", "hashtag-build", *given, *hashtags, "--min_examples", "3"]) == 0
    text = (tmp_path / "hashtags" / "README.md").read_text()
    told = "train before 1970-01-01T00:02:40Z, validation before 1970-01-01T00:03:00Z"
    assert told in " ".join(text.split())
    build = ["data", "engagement-build", *given, "--network", str(tmp_path / "network")]
    build += ["--columns", "timestamp=at", "--output", str(tmp_path / "engagement")]
    assert main(build) == 0
    assert "before 1970-01-01T00:02:40Z, those of validation" in " ".join(
        (tmp_path / "engagement" / "README.md").read_text().split()
    )
    days = ["--validation_from", "150", "--test_from", "170", "--overwrite"]
    save_network(
        dataclasses.replace(
            network,
            post_ids=network.post_ids[:150],
            post_vectors=zeros[:150],
            post_degrees=network.post_degrees[:150],
        ),
        tmp_path / "network",
    )
    assert main([*build, *days]) == 2
    assert "The network has seen engagements until 1970-01-01T00:02:40Z" in capsys.readouterr().err


BLUESKY = "at://did:plc:author{}/app.bsky.feed.post/{}"


def test_a_benchmark_made_from_bluesky_names_no_author(tmp_path, capsys):
    rng = np.random.default_rng(0)
    ids = [BLUESKY.format(i % 7, i) for i in range(200)]
    texts = [
        f"{' '.join(rng.choice(WORDS, 9))} #{'ab'[i % 2]} @ana{i}.bsky.social did:plc:other{i}"
        for i in range(200)
    ]
    table = {"post_id": ids, "text": texts, "lang": ["en"] * 200}
    pq.write_table(pa.table(table), tmp_path / "posts.parquet")
    command = ["data", "hashtag-build", "--posts", str(tmp_path / "posts.parquet")]
    assert main([*command, "--output", str(tmp_path / "out")]) == 0
    key = tmp_path / "out.key"
    assert f"Made the secret key {key}" in capsys.readouterr().out
    assert not list((tmp_path / "out").rglob("*.key"))
    tables = [pq.read_table(path) for path in sorted((tmp_path / "out").rglob("*.parquet"))]
    values = "\n".join(str(row) for part in tables for row in part.to_pylist())
    assert values.count("@user @user") > 100
    assert not re.search("did:|at://|ana|author|other", values)
    # Who has the key finds each post again.
    found = {digits for part in tables for digits in part["id"].to_pylist()}
    assert found == set(hash_ids(ids, key.read_bytes()))
    push = ["push", "--repo", "me/tags", "--dry_run", "--dataset"]
    assert main([*push, str(tmp_path / "out")]) == 0
    # With ids or texts as they are, the set is for use at home.
    for number, option in enumerate(("--no_hash_ids", "--no_mask_people")):
        folder = str(tmp_path / f"home{number}")
        assert main([*command, "--output", folder, option]) == 0
        assert main([*push, folder]) == 2
        assert "names or ids of people" in capsys.readouterr().err


def test_the_key_stays_out_of_the_data_set(tmp_path, capsys):
    write_posts(tmp_path / "posts.parquet")
    command = ["data", "hashtag-build", "--posts", str(tmp_path / "posts.parquet")]
    command += ["--output", str(tmp_path / "out"), "--key_file", str(tmp_path / "out" / "key")]
    assert main(command) == 2
    assert "inside the data set" in capsys.readouterr().err
    command[-1] = str(tmp_path / "key")
    assert main([*command, "--no_hash_ids"]) == 2
    assert "does not go with --no_hash_ids" in capsys.readouterr().err
    assert not (tmp_path / "key").exists()
    assert main(command) == 0
    first = load_dataset(str(tmp_path / "out"), "en", cache_dir=str(tmp_path / "cache"))
    command[5] = str(tmp_path / "again")
    assert main(command) == 0
    again = load_dataset(str(tmp_path / "again"), "en", cache_dir=str(tmp_path / "cache"))
    assert first["train"]["id"][:] == again["train"]["id"][:]


def test_engagement_build_and_engagement(tmp_path, capsys, uploads):
    ids = write_posts(tmp_path / "posts.parquet")
    rng = np.random.default_rng(0)
    log = {"user_id": rng.integers(30, size=2000), "post_id": rng.choice(ids, 2000)}
    pq.write_table(pa.table(log), tmp_path / "log.parquet")
    train = [key for key, split in zip(ids, split_posts(ids), strict=True) if split == "train"]
    zeros = np.zeros((len(train), 3), np.float32)
    save_network(
        Network(
            user_ids=pa.array([str(i) for i in range(30)]),
            post_ids=pa.array(train),
            relations=["engage"],
            user_vectors=rng.random((30, 3), np.float32),
            post_vectors=zeros,
            relation_vectors=zeros[:1],
            user_degrees=np.ones(30, np.int64),
            post_degrees=np.ones(len(train), np.int64),
        ),
        tmp_path / "network",
    )
    (tmp_path / "seen.csv").write_text("post_id\n" + "\n".join(ids[:20]) + "\n")
    (tmp_path / "key").write_bytes(b"sixteen bytes or more")
    command = ["data", "engagement-build"]
    for name, path in {
        "posts": "posts.parquet",
        "engagements": "log.parquet",
        "network": "network",
        "exclude-posts": "seen.csv",
        "key-file": "key",
        "output": "made",
    }.items():
        command += [f"--{name}", str(tmp_path / path)]
    assert main([*command, "--push-to-hub", "me/log"]) == 0
    assert uploads == [(str(tmp_path / "made"), "me/log")]
    assert re.search(r"excluded posts\W+20 ", capsys.readouterr().out)
    assert "sixteen bytes" not in (tmp_path / "made" / "README.md").read_text()
    assert (
        main(
            [
                "data",
                "engagement",
                "--data-dir",
                str(tmp_path / "made"),
                "--output",
                str(tmp_path / "o"),
            ]
        )
        == 0
    )
    for name in ("en", "en-posts"):
        one, two = (
            load_dataset(str(tmp_path / folder), name, cache_dir=str(tmp_path / "cache"))
            for folder in ("made", "o")
        )
        assert one["test"][:] == two["test"][:]
    assert len(one["train"]) > 100
