"""People and posts go from all that was made of a log, and what learned from them is named."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.benchmarks.engagement.building import build_engagement_benchmark
from twhin_hf.benchmarks.hashtag.building import build_hashtag_benchmark
from twhin_hf.benchmarks.hub_folder import DatasetCard, HubConfig, write_hub_folder
from twhin_hf.commands.cli import main
from twhin_hf.data.splits import split_posts
from twhin_hf.engines import EngineConfig, spark_workers
from twhin_hf.errors import InputError
from twhin_hf.forgetting import networks
from twhin_hf.forgetting.forget import forget
from twhin_hf.forgetting.forgotten import Forgotten
from twhin_hf.forgetting.tables import TableFile
from twhin_hf.loading.fingerprint import model_fingerprint
from twhin_hf.network.engagements import Engagements
from twhin_hf.network.folder import Network, load_network, save_network
from twhin_hf.network.log import read_log
from twhin_hf.privacy.keys import hash_ids
from twhin_hf.run_file import run_metadata
from twhin_hf.run_folder import describe_run, fingerprints_of, run_folder
from twhin_hf.scratch import owner

KEY = b"sixteen bytes or more"
USERS, POSTS, WIDTH = 40, 300, 4
WHO = Forgotten(pa.array(["u3", "u5", "unknown"]), pa.array(["p1", "p2", "p4"]))


def write_log(path):
    rng = np.random.default_rng(0)
    users, posts = rng.integers(USERS, size=3000), rng.integers(POSTS, size=3000)
    log = pa.table({"user_id": [f"u{i}" for i in users], "post_id": [f"p{i}" for i in posts]})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(log, path)
    return log


def make_network(graph):
    rng = np.random.default_rng(1)
    return Network(
        user_ids=graph.user_ids,
        post_ids=graph.post_ids,
        relations=graph.relations,
        user_vectors=rng.normal(size=(graph.num_users, WIDTH)).astype(np.float32),
        post_vectors=rng.normal(size=(graph.num_posts, WIDTH)).astype(np.float32),
        relation_vectors=np.zeros((len(graph.relations), WIDTH), np.float32),
        user_degrees=graph.user_degrees(),
        post_degrees=graph.post_degrees(),
        metadata={"num_edges": graph.num_edges, "seed": 0, "options": {"holdout": 0.1}},
        engagements=Engagements.from_edges(graph.lhs, graph.rhs, graph.num_users, graph.num_posts),
    )


@pytest.fixture
def made(tmp_path):
    """A log, posts, a network and two benchmarks, published with a key."""
    write_log(tmp_path / "log" / "log.parquet")
    ids = [f"p{i}" for i in range(POSTS)]
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), 6)) for _ in range(3000)]
    texts = [f"{' '.join(rng.choice(words, 10))} #{'ab'[i % 2]}" for i in range(POSTS)]
    posts = pa.table({"post_id": ids, "text": texts, "lang": ["en"] * POSTS})
    pq.write_table(posts, tmp_path / "posts.parquet")
    train = [key for key, split in zip(ids, split_posts(ids), strict=True) if split == "train"]
    network = make_network(read_log(tmp_path / "log", train))
    save_network(network, tmp_path / "network")
    card = DatasetCard("Title", "Text")
    whole = read_log(tmp_path / "log")
    engagement = build_engagement_benchmark(whole, network, posts, key=KEY)
    write_hub_folder(engagement.configs(), tmp_path / "engagement", card)
    hashtag = build_hashtag_benchmark(tmp_path / "posts.parquet", key=KEY)
    configs = [HubConfig(name, name, name, own) for name, own in hashtag.languages.items()]
    write_hub_folder(configs, tmp_path / "hashtag", card)
    for name in ("engagement", "hashtag"):
        (tmp_path / f"{name}.key").write_bytes(KEY)
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def names(folder):
    """Every id, hash and vector that stands under a folder."""
    found = set()
    for path in folder.rglob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            values = row.values()
            found |= {tuple(value) if isinstance(value, list) else value for value in values}
    return found


def people(made, who=WHO):
    """What must go: ids, their hashes, and the users' vectors."""
    network = load_network(made / "network")
    rows = [i for i, name in enumerate(network.user_ids.to_pylist()) if name in {"u3", "u5"}]
    assert len(rows) == 2
    vectors = {tuple(network.user_vectors[row].tolist()) for row in rows}
    posts = who.posts.to_pylist()
    return {"u3", "u5", *posts, *hash_ids(posts, KEY), *vectors}


def check_network(before, after, who=WHO):
    """The network is as one of the log without them, its vectors those of before."""
    users, posts = set(who.users.to_pylist()), set(who.posts.to_pylist())
    by_name = {
        (user, post)
        for row, user in enumerate(before.user_ids.to_pylist())
        for post in np.array(before.post_ids.to_pylist())[
            before.engagements.posts_of_users.of(np.array([row]))[0]
        ]
        if user not in users and post not in posts
    }
    for side, column in (("user", 0), ("post", 1)):
        left = sorted({edge[column] for edge in by_name}, key=str.encode)
        ids = getattr(after, f"{side}_ids").to_pylist()
        assert ids == left
        rows = [getattr(before, f"{side}_ids").to_pylist().index(i) for i in ids]
        vectors = getattr(before, f"{side}_vectors")[rows]
        np.testing.assert_array_equal(getattr(after, f"{side}_vectors"), vectors)
        degrees = [sum(edge[column] == i for edge in by_name) for i in ids]
        assert getattr(after, f"{side}_degrees").tolist() == degrees
    lhs, rhs = (
        np.array([getattr(after, name).to_pylist().index(edge[i]) for edge in sorted(by_name)])
        for i, name in enumerate(("user_ids", "post_ids"))
    )
    expected = Engagements.from_edges(lhs, rhs, after.num_users, after.num_posts)
    for found, wanted in zip(after.engagements, expected, strict=True):
        np.testing.assert_array_equal(found.offsets, wanted.offsets)
        np.testing.assert_array_equal(found.others, wanted.others)
    assert after.metadata["num_edges"] == len(by_name)


def test_everything_that_was_made_of_a_log(made, monkeypatch):
    monkeypatch.setattr(networks, "_EDGES_PER_BLOCK", 100)
    monkeypatch.setattr(networks, "_ROWS_PER_BLOCK", 7)
    before, gone = load_network(made / "network"), people(made)
    assert gone <= names(made) | {v for v in gone if isinstance(v, tuple)}
    cards = (made / "engagement" / "README.md").read_text()
    done = forget([made], WHO)
    assert not gone & names(made)
    check_network(before, load_network(made / "network"))
    changed = {path.relative_to(made).parts[0] for path in done.removed}
    assert changed == {"log", "posts.parquet", "network", "engagement", "hashtag"}
    assert done.removed[made / "posts.parquet"] == 3
    assert done.users_without_vector == 1  # "unknown"
    assert (made / "engagement" / "README.md").read_text() != cards
    for name in ("engagement", "hashtag"):
        card = (made / name / "README.md").read_text()
        for path in (made / name).rglob("*.parquet"):
            assert f" {pq.read_metadata(path).num_rows} |" in card
    # The log without them makes the same network again.
    ids = load_network(made / "network").post_ids
    again = read_log(made / "log", ids)
    assert again.user_ids.to_pylist() == load_network(made / "network").user_ids.to_pylist()


def test_nothing_is_written_where_nothing_matches_or_it_is_a_dry_run(made, capsys):
    before = contents(made)
    done = forget([made], Forgotten(pa.array(["nobody"]), pa.array(["nothing"])))
    assert (done.num_removed, done.trained) == (0, [])
    would = forget([made], WHO, dry_run=True)
    assert contents(made) == before
    assert forget([made], WHO).removed == would.removed
    (made / "users.txt").write_text("nobody\n")
    paths = [str(made / name) for name in ("log", "network", "posts.parquet")]
    assert main(["data", "forget", "--users", str(made / "users.txt"), *paths]) == 0
    assert (
        "Nothing matches: 3 files, networks and indexes were looked through"
        in capsys.readouterr().out
    )


def test_spark_takes_out_the_same(spark, made, tmp_path_factory, capsys):
    for part in range(3):  # a log of several files
        write_log(made / "log" / f"{part}.parquet")
    lines = "".join(f'{{"user_id": "u{i}", "post_id": "p{i}"}}\n' for i in range(9))
    (made / "more.jsonl").write_text(lines)
    (made / "users.txt").write_text("u3\nu5\n")
    copy = tmp_path_factory.mktemp("copy") / "made"
    shutil.copytree(made, copy)
    done = forget([made], Forgotten(pa.array(["u3", "u5"])))
    command = ["data", "forget", str(copy), "--users", str(made / "users.txt")]
    assert main([*command, "--engine", "spark"]) == 0
    assert f"({done.looked_through} files, networks" in capsys.readouterr().out
    assert len(done.removed) > 6
    files = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("[!.]*.*")}
        for folder in (made, copy)
    ]
    assert {key for key in files[0] if files[0][key] != files[1].get(key)} == set()
    assert b'"u3"' not in (copy / "more.jsonl").read_bytes()
    (copy / "more.jsonl").write_text("no JSON\n")
    with (
        spark_workers(EngineConfig("spark")) as workers,
        pytest.raises(InputError, match=r"more\.j"),
    ):
        forget([copy], WHO, workers=workers)


def test_the_command(made, capsys):
    (made / "users.csv").write_text("user_id\nu3\n")
    (made / "lists.txt").write_text("p1\n")
    command = ["data", "forget", str(made / "log"), str(made / "posts.parquet")]
    command += ["--users", str(made / "users.csv"), "--posts", str(made / "lists.txt")]
    before = contents(made)
    assert main([*command, "--dry_run"]) == 0
    assert "Would be taken out (2 files, networks and indexes were" in capsys.readouterr().out
    assert contents(made) == before
    assert main(command) == 0
    assert "Taken out" in capsys.readouterr().out
    assert not {"u3", "p1"} & names(made / "log")


def test_benchmarks_need_their_key_and_network(made):
    before = contents(made)
    with pytest.raises(ValueError, match=r"holds vectors of users without ids: only the network"):
        forget([made / "engagement"], Forgotten(users=WHO.users))
    (made / "hashtag.key").unlink()
    with pytest.raises(ValueError, match=r"there is no .*hashtag\.key"):
        forget([made / "hashtag", made / "log"], Forgotten(posts=WHO.posts))
    del before[made / "hashtag.key"]
    assert contents(made) == before
    done = forget([made / "hashtag"], Forgotten(posts=WHO.posts), key_file=made / "engagement.key")
    assert done.num_removed == 3


def test_posts_of_a_user_go_from_a_benchmark_of_hashes(tmp_path):
    ids = [f"at://did:plc:{'ab'[i % 2]}/app.bsky.feed.post/{i}" for i in range(40)]
    pq.write_table(pa.table({"post_id": ids, "text": ids}), tmp_path / "posts.parquet")
    table = pa.table({"id": sorted(hash_ids(ids, KEY)), "text": ["x"] * 40})
    (tmp_path / "set" / "en").mkdir(parents=True)
    pq.write_table(table, tmp_path / "set" / "en" / "train.parquet")
    (tmp_path / "key").write_bytes(KEY)
    who = Forgotten(users=pa.array(["did:plc:a"]))
    forget([tmp_path / "posts.parquet", tmp_path / "set"], who, key_file=tmp_path / "key")
    left = pq.read_table(tmp_path / "set" / "en" / "train.parquet")["id"].to_pylist()
    assert left == sorted(hash_ids(ids[1::2], KEY))


class Killed(BaseException):
    """What a process that dies does not live to see."""


DYING = """
import os, sys
import pyarrow as pa
from twhin_hf.forgetting.forget import forget
from twhin_hf.forgetting.forgotten import Forgotten
replace, left = os.replace, [int(sys.argv[2])]
def dying(source, target):
    if not left[0]:
        os._exit(9)
    left[0] -= 1
    replace(source, target)
os.replace = dying
forget([sys.argv[1]], Forgotten(pa.array(["u3", "u5", "unknown"]), pa.array(["p1", "p2", "p4"])))
"""


@pytest.mark.parametrize("renames", [3, 12, 17, 20, 21])
def test_a_run_that_dies_leaves_whole_files_and_is_begun_again(made, renames):
    before, gone, old = load_network(made / "network"), people(made), contents(made)
    died = subprocess.run([sys.executable, "-c", DYING, str(made), str(renames)], check=False)
    assert died.returncode == 9
    crashed = contents(made)
    forget([made], WHO)
    assert not gone & names(made)
    check_network(before, load_network(made / "network"))
    new = contents(made)
    assert not [path for path in new if path.name.endswith((".old", ".partial"))]
    changed = {path for path in old.keys() & crashed.keys() if new[path] != old[path]}
    assert {crashed[path] in (old[path], new[path]) for path in changed} == {True}
    # A folder alone may be aside for a moment, whole.
    aside = {path for path in old if path not in crashed}
    assert {path.parent.name for path in aside} <= {"network"}


def test_what_a_killed_process_left_goes_too(made):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    owned = f"{owner().split('-')[0]}-{dead.pid}"
    before = load_network(made / "network")
    aside = made / f".network.{owned}.old"
    (made / "network").rename(aside)  # set aside, and the new one not yet in place
    half = made / f".posts.{owned}.partial.parquet"
    half.write_bytes(b"half")
    forget([made], WHO)
    assert not aside.exists()
    assert not half.exists()
    check_network(before, load_network(made / "network"))
    (made / "again").mkdir()
    left = made / f".log.{owned}.old"
    left.mkdir()
    (left / "log.parquet").write_bytes((made / "log" / "log.parquet").read_bytes())
    forget([made], WHO)
    assert not left.exists()


def test_models_that_learned_from_it_are_named_by_any_way(made, capsys):
    pq.write_table(
        pa.table({"anchor_id": ["p7"], "positive_id": ["p8"]}), made / "other_pairs.parquet"
    )
    made_of = {
        "runs/by_log": {"engagements": made / "log"},
        "runs/by_file": {"engagements": made / "log" / "log.parquet"},
        "runs/by_network": {"network": made / "network"},
        "runs/other": {"pairs": made / "other_pairs.parquet"},
    }
    for name, data in made_of.items():
        with run_folder(made / name, "pretrain", {}, data=data):
            (made / name / "config.json").write_text(json.dumps({"made": name}))
    # Pairs that were mined from the network, and models that were trained on these, or go on.
    with run_folder(made / "mined", "mine", {}, data={"network": made / "network"}):
        pq.write_table(
            pa.table({"anchor_id": ["p7"], "positive_id": ["p9"]}), made / "mined" / "pairs.parquet"
        )
    pairs = {"pairs": made / "mined" / "pairs.parquet"}
    with run_folder(made / "runs" / "by_pairs", "pretrain", {}, data=pairs):
        (made / "runs" / "by_pairs" / "config.json").write_text("{}")
    # Files say themselves what they were made of, or a record beside them does.
    record = describe_run("embed", {}, fingerprints_of({"posts": made / "posts.parquet"}), None)
    table = pa.table({"post_id": ["p7"], "embedding": [[1.0]]})
    pq.write_table(
        table.replace_schema_metadata(run_metadata(record)), made / "runs" / "vectors.parquet"
    )
    pq.write_table(table, made / "runs" / "more.parquet")
    (made / "runs" / "more.json").write_text(json.dumps(record, indent=2))
    vectors = {"vectors": made / "runs" / "vectors.parquet"}
    with run_folder(made / "runs" / "by_vectors", "search", {}, data=vectors):
        pass
    start = {"model": model_fingerprint(str(made / "runs" / "by_pairs"))}
    with run_folder(made / "runs" / "by_model", "pretrain", {}, fingerprints=start):
        (made / "runs" / "by_model" / "config.json").write_text("{}")
    expected = {
        *("runs/by_log", "runs/by_file", "runs/by_network"),
        *("mined", "runs/by_pairs", "runs/by_model"),
        *("runs/vectors.parquet", "runs/more.parquet", "runs/by_vectors"),
    }
    done = forget([made], WHO)
    assert {found.place.relative_to(made).as_posix() for found in done.trained} == expected
    assert dict(done.trained)[made / "mined"] == ["network"]
    # Once more, and after others have been forgotten: they learned from those too.
    again = forget([made], WHO)
    assert (again.num_removed, again.trained) == (0, done.trained)
    later = forget([made / "log", made / "runs"], Forgotten(pa.array(["u8"])))
    assert {found.place.name for found in later.trained} == {"by_log", "by_file"}
    # What is made anew of the log as it is now is named no more.
    data = {"engagements": made / "log"}
    with run_folder(made / "runs" / "by_log", "pretrain", {}, data=data, overwrite=True):
        pass
    last = forget([made / "log", made / "runs"], Forgotten(pa.array(["u8"])))
    assert [found.place.name for found in last.trained] == ["by_file"]
    (made / "users.txt").write_text("u8\n")
    command = ["data", "forget", "--users", str(made / "users.txt"), str(made / "log")]
    assert main([*command, str(made / "runs")]) == 0
    assert f"Made of what was taken out: {made / 'runs' / 'by_file'} (by engagements)" in (
        capsys.readouterr().out.replace("\n", " ")
    )


def test_models_that_are_named_after_a_crash(made, monkeypatch):
    data = {"engagements": made / "log"}
    with run_folder(made / "model", "pretrain", {}, data=data):
        pass
    done = []
    original = TableFile.rewrite

    def once(table, forgotten):
        if done:
            raise Killed
        done.append(table)
        original(table, forgotten)

    monkeypatch.setattr(TableFile, "rewrite", once)
    with pytest.raises(Killed):
        forget([made / "log", made / "posts.parquet", made / "model"], WHO)
    monkeypatch.setattr(TableFile, "rewrite", original)
    again = forget([made / "log", made / "posts.parquet", made / "model"], WHO)
    assert [found.place for found in again.trained] == [made / "model"]


def test_networks_that_cannot_be_mended(made):
    (made / "network" / "engagements.safetensors").rename(made / "aside")
    with pytest.raises(ValueError, match="holds no engagements"):
        forget([made / "network"], WHO)
    (made / "aside").rename(made / "network" / "engagements.safetensors")
    (made / "network" / "embedding_checkpoint.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="the checkpoint of an embedding"):
        forget([made / "network" / "users.parquet"], WHO)
    (made / "network" / "embedding_checkpoint.safetensors").unlink()
    before = contents(made)
    everybody = Forgotten(load_network(made / "network").user_ids)
    with pytest.raises(ValueError, match="nothing is left of the network"):
        forget([made / "network"], everybody)
    assert contents(made) == before


def test_several_relations_count_in_degrees(tmp_path):
    rows = {
        "user_id": ["u1", "u1", "u2", "u2", "u3"],
        "post_id": ["p1", "p1", "p1", "p2", "p2"],
        "relation": ["like", "repost", "like", "like", "like"],
    }
    pq.write_table(pa.table(rows), tmp_path / "log.parquet")
    save_network(make_network(read_log(tmp_path / "log.parquet")), tmp_path / "network")
    done = forget([tmp_path / "network" / "posts.parquet"], Forgotten(posts=pa.array(["p2"])))
    # u3 has no other post, so that nothing of u3 is left.
    assert done.removed == {tmp_path / "network": 2}
    network = load_network(tmp_path / "network")
    assert network.user_ids.to_pylist() == ["u1", "u2"]
    assert network.user_degrees.tolist() == [2, 1]
    assert network.post_degrees.tolist() == [3]
    assert network.metadata["forgotten"] == {"users": 1, "posts": 1}


def test_held_out_engagements_go_and_are_numbered_anew(tmp_path):
    rows = {"user_id": ["u1", "u2", "u2", "u3"], "post_id": ["p1", "p1", "p3", "p2"]}
    pq.write_table(pa.table(rows), tmp_path / "log.parquet")
    network = make_network(read_log(tmp_path / "log.parquet"))
    held_out = np.array([[1, 2], [0, 0], [2, 1]])  # u2 p3, u1 p1, u3 p2
    save_network(replace(network, held_out=held_out), tmp_path / "network")
    forget([tmp_path / "network"], Forgotten(users=pa.array(["u1"]), posts=pa.array(["p2"])))
    left = load_network(tmp_path / "network")
    assert left.user_ids.to_pylist() == ["u2"]
    assert left.post_ids.to_pylist() == ["p1", "p3"]
    assert left.held_out.tolist() == [[0, 1]]
