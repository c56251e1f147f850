"""Saved indexes against all scores by NumPy."""

import json
import os
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.errors import InputError
from twhin_hf.run_folder import lock_folder
from twhin_hf.serving.index import index as module
from twhin_hf.serving.index.index import add_vectors, build_index, load_index
from twhin_hf.serving.index.index_config import IndexConfig
from twhin_hf.serving.index.shards import shard_files

METRICS = ("cosine", "inner_product")


def some(count, dimension=8, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def names(count, prefix="p"):
    return [f"{prefix}{number}" for number in range(count)]


def units(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def expected(ids, vectors, queries, k, metric="cosine"):
    if metric == "cosine":
        vectors, queries = units(vectors), units(queries)
    scores = queries @ vectors.T
    order = np.argsort(-scores, axis=1)[:, :k]
    return [[ids[row] for row in rows] for rows in order], np.take_along_axis(scores, order, 1)


def write(path, ids, vectors, **told):
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = pa.table({"post_id": ids, "embedding": column})
    metadata = {"twhin_hf": json.dumps(told)} if told else None
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def told(folder):
    return json.loads((folder / "index.json").read_text())


def test_scores_by_hand(tmp_path):
    vectors = np.array([[3, 4], [0, 2], [-1, 0]], np.float32)
    found = build_index((list("abc"), vectors), tmp_path / "c").search(np.array([[0, 5]]), 2)
    assert found.post_ids == [["b", "a"]]
    np.testing.assert_allclose(found.scores, [[1, 0.8]], atol=1e-6)
    config = IndexConfig(metric="inner_product")
    index = build_index((list("abc"), vectors), tmp_path / "i", config)
    found = index.search(np.array([[0, 5], [-1, 0]]), 2)
    assert found.post_ids == [["a", "b"], ["c", "b"]]
    np.testing.assert_allclose(found.scores, [[20, 10], [1, 0]], atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_shards_give_what_all_scores_give(tmp_path, metric):
    ids, vectors, queries = names(100), some(100), some(5, seed=1)
    config = IndexConfig(metric=metric, shard_size=30)
    build_index((ids, vectors), tmp_path / "i", config)
    index = load_index(tmp_path / "i")
    assert (index.count, index.dimension, index.ids.to_pylist()) == (100, 8, ids)
    assert [shard["count"] for shard in told(index.path)["shards"]] == [30, 30, 30, 10]
    for k in (1, 40, 100, 1000):
        found = index.search(queries, k)
        post_ids, scores = expected(ids, vectors, queries, k, metric)
        assert found.post_ids == post_ids
        np.testing.assert_allclose(found.scores, scores, atol=1e-5)


def test_each_query_leaves_out_its_own(tmp_path):
    ids, vectors, queries = names(60), some(60), some(4, seed=1)
    index = build_index((ids, vectors), tmp_path / "i", IndexConfig(shard_size=25))
    nearest, scores = expected(ids, vectors, queries, 60)
    exclude = [nearest[0][:9], [], [*nearest[2][1::2], "unknown", nearest[2][1]], ids]
    found = index.search(queries, 5, exclude)
    assert found.post_ids == [nearest[0][9:14], nearest[1][:5], nearest[2][:10:2], []]
    np.testing.assert_allclose(found.scores[0], scores[0][9:14], atol=1e-5)
    assert (found.scores[3] == -np.inf).all()
    as_array = index.search(queries, 5, pa.array(exclude))
    assert as_array.post_ids == found.post_ids
    with pytest.raises(InputError, match="1 lists, and there are 4 queries"):
        index.search(queries, 5, [["p1"]])
    with pytest.raises(InputError, match="exclude cannot be read"):
        index.search(queries, 5, [1, 2, 3, 4])


@pytest.mark.parametrize("metric", METRICS)
def test_a_large_shard_is_approximate_and_says_how_near(tmp_path, metric):
    random = np.random.default_rng(0)
    centres = random.normal(size=(40, 16))
    vectors = (centres[random.integers(40, size=4000)] + random.normal(size=(4000, 16)) / 3).astype(
        np.float32
    )
    ids = names(4000)
    config = IndexConfig(metric=metric, exact_limit=1000)
    index = build_index((ids, vectors), tmp_path / "i", config)
    [shard] = told(index.path)["shards"]
    assert shard["index"] == "IVF64,PQ8x4fs,RFlat"
    assert shard["recall"] >= 0.95
    queries = vectors[::40]
    found, (post_ids, scores) = (
        index.search(queries, 10),
        expected(ids, vectors, queries, 10, metric),
    )
    hits = sum(len(set(a) & set(b)) for a, b in zip(found.post_ids, post_ids, strict=True))
    assert hits / 1000 > 0.9
    # What is found is ranked by the vectors themselves.
    np.testing.assert_allclose(found.scores[:, 0], scores[:, 0], atol=1e-4)
    # No cell visited holds as many: all are given, in the true order.
    everything = index.search(queries[:2], 4000)
    assert everything.post_ids == expected(ids, vectors, queries[:2], 4000, metric)[0]
    gone = found.post_ids[0][:3]
    assert index.delete(gone) == 3
    left = index.search(queries[:1], 10).post_ids[0]
    assert not set(left) & set(gone)
    assert left[:7] == found.post_ids[0][3:]


def test_what_is_added_is_found_and_small_shards_grow_together(tmp_path):
    ids, vectors, queries = names(64), some(64), some(3, seed=1)
    index = build_index((ids[:1], vectors[:1]), tmp_path / "i", IndexConfig(shard_size=40))
    for row in range(1, 64):
        index.add([ids[row]], vectors[row : row + 1])
    assert [s["count"] for s in told(index.path)["shards"]] == [32, 32]
    for opened in (index, load_index(index.path)):
        assert opened.search(queries, 64).post_ids == expected(ids, vectors, queries, 64)[0]
    assert sorted(p.name for p in index.path.glob("shard-*")) == sorted(
        name for s in told(index.path)["shards"] for name in shard_files(s["number"])
    )


def test_what_is_deleted_stays_away_until_it_is_added_by_name(tmp_path):
    ids, vectors, queries = names(50), some(50), some(3, seed=1)
    source = write(tmp_path / "v.parquet", ids, vectors)
    index = build_index(source, tmp_path / "i", IndexConfig(shard_size=30))
    assert index.delete([*ids[:5], "unknown"]) == 5
    assert index.delete(ids[:5]) == 0
    assert (index.count, len(index.all_ids)) == (45, 55)
    found = expected(ids[5:], vectors[5:], queries, 50)[0]
    for opened in (index, load_index(index.path)):
        assert opened.search(queries, 50).post_ids == found
    assert add_vectors(index, source) == 0
    # Above a fifth a shard is written anew, and what was deleted is in no file of vectors.
    assert index.delete(ids[5:10]) == 5
    assert sum(shard["count"] for shard in told(index.path)["shards"]) == 40
    assert add_vectors(index, source) == 0
    changed = some(2, seed=2)
    index.add(ids[:2], changed)
    rows, now = [*ids[10:], *ids[:2]], np.concatenate([vectors[10:], changed])
    for opened in (index, load_index(index.path)):
        assert opened.search(queries, 50).post_ids == expected(rows, now, queries, 50)[0]
    # Deleted again where its old row is still there.
    index.add([ids[2]], changed[:1])
    assert index.delete(ids[:3]) == 3
    assert index.search(queries, 50).post_ids == expected(ids[10:], vectors[10:], queries, 50)[0]
    assert index.delete(ids) == 40
    assert (index.count, index.search(queries, 5).post_ids) == (0, [[], [], []])
    assert load_index(index.path).count == 0


def test_erasing_leaves_nothing(tmp_path):
    ids, vectors = names(50), some(50)
    source = write(tmp_path / "v.parquet", ids, vectors)
    index = build_index(source, tmp_path / "i", IndexConfig(metric="inner_product"))
    assert index.delete(ids[1:3]) == 2
    assert index.delete(ids[:2], erase=True) == 1
    content = b"".join(path.read_bytes() for path in index.path.iterdir())
    assert vectors[0].tobytes() not in content
    assert vectors[1].tobytes() not in content
    assert vectors[3].tobytes() in content
    assert index.all_ids.to_pylist() == [*ids[3:], ids[2]]
    found = expected(ids[3:], vectors[3:], vectors[:3], 47, "inner_product")[0]
    assert load_index(index.path).search(vectors[:3], 50).post_ids == found


def test_an_index_takes_the_new_vectors_of_a_file(tmp_path):
    ids, vectors, queries = names(90), some(90), some(3, seed=1)
    made = {"model": "m", "fingerprints": ["1" * 32], "pooling": None}
    source = write(tmp_path / "v.parquet", ids[:40], vectors[:40], **made)
    index = build_index(source, tmp_path / "i", IndexConfig(shard_size=30))
    assert index.made_with == made
    write(source, ids, vectors, **made)
    assert add_vectors(index, source) == 50
    assert index.search(queries, 90).post_ids == expected(ids, vectors, queries, 90)[0]
    assert all(shard["count"] <= 30 for shard in told(index.path)["shards"])
    other = write(tmp_path / "o.parquet", ids, vectors, **(made | {"fingerprints": ["2" * 32]}))
    with pytest.raises(InputError, match=r"the model was m \(1{12}\) and is m \(2{12}\)"):
        add_vectors(index, other)


def test_what_cannot_be_added(tmp_path):
    index = build_index((names(4), some(4)), tmp_path / "i")
    before = told(index.path)
    for ids, vectors, message in (
        (["p1", "new"], some(2), r"1 of the ids are in .*'p1'"),
        (["new", "new"], some(2), "more than once"),
        (["new"], some(2), r"1 ids, and the shape of the vectors is \[2, 8\]"),
        (["new"], some(1, 9), "9 dimensions"),
        ([None], some(1), "1 ids are missing"),
        ([1.5], some(1), "floats"),
        (["new"], some(1) * np.nan, "'new'"),
        (["new"], some(1) * np.inf, "NaN or infinity"),
    ):
        with pytest.raises(InputError, match=message):
            index.add(ids, vectors)
    assert told(index.path) == before
    with pytest.raises(FileExistsError, match="remove it"):
        build_index((names(4), some(4)), index.path)
    with pytest.raises(InputError, match="no vectors"):
        build_index(([], some(0)), tmp_path / "empty")
    write(tmp_path / "twice.parquet", ["a", "b", "a"], some(3))
    with pytest.raises(InputError, match=r"twice\.parquet \(the first is 'a'\)"):
        build_index(tmp_path / "twice.parquet", tmp_path / "twice")
    assert not (tmp_path / "twice").exists()
    with pytest.raises(InputError, match="metric is 'l2'"):
        IndexConfig(metric="l2")


def test_queries_that_cannot_be(tmp_path):
    index = build_index((names(4), some(4)), tmp_path / "i")
    with pytest.raises(InputError, match="8 dimensions"):
        index.search(some(1, 9), 1)
    with pytest.raises(InputError, match="k is 0"):
        index.search(some(1), 0)
    with pytest.raises(InputError, match="NaN or infinity"):
        index.search(some(1) * np.nan, 1)
    assert index.search(some(0), 3).post_ids == []


def test_zero_vectors_have_the_cosine_0(tmp_path):
    vectors = np.array([[0, 0], [1, 0], [-1, 0]], np.float32)
    index = build_index((list("abc"), vectors), tmp_path / "i")
    found = index.search(np.array([[2, 0], [0, 0]]), 3)
    assert found.post_ids[0] == ["b", "a", "c"]
    np.testing.assert_allclose(found.scores, [[1, 0, -1], [0, 0, 0]], atol=1e-6)


def test_damage_is_told(tmp_path):
    def damaged(name, change):
        folder = tmp_path / "i"
        index = build_index((names(20), some(20)), folder)
        index.delete(["p1"])
        [path] = folder.glob(name)
        change(path)
        with pytest.raises(InputError, match="Build the index again") as caught:
            load_index(folder)
        for file in [*folder.iterdir()]:
            file.unlink()
        folder.rmdir()
        return str(caught.value)

    def flip(path):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    assert "is damaged" in damaged("*.faiss", flip)
    assert "is damaged" in damaged("*.faiss", lambda path: os.truncate(path, 50))
    assert "is damaged" in damaged("shard-*.parquet", flip)
    assert "is damaged" in damaged("deleted-*.parquet", flip)
    assert "There is no" in damaged("*.faiss", os.unlink)
    for key, value in {"format": 2, "dimension": 7, "shards": 3, "config": {"k": 1}}.items():

        def change(path, key=key, value=value):
            path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

        damaged("index.json", change)
    with pytest.raises(FileNotFoundError, match="twhin-hf index"):
        load_index(tmp_path / "none")


def test_a_change_that_dies_leaves_the_index_as_it_was(tmp_path, monkeypatch):
    ids, vectors, queries = names(20), some(20), some(2, seed=1)
    index = build_index((ids[:10], vectors[:10]), tmp_path / "i")
    before = index.search(queries, 10).post_ids
    monkeypatch.setattr(module, "write_state", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        index.add(ids[10:], vectors[10:])
    monkeypatch.undo()
    for opened in (index, load_index(index.path)):
        assert opened.search(queries, 10).post_ids == before
    index.add(ids[10:], vectors[10:])
    assert index.search(queries, 20).post_ids == expected(ids, vectors, queries, 20)[0]


def test_two_who_change_one_index(tmp_path):
    ids, vectors, queries = names(30), some(30), some(2, seed=1)
    index = build_index((ids[:10], vectors[:10]), tmp_path / "i")
    other = load_index(index.path)
    other.add(ids[10:20], vectors[10:20])
    other.delete(ids[:1])
    index.add(ids[20:], vectors[20:])
    assert index.search(queries, 30).post_ids == expected(ids[1:], vectors[1:], queries, 30)[0]
    assert other.count == 19
    other.refresh()
    assert other.search(queries, 30).post_ids == index.search(queries, 30).post_ids
    with lock_folder(index.path), pytest.raises(InputError, match="works in"):
        index.add(["new"], some(1))


def test_searches_go_on_while_others_add(tmp_path):
    ids, vectors = names(200), some(200)
    index = build_index((ids[:20], vectors[:20]), tmp_path / "i")
    failures = []

    def look():
        while index.count < 200:
            found = index.search(vectors[:5], 3)
            if [row[0] for row in found.post_ids] != ids[:5]:
                failures.append(found)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for start in range(20, 200, 20):
        index.add(ids[start : start + 20], vectors[start : start + 20])
    for thread in threads:
        thread.join()
    assert not failures
    assert index.search(vectors, 1).post_ids == [[name] for name in ids]


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_changes_gives_what_all_scores_give(tmp_path, seed):
    random = np.random.default_rng(seed)
    metric = METRICS[seed % 2]
    held = dict(zip(names(20), some(20, seed=seed), strict=True))
    config = IndexConfig(metric=metric, shard_size=int(random.integers(5, 40)))
    index = build_index(([*held], np.stack([*held.values()])), tmp_path / "i", config)
    for step in range(25):
        some_ids = random.choice(names(60), random.integers(1, 12), replace=False).tolist()
        if random.random() < 0.5:
            new = [name for name in some_ids if name not in held]
            vectors = some(len(new), seed=100 * seed + step)
            index.add(new, vectors)
            held |= dict(zip(new, vectors, strict=True))
        else:
            gone = index.delete(some_ids, erase=random.random() < 0.3)
            assert gone == len([held.pop(name) for name in some_ids if name in held])
        if random.random() < 0.3:
            index = load_index(index.path)
        assert index.count == len(held)
        assert set(index.ids.to_pylist()) == held.keys()
        if not held:
            continue
        queries = random.normal(size=(3, 8)).astype(np.float32)
        exclude = [random.choice(names(60), size, replace=False).tolist() for size in (0, 3, 40)]
        found = index.search(queries, 6, exclude)
        for query, left_out, post_ids in zip(queries, exclude, found.post_ids, strict=True):
            stays = [name for name in held if name not in left_out]
            vectors = np.array([held[name] for name in stays], np.float32).reshape(-1, 8)
            assert post_ids == expected(stays, vectors, query[None], 6, metric)[0][0]
