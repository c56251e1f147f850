"""Engagements before a time."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.errors import InputError
from twhin_hf.network.log import read_log

LOG = {
    "user_id": ["a", "a", "b", "b", "c", "c", None],
    "post_id": ["p", "q", "p", "q", "p", "r", "p"],
    "timestamp": [100, 200, 300, 199, 200, 500, 50],
    "relation": ["like"] * 7,
}


def write(tmp_path, **columns):
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table(LOG | columns), path)
    return path


def edges(graph):
    users, posts = graph.user_ids.to_pylist(), graph.post_ids.to_pylist()
    return [(users[u], posts[p]) for u, p in zip(graph.lhs, graph.rhs, strict=True)]


@pytest.mark.parametrize("before", ["200", "1970-01-01T00:03:20Z", "1970-01-01 01:03:20+01"])
def test_those_at_the_time_and_later_do_not_count(tmp_path, before):
    graph = read_log(write(tmp_path), before=before)
    assert edges(graph) == [("a", "p"), ("b", "q")]
    assert graph.before == "1970-01-01T00:03:20Z"
    report = graph.report
    assert (report.rows, report.late_rows, report.null_ids, report.num_edges) == (7, 4, 1, 2)
    assert read_log(write(tmp_path)).before is None


def test_the_time_may_have_another_name(tmp_path):
    log = pq.read_table(write(tmp_path)).rename_columns(["user_id", "post_id", "at", "relation"])
    pq.write_table(log, tmp_path / "log.parquet")
    columns = {"timestamp": "at"}
    assert read_log(tmp_path / "log.parquet", before="101", columns=columns).num_edges == 1
    assert read_log(tmp_path / "log.parquet", columns=columns).num_edges == 6
    with pytest.raises(InputError, match=r"no column 'timestamp'; .*--columns timestamp="):
        read_log(tmp_path / "log.parquet", before="101")


def test_a_repeated_engagement_counts_from_its_first_time_on(tmp_path):
    columns = {"user_id": ["a", "a"], "post_id": ["p", "p"], "relation": ["like", "like"]}
    path = write(tmp_path, timestamp=[300, 100], **columns)
    assert edges(read_log(path, before="200")) == [("a", "p")]


def test_posts_have_ends_of_their_own(tmp_path):
    ends = pa.table({"post_id": ["p", "q"], "end": [200, 200]})
    graph = read_log(write(tmp_path), post_ends=ends)
    assert edges(graph) == [("a", "p"), ("b", "q"), ("c", "r")]
    assert (graph.before, graph.report.late_rows, graph.report.null_ids) == (None, 3, 1)
    both = read_log(write(tmp_path), post_ends=ends, before="150")
    assert edges(both) == [("a", "p")]


def test_times_are_looked_at_where_they_count(tmp_path):
    gap = write(tmp_path, timestamp=[None, *LOG["timestamp"][1:]])
    assert read_log(gap).num_edges == 6
    with pytest.raises(InputError, match=r"engagement log \(.*\): 1 of 7 rows have no timestamp"):
        read_log(gap, before="200")
    mixed = write(tmp_path, timestamp=[1_600_000_000_000, *LOG["timestamp"][1:]])
    with pytest.raises(InputError, match=r"mixes units: 1 are milliseconds, .*; 6 are seconds"):
        read_log(mixed, before="200")
    with pytest.raises(InputError, match=r"before \(`--before`\) is 'May', which is no time"):
        read_log(gap, before="May")


def test_nothing_before_it(tmp_path):
    with pytest.raises(InputError, match="Taken out were 7 at or after the time that engagements"):
        read_log(write(tmp_path), before="50")
