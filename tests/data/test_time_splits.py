"""Splits by time, by hand."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.data.post_times import read_post_times
from twhin_hf.data.split_config import SplitConfig
from twhin_hf.data.splits import split_posts
from twhin_hf.data.time_splits import Split, check_unseen, make_split, split_by_time
from twhin_hf.errors import InputError
from twhin_hf.network.folder import Network

IDS = [f"p{row}" for row in range(10)]
LOG = {  # p9 has no engagement; the later engagements with a post say nothing of its time
    "user_id": ["a", "b", "a", "b", "a", "b", "a", "b", "a", "b", "a"],
    "post_id": ["p0", "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "gone"],
    "timestamp": [900, 100, 200, 300, 400, 500, 600, 700, 800, 1000, 5000],
}


def write(folder, name, columns):
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def posts(tmp_path):
    return write(tmp_path, "posts", {"post_id": IDS, "text": ["text"] * 10})


@pytest.fixture
def log(tmp_path):
    return write(tmp_path, "log", LOG)


def test_times_are_those_of_the_first_engagement(posts, log):
    times = read_post_times(pa.array(IDS), posts, log)
    assert times.to_pylist() == [100, 200, 300, 400, 500, 600, 700, 800, 1000, None]
    assert read_post_times(pa.chunked_array([["p8"], ["p0", "?"]]), posts, log).to_pylist() == [
        1000,
        100,
        None,
    ]


def test_times_of_posts_come_first(tmp_path, log):
    own = ["1970-01-01T00:00:50Z", None, *[None] * 7, "1970-01-01T00:20:00+00:00"]
    columns = {"post_id": IDS, "text": ["text"] * 10, "created": own}
    path = write(tmp_path, "timed", columns)
    found = read_post_times(
        pa.array(IDS[:2] + IDS[-1:]), path, log, post_columns={"timestamp": "created"}
    )
    assert found.to_pylist() == [50, 200, 1200]


def test_a_log_is_not_read_where_all_posts_have_times(tmp_path):
    path = write(tmp_path, "timed", {"post_id": IDS, "text": ["text"] * 10, "timestamp": [9] * 10})
    assert read_post_times(pa.array(IDS), path, tmp_path / "nowhere.csv").to_pylist() == [9] * 10


def test_no_times_at_all(tmp_path, posts):
    log = write(tmp_path, "untimed", {name: LOG[name] for name in ("user_id", "post_id")})
    with pytest.raises(InputError, match=r"needs a column timestamp, and .* and .* have none"):
        read_post_times(pa.array(IDS), posts, log)
    with pytest.raises(InputError, match=r"posts\.parquet has none"):
        read_post_times(pa.array(IDS), posts)
    empty = {"post_id": IDS, "text": ["text"] * 10, "timestamp": pa.nulls(10, pa.int64())}
    path, config = write(tmp_path, "empty", empty), SplitConfig(split="time")
    with pytest.raises(InputError, match="None of 10 posts has a time"):
        make_split(config, 0, pa.array(IDS), path)
    gaps = write(tmp_path, "gaps", LOG | {"timestamp": [None, *LOG["timestamp"][1:]]})
    with pytest.raises(InputError, match="1 of 11 rows have no timestamp"):
        read_post_times(pa.array(IDS), posts, gaps)


def test_a_time_belongs_to_what_begins_with_it():
    times = pa.array([19, 20, 24, 25, None])
    expected = ["train", "validation", "validation", "test", ""]
    assert split_by_time(times, 20, 25).tolist() == expected


def test_given_times(posts, log, caplog):
    caplog.set_level("INFO")
    config = SplitConfig(split="time", validation_from="400", test_from="1970-01-01T00:12:30Z")
    split = make_split(config, 0, pa.array(IDS), posts, log)
    assert split.names.tolist() == ["train"] * 3 + ["validation"] * 4 + ["test"] * 2 + [""]
    assert split.before == "1970-01-01T00:06:40Z"
    ends = split.ends(pa.array(IDS)).to_pydict()
    assert ends == {"post_id": IDS[:7], "end": [400] * 3 + [750] * 4}
    assert split.record() == {
        "split": "time",
        "validation_from": "1970-01-01T00:06:40Z",
        "test_from": "1970-01-01T00:12:30Z",
    }
    assert caplog.messages[-1] == (
        "Posts are split by time: 3 train before 1970-01-01T00:06:40Z, 4 validation before "
        "1970-01-01T00:12:30Z, 2 test from then on; 1 posts without a time take no part"
    )


def test_times_by_the_shares_of_the_posts(tmp_path):
    columns = {"post_id": IDS, "text": ["text"] * 10, "timestamp": [10 * row for row in range(10)]}
    config = SplitConfig(split="time")
    split = make_split(config, 0, pa.array(IDS), write(tmp_path, "posts", columns))
    assert (split.validation_from, split.test_from) == (80, 90)
    assert split.names.tolist() == ["train"] * 8 + ["validation", "test"]


def test_the_split_by_a_hash_is_the_one_that_it_was(posts):
    split = make_split(SplitConfig(), 3, pa.array(IDS), posts)
    assert split.names.tolist() == split_posts(IDS, 3).tolist()
    assert (split.before, split.ends(pa.array(IDS)), split.record()) == (
        None,
        None,
        {"split": "hash"},
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"validation_from": "410", "test_from": "450"}, "leaves no post in validation"),
        ({"validation_from": "50", "test_from": "60"}, "leaves no post in train and validation"),
        ({"validation_from": "5000", "test_from": "6000"}, "leaves no post in validation and test"),
        ({"validation_from": "500", "test_from": "500"}, "validation must begin before test does"),
        ({"validation_from": "soon", "test_from": "500"}, "validation_from is 'soon', which is no"),
    ],
)
def test_times_that_do_not_split(posts, log, given, message):
    config = SplitConfig(split="time", **given)
    with pytest.raises(InputError, match=message):
        make_split(config, 0, pa.array(IDS), posts, log)


def test_posts_of_one_time_are_told(tmp_path):
    columns = {"post_id": IDS, "text": ["text"] * 10, "timestamp": ["2024-05-01"] * 10}
    path, config = write(tmp_path, "posts", columns), SplitConfig(split="time")
    with pytest.raises(InputError, match="from 2024-05-01T00:00:00Z to 2024-05-01T00:00:00Z: choo"):
        make_split(config, 0, pa.array(IDS), path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split": "random"}, "split is 'random'; choose from hash, time"),
        ({"test_from": "5", "validation_from": "4"}, "belong to a split by time"),
        ({"split": "time", "test_from": "5"}, "go together"),
    ],
)
def test_options_that_do_not_go_together(given, message):
    with pytest.raises(InputError, match=message):
        SplitConfig(**given)


def network(post_ids, **metadata):
    count = len(post_ids)
    return Network(
        user_ids=pa.array(["u"]),
        post_ids=pa.array(post_ids),
        relations=["like"],
        user_vectors=np.zeros((1, 2), np.float32),
        post_vectors=np.zeros((count, 2), np.float32),
        relation_vectors=np.zeros((1, 2), np.float32),
        user_degrees=np.ones(1, np.int64),
        post_degrees=np.ones(count, np.int64),
        metadata=metadata,
    )


def test_a_network_must_end_before_validation_begins():
    split = Split(np.array(["train", "validation", "test", ""]), 100, 200)
    ids = ["a", "b", "c", "d"]
    for before in ("1970-01-01T00:01:40Z", "1970-01-01T00:01:39Z"):
        check_unseen(network(["a"], before=before), ids, split)
    for metadata in ({}, {"before": None}, {"before": 100}, {"before": "then"}):
        with pytest.raises(
            InputError,
            match=r"does not say which time its .* again with `--before 1970-01-01T00:01:40Z`",
        ):
            check_unseen(network(["a"], **metadata), ids, split)
    with pytest.raises(InputError, match="has seen engagements until 1970-01-01T00:01:41Z, and"):
        check_unseen(network(["a"], before="1970-01-01T00:01:41Z"), ids, split)
    for held_out in "bcd":
        with pytest.raises(InputError, match="The network holds 1 posts that the evaluation holds"):
            check_unseen(network(["a", held_out], before="1970-01-01T00:01:40Z"), ids, split)
    by_hash = dataclasses.replace(split, validation_from=None, test_from=None)
    check_unseen(network(["a"]), ids, by_hash)
