"""`twhin-hf network embed` and `mine`: options, help and a run from a log to pairs."""

import importlib.util
import json
from dataclasses import fields

import numpy as np
import pyarrow.parquet as pq
import pytest

from twhin_hf.commands import network
from twhin_hf.commands.cli import main
from twhin_hf.commands.declared import argument_help
from twhin_hf.commands.parsing import parse_command
from twhin_hf.network import (
    MiningConfig,
    NetworkEmbeddingConfig,
    NetworkUpdateConfig,
    load_network,
)


def parse(name, *arguments):
    command = getattr(network, name)
    return parse_command(command, [*map(str, arguments)], f"twhin-hf network {name}")


def run(*arguments):
    assert main(["network", *map(str, arguments)]) == 0


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
    found = load_network(data / "network")
    assert (found.num_users, found.num_posts, found.dimension) == (40, 60, 16)
    assert found.user_ids.to_pylist() == sorted(map(str, range(40)))
    run(
        *("mine", "--network", data / "network", "--posts", data / "posts.jsonl"),
        *("--columns", "text=body", "--output", data / "pairs.parquet", "--k", 3),
        *("--mutual", "--threads", 1, "--no-progress"),
    )
    pairs = pq.read_table(data / "pairs.parquet")
    printed = capsys.readouterr().out
    assert " pairs " in printed
    assert str(len(pairs)) in printed


def test_a_network_says_which_time_it_ends_at(data, capsys):
    rows = (data / "log.csv").read_text().splitlines()
    timed = [f"{row},{second}\n" for second, row in enumerate(rows[1:])]
    (data / "log.csv").write_text("uid,post_id,when\n" + "".join(timed))
    command = ["embed", "--engagements", data / "log.csv", "--output", data / "network"]
    command += ["--columns", "user_id=uid", "timestamp=when", "--before", "1970-01-01T00:25Z"]
    run(*command, "--dimension", 16, "--epochs", 1, "--threads", 1, "--no_progress")
    told = json.loads((data / "network" / "network.json").read_text())
    assert told["before"] == "1970-01-01T00:25:00Z"
    assert told["num_edges"] == len(set(rows[1:1501]))
    assert "late rows" in capsys.readouterr().out


def test_every_field_of_the_configs_is_an_option_with_help():
    required = {
        "embed": ["--engagements", "l", "--output", "o"],
        "update": ["--network", "n", "--engagements", "l"],
        "mine": ["--network", "n", "--posts", "p", "--output", "o"],
    }
    configs = {"embed": NetworkEmbeddingConfig, "update": NetworkUpdateConfig, "mine": MiningConfig}
    for name, config in configs.items():
        assert parse(name, *required[name])["config"] == config()
        assert list(argument_help(config)) == [item.name for item in fields(config)]


def test_options_have_the_type_of_their_field():
    config = parse(
        *("mine", "--network", "n", "--posts", "p", "--output", "o"),
        *("--max-pairs-per-post", "3", "--min-similarity", "0.5", "--mutual", "--index", "Flat"),
    )["config"]
    assert (config.max_pairs_per_post, config.min_similarity) == (3, 0.5)
    assert (config.mutual, config.index, config.probes) == (True, "Flat", None)


def test_options_of_a_method(tmp_path):
    required = ("embed", "--engagements", "l", "--output", "o")
    options = ("--method", "als", "--relation-weights", "like=2", "repost=0.5")
    config = parse(*required, *options)["config"]
    assert (config.method, config.relation_weights) == ("als", {"like": 2.0, "repost": 0.5})
    assert parse(*required, "--no_warm_start")["config"].option("warm_start") is False
    recipe = tmp_path / "network.yaml"
    recipe.write_text("method: twhin\nnum_uniform_negs: 20\n")
    config = parse(*required, "--config", recipe, "--num_batch_negs", 30)["config"]
    assert (config.method, config.weight) == ("twhin", 1 / 100)


def test_option_of_another_method(capsys):
    options = ["--engagements", "l", "--output", "o", "--confidence", "10"]
    assert main(["network", "embed", *options]) == 2
    assert "has no effect with the method softmax" in capsys.readouterr().err


def test_als_without_its_library_is_told_before_the_log_is_read(data, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("twhin_hf.network.log.read_log", pytest.fail)
    files = ["--engagements", str(data / "log.csv"), "--output", str(data / "network")]
    assert main(["network", "embed", *files, "--method", "als"]) == 2
    assert "pip install 'twhin_hf[als]'" in capsys.readouterr().err


def test_one_option_reaches_both_configs():
    parsed = parse("embed", "--engagements", "l", "--output", "o", "--threads", "3")
    assert (parsed["log"].threads, parsed["config"].threads) == (3, 3)


@pytest.mark.parametrize("name", ["embed", "mine"])
def test_help_names_every_option(name, capsys):
    assert main(["network", name, "--help"]) == 0
    printed = capsys.readouterr().out
    for option in {"embed": ["--dimension", "--min_user_degree"], "mine": ["--k", "--index"]}[name]:
        assert option in printed


def test_wrong_column_option(capsys):
    options = ["--engagements", "l", "--output", "o", "--columns", "uid"]
    assert main(["network", "embed", *options]) == 2
    assert "--columns takes NAME=VALUE pairs, not 'uid'" in capsys.readouterr().err


@pytest.fixture
def embed_command(data):
    files = ("--engagements", data / "log.csv", "--columns", "user_id=uid")
    return (
        *("network", "embed", *files, "--output", data / "network", "--dimension", 8),
        *("--epochs", 2, "--threads", 1, "--device", "cpu", "--no-progress"),
    )


def status(*arguments):
    return main([*map(str, arguments)])


def test_a_finished_network_is_neither_made_again_nor_written_over(embed_command, data, capsys):
    assert status(*embed_command) == 0
    folder = data / "network"
    before = (folder / "network.json").read_text()
    assert not (folder / "embedding_checkpoint.safetensors").exists()
    assert status(*embed_command, "--threads", 2) == 0  # which leaves the result as it is
    assert (folder / "network.json").read_text() == before
    assert status(*embed_command, "--seed", 1) == 2
    assert "seed was 0 and is 1" in capsys.readouterr().err
    assert (folder / "network.json").read_text() == before
    record = json.loads((folder / "run.json").read_text())
    assert record["finished"]
    assert (record["command"], record["seed"]) == ("network embed", 0)
    assert list(record["data"]) == ["engagements"]
    assert "twhin_hf" in record["versions"]
    assert status(*embed_command, "--seed", 1, "--overwrite") == 0
    assert json.loads((folder / "network.json").read_text())["seed"] == 1
    with (data / "log.csv").open("a") as file:
        file.write("1,2\n")
    assert status(*embed_command, "--seed", 1) == 2
    assert "the content of engagements has changed" in capsys.readouterr().err


def test_an_embedding_goes_on_by_the_same_command(embed_command, data, monkeypatch):
    from twhin_hf.network import embedding, folder

    assert status(*embed_command) == 0
    whole = load_network(data / "network").post_vectors.copy()
    monkeypatch.setattr(folder, "_check", lambda *_: (_ for _ in ()).throw(SystemExit(143)))
    assert status(*embed_command, "--overwrite") == 143  # before the network was saved
    monkeypatch.undo()
    # The older one stays until the new one is whole.
    np.testing.assert_array_equal(load_network(data / "network").post_vectors, whole)
    monkeypatch.setattr(embedding, "train_softmax_batch", pytest.fail)
    assert status(*embed_command, "--overwrite") == 0  # of the last checkpoint
    np.testing.assert_array_equal(load_network(data / "network").post_vectors, whole)
    # Killed after the last file of the network and before the record's: nothing is done again.
    record = data / "network" / "run.json"
    record.write_text(record.read_text().replace('"finished": true', '"finished": false'))
    monkeypatch.setattr("twhin_hf.network.log.read_log", pytest.fail)
    assert status(*embed_command) == 0
    assert json.loads(record.read_text())["finished"]


@pytest.fixture
def today(data):
    log = data / "today.csv"
    log.write_text("uid,post_id\n0,new\n2,new\nsomebody,4\nsomebody,6\n0,out\n1,1\n")
    (data / "out.csv").write_text("post_id\nout\n")
    return (
        *("network", "update", "--network", data / "network", "--engagements", log),
        *("--exclude_posts", data / "out.csv", "--columns", "user_id=uid"),
        *("--threads", 1, "--device", "cpu", "--no-progress"),
    )


def test_an_update_into_another_folder(embed_command, today, data, monkeypatch, capsys):
    assert status(*embed_command) == 0
    before = (data / "network" / "network.json").read_bytes()
    assert status(*today, "--output", data / "next") == 0
    old, new = load_network(data / "network"), load_network(data / "next")
    assert new.user_ids.to_pylist() == [*old.user_ids.to_pylist(), "somebody"]
    assert new.post_ids.to_pylist() == [*old.post_ids.to_pylist(), "new"]  # and not "out"
    assert (data / "network" / "network.json").read_bytes() == before
    is_touched = np.isin(old.user_ids.to_pylist(), ["0", "2"])
    moved = (new.user_vectors[:-1] != old.user_vectors).any(axis=1)
    np.testing.assert_array_equal(moved, is_touched)
    written = (data / "next" / "network.json").read_bytes()
    monkeypatch.setattr("twhin_hf.network.log.read_log", pytest.fail)
    assert status(*today, "--output", data / "next") == 0  # which is finished
    assert (data / "next" / "network.json").read_bytes() == written
    assert status(*today, "--output", data / "next", "--freeze", "posts") == 2
    assert "freeze was 'none' and is 'posts'" in capsys.readouterr().err


def test_an_update_in_place_and_again(embed_command, today, data, capsys):
    assert status(*embed_command) == 0
    assert status(*today) == 0
    new = load_network(data / "network")
    assert (new.num_users, new.num_posts) == (41, 61)
    (entry,) = new.metadata["updates"]
    assert (entry["num_edges"], entry["passed_over"]) == (4, 1)
    written = {path.name: path.read_bytes() for path in (data / "network").iterdir()}
    assert status(*today, "--output", data / "network") == 0
    assert "Nothing is new" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (data / "network").iterdir()} == written
    assert status(*embed_command) == 0  # which was finished, and does not undo the update
    assert load_network(data / "network").num_posts == 61


def test_an_update_that_fails_leaves_the_network(embed_command, today, data, capsys):
    assert status(*today) == 2
    assert not (data / "network").exists()
    assert status(*embed_command) == 0
    before = load_network(data / "network").post_vectors.copy()
    capsys.readouterr()
    assert status(*today, "--learning_rate", "1e30") == 2
    assert "Training diverged" in capsys.readouterr().err
    (data / "today.csv").write_text("uid,post_id,relation\n0,new,share\n")
    assert status(*today) == 2
    assert "'share', but the network has 'engage'" in capsys.readouterr().err
    np.testing.assert_array_equal(load_network(data / "network").post_vectors, before)
    (data / "network" / "engagements.safetensors").unlink()
    (data / "today.csv").write_text("uid,post_id\n0,new\n")
    assert status(*today) == 2
    assert "holds no engagements" in capsys.readouterr().err


def test_a_network_of_an_unknown_run_is_not_written_over(embed_command, data, capsys):
    assert status(*embed_command) == 0
    (data / "network" / "run.json").unlink()
    assert status(*embed_command) == 2
    assert "network.json, of a run that left no run.json" in capsys.readouterr().err
