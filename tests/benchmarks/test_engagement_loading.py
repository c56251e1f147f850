import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import List, Value

from twhin_hf.benchmarks.engagement.loading import (
    EngagementPrediction,
    engagement_configs,
    load_engagement_prediction,
    to_benchmark,
)
from twhin_hf.benchmarks.hub_folder import DatasetCard, write_hub_folder

SPLITS = {"train": ("a", "b"), "dev": ("c",), "test": ("d", "e")}
VECTORS = [[0.5, 1.0, -2.0], [3.0, 4.0, 5.0]]


def write_parquet(folder, split, ids, language="en", records=None, post_ids=None):
    own = folder / language
    own.mkdir(parents=True, exist_ok=True)
    ids = list(ids)
    records = records or [(VECTORS[i % 2], post_id) for i, post_id in enumerate(ids)]
    posts = pa.table({"tweet_id": ids, "text": [f"text {post_id}" for post_id in ids]})
    pq.write_table(posts, own / f"{split}_posts.parquet")
    users, engaged = zip(*records, strict=True)
    table = pa.table({"user_embedding": list(users), "ID": list(engaged)})
    pq.write_table(table, own / f"{split}_records.parquet")


def make(folder, language="en"):
    for split, ids in SPLITS.items():
        write_parquet(folder, split, ids, language)
    return folder


def load(folder, language="en", **options):
    options.setdefault("cache_dir", folder.parent / "cache")
    return load_engagement_prediction(language, data_dir=folder, **options)


def test_posts_and_records(tmp_path):
    posts, records = load(make(tmp_path / "set", "iw"), "he")
    assert posts["test"].to_dict() == {
        "id": ["d", "e"],
        "text": ["text d", "text e"],
        "lang": ["he", "he"],
    }
    assert records["train"].to_dict() == {"user": VECTORS, "id": ["a", "b"]}
    assert records["train"].features["user"] == List(Value("float32"), length=3)
    assert records["train"].data.schema.field("user").type == pa.list_(pa.float32(), 3)


def test_streaming_processes_and_changed_files(tmp_path):
    folder = make(tmp_path / "set")
    more = pa.table({"user_embedding": [VECTORS[0]] * 3, "ID": ["a", "b", "a"]})
    pq.write_table(more, folder / "en" / "train_more.parquet")
    plain = load(folder)
    stream = load(folder, streaming=True)
    assert list(stream.records["train"]) == plain.records["train"].to_list()
    assert len(plain.records["train"]) == 5
    builder = EngagementPrediction(
        config_name="en", data_dir=folder, cache_dir=str(tmp_path / "other")
    )
    builder.download_and_prepare(num_proc=2)
    shared = builder.as_dataset(split="train")
    assert len(shared.cache_files) == 2
    assert sorted(shared["id"][:]) == sorted(plain.records["train"]["id"][:])
    (folder / "en" / "train_more.parquet").unlink()
    assert len(load(folder).records["train"]) == 2


def test_text_formats(tmp_path):
    folder = tmp_path / "set"
    (folder / "en").mkdir(parents=True)
    for split, ids in SPLITS.items():
        posts = "".join(json.dumps({"id": key, "text": f"text {key}"}) + "\n" for key in ids)
        (folder / "en" / f"posts.{split}.jsonl").write_text(posts)
        lines = "".join(f"[1, 2.5]\t{key}\n" for key in ids)
        (folder / "en" / f"records.{split}.tsv").write_text(f"user\tid\n{lines}")
    posts, records = load(folder)
    assert records["test"].to_dict() == {"user": [[1, 2.5]] * 2, "id": ["d", "e"]}
    assert posts["validation"]["text"][:] == ["text c"]


def test_our_own_layout_and_the_benchmark(tmp_path):
    make(tmp_path / "set")
    make(tmp_path / "set", "hi")
    for split, ids in SPLITS.items():
        write_parquet(tmp_path / "set", split, [f"h{key}" for key in ids], "hi")
    own = write_hub_folder(
        engagement_configs(tmp_path / "set"), tmp_path / "own", DatasetCard("Title", "Text")
    )
    assert (own / "records" / "en" / "train.parquet").is_file()
    parts = {code: load(own, code) for code in ("en", "hi")}
    assert parts["en"].records["train"][:] == load(tmp_path / "set").records["train"][:]
    benchmark = to_benchmark(parts)
    assert benchmark.language_names == ["en", "hi"]
    assert benchmark.post_ids == ["a", "b", "c", "d", "e", "ha", "hb", "hc", "hd", "he"]
    assert benchmark.records_of("hi")["test"].posts.tolist() == [8, 9]
    assert benchmark.pools_of("en")["validation"].tolist() == [2]
    drawn = benchmark.records_of("en")["train"]
    np.testing.assert_array_equal(benchmark.user_vectors[drawn.users], np.float32(VECTORS))


def test_vectors_of_mixed_lengths(tmp_path):
    folder = make(tmp_path / "set")
    write_parquet(folder, "train", "ab", records=[([1.0, 2.0], "a"), ([1.0, 2.0, 3.0], "b")])
    with pytest.raises(ValueError, match=r"different lengths: 2 \(train_records.*\), 3 \("):
        load(folder)
    write_parquet(folder, "train", "ab", records=[([], "a"), ([1.0], "b")])
    with pytest.raises(ValueError, match="without a user vector"):
        load(folder)


@pytest.mark.parametrize("number", [None, float("nan"), float("-inf")])
def test_vectors_that_are_no_numbers(tmp_path, number):
    make(tmp_path)
    write_parquet(tmp_path, "dev", "c", records=[([1.0, number, 2.0], "c")])
    with pytest.raises(ValueError, match=r"dev_records.*: 1 numbers of user vectors are null"):
        load(tmp_path)


def test_files_that_do_not_fit(tmp_path):
    folder = make(tmp_path / "set")
    with pytest.raises(ValueError, match=r"has no language 'fr'. It has en"):
        load(folder, "fr")
    with pytest.raises(FileNotFoundError, match="Give the unpacked benchmark"):
        load(tmp_path / "gone")
    pq.write_table(pa.table({"who": [1], "post": [2]}), folder / "en" / "test_records.parquet")
    with pytest.raises(
        ValueError, match=r"no records of test .* Found are .*test_records.parquet \(who, post\)"
    ):
        load(folder)


def test_posts_that_contradict_themselves(tmp_path):
    folder = make(tmp_path / "set")
    write_parquet(folder, "test", "da")
    with pytest.raises(ValueError, match=r"the post 'a' is there already, in train"):
        load(folder)
    write_parquet(folder, "test", "de", records=[(VECTORS[0], "d"), (VECTORS[0], "a")])
    with pytest.raises(ValueError, match=r"1 records of 'en', test, .* \('a' for one\)"):
        to_benchmark({"en": load(folder)})
    empty = pq.read_table(folder / "en" / "test_records.parquet").slice(0, 0)
    pq.write_table(empty, folder / "en" / "test_records.parquet")
    with pytest.raises(ValueError, match="The split test of 'en' has no records"):
        load(folder)
    blank = pa.table({"id": ["d", None], "text": ["x", "y"]})
    pq.write_table(blank, folder / "en" / "test_posts.parquet")
    with pytest.raises(ValueError, match="1 of 2 rows have no id"):
        load(folder)
    pq.write_table(
        pa.table({"id": ["d", "e"], "text": ["x", " "]}), folder / "en" / "test_posts.parquet"
    )
    with pytest.raises(ValueError, match="1 of 2 posts have no text"):
        load(folder)
