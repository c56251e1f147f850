"""Files of another place, which is fsspec's own in memory: nothing leaves the process."""

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.data.posts import read_posts
from twhin_hf.data_fingerprint import data_fingerprint
from twhin_hf.network.pairs import read_pairs
from twhin_hf.pipeline_config import PipelineConfig
from twhin_hf.remote import remote_files


@pytest.fixture
def bucket():
    system = fsspec.filesystem("memory")

    def put(path, table):
        with system.open(f"/bucket/{path}", "wb") as file:
            pq.write_table(table, file)

    yield put
    system.rm("/bucket", recursive=True)


def shard(rows):
    texts = [f"text {row}" for row in rows]
    return pa.table({"post_id": list(rows), "text": texts, "more": texts})


def test_posts_of_several_shards(bucket):
    bucket("posts/b.parquet", shard(range(3, 5)))
    bucket("posts/a.parquet", shard(range(3)))
    bucket("posts/_old.parquet", shard(range(9)))
    posts, report = read_posts("memory://bucket/posts")
    assert posts["post_id"][:] == ["0", "1", "2", "3", "4"]
    assert report.num_posts == 5
    assert read_posts("memory://bucket/posts/b*.parquet").dataset["text"][:] == ["text 3", "text 4"]


def test_pairs(bucket):
    bucket("pairs.parquet", pa.table({"anchor_id": [1, 2], "positive_id": [2, 3], "other": [0, 0]}))
    pairs = read_pairs("memory://bucket/pairs.parquet")
    assert pairs.to_pydict() == {"anchor_id": ["1", "2"], "positive_id": ["2", "3"]}


def test_the_fingerprint_is_of_what_is_there(bucket):
    bucket("posts/a.parquet", shard(range(3)))
    first = data_fingerprint("memory://bucket/posts")
    assert data_fingerprint("memory://bucket/posts") == first
    bucket("posts/b.parquet", shard(range(2)))
    assert data_fingerprint("memory://bucket/posts") != first


def test_what_cannot_be_read_is_told(bucket):
    with pytest.raises(FileNotFoundError, match="nothing at memory://bucket/none"):
        remote_files("memory://bucket/none")
    with fsspec.open("memory://bucket/text/a.csv", "w") as file:
        file.write("post_id,text\n")
    with pytest.raises(ValueError, match=r"no Parquet but .*a\.csv; .* fetch them first"):
        remote_files("memory://bucket/text")
    with pytest.raises(ValueError, match="cannot be read: Protocol not known: nowhere"):
        remote_files("nowhere://bucket/posts")
    bucket("posts/a.parquet", shard(range(3)).select(["text"]))
    with pytest.raises(ValueError, match="post_id"):
        read_posts("memory://bucket/posts")


def test_the_main_job_looks_for_its_data_at_the_start(bucket):
    bucket("posts.parquet", shard(range(3)))
    data = {"engagements": "memory://bucket/log", "posts": "memory://bucket/posts.parquet"}
    with pytest.raises(FileNotFoundError, match="nothing at memory://bucket/log"):
        PipelineConfig(output="run", encoder={}, **data)
    bucket("log/a.parquet", pa.table({"user_id": [1], "post_id": [2]}))
    assert PipelineConfig(output="run", encoder={}, **data).posts == data["posts"]
