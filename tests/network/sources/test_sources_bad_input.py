"""What is wrong with a log is told before a long read, and what little is wrong is counted."""

import gzip
import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from log_items import LIKE, STATUS, TWEET

from twhin_hf import lines
from twhin_hf.network.sources import import_log, log_files, reading
from twhin_hf.network.sources.events import EventStore


def likes(count):
    return [{**LIKE, "did": f"did:plc:{number}"} for number in range(count)]


@pytest.mark.parametrize(
    ("source", "item", "looks_like"),
    [
        ("bluesky", TWEET, "x"),
        ("bluesky", STATUS, "mastodon"),
        ("mastodon", LIKE, "bluesky"),
        ("x", STATUS, "mastodon"),
        ("x", {"user": 1, "item": 2}, "table"),
    ],
)
@pytest.mark.parametrize("as_array", [False, True])
def test_the_log_of_another_network(load, tmp_path, source, item, looks_like, as_array):
    path = tmp_path / "log.json"
    path.write_text(json.dumps([item] if as_array else item))
    keys = ", ".join(item)
    with pytest.raises(ValueError, match=rf"first entry has {keys}.*`--source {looks_like}"):
        load(source, path)
    assert not list((tmp_path / "_output").glob("*.parquet"))


def test_files_that_are_no_json(load, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id,post_id\nu,p\n")
    with pytest.raises(ValueError, match=r"holds no JSON: its first line is 'user_id,post_id'"):
        load("bluesky", path)
    pq.write_table(pa.table({"user_id": ["u"]}), tmp_path / "log.parquet")
    with pytest.raises(ValueError, match="is a Parquet file, not JSON"):
        load("x", tmp_path / "log.parquet")
    path.write_bytes(b"PK\x03\x04rest")
    with pytest.raises(ValueError, match=r"is a zip file, not JSON\. Unpack it"):
        load("x", path)


def test_an_array_that_is_cut_off(load, tmp_path):
    path = tmp_path / "log.json"
    path.write_text(json.dumps([STATUS, STATUS])[:-5])
    with pytest.raises(ValueError, match=r"holds no JSON \(.*Is it whole\?"):
        load("mastodon", path)


def test_empty_files_and_folders(load, tmp_path):
    (tmp_path / "none.jsonl").touch()
    with pytest.raises(ValueError, match="is empty: 0 bytes"):
        load("bluesky", tmp_path / "none.jsonl")
    (tmp_path / "blank.jsonl").write_text("\n \n")
    with pytest.raises(ValueError, match="nothing but white space"):
        load("bluesky", tmp_path / "blank.jsonl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no file that can be read"):
        load("bluesky", tmp_path / "folder")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load("bluesky", tmp_path / "nowhere")
    (tmp_path / "folder" / "messages.js").write_text("[]")
    with pytest.raises(ValueError, match=r"holds no file of X/Twitter.*Found are messages\.js"):
        load("x", tmp_path / "folder")


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_file_that_is_cut_off(load, tmp_path, codec):
    text = "".join(json.dumps(like) + "\n" for like in likes(2_000)).encode()
    packed = gzip.compress(text) if codec == "gzip" else pa.compress(text, codec, asbytes=True)
    (tmp_path / "log").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match=r"log is cut off or damaged( .* line [1-9].*)?: "):
        load("bluesky", tmp_path / "log")


def test_few_bad_lines_are_counted_with_the_first_ones_number(load, write_lines, caplog):
    path = write_lines("log.jsonl", likes(300))
    text = path.read_bytes().split(b"\n")
    text[4] = b'{"did": "did:plc:4", "time_us": 17'
    text[9] = b'{"did": "\xff\xfe"}'
    text.insert(20, b"  \r")
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(text[:-2]) + b"\n" + text[-2][:40])
    with caplog.at_level(logging.WARNING):
        report, engagements, _ = load("bluesky", path)
    assert (report.lines, report.bad_lines, report.blank_lines) == (301, 3, 1)
    assert len(engagements) == 297
    assert '3 lines are no JSON; the first is line 5: \'{"did": "did:plc:4"' in caplog.text
    with pytest.raises(ValueError, match=r"3 of 301 lines are no JSON, more than the share"):
        load("bluesky", path, max_bad_lines=0.009)


def test_too_many_bad_lines_are_refused_before_events_are_sought(load, tmp_path, monkeypatch):
    (tmp_path / "log.jsonl").write_text(json.dumps(LIKE) + '\n{"did": \n')
    monkeypatch.setattr(EventStore, "append", lambda *_: pytest.fail("events were sought"))
    monkeypatch.setattr(reading, "_look_inside", lambda *_: pytest.fail("the good lines were read"))
    with pytest.raises(ValueError, match="1 of 2 lines are no JSON"):
        load("bluesky", tmp_path / "log.jsonl")


@pytest.mark.parametrize("offset", range(4))
def test_a_bad_line_of_any_script_is_counted(load, write_lines, offset):
    # The engine's message quotes the line's beginning, which may end within a character.
    path = write_lines("log.jsonl", likes(300))
    text = path.read_bytes().split(b"\n")
    text[4] = b'{"did": ' + b"x" * offset + "ラーメン".encode() * 30
    path.write_bytes(b"\n".join(text))
    report, engagements, _ = load("bluesky", path)
    assert (report.bad_lines, len(engagements)) == (1, 299)


def test_bad_lines_do_not_move_the_numbers_of_later_blocks(load, write_lines, monkeypatch, caplog):
    path = write_lines("log.jsonl", likes(300))
    text = path.read_bytes().split(b"\n")
    text[200] = b"oops"
    path.write_bytes(b"\n".join(text))
    monkeypatch.setattr(lines.read_blocks, "__defaults__", (4_000,))
    assert len(load("bluesky", path)[1]) == 299
    assert "the first is line 201: 'oops'" in caplog.text


def test_fields_of_another_type_are_no_error(load, write_lines):
    odd = [
        {**LIKE, "commit": "none"},
        {**LIKE, "time_us": "soon"},
        {**LIKE, "did": {"a": 1}, "commit": {**LIKE["commit"], "record": [1]}},
        [1],
        "text",
        None,
    ]
    report, engagements, _ = load("bluesky", write_lines("log.jsonl", [LIKE, *odd]))
    assert engagements == [("did:plc:bob", "did:plc:ann/p", "like", 1_725_911_162)]
    assert (report.lines, report.bad_lines) == (7, 0)


def test_nothing_that_stands(load, write_lines):
    follow = {**LIKE, "commit": {**LIKE["commit"], "collection": "app.bsky.graph.follow"}}
    with pytest.raises(ValueError, match=r"no post and no engagement.*1 other collections"):
        load("bluesky", write_lines("log.jsonl", [follow]))


def test_a_line_without_end(load, tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE", 1_000)
    monkeypatch.setattr(lines.read_blocks, "__defaults__", (100,))
    (tmp_path / "log").write_text("x" * 5_000)
    with pytest.raises(ValueError, match="line 1 is longer than"):
        load("bluesky", tmp_path / "log")


def test_a_document_that_is_too_large(load, tmp_path, monkeypatch):
    monkeypatch.setattr(log_files, "MAX_DOCUMENT", 1_000)
    (tmp_path / "log").write_text(json.dumps([STATUS] * 100))
    with pytest.raises(ValueError, match=r"one JSON value of more than .* `jq -c"):
        load("mastodon", tmp_path / "log")


def test_arguments(tmp_path):
    (tmp_path / "log").write_text("{}")
    for source, options, message in (
        ("myspace", {}, "no source 'myspace'; known are bluesky, mastodon, x, table"),
        ("x", {"columns": {"user_id": "u"}}, "go with the source table only"),
        ("bluesky", {"user_id": "u"}, "of mastodon or x only"),
        ("table", {"user_id": "u"}, "of mastodon or x only"),
        ("x", {"content_warnings": True}, "are of mastodon only"),
        ("x", {"max_bad_lines": 2}, "must be between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            import_log(source, tmp_path / "log", tmp_path / "out", progress=False, **options)
    assert not (tmp_path / "out").exists()
