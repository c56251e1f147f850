"""Posts of a data set on a Hub of this machine, by their address."""

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi

from twhin_hf.data.posts import read_posts
from twhin_hf.data_fingerprint import data_fingerprint


@pytest.fixture
def dataset(hub, tmp_path):
    """Two shards of `me/posts`; no file system of an earlier Hub is asked."""
    fsspec.get_filesystem_class("hf").clear_instance_cache()
    for number in range(2):
        ids = [f"p{number}{row}" for row in range(3)]
        table = pa.table({"post_id": ids, "text": [f"text of {name}" for name in ids]})
        pq.write_table(table, tmp_path / f"{number}.parquet")
    api = HfApi()
    api.create_repo("me/posts", repo_type="dataset")
    api.upload_folder(
        repo_id="me/posts", repo_type="dataset", folder_path=tmp_path, path_in_repo="data"
    )
    yield "hf://datasets/me/posts/data"
    fsspec.get_filesystem_class("hf").clear_instance_cache()


def test_posts_of_the_hub(dataset):
    posts, report = read_posts(dataset)
    assert report.num_posts == 6
    assert posts["post_id"][:] == ["p00", "p01", "p02", "p10", "p11", "p12"]
    assert posts["text"][5] == "text of p12"
    assert data_fingerprint(dataset) == data_fingerprint(dataset)
    with pytest.raises(FileNotFoundError, match="nothing at"):
        read_posts(f"{dataset}/none")
