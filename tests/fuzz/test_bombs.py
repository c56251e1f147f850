"""Small files that would become gigabytes are refused, and memory stays as it is."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tracemalloc
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf import lines, text_tables
from twhin_hf.benchmarks.archives import open_folder
from twhin_hf.benchmarks.classification.formats import read_labelled_table
from twhin_hf.data.posts import read_posts
from twhin_hf.errors import InputError
from twhin_hf.files import read_yaml
from twhin_hf.lines import iterate_lines, open_text, read_blocks, whole_lines
from twhin_hf.tables import read_parquet

MIB = 2**20
PACKINGS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


@pytest.fixture(params=PACKINGS)
def packing(request):
    return request.param


@pytest.fixture
def small_limits(monkeypatch):
    """4 MiB for a file that unpacks to more than 200 times its size; lines of 1 MiB."""
    monkeypatch.setattr(lines, "_SMALL", 4 * MIB)
    monkeypatch.setattr(lines, "MAX_LINE", MIB)


def bomb(path, content, times=64):
    """A file that unpacks to `times` times `content`, which is packed once."""
    packed = PACKINGS[path.suffix[1:]](content)
    path.write_bytes(packed * times)
    return path


def most_memory(read):
    """The most that Python and Arrow take meanwhile."""
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    tracemalloc.start()
    try:
        most = 0
        for _ in read:
            most = max(most, pool.bytes_allocated() - before)
        return most + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_many_lines(tmp_path, packing, small_limits):
    path = bomb(tmp_path / f"a.{packing}", b"hello\n" * (MIB // 6), 64)
    assert path.stat().st_size * 200 < 64 * MIB
    with pytest.raises(InputError, match=rf"a\.{packing} has [\d,]+ bytes and unpacks to more"):
        list(read_blocks(path))
    with pytest.raises(InputError, match="unpacks to more"):
        list(iterate_lines(path, "latin-1"))


def test_one_line(tmp_path, packing, small_limits):
    path = bomb(tmp_path / f"a.{packing}", b"\0" * MIB)
    with pytest.raises(InputError, match=r"line 1 is longer than 1 MiB"):
        list(read_blocks(path))
    with (
        pytest.raises(InputError, match=r"line 1 is longer than 1 MiB"),
        open_text(path, "utf-8") as text,
    ):
        list(whole_lines(text, path))


def test_one_line_that_is_not_packed(tmp_path, small_limits):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 8 * MIB)
    for encoding in ("utf-8", "latin-1"):
        with pytest.raises(InputError, match=r"a\.txt: line 1 is longer"):
            list(iterate_lines(path, encoding))


def test_memory_stays_small(tmp_path, packing, small_limits):
    path = bomb(tmp_path / f"a.{packing}", b"hello\n" * (MIB // 6), 64)

    def read():
        with pytest.raises(InputError):
            yield from read_blocks(path, MIB)

    assert most_memory(read()) < 16 * MIB


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_tables(tmp_path, small_limits, monkeypatch, ending):
    text = b"hello" * 200
    row = {
        "csv": b"1,%s\n" % text,
        "tsv": b"1\t%s\n" % text,
        "jsonl": b'{"post_id": "1", "text": "%s"}\n' % text,
    }[ending]
    head = {"csv": b"post_id,text\n", "tsv": b"post_id\ttext\n", "jsonl": b""}[ending]
    path = tmp_path / f"a.{ending}.gz"
    path.write_bytes(gzip.compress(head + row) + gzip.compress(row * (MIB // len(row))) * 32)
    with pytest.raises(InputError, match="unpacks to more than"):
        read_posts(path, directory=tmp_path)
    # As Python reads it, where the engine gives up.
    monkeypatch.setattr(text_tables, "_ENGINE_ENCODINGS", {})
    with pytest.raises(InputError, match="unpacks to more than"):
        read_posts(path, directory=tmp_path)


def test_labelled_tables(tmp_path, small_limits):
    path = bomb(tmp_path / "a.csv.bz2", b"text,label\n" + b"a,0\n" * MIB)
    with pytest.raises(InputError, match="unpacks to more than"):
        read_labelled_table(path)


def test_what_is_packed_well_and_small_is_read(tmp_path, packing):
    path = bomb(tmp_path / f"a.{packing}", b"hello\n" * 50_000, 2)
    assert sum(len(block.lines) for block in read_blocks(path)) == 100_000


@pytest.mark.parametrize("stated", [True, False])
def test_zip_archives(tmp_path, stated):
    """One that states what it holds, and one that states less."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("en/train.tsv", b"\0" * 32 * MIB)
    data = content.getvalue()
    if not stated:
        data = data.replace((32 * MIB).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    (tmp_path / "a.zip").write_bytes(data)
    message = "unpacks to 33,554,432, more than 100 times" if stated else "no whole zip archive"
    with (
        pytest.raises(InputError, match=message),
        open_folder(tmp_path / "a.zip", lambda name: True),
    ):
        pass


def test_yaml_whose_aliases_multiply(tmp_path):
    """Nine lines, ten to the ninth values."""
    text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    for i in range(1, 9):
        text += f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n"
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match="repeats its aliases to more than 100,000 values"):
        read_yaml(tmp_path / "a.yaml")


def test_yaml_that_holds_itself(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a [*a]\n")
    with pytest.raises(InputError, match=r"a\.yaml cannot be used \(RecursionError"):
        read_yaml(tmp_path / "a.yaml")


def test_parquet_whose_lists_have_no_end(tmp_path):
    """A list of thirty million equal words takes some kilobytes."""
    words = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), 30_000_000), ["a"])
    tokens = pa.ListArray.from_arrays([0, len(words)], words)
    pq.write_table(pa.table({"tokens": tokens}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 50_000
    with pytest.raises(InputError, match=r"holds 30,000,000 values, more than 16,777,216"):
        read_parquet(tmp_path / "a.parquet")


def test_parquet_that_claims_more_rows_than_it_has(tmp_path):
    """Arrow asks for the memory of all of them: 128 GiB for a file of 580 bytes."""
    path, claimed = tmp_path / "a.parquet", 2**27 - 1
    table = pa.table({"a": np.zeros(1_234_567, np.int8)})
    pq.write_table(table, path, row_group_size=len(table))
    whole, told = path.read_bytes(), zigzag(1_234_567)
    place = whole.rindex(told)  # of the row group, which follows its columns
    path.write_bytes(whole[:place] + zigzag(claimed) + whole[place + len(told) :])
    with pytest.raises(InputError, match=r"holds 134,217,727 values, more than 16,777,216"):
        read_parquet(path)


def test_parquet_whose_row_groups_cancel_each_other(tmp_path):
    path, rows = tmp_path / "a.parquet", [1_234_567, 1_234_568]
    writer = pq.ParquetWriter(path, pa.schema({"a": pa.int8()}))
    for number in rows:
        writer.write_table(pa.table({"a": np.zeros(number, np.int8)}), row_group_size=number)
    writer.close()
    whole = path.read_bytes()
    for told, claimed in zip(map(zigzag, rows), (zigzag(2**27 - 1), zigzag(-(2**27))), strict=True):
        whole = whole.replace(told, claimed)
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"holds 134,217,727 values, more than 16,777,216"):
        read_parquet(path)


def zigzag(number):
    """A whole number as Thrift writes it."""
    return varint(2 * number if number >= 0 else -2 * number - 1)


def varint(number):
    """A length as Thrift writes it."""
    found = bytearray()
    while number >= 128:
        found.append(number % 128 + 128)
        number //= 128
    return bytes([*found, number])


@pytest.mark.parametrize("read", [read_parquet, read_posts])
def test_parquet_whose_footer_claims_a_list_of_any_length(tmp_path, read):
    """DuckDB asks for the memory of the list: 8 GB for a file of 1.3 KB."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"post_id": ["a"], "text": ["b"]}), path)
    whole = path.read_bytes()
    size = int.from_bytes(whole[-8:-4], "little")
    data, footer = whole[: -8 - size], whole[-8 - size : -8]
    told, claimed = b"\x19\x2c", b"\x19\xfc" + varint(400_000_000)  # a list of two structures
    place = footer.rindex(told)
    footer = footer[:place] + claimed + footer[place + len(told) :]
    path.write_bytes(data + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(InputError, match="cannot be read: Couldn't deserialize thrift"):
        read(path)
