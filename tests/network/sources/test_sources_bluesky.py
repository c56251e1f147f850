"""Bluesky's logs: both shapes, what takes effects back, overlaps and counts."""

import json

import pytest

from twhin_hf import lines
from twhin_hf.network.log import read_log

ANN, BOB, CAT = "did:plc:ann", "did:plc:bob", "did:web:cat.example"
POST, LIKE, REPOST = (f"app.bsky.feed.{name}" for name in ("post", "like", "repost"))
CID = "bafyreidwaivazkwu67xztlmuobx35hs2lnfh3kolmgfmucldvhd3sgzcqi"
SECOND = 1_725_911_162


def uri(did, rkey, collection=POST):
    return f"at://{did}/{collection}/{rkey}"


def event(second, did, operation, collection, rkey, record=None):
    """A commit as Jetstream sends it."""
    commit = {
        "rev": f"3l3qo2vut{second:04}",
        "operation": operation,
        "collection": collection,
        "rkey": rkey,
    }
    if record is not None:
        commit |= {"record": {"$type": collection, **record}, "cid": CID}
    time_us = (SECOND + second) * 1_000_000 + 329_308
    return {"did": did, "time_us": time_us, "kind": "commit", "commit": commit}


def subject(did, rkey, collection=POST):
    return {"createdAt": "2024-09-09T19:46:02.102Z", "subject": {"cid": CID, "uri": uri(did, rkey)}}


def post(text, *langs, **more):
    return {"createdAt": "2024-09-09T19:46:02.102Z", "text": text, "langs": list(langs), **more}


REPLY = {"root": {"cid": CID, "uri": uri(ANN, "p1")}, "parent": {"cid": CID, "uri": uri(ANN, "p1")}}
QUOTE = {"$type": "app.bsky.embed.record", "record": {"cid": CID, "uri": uri(ANN, "p1")}}
QUOTE_WITH_PICTURE = {
    "$type": "app.bsky.embed.recordWithMedia",
    "record": {"$type": "app.bsky.embed.record", "record": {"cid": CID, "uri": uri(ANN, "p1")}},
    "media": {"$type": "app.bsky.embed.images", "images": [{"alt": "", "image": {"size": 3}}]},
}
PICTURE = {"$type": "app.bsky.embed.images", "images": [{"alt": "", "image": {"size": 3}}]}
FEED = {"createdAt": "x", "subject": {"uri": uri(ANN, "f", "app.bsky.feed.generator"), "cid": CID}}

EVENTS = [
    event(0, ANN, "create", POST, "p1", post("Vulkan 🌋", "de-AT", "en")),
    event(1, BOB, "create", LIKE, "l1", subject(ANN, "p1")),
    event(2, CAT, "create", LIKE, "l1", subject(ANN, "p1")),
    event(3, CAT, "delete", LIKE, "l1"),  # takes Cat's like back, not Bob's
    event(4, BOB, "create", REPOST, "r1", subject(ANN, "p1")),
    event(5, BOB, "delete", REPOST, "r1"),
    event(6, CAT, "create", REPOST, "r2", subject(ANN, "p1")),
    event(7, BOB, "create", POST, "p2", post("ja!", reply=REPLY)),
    event(8, CAT, "create", POST, "p3", post("look", "en", embed=QUOTE)),
    event(9, CAT, "create", POST, "p4", post("again", "en", embed=QUOTE_WITH_PICTURE)),
    event(10, ANN, "create", POST, "p5", post("", embed=PICTURE)),
    event(11, BOB, "create", LIKE, "l2", subject(BOB, "p6")),  # a post before the log
    event(12, BOB, "create", LIKE, "l3", FEED),
    event(13, BOB, "create", "app.bsky.graph.follow", "g1", {"createdAt": "x", "subject": ANN}),
    {"did": ANN, "time_us": 1, "kind": "identity", "identity": {"did": ANN, "handle": "ann"}},
    event(15, ANN, "create", POST, "p7", post("gone soon", "en", reply=REPLY)),
    event(16, BOB, "create", LIKE, "l4", subject(ANN, "p7")),
    event(17, ANN, "delete", POST, "p7"),  # its text, its reply, and Bob's like of it
    event(18, BOB, "update", POST, "p2", post("ja! (edited)", "de", reply=REPLY)),
]
ENGAGEMENTS = [
    (BOB, f"{ANN}/p1", "like", SECOND + 1),
    (CAT, f"{ANN}/p1", "repost", SECOND + 6),
    (CAT, f"{ANN}/p1", "quote", SECOND + 8),
    (BOB, f"{BOB}/p6", "like", SECOND + 11),
    (BOB, f"{ANN}/p1", "reply", SECOND + 18),
]
POSTS = [
    (f"{ANN}/p1", "Vulkan 🌋", "de"),
    (f"{CAT}/p3", "look", "en"),
    (f"{CAT}/p4", "again", "en"),
    (f"{BOB}/p2", "ja! (edited)", "de"),
]


def test_jetstream_counts_by_hand(tmp_path, load, write_lines):
    report, engagements, posts = load("bluesky", write_lines("log.jsonl", EVENTS))
    assert engagements == ENGAGEMENTS
    assert posts == POSTS
    assert (report.lines, report.bad_lines, report.files) == (19, 0, 1)
    assert report.skipped == {
        "identities and other messages": 1,
        "likes and reposts of what is no post": 1,
        "other collections": 1,
    }
    # Likes 4, reposts 2, replies 3 (p2, its update, p7), quotes 2.
    assert report.engagements_read == 11
    assert report.undone == 4  # a like, a repost, p7's reply, and the reply before the update
    assert report.deleted_posts == 1  # Bob's like of p7
    assert report.repeats == 1  # Cat's second quote
    assert report.num_engagements == 5
    assert report.relations == {"like": 2, "quote": 1, "reply": 1, "repost": 1}
    # p1, p2 twice, p3, p4, p5, p7.
    assert (report.posts_read, report.post_repeats, report.deleted_texts) == (7, 1, 1)
    assert (report.blank_texts, report.num_posts, report.unknown_languages) == (1, 4, 0)
    assert json.loads((tmp_path / "_output" / "import.json").read_text())["num_posts"] == 4


def firehose(item):
    """The same event as a decoded message of the firehose."""
    if "commit" not in item:
        return {"seq": 1, "did": item["did"], "time": "2024-09-09T19:46:02Z", "handle": "ann"}
    commit = item["commit"]
    op = {"action": commit["operation"], "path": f"{commit['collection']}/{commit['rkey']}"}
    second = item["time_us"] // 1_000_000 - SECOND
    time = f"2024-09-09T19:{46 + (2 + second) // 60}:{(2 + second) % 60:02}.329Z"
    return {
        "repo": item["did"],
        "rev": commit["rev"],
        "seq": second,
        "time": time,
        "ops": [{**op, "record": commit.get("record"), "cid": commit.get("cid")}],
    }


def test_a_decoded_firehose_gives_the_same(load, write_lines):
    log = write_lines("log.jsonl", [firehose(item) for item in EVENTS])
    report, engagements, posts = load("bluesky", log)
    assert engagements == ENGAGEMENTS
    assert posts == POSTS
    assert report.skipped["identities and other messages"] == 1


def test_several_operations_of_one_commit(load, write_lines):
    message = firehose(EVENTS[0])
    message["ops"] += firehose(EVENTS[7])["ops"]
    report, engagements, posts = load("bluesky", write_lines("log.jsonl", [message]))
    assert engagements == [(ANN, f"{ANN}/p1", "reply", SECOND)]
    assert [row[0] for row in posts] == [f"{ANN}/p1", f"{ANN}/p2"]
    assert report.lines == 1


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz", "log.jsonl.zst"])
def test_compressed_or_not(load, write_lines, name):
    _, engagements, posts = load("bluesky", write_lines(name, EVENTS))
    assert engagements == ENGAGEMENTS
    assert posts == POSTS


def test_the_revision_orders_events_not_the_line(tmp_path, load, write_lines):
    # Two collectors overlap: the second begins with what the first has seen taken back.
    write_lines("log/a.jsonl", EVENTS)
    write_lines("log/b.jsonl.gz", EVENTS[:8])
    report, engagements, posts = load("bluesky", tmp_path / "log")
    assert engagements == ENGAGEMENTS
    assert posts[-1] == (f"{BOB}/p2", "ja! (edited)", "de")
    assert sorted(posts) == sorted(POSTS)
    assert (report.files, report.lines) == (2, 27)


@pytest.mark.parametrize("shape", ["jetstream", "firehose"])
def test_an_account_that_is_gone_takes_everything_along(load, write_lines, shape):
    def account(second, did, is_active):
        told = {"active": is_active, "did": did, "seq": second, "time": "2024-09-09T20:00:00Z"}
        if shape == "firehose":
            return told
        return {"did": did, "time_us": (SECOND + 900 + second) * 10**6, "kind": "account"} | {
            "account": told
        }

    states = [account(0, ANN, False), account(1, CAT, False)]
    states += [account(2, CAT, True) | {"time": "2024-09-09T20:00:02Z"}]
    events = EVENTS if shape == "jetstream" else [firehose(item) for item in EVENTS]
    report, engagements, posts = load("bluesky", write_lines("log.jsonl", events + states))
    assert engagements == [(BOB, f"{BOB}/p6", "like", SECOND + 11)]
    assert [row[0] for row in posts] == [f"{CAT}/p3", f"{CAT}/p4", f"{BOB}/p2"]
    assert report.inactive_accounts == 5  # likes 1, reposts 1, quotes 2, reply 1: of p1
    assert report.deleted_texts == 3  # p1, p5, p7


def test_the_result_is_an_engagement_log(tmp_path, load, write_lines):
    load("bluesky", write_lines("log.jsonl", EVENTS))
    folder = tmp_path / "_output"
    graph = read_log(folder / "engagements.parquet", folder / "posts.parquet")
    assert graph.report.unknown_posts == 1
    assert graph.num_edges == 4


def test_blocks_do_not_change_the_result(load, write_lines, monkeypatch):
    monkeypatch.setattr(lines.read_blocks, "__defaults__", (300,))
    report, engagements, posts = load("bluesky", write_lines("log.jsonl", EVENTS))
    assert (engagements, posts, report.lines) == (ENGAGEMENTS, POSTS, 19)
