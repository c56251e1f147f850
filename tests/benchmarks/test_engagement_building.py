import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from twhin_hf.benchmarks.engagement.building import build_engagement_benchmark
from twhin_hf.benchmarks.engagement.loading import load_engagement_prediction
from twhin_hf.benchmarks.hub_folder import DatasetCard, write_hub_folder
from twhin_hf.data.splits import split_posts
from twhin_hf.data.time_splits import Split, split_by_time
from twhin_hf.network.folder import Network
from twhin_hf.network.log import read_log
from twhin_hf.privacy.keys import hash_ids

KEY = b"sixteen bytes or more"
USERS, POSTS, WIDTH = 40, 300, 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A log of 40 users; u0 has one engagement, p0 one user. Users' vectors tell who they are."""
    rng = np.random.default_rng(0)
    log = {(f"u{rng.integers(1, USERS)}", f"p{rng.integers(1, POSTS)}") for _ in range(3000)}
    log |= {("u0", "p1"), ("u1", "p0")}
    users, posts = zip(*sorted(log), strict=True)
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    # A second relation is no second engagement.
    doubled = {"user_id": [*users, "u0"], "post_id": [*posts, "p1"]}
    relation = ["like"] * len(users) + ["repost"]
    pq.write_table(pa.table(doubled | {"relation": relation}), path)
    ids = [f"p{i}" for i in range(POSTS)]
    table = pa.table(
        {
            "post_id": ids,
            "text": [f"text of {key}" for key in ids],
            "lang": ["en" if i % 3 else "hi" for i in range(POSTS)],
        }
    )
    names = [f"u{i}" for i in range(USERS)]
    train = [key for key, split in zip(ids, split_posts(ids), strict=True) if split == "train"]
    network = Network(
        user_ids=pa.array(names),
        post_ids=pa.array(train),
        relations=["like"],
        user_vectors=np.repeat(np.arange(USERS, dtype=np.float32), WIDTH).reshape(USERS, WIDTH),
        post_vectors=np.zeros((len(train), WIDTH), np.float32),
        relation_vectors=np.zeros((1, WIDTH), np.float32),
        user_degrees=np.ones(USERS, np.int64),
        post_degrees=np.ones(len(train), np.int64),
    )
    return read_log(path), network, table, log


def test_records_are_engagements_and_ids_are_hashes(made):
    graph, network, posts, log = made
    found = build_engagement_benchmark(graph, network, posts, key=KEY)
    assert list(found.languages) == ["en", "hi"]
    ids = posts["post_id"].to_pylist()
    original = dict(zip(hash_ids(ids, KEY), ids, strict=True))
    splits = dict(zip(ids, split_posts(ids), strict=True))
    for language, parts in found.languages.items():
        users = []
        for split, records in parts.records.items():
            own = parts.posts[split]
            assert own["text"][:] == [f"text of {original[key]}" for key in own["id"][:]]
            assert set(own["lang"][:]) == {language}
            assert {splits[original[key]] for key in own["id"][:]} == {split}
            assert set(records["id"][:]) <= set(own["id"][:])
            for row in records:
                user = f"u{int(row['user'][0])}"
                assert (user, original[row["id"]]) in log
                users.append(user)
        assert len(users) == len(set(users)) > 30


def test_by_time(made):
    """Post p7 was written in second 7; validation begins at 200, test at 250."""
    graph, network, posts, _ = made
    ids = [f"p{i}" for i in range(0, POSTS, 2)]
    excluded = sorted(set(posts["post_id"].to_pylist()) - set(ids))
    split = Split(split_by_time(pa.array(range(0, POSTS, 2)), 200, 250), 200, 250)
    given = {"key": KEY, "exclude_posts": excluded, "split": split}
    with pytest.raises(ValueError, match=r"The network holds .* posts that the evaluation holds"):
        build_engagement_benchmark(graph, network, posts, **given)
    with pytest.raises(ValueError, match="The split is of 150 posts, and there are 300"):
        build_engagement_benchmark(graph, network, posts, key=KEY, split=split)
    early = replace(
        network,
        post_ids=network.post_ids.filter(pc.is_in(network.post_ids, pa.array(ids[:100]))),
        metadata={"before": "1970-01-01T00:03:20Z"},
    )
    found = build_engagement_benchmark(graph, early, posts, **given)
    number = dict(zip(hash_ids(ids, KEY), range(0, POSTS, 2), strict=True))
    for parts in found.languages.values():
        for name, first, end in (("train", 0, 200), ("validation", 200, 250), ("test", 250, 300)):
            assert all(first <= number[key] < end for key in parts.posts[name]["id"][:])
    with pytest.raises(ValueError, match="does not say which time its engagements end"):
        build_engagement_benchmark(graph, replace(early, metadata={}), posts, **given)


def test_rare_users_and_posts_stay_out(made):
    graph, network, posts, log = made
    found = build_engagement_benchmark(
        graph, network, posts, key=KEY, min_user_engagements=2, min_post_engagements=6
    )
    users_of = {post: sum(other == post for _, other in log) for _, post in log}
    ids = [post for post in posts["post_id"].to_pylist() if users_of.get(post, 0) >= 6]
    allowed = set(hash_ids(ids, KEY))
    published = {
        key
        for parts in found.languages.values()
        for own in parts.posts.values()
        for key in own["id"][:]
    }
    assert published == allowed
    vectors = [
        row["user"][0]
        for parts in found.languages.values()
        for own in parts.records.values()
        for row in own
    ]
    assert 0.0 not in vectors
    assert found.counts["rare_users"] == 1
    assert found.counts["rare_posts"] == sum(count < 6 for count in users_of.values())


def test_posts_of_pretraining_and_leaks(made):
    graph, network, posts, _ = made
    seen = [f"p{i}" for i in range(0, POSTS, 2)]
    found = build_engagement_benchmark(graph, network, posts, key=KEY, exclude_posts=seen)
    published = {
        key
        for parts in found.languages.values()
        for own in parts.posts.values()
        for key in own["id"][:]
    }
    assert not published & set(hash_ids(seen, KEY))
    assert found.counts["excluded_posts"] == len(seen)
    with pytest.raises(ValueError, match=r"The network holds .* the evaluation holds out"):
        build_engagement_benchmark(graph, network, posts, key=KEY, split_seed=1)


def test_what_pretraining_has_not_seen_is_split_anew(made):
    graph, network, posts, _ = made
    seen = network.post_ids.to_pylist()
    with pytest.raises(ValueError, match="--split_seed"):
        build_engagement_benchmark(graph, network, posts, exclude_posts=seen)
    found = build_engagement_benchmark(
        graph, network, posts, key=KEY, exclude_posts=seen, split_seed=1
    )
    ids = [key for key in posts["post_id"].to_pylist() if key not in set(seen)]
    split_of = dict(zip(hash_ids(ids, KEY), split_posts(ids, 1), strict=True))
    for parts in found.languages.values():
        for split, own in parts.posts.items():
            assert {split_of[key] for key in own["id"][:]} == {split}


def test_the_order_of_users_is_not_the_seeds(made):
    graph, network, posts, _ = made
    first, second = (build_engagement_benchmark(graph, network, posts, key=KEY) for _ in range(2))
    rows = [
        [(row["id"], *row["user"]) for row in found.languages["en"].records["train"]]
        for found in (first, second)
    ]
    assert sorted(rows[0]) == sorted(rows[1])  # what is drawn by the seed is the same
    assert len(rows[0]) > 20
    assert rows[0] != rows[1]


def test_a_language_of_few_users_stays_out(made):
    graph, network, posts, _ = made
    few = [lang == "en" or row < 30 for row, lang in enumerate(posts["lang"].to_pylist())]
    posts = posts.filter(pa.array(few))
    whole = build_engagement_benchmark(graph, network, posts, key=KEY, min_language_users=1)
    sizes = {
        language: sum(map(len, parts.records.values()))
        for language, parts in whole.languages.items()
    }
    assert sizes["en"] > sizes["hi"]
    found = build_engagement_benchmark(
        graph, network, posts, key=KEY, min_language_users=sizes["hi"] + 1
    )
    assert list(found.languages) == ["en"]
    assert found.counts["rare_languages"] == 1
    found = build_engagement_benchmark(
        graph, network, posts, key=KEY, min_language_users=sizes["hi"]
    )
    assert list(found.languages) == ["en", "hi"]
    with pytest.raises(ValueError, match="min_language_users is 0"):
        build_engagement_benchmark(graph, network, posts, min_language_users=0)


def test_a_drawn_key_is_forgotten(made):
    graph, network, posts, _ = made
    first, second = (build_engagement_benchmark(graph, network, posts) for _ in range(2))
    ids = [set(found.languages["en"].posts["train"]["id"][:]) for found in (first, second)]
    assert ids[0].isdisjoint(ids[1])
    assert all(len(key) == 32 for key in ids[0])
    plain = {hashlib.blake2b(f"p{i}".encode(), digest_size=16).hexdigest() for i in range(POSTS)}
    assert not ids[0] & plain
    with pytest.raises(ValueError, match="The key has 5 bytes; needed are 16 to 64"):
        build_engagement_benchmark(graph, network, posts, key=b"short")


def test_what_is_written_reads_back_and_holds_no_key(made, tmp_path):
    graph, network, posts, _ = made
    found = build_engagement_benchmark(graph, network, posts, key=KEY)
    folder = write_hub_folder(found.configs(), tmp_path / "set", DatasetCard("Title", "Text"))
    loaded = load_engagement_prediction("hi", data_dir=folder, cache_dir=tmp_path / "cache")
    assert loaded.records["test"][:] == found.languages["hi"].records["test"][:]
    assert all(KEY not in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_nothing_left(made):
    graph, network, posts, _ = made
    with pytest.raises(ValueError, match="No engagement is left"):
        build_engagement_benchmark(graph, network, posts, min_post_engagements=1000)
    with pytest.raises(ValueError, match="min_user_engagements is 0"):
        build_engagement_benchmark(graph, network, posts, min_user_engagements=0)
    rest = [key for key in posts["post_id"].to_pylist() if key not in ("p1", "p2")]
    with pytest.raises(ValueError, match="No language has records in train, validation and test"):
        build_engagement_benchmark(graph, network, posts, exclude_posts=rest)
