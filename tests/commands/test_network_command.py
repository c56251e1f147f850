"""`twhin-hf network embed` and `mine`: options, help and a run from a log to pairs."""

import argparse
import json
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pyarrow.parquet as pq
import pytest

from twhin_hf.commands import network as command
from twhin_hf.network import MiningConfig, NetworkEmbeddingConfig, load_network


def parse(*arguments):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers(required=True))
    return parser.parse_args(["network", *map(str, arguments)])


def run(*arguments):
    args = parse(*arguments)
    args.run(args)


@pytest.fixture
def data(tmp_path):
    random = np.random.default_rng(0)
    engagements, posts = tmp_path / "log.csv", tmp_path / "posts.jsonl"
    users = random.integers(0, 40, 2_000)
    liked = 2 * random.integers(0, 30, 2_000) + users % 2  # two groups, each with its own posts
    rows = [f"{user},{post}\n" for user, post in zip(users, liked, strict=True)]
    engagements.write_text("uid,post_id\n" + "".join(rows))
    words = [" ".join(random.choice(list("abcdefghijklmnop"), 12)) for _ in range(60)]
    lines = [json.dumps({"post_id": post, "body": text}) for post, text in enumerate(words)]
    posts.write_text("\n".join(lines) + "\n")
    return tmp_path


def test_from_a_log_to_pairs(data, capsys):
    run(
        *("embed", "--engagements", data / "log.csv", "--posts", data / "posts.jsonl"),
        *("--columns", "user_id=uid", "--post-columns", "text=body", "--output", data / "network"),
        *("--dimension", 16, "--epochs", 3, "--threads", 1, "--no-progress"),
    )
    printed = capsys.readouterr().out
    assert "Engagement log" in printed
    assert "2,000" in printed
    network = load_network(data / "network")
    assert (network.num_users, network.num_posts, network.dimension) == (40, 60, 16)
    assert network.user_ids.to_pylist() == sorted(map(str, range(40)))
    run(
        *("mine", "--network", data / "network", "--posts", data / "posts.jsonl"),
        *("--columns", "text=body", "--output", data / "pairs.parquet", "--k", 3),
        *("--mutual", "--threads", 1, "--no-progress"),
    )
    pairs = pq.read_table(data / "pairs.parquet")
    printed = capsys.readouterr().out
    assert "num pairs" in printed
    assert str(len(pairs)) in printed


def test_every_field_of_the_configs_is_an_option_with_help():
    required = {
        "embed": ["--engagements", "l", "--output", "o"],
        "mine": ["--network", "n", "--posts", "p", "--output", "o"],
    }
    for name, config in (("embed", NetworkEmbeddingConfig), ("mine", MiningConfig)):
        args = parse(name, *required[name])
        assert list(command.field_help(config)) == [item.name for item in fields(config)]
        for item in fields(config):
            assert getattr(args, item.name) == getattr(config(), item.name)


def test_help_is_the_docstring():
    text = command.field_help(MiningConfig)
    assert text["k"] == "Nearest neighbours looked at, for each post."
    assert text["max_text_similarity"].endswith("A value above 1 keeps copies.")


def test_options_have_the_type_of_their_field():
    args = parse(
        *("mine", "--network", "n", "--posts", "p", "--output", "o"),
        *("--max-pairs-per-post", "3", "--min-similarity", "0.5", "--mutual", "--index", "Flat"),
    )
    assert (args.max_pairs_per_post, args.min_similarity) == (3, 0.5)
    assert (args.mutual, args.index, args.probes) == (True, "Flat", None)


@pytest.mark.parametrize("name", ["embed", "mine"])
def test_help_names_every_option(name, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(name, "--help")
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for option in {"embed": ["--dimension", "--min-user-degree"], "mine": ["--k", "--index"]}[name]:
        assert option in printed


def test_wrong_column_option(capsys):
    with pytest.raises(SystemExit):
        parse("embed", "--engagements", "l", "--output", "o", "--columns", "uid")
    assert "'uid' is not NAME=THERE" in capsys.readouterr().err


def test_adding_the_parser_imports_nothing_heavy():
    code = (
        "import argparse, sys; from twhin_hf.commands import network; "
        "network.add_parser(argparse.ArgumentParser().add_subparsers()); "
        "heavy = {'torch', 'faiss', 'ibis', 'pyarrow', 'numpy', 'datasets'} & set(sys.modules); "
        "print(heavy); sys.exit(len(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
