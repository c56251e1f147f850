import bz2
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.benchmarks.hydration import find_texts

BIG = "1234567890123456789"


def lines(path, *posts):
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(map(json.dumps, posts)) + "\n", encoding="utf-8")
    return path


def texts(source, *ids):
    table = find_texts(source, pa.array(ids))
    return dict(zip(table["post_id"].to_pylist(), table["text"].to_pylist(), strict=True))


def test_posts_of_both_api_versions(tmp_path):
    source = lines(
        tmp_path / "it's.jsonl",
        {"errors": [{"title": "Not Found"}]},
        {"id": int(BIG), "id_str": BIG, "text": "cut…", "full_text": "whole"},
        {"id": 5, "text": "cut…", "extended_tweet": {"full_text": "extended", "entities": {}}},
        {"id": "2", "text": "v2 ＃猫", "edit_history_tweet_ids": ["2"]},
        {
            "data": [
                {"id": "3", "text": "in data"},
                {"id": "4", "text": "cut…", "note_tweet": {"text": "a long note"}},
            ],
            "includes": {"tweets": [{"id": "6", "text": "included"}], "users": [{"id": "7"}]},
        },
        {"data": {"id": "8", "text": "alone"}},
        {"id": "9", "text": " "},
        {"id": "10", "text": "not asked for"},
    )
    assert texts(source, BIG, "2", "3", "4", "5", "6", "7", "8", "9", "11") == {
        BIG: "whole",
        "2": "v2 ＃猫",
        "3": "in data",
        "4": "a long note",
        "5": "extended",
        "6": "included",
        "8": "alone",
    }


def test_posts_that_others_share(tmp_path):
    inner = {"id_str": "1", "text": "cut…", "extended_tweet": {"full_text": "whole"}}
    quoted = {"id_str": "2", "full_text": "quotes"} | {"quoted_status": inner}
    source = lines(
        tmp_path / "x.jsonl",
        {"delete": {"status": {"id_str": "1"}}},
        {"id_str": "3", "text": "RT @a: quotes", "retweeted_status": quoted},
    )
    assert texts(source, "1", "2", "3") == {"1": "whole", "2": "quotes", "3": "RT @a: quotes"}


def test_posts_inside_of_other_json(tmp_path):
    first, second = ({"id_str": number, "full_text": f"text {number}"} for number in "12")
    embedded = {"type": "quoted", "id": "3", "text": "text 3"}
    source = lines(
        tmp_path / "x.jsonl",
        {"statuses": [first], "search_metadata": {"count": 1}},
        {"captured": "today", "value": json.dumps(second)},
        {"id": "4", "text": "text 4", "author_id": "9", "referenced_tweets": [embedded]},
    )
    assert texts(source, "1", "2", "3", "4") == {number: f"text {number}" for number in "1234"}


def test_folder_compressed_and_a_post_twice(tmp_path):
    folder = tmp_path / "dump"
    lines(folder / "a.jsonl", {"id": "1", "text": "short…"})
    with gzip.open(folder / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps({"id": "1", "full_text": "the longest of them"}))
    (folder / "c.json.bz2").write_bytes(bz2.compress(b'{"id": 2, "text": "packed"}\n\n'))
    (folder / ".d.1.partial.jsonl").write_text("{")
    assert texts(folder, "1", "2") == {"1": "the longest of them", "2": "packed"}


def test_tables(tmp_path):
    pq.write_table(pa.table({"post_id": [1, 2], "text": ["a", "b"]}), tmp_path / "p.parquet")
    assert texts(tmp_path / "p.parquet", "2", "3") == {"2": "b"}
    (tmp_path / "p.csv").write_text('post_id,text\n007,"a, b"\n')
    assert texts(tmp_path / "p.csv", "007") == {"007": "a, b"}
    assert texts(lines(tmp_path / "p.jsonl", {"post_id": 3, "text": "c"}), "3") == {"3": "c"}


@pytest.mark.parametrize(
    ("post", "message"),
    [
        ({"id": "1", "content": "<p>a</p>", "account": {}}, "it looks like Mastodon. Its keys are"),
        ({"did": "did:plc:x", "kind": "commit", "commit": {}}, "it looks like Bluesky"),
        ({"id": "1", "text": "a", "subreddit": "x"}, "it looks like Reddit"),
        ({"name": "x"}, r"no posts of X/Twitter\. Its keys are name; needed are id"),
        ({}, "Its keys are none"),
        ([{"id": "1", "text": "a"}], r"a line holds list, not an object.*jq -c"),
    ],
)
def test_other_platforms(tmp_path, post, message):
    with pytest.raises(ValueError, match=message):
        texts(lines(tmp_path / "p.jsonl", post), "1")


def test_bad_sources(tmp_path):
    with pytest.raises(FileNotFoundError, match="Give the file or folder with the texts"):
        texts(tmp_path / "gone.jsonl", "1")
    (tmp_path / "a.json").write_text('[\n{"id": "1"}\n]')
    with pytest.raises(ValueError, match="not JSON lines"):
        texts(tmp_path / "a.json", "1")
    (tmp_path / "a.csv").write_text("uid,text\n1,a\n")
    with pytest.raises(ValueError, match=r"found are uid, text\. Rename the one that it is"):
        texts(tmp_path / "a.csv", "1")
    source = lines(tmp_path / "b.jsonl", {"id": "1", "text": "a"})
    with pytest.raises(ValueError, match=r"none of the 2 posts; an id in it is '1', one .* 'x1'"):
        texts(source, "x1", "x2")
    folder = tmp_path / "both"
    lines(folder / "a.jsonl", {"id": "1", "text": "a"})
    lines(folder / "b.jsonl", {"post_id": "1", "text": "a"})
    with pytest.raises(ValueError, match=r"b.jsonl is a table .* Give one kind"):
        texts(folder, "1")
    lines(tmp_path / "c.jsonl", {"id": "1", "text": "a"}).write_text('{"id": "1", "text": "a"}\n{"')
    with pytest.raises(ValueError, match=r"c.jsonl cannot be read: line 2 is no JSON: '\{\"'"):
        texts(tmp_path / "c.jsonl", "1")
