"""Any table as a log: mapped columns, times and what is left out."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.engines import EngineConfig, open_engine, scan_parquet
from twhin_hf.table_format import TableFormat
from twhin_hf.timestamps import with_seconds

SPARK = EngineConfig("spark")
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


def test_spark_imports_alike(spark, load, tmp_path):
    random = np.random.default_rng(0)
    rows = 5000
    table = pa.table(
        {
            "user_id": random.integers(0, 200, rows).astype(str),
            "post_id": pa.array(random.integers(0, 300, rows), pa.uint64()),
            "relation": pa.array(np.array(["like", "share", ""])[random.integers(0, 3, rows)]),
            "timestamp": random.integers(1_500_000_000, 1_500_009_999, rows),
            "text": [("one", "three", "seven", "", " \U0001fae0")[row % 5] for row in range(rows)],
            "lang": [("en", None, "pt-BR", "und")[row % 4] for row in range(rows)],
        }
    )
    path = tmp_path / "log.parquet"
    pq.write_table(table, path, row_group_size=700)
    expected, found = (load("table", path, engine=engine) for engine in (None, SPARK))
    assert found == expected
    assert expected[0].repeats
    # Text formats and what is left out; posts without text are told in their order.
    rows = "".join(f"u{i % 7},{'' if i % 5 == 0 else i % 11},{i % 3 or ''}\n" for i in range(60))
    (tmp_path / "log.csv").write_text(f"user_id,post_id,text\n{rows}")
    columns = {"text": "text"}
    without = []
    for engine in (None, SPARK):
        found = load("table", tmp_path / "log.csv", columns=columns, engine=engine)
        without.append((tmp_path / "_output" / "posts_without_text.txt").read_text())
        assert found[0].skipped == {"null, empty or blank ids": 12}
        assert len(found[1]) == 48
    assert without[0] == without[1]
    with pytest.raises(ValueError, match=r"engine spark .* reads the source table only"):
        load("bluesky", path, engine=SPARK)


TIMES = [
    "2024-05-01", "2024-5-1", "2024/05/01 12:30", "2024-05-01T12:30:00.5Z", "20240501",
    "20240501T1230Z", "2024-05-01 12:30:00+02:00", "2024-05-01 12:30:00 +0200",
    "Wed May 01 12:30:00 +0000 2024", "Wed, 1 May 2024 12:30 GMT", "1 May 2024 12:30:00 EST",
    "1714521600", "1714521600.9", "-5", "1.7145216e9", "1714521600000", "1714521600000000000",
    "2024", "2024-05", "12:30:00", "12:30", "13.05.2024", "2024-13-01", "2024-02-30", "0001-01-01",
    "99999-01-01", "2024-05-01T25:00", "yesterday", "NaN", "infinity", "1e400", "2024-05-01 x", "",
    "2024-05-01T12", "2024-05-01T12:30:00.123456789Z", "2024-05-01Z", "epoch", "now", "today",
    "2024-05-01T12:30:00 UTC", "2024-05-01 12:30:00 Europe/Berlin", "2024-121", "24-05-01",
    "1 May 2024 12:30 PDT", "Wed, 01 May 2024 12:30:00 UT", "2024-05-01T12:30:00+02",
    "1 May 24 12:30", "2024-05-01T12:30Z", "2024-05-01 12:30:00,5",
    "2024-05-01t12:30:00z", "2024-5-1T1:02:03", "2024-05-01 12:30:00 CEST",
]  # fmt: skip


def test_every_engine_reads_the_same_times(spark, tmp_path):
    path = tmp_path / "times.parquet"
    pq.write_table(pa.table({"row": np.arange(len(TIMES)), "text": TIMES}), path)
    read = []
    for engine in (None, SPARK):
        with open_engine(config=engine) as opened:
            table = scan_parquet([path], opened)
            times = with_seconds(table, "text", "time").order_by("row")
            read.append(dict(zip(TIMES, opened.to_pyarrow(times)["time"].to_pylist(), strict=True)))
    assert read[0] == read[1]
    half_past_twelve = 1_714_566_600
    expected = {
        "2024/05/01 12:30": 0,
        "2024-05-01 12:30:00 +0200": -2,
        "2024-05-01T12:30:00+02": -2,
        "Wed, 1 May 2024 12:30 GMT": 0,
        "1 May 2024 12:30:00 EST": 5,
        "1 May 2024 12:30 PDT": 7,
        "2024-05-01T12:30:00 UTC": 0,
    }
    for text, hours in expected.items():
        assert read[0][text] == half_past_twelve + 3600 * hours
