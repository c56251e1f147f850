"""Every store against exact search, and what stores must not do: lose, tell, half write."""

import json
import os
import uuid
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.commands.cli import main
from twhin_hf.credentials import without_secrets
from twhin_hf.errors import InputError
from twhin_hf.run_folder import lock_folder
from twhin_hf.serving.search import search_vectors
from twhin_hf.serving.stores import opening
from twhin_hf.serving.stores.opening import fill_store, open_store

KINDS = ("parquet", "lance", "qdrant", "postgresql")


@pytest.fixture(params=KINDS)
def place(request, tmp_path):
    """An address of each kind with nothing behind it yet."""
    if request.param == "postgresql":
        address = request.getfixturevalue("postgresql")
        return f"{address}#posts_{uuid.uuid4().hex}"
    if request.param == "qdrant":
        pytest.importorskip("qdrant_client")
        return f"qdrant:{tmp_path / 'qdrant'}#posts"
    if request.param == "lance":
        pytest.importorskip("lance")
        return f"lance:{tmp_path / 'posts'}"
    return str(tmp_path / "posts")


def some(count, dimension=8, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def names(count):
    return [f"it's post {number}" for number in range(count)]


def write(path, ids, vectors, **others):
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    pq.write_table(pa.table({"post_id": ids, "embedding": column, **others}), path)
    return path


def exact(tmp_path, ids, vectors, queries, k):
    return search_vectors(write(tmp_path / "exact.parquet", ids, vectors), queries, k)


def test_each_gives_what_exact_search_gives(place, tmp_path):
    ids, vectors, queries = names(60), some(60), some(5, seed=1)
    with closing(open_store(place)) as store:
        assert (store.count(), store.dimension()) == (0, None)
        store.delete(ids)
        store.upsert(ids[:40], vectors[:40])
        store.upsert(ids[40:], vectors[40:])
        assert (store.count(), store.dimension()) == (60, 8)
        for k in (1, 7, 60, 99):
            found, expected = store.search(queries, k), exact(tmp_path, ids, vectors, queries, k)
            assert found.post_ids == expected.post_ids
            np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    with closing(open_store(place)) as store:  # by another process it is there too
        assert store.search(vectors[:1], 1).post_ids == [ids[:1]]


def test_each_ranks_by_inner_product_where_it_is_told_to(place):
    # Lengths change the order: c has the largest product though it is at a wider angle than a.
    vectors = np.array([[1, 0], [0, 0], [3, 3], [-9, 0]], np.float32)
    queries = np.array([[2, 0], [0, 0.5]], np.float32)
    with closing(open_store(place, "inner_product")) as store:
        store.upsert([*"azcn"], vectors)
        found = store.search(queries, 2)
    assert found.post_ids[0] == ["c", "a"]
    np.testing.assert_allclose(found.scores[0], [6, 2], atol=1e-5)
    assert found.post_ids[1][0] == "c"
    np.testing.assert_allclose(found.scores[1], [1.5, 0], atol=1e-5)
    with pytest.raises(InputError, match="metric is 'dot'; known are"):
        open_store(place, "dot")


def test_a_collection_of_another_metric_is_refused(tmp_path):
    pytest.importorskip("qdrant_client")
    place = f"qdrant:{tmp_path / 'qdrant'}#posts"
    with closing(open_store(place)) as store:
        store.upsert(names(3), some(3))
    with closing(open_store(place, "inner_product")) as store:
        with pytest.raises(InputError, match="to rank by cosine, and the metric is inner_product"):
            store.search(some(1), 1)
        with pytest.raises(InputError, match="give the metric cosine, or another collection"):
            store.upsert(names(3), some(3))
        store.delete(names(1))
        assert store.count() == 2


def test_upserts_replace_and_deletions_stay(place, tmp_path):
    ids, vectors, queries = names(30), some(30), some(4, seed=1)
    with closing(open_store(place)) as store:
        store.upsert(ids, vectors, {"lang": ["en"] * 30, "likes": list(range(30))})
        changed = some(12, seed=2)
        for _ in range(2):  # the same batch once more changes nothing
            store.upsert(ids[10:22], changed, {"lang": ["ar"] * 12, "likes": [1] * 12})
            assert store.count() == 30
        now = np.concatenate([vectors[:10], changed, vectors[22:]])
        expected = exact(tmp_path, ids, now, queries, 30)
        assert store.search(queries, 30).post_ids == expected.post_ids
        store.delete([*ids[:10], "unknown"])
        assert store.count() == 20
        expected = exact(tmp_path, ids[10:], now[10:], queries, 30)
        assert store.search(queries, 30).post_ids == expected.post_ids


def test_what_no_store_takes(place):
    with closing(open_store(place)) as store:
        with pytest.raises(InputError, match="holds no vectors"):
            store.search(some(1), 1)
        store.upsert(names(3), some(3))
        for ids, vectors, payload, message in (
            (["a", "a"], some(2), None, "more than once"),
            (["a"], some(2), None, r"shape of the vectors is \[2, 8\]"),
            (["a"], some(1, 9), None, "9 dimensions"),
            (["a"], some(1) * 0, None, r"zero .*'a'"),
            (["a"], some(1) * np.nan, None, "'a'"),
            (["a"], some(1), {"embedding": [1]}, "the store's own"),
            (["a"], some(1), {"lang": ["en", "ar"]}, "payload"),
        ):
            with pytest.raises(InputError, match=message):
                store.upsert(ids, vectors, payload)
        for queries, k, message in (
            (some(1, 9), 1, "8 dimensions"),
            (some(1), 0, "k is 0"),
            (some(1) * 0, 1, "without a cosine"),
        ):
            with pytest.raises(InputError, match=message):
                store.search(queries, k)
        store.upsert([], some(0))
        assert store.count() == 3


def test_payloads_are_there(postgresql, tmp_path):
    import psycopg

    lance, qdrant_client = pytest.importorskip("lance"), pytest.importorskip("qdrant_client")
    payload = {"lang": ["en", "ar"], "likes": [3, None], "share": [0.5, 1.0], "new": [True, False]}
    rows = [
        dict(zip(payload, values, strict=True)) for values in zip(*payload.values(), strict=True)
    ]
    places = [f"{postgresql}#a.b", f"lance:{tmp_path / 'l'}", f"qdrant:{tmp_path / 'q'}#a"]
    with psycopg.connect(postgresql) as connection:
        connection.execute("CREATE SCHEMA a")
    for place in places:
        with closing(open_store(place)) as store:
            store.upsert(["x", "y"], some(2), payload)
    with psycopg.connect(postgresql) as connection:
        found = connection.execute("SELECT lang, likes, share, new FROM a.b ORDER BY post_id")
        assert found.fetchall() == [tuple(row.values()) for row in rows]
    assert lance.dataset(str(tmp_path / "l")).to_table(columns=[*payload]).to_pylist() == rows
    with closing(qdrant_client.QdrantClient(path=str(tmp_path / "q"))) as client:
        points = client.scroll("a")[0]
    by_id = {point.payload.pop("post_id"): point.payload for point in points}
    assert [by_id["x"], by_id["y"]] == rows
    with closing(open_store(places[0])) as store, pytest.raises(InputError, match="list<"):
        store.upsert(["x"], some(1), {"words": [["a"]]})


def test_a_batch_that_fails_leaves_nothing(postgresql):
    import psycopg

    table = f"t{uuid.uuid4().hex}"
    with closing(open_store(f"{postgresql}#{table}")) as store:
        store.upsert(["a"], some(1), {"likes": [1]})
        with psycopg.connect(postgresql) as connection:
            connection.execute(f"ALTER TABLE {table} ADD CHECK (likes < 10)")
        with pytest.raises(InputError, match=r"refuses: .*check"):
            store.upsert(["b", "c"], some(2), {"likes": [2, 20]})
        with pytest.raises(InputError, match=r"refuses: .*nothing"):
            store.upsert(["b"], some(1), {"nothing": [2]})
        assert store.count() == 1
        store.upsert(["b"], some(1), {"likes": [2]})
        assert store.count() == 2


def test_vectors_of_a_file_go_into_each(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(opening, "_ROWS_PER_BATCH", 16)
    ids, vectors, queries = names(50), some(50), some(3, seed=1)
    source = write(tmp_path / "v.parquet", ids, vectors, lang=["en"] * 50)
    for _ in range(2):
        assert fill_store(source, place) == 50
    with closing(open_store(place)) as store:
        expected = search_vectors(source, queries, 9)
        assert store.search(queries, 9).post_ids == expected.post_ids
    (tmp_path / "unwanted.txt").write_text(f"{ids[3]}\n{ids[4]}\n")
    command = ["store", "--to", place, "--delete", str(tmp_path / "unwanted.txt")]
    assert main([*command, "--vectors", str(source)]) == 0
    out = capsys.readouterr().out.replace("\n", "")
    assert "holds 50 vectors" in out
    assert "holds 48 vectors after the deletion" in out
    assert main(["store", "--to", place]) == 2


def test_a_store_that_is_down_is_tried_again(tmp_path, monkeypatch, capsys):
    pgserver = pytest.importorskip("pgserver")
    pytest.importorskip("psycopg")
    server = pgserver.get_server(tmp_path / "pg", cleanup_mode="stop")
    address = server.get_uri()
    server.cleanup()
    source = write(tmp_path / "v.parquet", names(5), some(5))
    servers, told = [], []

    def start(state):
        told.append(str(state.outcome.exception()))
        if len(told) == 2:
            servers.append(pgserver.get_server(tmp_path / "pg", cleanup_mode="delete"))

    monkeypatch.setattr(opening, "_tell", start)
    monkeypatch.setattr(opening, "wait_exponential", lambda: lambda state: 0)
    try:
        assert fill_store(source, f"{address}#posts") == 5
        assert len(told) == 2
        assert "cannot be reached" in told[0]
        # Ended while a connection is open, it is met again.
        with closing(open_store(f"{address}#posts")) as store:
            assert store.count() == 5
            with pytest.raises((ConnectionError, InputError)), store._transaction() as connection:
                connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            assert store.count() == 5
    finally:
        for one in servers:
            one.cleanup()


@pytest.mark.parametrize(
    "place",
    [
        "postgresql://me:hush%20hush@127.0.0.1:9/db?connect_timeout=1#posts",
        "qdrant:http://me:hush%20hush@127.0.0.1:9#posts",
    ],
)
def test_a_store_that_stays_down_is_told_without_its_password(
    place, tmp_path, monkeypatch, capsys, caplog
):
    pytest.importorskip("psycopg")
    pytest.importorskip("qdrant_client")
    monkeypatch.setattr(opening, "wait_exponential", lambda: lambda state: 0)
    monkeypatch.setattr(opening, "TRIES", 2)
    source = write(tmp_path / "v.parquet", names(5), some(5))
    assert main(["store", "--to", place, "--vectors", str(source)]) == 2
    err = capsys.readouterr().err
    assert "cannot be reached" in err
    assert "me:***@127.0.0.1:9" in err
    assert "trying again" in caplog.text
    assert "hush" not in err + caplog.text


@pytest.mark.parametrize(
    "place",
    [
        "postgresql://me:hush hush@127.0.0.1/db#posts",
        "postgresql://me:hush%ecx@127.0.0.1/db#posts",
        "postgresql://me:hush/hush@127.0.0.1:5432/db#posts",
        "postgresql://me:hush@127.0.0.1/db",
        "qdrant:http://me:hush@127.0.0.1",
        "redis://me:hush@127.0.0.1",
        "postgresql://127.0.0.1:9/db?password=hush&connect_timeout=1",
    ],
)
def test_addresses_that_are_none(place, tmp_path, capsys):
    pytest.importorskip("psycopg")
    pytest.importorskip("qdrant_client")
    source = write(tmp_path / "v.parquet", names(5), some(5))
    assert main(["store", "--to", place, "--vectors", str(source)]) == 2
    err = capsys.readouterr().err
    assert "***" in err
    assert "hush" not in err


def test_a_password_is_in_no_record(tmp_path, monkeypatch):
    place = "postgresql://me:hush hush@127.0.0.1/db#posts"
    monkeypatch.setattr("sys.argv", ["twhin-hf", "store", "--to", place, "--api", "http://h?key=x"])
    with lock_folder(tmp_path):
        command = json.loads((tmp_path / ".lock.json").read_text())["command"]
    assert command.split("--to ")[1] == "'postgresql://me:***@127.0.0.1/db#posts' --api " + (
        "'http://h?key=***'"
    )
    assert without_secrets("http://host:80/a") == "http://host:80/a"


def test_files_of_vectors_are_searched_and_not_changed(tmp_path):
    ids, vectors = names(5), some(5)
    source = write(tmp_path / "v.parquet", ids, vectors)
    content = source.read_bytes()
    store = open_store(source)
    assert (store.count(), store.search(vectors[2:3], 1).post_ids) == (5, [[ids[2]]])
    for change in (lambda: store.upsert(["new"], some(1)), lambda: store.delete(ids)):
        with pytest.raises(InputError, match="is a file of vectors"):
            change()
    assert source.read_bytes() == content


def test_a_folder_is_opened_by_one(tmp_path):
    pytest.importorskip("qdrant_client")
    place = f"qdrant:{tmp_path / 'q'}#posts"
    with closing(open_store(place)) as first, closing(open_store(place)) as second:
        first.upsert(["a"], some(1))
        with pytest.raises(InputError, match="already accessed"):
            second.count()


def test_missing_libraries_are_named(tmp_path, monkeypatch):
    find = "twhin_hf.serving.stores.store.importlib.util.find_spec"
    monkeypatch.setattr(find, lambda name: None)
    for place, extra in (
        (str(tmp_path / "a.lance"), "lance"),
        ("qdrant::memory:#a", "qdrant"),
        ("postgresql://h/d#t", "pgvector"),
    ):
        with pytest.raises(InputError, match=rf"pip install 'twhin_hf\[{extra}\]'"):
            open_store(place)


def test_damaged_lance_is_told(tmp_path):
    pytest.importorskip("lance")
    store = open_store(f"lance:{tmp_path / 'l'}")
    store.upsert(["a"], some(1))
    for path in (tmp_path / "l" / "data").iterdir():
        os.truncate(path, 10)
    with pytest.raises(InputError, match="cannot be used"):
        store.search(some(1), 1)
