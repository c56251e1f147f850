"""Inputs of the benchmarks' README: hashtags of citeulike-a, tweets, a sample of the emoji."""

import importlib.util
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from twhin_hf.errors import InputError

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(path, monkeypatch):
    """A script as a module, with its folder on the path, as Python has when it runs it."""
    monkeypatch.syspath_prepend(path.parent)
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.pop("prepare", None)
    return module


@pytest.fixture
def citeulike(tmp_path):
    """60 articles with one of two popular tags, and one of 60 rare ones each."""
    folder = tmp_path / "citeulike"
    folder.mkdir()
    (folder / "users.dat").write_text("".join(f"1 {row}\n" for row in range(60)))
    tags = ["gene_expression", "social", *(f"word{row}-{row}" for row in range(60))]
    (folder / "tags.dat").write_text("".join(f"{tag}\n" for tag in tags))
    lines = [f"2 {row % 2} {row + 2}\n" for row in range(60)]
    (folder / "item-tag.dat").write_text("".join(lines))
    return folder


def test_hashtags_of_citeulike(citeulike, tmp_path, monkeypatch):
    script = load(EXAMPLES / "citeulike" / "hashtags.py", monkeypatch)
    assert script.posts_with_hashtags(citeulike, 2)["text"].to_pylist()[:2] == [
        "#gene_expression word0 0",
        "#social word1 1",
    ]
    output = tmp_path / "hashtags"
    arguments = ["--data", str(citeulike), "--output", str(output), "--num-hashtags", "2"]
    monkeypatch.setattr(sys, "argv", ["hashtags.py", *arguments])
    script.main()
    splits = load_dataset(str(output / "benchmark"), "en", cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 48,
        "validation": 6,
        "test": 6,
    }
    assert splits["train"].features["label"].names == ["gene_expression", "social"]
    assert not any("#" in text for text in splits["test"]["text"])
    trained_on = set(pq.read_table(output / "posts.parquet")["post_id"].to_pylist())
    assert set(splits["train"]["id"]) == trained_on
    assert not trained_on & {*splits["validation"]["id"], *splits["test"]["id"]}
    monkeypatch.setattr(script, "build", None)  # again: there is nothing to do
    script.main()
    monkeypatch.setattr(sys, "argv", ["hashtags.py", *arguments[:-1], "3"])
    with pytest.raises(InputError, match="num_hashtags was 2 and is 3"):
        script.main()


def test_tweets_and_emoji(tmp_path, monkeypatch):
    script = load(EXAMPLES / "benchmarks" / "prepare.py", monkeypatch)
    for name in script.TWEETS:
        folder = tmp_path / "data" / "umsab" / name
        folder.mkdir(parents=True)
        for split in ("train", "val", "test"):
            (folder / f"{split}_text.txt").write_text(f"a {split} tweet in {name}\n\nagain\n")
    posts = script.tweets(tmp_path / "data").to_pydict()
    assert len(posts["post_id"]) == len(set(posts["text"])) == 4 * 3 + 1
    assert posts["lang"][0] == "en"
    emoji = tmp_path / "emoji"
    emoji.mkdir()
    for split in ("train", "test"):
        rows = range(9)
        (emoji / f"{split}_text.txt").write_text("".join(f"{split} {row}\n" for row in rows))
        (emoji / f"{split}_labels.txt").write_text("".join(f"{row}\n" for row in rows))
    for file in (emoji, *emoji.iterdir()):
        file.chmod(file.stat().st_mode & ~0o222)  # as others' data often is
    script.sample_training(emoji, tmp_path / "task", 4)
    texts = (tmp_path / "task" / "train_text.txt").read_text().split()[1::2]
    assert texts == (tmp_path / "task" / "train_labels.txt").read_text().split()
    assert len(texts) == 4
    assert texts == sorted(texts)
    test = (tmp_path / "task" / "test_text.txt").read_text()
    assert test == (emoji / "test_text.txt").read_text()
    emoji.chmod(0o755)
    with pytest.raises(ValueError, match="has 9 training examples, fewer than 10"):
        script.sample_training(emoji, tmp_path / "more", 10)
