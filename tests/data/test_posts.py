"""Reading posts: cleaning, counts, order and errors."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.data.posts import read_posts

POSTS = [
    {"post_id": 3, "text": "three", "lang": "en"},
    {"post_id": "1", "text": "first of one", "lang": ""},
    {"post_id": "1", "text": "second of one", "lang": "en"},
    {"post_id": None, "text": "no id", "lang": "en"},
    {"post_id": "2", "text": None, "lang": "en"},
    {"post_id": "4", "text": " \n\u3000\u200b", "lang": "en"},
    {"post_id": "5", "text": "é" * 100_000, "lang": "fr"},
    {"post_id": "0", "text": 'quoted "text",\nof two lines 👍🏽', "lang": "ja"},
]


def write_lines(path, posts):
    path.write_text("".join(json.dumps(post) + "\n" for post in posts), encoding="utf-8")
    return path


def test_cleans_counts_and_keeps_the_order(tmp_path):
    posts, report = read_posts(write_lines(tmp_path / "p.jsonl", POSTS))
    assert posts.column_names == ["post_id", "text", "lang"]
    assert posts["post_id"][:] == ["3", "1", "5", "0"]
    assert posts["text"][:] == ["three", "first of one", "é" * 10_000, POSTS[-1]["text"]]
    assert posts["lang"][:] == ["en", "und", "fr", "ja"]
    assert (report.rows, report.null_ids, report.blank_texts) == (8, 1, 2)
    assert (report.duplicate_ids, report.cut_texts, report.num_posts) == (1, 1, 4)


def test_csv_and_parquet(tmp_path):
    text = 'one, "two"\nthree'
    (tmp_path / "p.csv").write_text('post_id,text\n007,"one, ""two""\nthree"\n', encoding="utf-8")
    pq.write_table(pa.table({"post_id": ["007"], "text": [text]}), tmp_path / "p.parquet")
    for name in ("p.csv", "p.parquet"):
        posts, _ = read_posts(tmp_path / name)
        assert posts[0] == {"post_id": "007", "text": text, "lang": "und"}


def test_the_first_row_of_an_id_is_kept_in_a_large_file(tmp_path):
    ids = np.random.default_rng(0).integers(0, 30_000, 60_000)
    table = pa.table({"post_id": ids, "text": [f"text {row}" for row in range(len(ids))]})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=5_000)
    posts, report = read_posts(tmp_path / "p.parquet")
    first = np.sort(np.unique(ids, return_index=True)[1])
    assert posts["text"][:] == [f"text {row}" for row in first]
    assert report.duplicate_ids == len(ids) - len(first)


def test_directory_keeps_the_arrow_file(tmp_path):
    source = write_lines(tmp_path / "p.jsonl", POSTS)
    posts, _ = read_posts(source, directory=tmp_path / "cache", max_characters=5)
    (file,) = (tmp_path / "cache").iterdir()
    assert posts.cache_files == [{"filename": str(file)}]
    assert posts["text"][:] == ["three", "first", "é" * 5, "quote"]


def test_columns_by_another_name(tmp_path):
    source = write_lines(tmp_path / "p.jsonl", [{"id": 1, "body": "x", "lang": "en"}])
    with pytest.raises(ValueError, match="no column 'post_id'; found are id, body, lang"):
        read_posts(source)
    posts, _ = read_posts(source, columns={"post_id": "id", "text": "body"})
    assert posts[0] == {"post_id": "1", "text": "x", "lang": "en"}


def test_bad_input(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_posts(tmp_path / "nowhere.parquet")
    (tmp_path / "empty.csv").write_text("post_id,text\n")
    with pytest.raises(ValueError, match="are empty: columns but no row"):
        read_posts(tmp_path / "empty.csv")
    blank = write_lines(tmp_path / "blank.jsonl", [{"post_id": 1, "text": " "}, {"text": "x"}])
    with pytest.raises(ValueError, match=r"No post is left of the 2 rows .* 1 have no id and 1 no"):
        read_posts(blank)
    (tmp_path / "bad.csv").write_bytes(b"post_id,text\n1,ok\n2,\xff\xfe\n")
    with pytest.raises(ValueError, match=r"bad\.csv"):
        read_posts(tmp_path / "bad.csv")
    with pytest.raises(ValueError, match="max_characters is 0"):
        read_posts(blank, max_characters=0)
