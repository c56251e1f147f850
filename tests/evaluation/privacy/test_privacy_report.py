"""What a benchmark reveals: counts of the set, and attacks at chance and above it."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, Features, Value

from twhin_hf.benchmarks.engagement.building import build_engagement_benchmark
from twhin_hf.benchmarks.hub_folder import DatasetCard, HubConfig, write_hub_folder
from twhin_hf.commands.cli import main
from twhin_hf.data.splits import split_posts
from twhin_hf.evaluation.privacy.config import AttackConfig
from twhin_hf.evaluation.privacy.published import read_published
from twhin_hf.evaluation.privacy.reporting import privacy_report, write_privacy_report
from twhin_hf.hub.datasets import plan_dataset_push
from twhin_hf.network.engagements import Engagements
from twhin_hf.network.folder import Network, save_network
from twhin_hf.network.holdout import hold_out
from twhin_hf.network.log import read_log

KEY = b"sixteen bytes or more"
USERS, POSTS, WIDTH = 120, 400, 16
OPTIONS = AttackConfig(resamples=200)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A log, its posts, and a network whose users are the means of the posts they engaged with."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("made")
    users, posts = rng.integers(USERS, size=4000), rng.integers(POSTS, size=4000)
    log = pa.table({"user_id": [f"u{i}" for i in users], "post_id": [f"p{i}" for i in posts]})
    pq.write_table(log, folder / "log.parquet")
    ids = [f"p{i}" for i in range(POSTS)]
    table = pa.table({"post_id": ids, "text": [f"text of {i}" for i in ids]})
    train = [key for key, split in zip(ids, split_posts(ids), strict=True) if split == "train"]
    graph = read_log(folder / "log.parquet", train)
    held_out = hold_out(graph, 0.1, 3)
    post_vectors = rng.normal(size=(graph.num_posts, WIDTH)).astype(np.float32)
    user_vectors = np.zeros((graph.num_users, WIDTH), np.float32)
    np.add.at(user_vectors, graph.lhs[~held_out], post_vectors[graph.rhs[~held_out]])
    network = Network(
        user_ids=graph.user_ids,
        post_ids=graph.post_ids,
        relations=graph.relations,
        user_vectors=user_vectors,
        post_vectors=post_vectors,
        relation_vectors=np.zeros((1, WIDTH), np.float32),
        user_degrees=graph.user_degrees(),
        post_degrees=graph.post_degrees(),
        metadata={"num_edges": graph.num_edges, "seed": 3, "options": {"holdout": 0.1}},
        engagements=Engagements.from_edges(graph.lhs, graph.rhs, graph.num_users, graph.num_posts),
    )
    return read_log(folder / "log.parquet"), network, table, folder


def write_benchmark(graph, network, posts, folder, min_posts=1):
    floors = dict.fromkeys(("min_user_engagements", "min_post_engagements"), min_posts)
    found = build_engagement_benchmark(graph, network, posts, key=KEY, **floors)
    return write_hub_folder(found.configs(), folder, DatasetCard("Title", "Text"))


def test_plain_vectors_are_found_and_random_ones_are_not(made, tmp_path):
    graph, network, posts, _ = made
    plain = write_benchmark(graph, network, posts, tmp_path / "plain")
    found = privacy_report(plain, graph, network, KEY, OPTIONS)["re_identification"]
    attack = found["network_vectors"]
    assert attack["candidates"] == found["network_vectors"]["users"] == USERS
    assert attack["rank_1"]["chance"] == 1 / USERS
    assert attack["top_10"]["chance"] == 10 / USERS
    assert attack["rank_1"]["interval"][0] > 0.5
    assert attack["top_10"]["share"] >= attack["rank_1"]["share"]
    # Without the network the records alone find users far more often than chance does.
    assert found["published_records"]["rank_1"]["interval"][0] > 5 / USERS

    rng = np.random.default_rng(1)
    shape = network.user_vectors.shape
    noise = replace(network, user_vectors=rng.normal(size=shape).astype(np.float32))
    random = write_benchmark(graph, noise, posts, tmp_path / "random")
    found = privacy_report(random, graph, noise, KEY, OPTIONS)["re_identification"]
    low, high = found["network_vectors"]["top_10"]["interval"]
    assert low <= 15 / USERS
    assert high >= 5 / USERS
    assert found["network_vectors"]["rank_1"]["share"] < 5 / USERS

    # Where the records' posts are drawn too, nothing is left to find.
    for path in (random / "records").rglob("*.parquet"):
        table = pq.read_table(path)
        ids = table["id"].take(pa.array(rng.permutation(len(table))))
        pq.write_table(table.set_column(1, "id", ids), path)
    found = privacy_report(random, graph, noise, KEY, OPTIONS)["re_identification"]
    for attack in found.values():
        low, high = attack["top_10"]["interval"]
        assert low <= 15 / USERS
        assert high >= 5 / USERS


def test_members_are_told_by_scores_that_were_trained_on_them(made, tmp_path):
    graph, network, posts, _ = made
    folder = write_benchmark(graph, network, posts, tmp_path / "set")
    found = privacy_report(folder, graph, network, KEY, OPTIONS)["membership"]
    inside = read_log(made[3] / "log.parquet", network.post_ids)
    assert found["held_out_engagements"]["others"] == hold_out(inside, 0.1, 3).sum()
    for told in found.values():
        assert told["interval"][0] > 0.6
        assert told["interval"][0] < told["auc"] < told["interval"][1]
    rng = np.random.default_rng(1)
    shape = network.user_vectors.shape
    noise = replace(network, user_vectors=rng.normal(size=shape).astype(np.float32))
    folder = write_benchmark(graph, noise, posts, tmp_path / "random")
    found = privacy_report(folder, graph, noise, KEY, OPTIONS)["membership"]
    assert list(found) == ["held_out_engagements", "no_engagements"]
    for told in found.values():
        assert told["interval"][0] < 0.5 < told["interval"][1]
    # What was held out of another log cannot be drawn again.
    other = replace(noise, metadata=noise.metadata | {"num_edges": 1})
    found = privacy_report(folder, graph, other, KEY, OPTIONS)["membership"]
    assert list(found) == ["no_engagements"]


def write_records(folder, rows):
    """Records of vectors [number, 0] and posts, one config a key."""
    features = Features({"user": [Value("float32")], "id": Value("string")})
    configs = [
        HubConfig(
            language,
            language,
            f"records/{language}",
            DatasetDict(
                train=Dataset.from_dict(
                    {"user": [[user, 0.0] for user, _ in own], "id": [i for _, i in own]},
                    features=features,
                )
            ),
        )
        for language, own in rows.items()
    ]
    return write_hub_folder(configs, folder, DatasetCard("Title", "Text"))


def test_how_many_people_stand_together(tmp_path):
    # Posts: 1 of users 1, 2 and 4; 2 of 3 and 4; 3 of 5. Users 1 and 2 have the same posts.
    rows = {"en": [(1, "1"), (2, "1"), (3, "2"), (4, "1"), (5, "3")], "de": [(4, "2")]}
    found = privacy_report(write_records(tmp_path / "set", rows))
    assert found["records"] == {
        "records": 6,
        "users": 5,
        "users_in_several_records": 1,
        "smallest_config": 1,
        "smallest_group": 1,
        "groups_of_one": 1,
        "users_unique_by_their_posts": 3,
    }
    _, records = read_published(tmp_path / "set")
    assert records.vectors[records.users].shape == (6, 2)


def test_ids_and_texts_that_name_people(tmp_path):
    features = Features({"id": Value("string"), "text": Value("string")})
    rows = {
        "id": ["1", "a" * 32, "p1", "at://did:plc:abc/x"],
        "text": ["hi @ana", "hi @user", "hi", "by did:plc:abc"],
    }
    splits = DatasetDict(train=Dataset.from_dict(rows, features=features))
    folder = write_hub_folder(
        [HubConfig("en", "en", "en", splits)],
        tmp_path / "set",
        DatasetCard("Title", "Text"),
        mask_people=False,
    )
    assert privacy_report(folder) == {
        "set": {
            "posts": 4,
            "ids_that_name_people": 1,
            "ids_neither_hashed_nor_numbers": 2,
            "texts_that_name_people": 2,
        }
    }


def test_the_command_writes_the_figures_into_the_card(made, tmp_path, capsys):
    graph, network, posts, source = made
    folder = write_benchmark(graph, network, posts, tmp_path / "set")
    save_network(network, tmp_path / "network")
    command = ["data", "privacy-report", str(folder)]
    assert main(command) == 0
    assert "re_identification" not in json.loads((folder / "privacy.json").read_text())
    command += ["--engagements", str(source / "log.parquet"), "--resamples", "50"]
    assert main(command) == 2
    assert "both --engagements and --network" in capsys.readouterr().err
    command += ["--network", str(tmp_path / "network")]
    assert main(command) == 2
    assert "No published post is in the log" in capsys.readouterr().err
    (tmp_path / "set.key").write_bytes(KEY)
    assert main(command) == 0
    written = json.loads((folder / "privacy.json").read_text())
    assert written["options"]["known_share"] == 0.5
    card = plan_dataset_push(folder, "me/set").files["README.md"].decode()
    share = written["re_identification"]["network_vectors"]["rank_1"]["share"]
    assert f"| user found by network vectors, first | {share:.4f} [" in card
    assert "| trained on, told from held out engagements (AUC) |" in card
    assert card.count("## Privacy") == 1
    assert "privacy.json" in plan_dataset_push(folder, "me/set").left_behind
    write_privacy_report(folder, written)
    assert plan_dataset_push(folder, "me/set").files["README.md"].decode() == card


def test_what_does_not_belong_together(made, tmp_path):
    graph, network, posts, _ = made
    folder = write_benchmark(graph, network, posts, tmp_path / "set")
    other = replace(network, user_vectors=network.user_vectors + 1)
    with pytest.raises(ValueError, match="No published vector is one of the network"):
        privacy_report(folder, graph, other, KEY)
    short = replace(network, post_vectors=network.post_vectors[:, :2])
    with pytest.raises(ValueError, match="have 16 dimensions, those of the network 2"):
        privacy_report(folder, graph, short, KEY)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        privacy_report(folder / "none")
