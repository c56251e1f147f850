from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from twhin_hf.benchmarks.engagement.benchmark import build_benchmark
from twhin_hf.recommendation.records import Records

POSTS = pa.table(
    {
        "post_id": ["a", "b", "c", "d", "e"],
        "text": ["A", "B", "C", "D", "E"],
        "lang": ["en", "en", "hi", None, "en"],
    }
)
SPLITS = np.array(["train", "test", "train", "validation", "train"])
# u1 likes and reposts a, likes b; u2 likes c and the unknown x; u3 (no vector) likes a; u4 likes d
GRAPH = SimpleNamespace(
    lhs=np.array([0, 0, 0, 1, 1, 2, 3], dtype=np.int32),
    rhs=np.array([0, 0, 1, 2, 4, 0, 3], dtype=np.int32),
    user_ids=pa.array(["u1", "u2", "u3", "u4"]),
    post_ids=pa.array(["a", "b", "c", "d", "x"]),
)
NETWORK = SimpleNamespace(
    user_ids=pa.array(["u4", "u1", "u9", "u2"]),
    user_vectors=np.arange(8, dtype=np.float32).reshape(4, 2),
)


def test_rows_are_matched_by_id_and_what_is_left_out_is_counted():
    benchmark = build_benchmark(GRAPH, NETWORK, POSTS, SPLITS, records_per_user=None)
    assert benchmark.post_ids == ["a", "b", "c", "d"]
    assert benchmark.texts == ["A", "B", "C", "D"]
    assert benchmark.languages.tolist() == ["en", "en", "hi", "und"]
    assert benchmark.splits.tolist() == ["train", "test", "train", "validation"]
    records = benchmark.records
    found = {
        (tuple(benchmark.user_vectors[user]), benchmark.post_ids[post])
        for user, post in zip(records.users, records.posts, strict=True)
    }
    assert len(records) == 4
    assert found == {((2, 3), "a"), ((2, 3), "b"), ((6, 7), "c"), ((0, 1), "d")}
    assert benchmark.counts == {
        "engagements": 6,
        "engagements_without_user_vector": 1,
        "engagements_without_post": 1,
        "users_without_vector": 1,
        "posts_without_engagement": 1,
        "posts_above_maximum": 0,
        "posts": 4,
        "users": 3,
        "records": 4,
    }


def test_records_and_pools_of_a_language():
    benchmark = build_benchmark(GRAPH, NETWORK, POSTS, SPLITS, records_per_user=None)
    assert benchmark.language_names == ["en", "hi", "und"]
    records = benchmark.records_of("en")
    assert {split: part.posts.tolist() for split, part in records.items()} == {
        "train": [0],
        "validation": [],
        "test": [1],
    }
    pools = benchmark.pools_of("en")
    assert {split: part.tolist() for split, part in pools.items()} == {
        "train": [0],
        "validation": [],
        "test": [1],
    }


def test_each_user_once_a_language_by_default():
    rng = np.random.default_rng(0)
    edges = rng.integers(30, size=(2, 2000)).astype(np.int32)
    ids = pa.array([str(row) for row in range(30)])
    graph = SimpleNamespace(lhs=edges[0], rhs=edges[1], user_ids=ids, post_ids=ids)
    network = SimpleNamespace(user_ids=ids, user_vectors=np.zeros((30, 2), np.float32))
    posts = pa.table({"post_id": ids, "text": ids, "lang": ["en", "hi"] * 15})
    splits = np.array(["train"] * 30)
    once = build_benchmark(graph, network, posts, splits)
    assert len(once.records) == 60
    assert len(np.unique(once.records.users * 2 + once.records.posts % 2)) == 60
    assert len(once.known) > 500
    few = build_benchmark(graph, network, posts, splits, max_posts=4, records_per_user=3)
    assert few.languages.tolist().count("en") == few.languages.tolist().count("hi") == 4
    assert few.counts["posts_above_maximum"] == 22
    assert np.bincount(few.records.users).max() <= 6
    again = build_benchmark(graph, network, posts, splits, max_posts=4, records_per_user=3)
    assert again.post_ids == few.post_ids
    assert (again.records.posts == few.records.posts).all()


def test_posts_without_languages_are_one_language():
    benchmark = build_benchmark(GRAPH, NETWORK, POSTS.drop(["lang"]), SPLITS)
    assert benchmark.language_names == ["und"]
    assert len(benchmark.records) == 3


def test_errors():
    with pytest.raises(ValueError, match="2 splits for 5 posts; give one each"):
        build_benchmark(GRAPH, NETWORK, POSTS, SPLITS[:2])
    strangers = SimpleNamespace(user_ids=pa.array(["v"]), user_vectors=np.zeros((1, 2), np.float32))
    with pytest.raises(ValueError, match=r"None of 6 engagements .* \(6 have none\)"):
        build_benchmark(GRAPH, strangers, POSTS, SPLITS)
    with pytest.raises(ValueError, match="one length"):
        Records(np.zeros(2, np.int64), np.zeros(3, np.int64))
