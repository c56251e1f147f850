"""Bluesky's events inside of envelopes, answers of its servers and AppView, and CAR exports."""

import json

import pyarrow.parquet as pq
import pytest

ANN, BOB, CAT = "did:plc:ann", "did:plc:bob", "did:web:cat.example"
POST, LIKE, REPOST = (f"app.bsky.feed.{name}" for name in ("post", "like", "repost"))
SECOND = 1_725_911_162
CREATED = {"createdAt": "2024-09-09T19:46:02.102Z"}


def uri(did, rkey, collection=POST):
    return f"at://{did}/{collection}/{rkey}"


def post(text, *langs, **more):
    return {"$type": POST, "text": text, "langs": list(langs), **CREATED, **more}


def subject(did, rkey):
    return {**CREATED, "subject": {"cid": "b", "uri": uri(did, rkey)}}


REPLY = {name: {"cid": "b", "uri": uri(ANN, "p1")} for name in ("root", "parent")}


def event(did, collection, rkey, record):
    commit = {"rev": "3l", "operation": "create", "collection": collection, "rkey": rkey}
    time = {"time_us": SECOND * 1_000_000, "kind": "commit"}
    return {"did": did, **time, "commit": commit | {"record": record}}


EVENTS = [
    event(ANN, POST, "p1", post("Vulkan", "de-AT", "en", "de")),
    event(BOB, LIKE, "l1", subject(ANN, "p1")),
    event(BOB, POST, "p2", post("ja", reply=REPLY)),
]
ENGAGEMENTS = [(BOB, f"{ANN}/p1", "like", SECOND), (BOB, f"{ANN}/p1", "reply", SECOND)]
POSTS = [(f"{ANN}/p1", "Vulkan", "de"), (f"{BOB}/p2", "ja", None)]
ENVELOPES = {
    "capture": lambda item: {"capture_time": "x", "collection": "commit", "record": item},
    "string": lambda item: {"topic": "jetstream", "did": "x", "value": json.dumps(item)},
    "list": lambda item: [0, {"message": {"data": item}}],
}


@pytest.mark.parametrize("wrap", ENVELOPES.values(), ids=ENVELOPES)
def test_envelopes(load, write_lines, wrap):
    lines = [wrap(item) for item in EVENTS]
    report, engagements, posts = load("bluesky", write_lines("log.jsonl", lines))
    assert (engagements, posts, report.lines) == (ENGAGEMENTS, POSTS, 3)


def test_all_languages_are_kept(tmp_path, load, write_lines):
    load("bluesky", write_lines("log.jsonl", EVENTS))
    table = pq.read_table(tmp_path / "_output" / "posts.parquet")
    assert table.column_names == ["post_id", "text", "lang", "langs"]
    assert table["langs"].to_pylist() == [["de", "en"], None]
    assert table["lang"].to_pylist() == ["de", None]


def listed(did, collection, rkey, value):
    return {"uri": uri(did, rkey, collection), "cid": "b", "value": value}


RECORDS = [
    listed(ANN, POST, "p1", post("Vulkan", "de", "en")),
    listed(BOB, LIKE, "l1", subject(ANN, "p1")),
    listed(BOB, POST, "p2", post("ja", reply=REPLY)),
    listed(BOB, "app.bsky.graph.follow", "f1", {**CREATED, "subject": ANN}),
]


@pytest.mark.parametrize("shape", ["pages", "document", "records"])
def test_list_records(load, write_lines, tmp_path, shape):
    if shape == "document":
        path = tmp_path / "answer.json"
        path.write_text(json.dumps({"records": RECORDS, "cursor": "x"}, indent=2))
    else:
        pages = [{"records": RECORDS[:2], "cursor": "x"}, {"records": RECORDS[2:]}]
        path = write_lines("log.jsonl", pages if shape == "pages" else RECORDS)
    report, engagements, posts = load("bluesky", path)
    assert (engagements, posts) == (ENGAGEMENTS, POSTS)
    assert report.skipped == {"other collections": 1}


def test_records_and_their_deletion(load, write_lines):
    delete = {"rev": "3m", "operation": "delete", "collection": LIKE, "rkey": "l1"}
    gone = {"did": BOB, "time_us": SECOND * 1_000_000, "kind": "commit", "commit": delete}
    report, engagements, _ = load("bluesky", write_lines("log.jsonl", [gone, *RECORDS]))
    assert engagements == ENGAGEMENTS[1:]
    assert (report.undone, report.removals) == (1, {"delete": 1})


def view(did, rkey, record, **more):
    counts = {"replyCount": 0, "likeCount": 2, "indexedAt": "2024-09-09T19:47:00Z"}
    author = {"did": did, "handle": "a.example"}
    return {"uri": uri(did, rkey), "cid": "b", "author": author, "record": record} | counts | more


FIRST = view(ANN, "p1", post("Vulkan", "de"))
ANSWER = view(BOB, "p2", post("ja", reply=REPLY))


def test_a_feed(load, tmp_path):
    embed = {"$type": "app.bsky.embed.record", "record": {"cid": "b", "uri": uri(ANN, "p1")}}
    quoted = {"uri": uri(ANN, "p1"), "cid": "b", "author": {"did": ANN}, "value": FIRST["record"]}
    viewer = {"like": uri(BOB, "l9", LIKE), "repost": uri(BOB, "r9", REPOST), "muted": False}
    reason = {"$type": "app.bsky.feed.defs#reasonRepost", "by": {"did": CAT}}
    shown = {"embed": {"record": {"$type": "app.bsky.embed.record#viewRecord", **quoted}}}
    feed = [
        {"post": view(CAT, "p3", post("look", "en", embed=embed), viewer=viewer, **shown)},
        {"post": ANSWER, "reply": {"parent": FIRST, "root": FIRST}},
        {"post": FIRST, "reason": reason | {"indexedAt": "2024-09-09T19:46:03Z"}},
    ]
    path = tmp_path / "timeline.json"
    path.write_text(json.dumps({"feed": feed, "cursor": "x"}))
    report, engagements, posts = load("bluesky", path)
    assert set(engagements) == {
        (CAT, f"{ANN}/p1", "quote", SECOND),
        (BOB, f"{ANN}/p1", "reply", SECOND),
        (CAT, f"{ANN}/p1", "repost", SECOND + 1),
        (BOB, f"{CAT}/p3", "like", None),
        (BOB, f"{CAT}/p3", "repost", None),
    }
    assert sorted(posts) == [*POSTS, (f"{CAT}/p3", "look", "en")]
    assert (report.skipped, report.post_repeats) == ({}, 3)


@pytest.mark.parametrize("place", ["posts", "thread", "notifications"])
def test_posts_wherever_they_are(load, write_lines, place):
    like = view(BOB, "x", subject(ANN, "p1")) | {"uri": uri(BOB, "l1", LIKE)}
    likes = {"uri": uri(ANN, "p1"), "likes": [{"actor": {"did": BOB}, **CREATED}]}
    answer = {
        "posts": {"posts": [FIRST, ANSWER], "hitsTotal": 2},
        "thread": {"thread": {"post": FIRST, "replies": [{"post": ANSWER, "replies": []}]}},
        "notifications": {"notifications": [like, FIRST, ANSWER]},
    }[place]
    lines = [answer] if place == "notifications" else [answer, likes]
    _, engagements, posts = load("bluesky", write_lines("log.jsonl", lines))
    assert (engagements, posts) == (ENGAGEMENTS, POSTS)


def test_who_liked_and_reposted(load, write_lines):
    lines = [
        {"uri": uri(ANN, "p1"), "likes": [{"actor": {"did": BOB}, **CREATED}], "cursor": "x"},
        {"uri": uri(ANN, "p1"), "repostedBy": [{"did": CAT, "handle": "c.example"}]},
    ]
    report, engagements, posts = load("bluesky", write_lines("log.jsonl", lines))
    assert engagements == [ENGAGEMENTS[0], (CAT, f"{ANN}/p1", "repost", None)]
    assert (posts, report.engagements_without_text, report.posts_without_text) == ([], 2, 1)


@pytest.fixture
def write_car(tmp_path):
    """Writes a repository with a tree of two levels, as a server exports it."""
    libipld = pytest.importorskip("libipld")
    import hashlib

    def varint(number):
        out = b""
        while number > 127:
            out, number = out + bytes([number & 127 | 128]), number >> 7
        return out + bytes([number])

    def write(did, records, drop=0):
        blocks = []

        def add(value):
            data = libipld.encode_dag_cbor(value)
            cid = b"\x01\x71\x12\x20" + hashlib.sha256(data).digest()
            blocks.append(cid + data)
            return cid

        def node(left, entries):
            keys, previous = [], b""
            for name, cid, right in entries:
                key = name.encode()
                shared = 0
                while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                    shared += 1
                keys.append({"p": shared, "k": key[shared:], "v": cid, "t": right})
                previous = key
            return add({"l": left, "e": keys})

        found = [(name, add(record), None) for name, record in sorted(records.items())]
        half = len(found) // 2
        leaf = node(None, found[half + 1 :])
        tree = node(node(None, found[:half]), [(*found[half][:2], leaf)])
        commit = {"did": did, "version": 3, "data": tree, "rev": "3l5", "prev": None, "sig": b"s"}
        root = add(commit)
        header = libipld.encode_dag_cbor({"version": 1, "roots": [root]})
        parts = [header, *blocks[drop:]]
        path = tmp_path / "log" / "repo.car"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"".join(varint(len(part)) + part for part in parts))
        return path

    return write


REPOSITORY = {
    f"{POST}/p1": post("Vulkan", "de", "en"),
    f"{POST}/p2": post("again", reply=REPLY),
    f"{LIKE}/l1": subject(BOB, "p9"),
    f"{LIKE}/l2": subject(BOB, "p8"),
    "app.bsky.actor.profile/self": {"avatar": {"ref": b"\x01", "mimeType": "image/png"}},
}


def test_a_car_export(tmp_path, load, write_lines, write_car):
    path = write_car(ANN, REPOSITORY)
    report, engagements, posts = load("bluesky", path)
    assert engagements == [
        (ANN, f"{ANN}/p1", "reply", SECOND),
        (ANN, f"{BOB}/p8", "like", SECOND),
        (ANN, f"{BOB}/p9", "like", SECOND),
    ]
    assert sorted(posts) == [(f"{ANN}/p1", "Vulkan", "de"), (f"{ANN}/p2", "again", None)]
    assert (report.lines, report.skipped) == (5, {"other collections": 1})
    # Beside a log of events, in which a record of the export was deleted later.
    delete = {"rev": "3l6", "operation": "delete", "collection": POST, "rkey": "p1"}
    gone = {"did": ANN, "time_us": SECOND * 1_000_000, "kind": "commit", "commit": delete}
    write_lines("log/later.jsonl", [gone])
    report, engagements, posts = load("bluesky", tmp_path / "log")
    assert [row[0] for row in posts] == [f"{ANN}/p2"]
    assert report.deleted_posts == 1


def test_a_car_export_that_is_cut_off(load, write_car):
    path = write_car(ANN, REPOSITORY, drop=1)
    with pytest.raises(ValueError, match=r"repo\.car is cut off, damaged"):
        load("bluesky", path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"repo\.car is cut off, damaged"):
        load("bluesky", path)
    with pytest.raises(ValueError, match=r"repo\.car is cut off"):
        load("x", path)


def test_a_car_export_without_its_reader(load, write_car, monkeypatch):
    path = write_car(ANN, REPOSITORY)
    monkeypatch.setitem(__import__("sys").modules, "libipld", None)
    with pytest.raises(ValueError, match=r"needs the package libipld.*twhin_hf\[bluesky\]"):
        load("bluesky", path)
