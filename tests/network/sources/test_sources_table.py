"""Any table as a log: mapped columns, times and what is left out."""

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.table_format import TableFormat

TABLE = {
    "uid": ["u", "v", "u", "", "u"],
    "item": ["p", "p", "p", "q", "q"],
    "kind": ["like", "share", "like", "like", None],
    "when": ["1600000000", "1600000000123", "1500000000", "1", "2020-09-13T12:26:40Z"],
    "body": ["one", "one", "one", "two", " "],
}
MAP = {"user_id": "uid", "post_id": "item", "relation": "kind", "timestamp": "when", "text": "body"}


def test_counts_by_hand(load, tmp_path):
    pq.write_table(pa.table(TABLE), tmp_path / "log.parquet")
    report, engagements, posts = load("table", tmp_path / "log.parquet", columns=MAP)
    assert engagements == [
        ("u", "p", "like", 1_500_000_000),
        ("u", "q", "engage", 1_600_000_000),
        ("v", "p", "share", 1_600_000_000),
    ]
    assert posts == [("p", "one", None), ("q", "two", None)]
    assert (report.lines, report.skipped) == (5, {"null, empty or blank ids": 1})
    assert (report.engagements_read, report.repeats) == (4, 1)
    # The longer text of q, which is the one of the row without a user, is kept.
    assert (report.posts_read, report.post_repeats, report.num_posts) == (5, 3, 2)


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_our_own_names_need_no_mapping(load, write_lines, tmp_path, name):
    rows = [{"user_id": "007", "post_id": "p'1", "lang": "EN-us", "text": 'a "b"'}]
    path = write_lines(name, rows)
    if name.endswith(".csv"):
        path.write_text('user_id,post_id,lang,text\n007,p\'1,EN-us,"a ""b"""\n')
    report, engagements, posts = load("table", path)
    assert engagements == [("007", "p'1", "engage", None)]
    assert posts == [("p'1", 'a "b"', "en")]
    assert report.relations == {"engage": 1}


def test_a_column_of_times(load, tmp_path):
    time = datetime.datetime(2020, 9, 13, 12, 26, 40)
    for zone in (None, datetime.timezone.utc):
        table = {"user_id": ["u"], "post_id": ["p"], "timestamp": [time.replace(tzinfo=zone)]}
        pq.write_table(pa.table(table), tmp_path / "log.parquet")
        _, engagements, posts = load("table", tmp_path / "log.parquet")
        assert engagements == [("u", "p", "engage", 1_600_000_000)]
        assert posts == []


def test_times_as_text_and_those_that_nobody_can_read(load, tmp_path, caplog):
    times = [
        "2020-09-13 12:26:40",
        "2020-09-13T14:26:40+02:00",
        "Sun Sep 13 12:26:40 +0000 2020",
        "Sun, 13 Sep 2020 14:26:40 +0200",
        "1.6e9",
        "13.09.2020",
        "",
    ]
    rows = "".join(f'u,{row},"{time}"\n' for row, time in enumerate(times))
    (tmp_path / "log.csv").write_text(f"user_id,post_id,timestamp\n{rows},8,yesterday\n")
    report, engagements, _ = load("table", tmp_path / "log.csv")
    # Without a time they come last, by their ids.
    assert [time for *_, time in engagements] == [1_600_000_000] * 5 + [None] * 2
    assert (report.unread_times, report.unread_time) == (1, "13.09.2020")
    assert "times of 1 rows cannot be read" in caplog.text


def test_a_missing_column_lists_those_found(load, tmp_path):
    pq.write_table(pa.table(TABLE), tmp_path / "log.parquet")
    with pytest.raises(ValueError, match=r"no column 'user_id'; found are uid, .*--columns user"):
        load("table", tmp_path / "log.parquet")
    with pytest.raises(ValueError, match=r"no column 'who'; found are uid, item"):
        load("table", tmp_path / "log.parquet", columns=MAP | {"user_id": "who"})
    with pytest.raises(ValueError, match="columns names author, which is not read here"):
        load("table", tmp_path / "log.parquet", columns=MAP | {"author": "uid"})


def test_texts_that_are_empty_are_counted(load, tmp_path):
    for name, separator in (("log.csv", ","), ("log.tsv", "\t")):
        rows = [["user_id", "post_id", "text"], ["u", "p", "one"], ["u", "q", ""], ["v", "p", ""]]
        (tmp_path / name).write_text("".join(separator.join(row) + "\n" for row in rows))
        report, _, posts = load("table", tmp_path / name)
        assert posts == [("p", "one", None)]
        assert (report.posts_read, report.post_repeats, report.blank_texts) == (3, 1, 1)


def test_headerless_tables_and_objects(load, write_lines, tmp_path):
    (tmp_path / "u.data").write_text("196\t242\t3\t881250949\n22\t377\t1\t878887116\n")
    _, engagements, _ = load(
        "table",
        tmp_path / "u.data",
        columns={"user_id": "1", "post_id": "2", "timestamp": "4"},
        table_format=TableFormat(separator="\t", header="none"),
    )
    assert sorted(engagements) == [
        ("196", "242", "engage", 881250949),
        ("22", "377", "engage", 878887116),
    ]
    path = write_lines("a.jsonl", [{"id": 1, "user": {"id": 7, "n": 10}, "content": "one"}])
    columns = {"user_id": "user.id", "post_id": "id", "text": "content"}
    _, engagements, posts = load("table", path, columns=columns)
    assert (engagements, posts) == ([("7", "1", "engage", None)], [("1", "one", None)])
    with pytest.raises(ValueError, match="the id 'user' is an object"):
        load("table", path, columns=columns | {"user_id": "user"})
    with pytest.raises(ValueError, match="go with the source table only"):
        load("x", path, table_format=TableFormat(separator=";"))
