"""The columns and the blocks of tables; reading whole ones is tested with the stages."""

import errno
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.tables import column_names, open_engine, read_errors, read_table, table_batches


def test_columns_are_read_from_the_beginning_of_a_file(tmp_path):
    pq.write_table(pa.table({"id": [1], "text": ["a"]}), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text('﻿id,"te\nxt"\n1,2\n', encoding="utf-8")
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"id\ttext\n1\t2\n"))
    lines = [{"id": 1}, {"text": "a", "id": 2}]
    text = "\n".join(map(json.dumps, lines)) + "\n\n"
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    found = {path.name: column_names(path) for path in tmp_path.iterdir()}
    assert found == {
        "a.parquet": ["id", "text"],
        "a.csv": ["id", "te\nxt"],
        "a.tsv.gz": ["id", "text"],
        "a.jsonl.gz": ["id", "text"],
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1", r"a\.parquet cannot be read"),
        ("a.csv", b"\xff\xfei\0d\0", r"a\.csv is not UTF-8"),
        ("a.csv.gz", gzip.compress(b"id,text\n" * 100)[:12], r"a\.csv\.gz is cut off or damaged"),
        ("a.csv.gz", b"id,text\n", r"a\.csv\.gz is not gzip, though its name ends in"),
        ("a.jsonl", b"id,text\n", r"a\.jsonl is not JSON lines \(line 1: Expecting value"),
        ("a.jsonl", b"[1]", r"a\.jsonl is not JSON lines \(line 1: it holds list, not an object"),
        ("a.jsonl", b'{"a": "\xff"}', r"a\.jsonl is not UTF-8 \(line 1\)"),
    ],
)
def test_a_file_whose_columns_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        column_names(tmp_path / name)


def test_blocks_keep_the_order_of_the_rows(tmp_path):
    ids = [str(number) for number in range(10)]
    pq.write_table(pa.table({"id": ids}), tmp_path / "a.parquet")
    with open_engine() as engine:
        table = read_table(tmp_path / "a.parquet", ["id"], connection=engine)
        blocks = [block["id"].to_pylist() for block in table_batches(table, 4, tmp_path)]
    assert blocks == [ids[:4], ids[4:8], ids[8:]]
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize(
    "text",
    [
        'IO Error: Could not write file "/d/x": No space left on device',
        "Out of Memory Error: failed to offload data block of size 256.0 KiB (0 bytes/0 bytes "
        "used). This limit was set by the 'max_temp_directory_size' setting.",
    ],
)
def test_a_full_disk_is_no_damaged_file(text):
    import duckdb

    kind = duckdb.IOException if text.startswith("IO") else duckdb.OutOfMemoryException
    with pytest.raises(OSError, match="while reading log") as raised, read_errors("log.csv"):
        raise kind(text)
    assert raised.value.errno == errno.ENOSPC
