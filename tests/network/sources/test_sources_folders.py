"""Folders of logs and other files, JSON that is too deep, and posts without text."""

import json
import logging

import pytest
from log_items import LIKE, STATUS, TWEET

from twhin_hf.commands.cli import main
from twhin_hf.network.sources import import_log

ITEMS = {"bluesky": LIKE, "x": TWEET, "mastodon": STATUS}
NO_LOGS = {
    "README.md": b"# notes\n",
    "LICENSE": b"[see](https://e.org)\n",
    "chart.png": b"\x89PNG\r\n\x1a\n\x00\x00",
    "data": b"\x00\x01\xff\n" * 9,
    "ids.csv": b"id\n1\n",
    "manifest.json": b'{"version": 1, "files": ["log.jsonl"]}',
    "old.zip": b"PK\x03\x04rest",
    "blank.txt": b" \n",
}


@pytest.mark.parametrize("source", ITEMS)
def test_files_that_are_no_log_are_passed_over(tmp_path, load, write_lines, source, caplog):
    write_lines("log/log.jsonl", [ITEMS[source]])
    for name, content in NO_LOGS.items():
        (tmp_path / "log" / name).write_bytes(content)
    (tmp_path / "log" / "more").mkdir()
    (tmp_path / "log" / "more" / "notes.txt").write_text("notes")
    report, engagements, posts = load(source, tmp_path / "log")
    assert len(engagements) + len(posts) == 1
    names = sorted([*NO_LOGS, "more/notes.txt"])
    assert (report.files, report.num_passed_over) == (1, 9)
    assert sorted(report.passed_over) == names
    written = json.loads((tmp_path / "_output" / "import.json").read_text())
    assert sorted(written["passed_over"]) == names
    assert "Passed over as no log (9): LICENSE, README.md" in caplog.text


def test_what_should_be_a_log_is_never_passed_over(tmp_path, load, write_lines):
    write_lines("log/a.jsonl", [LIKE])
    other = tmp_path / "log" / "b.jsonl"
    for content, message in (
        ("oops\n", "b.jsonl holds no JSON"),
        (json.dumps([LIKE])[:-9], "Is it whole"),
        (json.dumps(TWEET), "b.jsonl is not Bluesky.*--source x"),
    ):
        other.write_text(content)
        with pytest.raises(ValueError, match=message):
            load("bluesky", tmp_path / "log")


def test_a_folder_without_any_log(tmp_path, load):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "README.md").write_text("# notes\n")
    with pytest.raises(ValueError, match=r"README\.md holds no JSON: its first line is '# notes'"):
        load("bluesky", tmp_path / "log")


DEEP = {
    "lists": "[" * 100_000 + "]" * 100_000,
    "objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "cut off": "[" * 100_000,
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("source", [*ITEMS, "table"])
def test_json_that_is_too_deep(tmp_path, source, text):
    path = tmp_path / "log.json"
    path.write_text(text)
    told = "is JSON of too many levels|is not JSON lines|cannot be read|has no column 'user_id'"
    with pytest.raises(ValueError, match=rf"log\.json ({told})"):
        import_log(source, path, tmp_path / "out", progress=False)


@pytest.mark.parametrize("source", ITEMS)
def test_one_line_that_is_too_deep(load, tmp_path, source):
    lines = [json.dumps(ITEMS[source]), DEEP["objects"], DEEP["lists"]]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    report, engagements, posts = load(source, tmp_path / "log.jsonl")
    assert len(engagements) + len(posts) == 1
    assert sum(report.skipped.values()) == 2


def test_engagements_without_text_are_told(tmp_path, load, write_lines, caplog):
    record = {"text": "hello"}
    posted = {**LIKE["commit"], "collection": "app.bsky.feed.post", "record": record}
    likes = [
        {**LIKE, "did": f"did:plc:{name}", "commit": {**LIKE["commit"], "record": {"subject": uri}}}
        for name, uri in (
            ("a", {"uri": "at://did:plc:b/app.bsky.feed.post/one"}),
            ("b", {"uri": "at://did:plc:b/app.bsky.feed.post/two"}),
            ("c", {"uri": "at://did:plc:b/app.bsky.feed.post/two"}),
            ("d", {"uri": "at://did:plc:bob/app.bsky.feed.post/r"}),
        )
    ]
    path = write_lines("log.jsonl", [*likes, {**LIKE, "commit": posted}])
    with caplog.at_level(logging.WARNING):
        report, *_ = load("bluesky", path)
    assert (report.engagements_without_text, report.posts_without_text) == (3, 2)
    assert "3 of 4 engagements (75%) are with 2 posts whose text is not in the log" in caplog.text
    assert "getPosts" in caplog.text
    ids = (tmp_path / "_output" / "posts_without_text.txt").read_text()
    assert ids == "did:plc:b/two\ndid:plc:b/one\n"


def test_the_command_tells_it_too(tmp_path, write_lines, capsys, caplog):
    write_lines("log/a.jsonl", [LIKE])
    (tmp_path / "log" / "README.md").write_text("# notes\n")
    output = str(tmp_path / "out")
    options = ["--source", "bluesky", "--input", str(tmp_path / "log"), "--output", output]
    assert main(["network", "import", *options, "--progress", "false"]) == 0
    assert "Passed over as no log (1): README.md." in caplog.text
    assert "1 of 1 engagements (100%)" in caplog.text
    assert "passed over" in capsys.readouterr().out


ODD = [
    {"tweet": {"id_str": "9", "full_text": None}},
    {"noteTweet": {"core": 5}},
    {"data": {"delete": {"tweet": 5}}},
    {"type": ["x"], "object": {}, "account": 1, "status": {}},
    {"orderedItems": 5},
    {"notification_groups": [{}], "statuses": [{}], "accounts": 5},
    {"uri": "at://a/b/c", "likes": [5, {"actor": 5}]},
    {"post": {"uri": 5}, "reason": {"by": {"did": 5}, "uri": 5}},
]


@pytest.mark.parametrize("source", ITEMS)
def test_known_keys_with_something_else_in_them(load, write_lines, source):
    lines = [ITEMS[source], *ODD]
    report, engagements, posts = load(source, write_lines("log.jsonl", lines))
    assert len(engagements) + len(posts) == 1
    assert report.bad_lines == 0
    # What is inside of such an object is still found.
    lines = [ITEMS[source], {"orderedItems": 5, "likes": 5, "inside": ITEMS[source]}]
    report, *_ = load(source, write_lines("log.jsonl", lines))
    assert report.repeats + report.post_repeats == 1


@pytest.mark.parametrize("wrap", [False, True])
def test_halves_of_characters_and_nan(load, tmp_path, wrap):
    cut = '{"id_str": "1", "text": "cut \\ud83d", "user": {"id_str": "2"}, "score": NaN}'
    lines = [cut, '{"id_str": "2", "text": "whole \\ud83c\\udf0b", "user": {"id_str": "2"}}', "?"]
    if wrap:
        lines = [f'{{"payload": {line}}}' for line in lines]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    report, _, posts = load("x", tmp_path / "log.jsonl", max_bad_lines=0.5)
    assert [row[:2] for row in posts] == [("1", "cut \ufffd"), ("2", "whole 🌋")]
    assert (report.lines, report.bad_lines) == (3, 1)
