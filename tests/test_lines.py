"""Lines of text files, compressed or not."""

import bz2
import gzip
import io
import tarfile

import pyarrow as pa
import pytest

from twhin_hf import lines
from twhin_hf.lines import first_line, iterate_lines, read_blocks, read_lines


def zstd(data):
    return pa.compress(data, "zstd", asbytes=True)


def tar(data, mode="w"):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in (("folder/a.csv", data), ("folder/b.csv", b"not read")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


PACKED = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "zstd": zstd,
    "tar": tar,
    "tar.bz2": lambda data: tar(data, "w:bz2"),
    "tar.gz": lambda data: tar(data, "w:gz"),
    "tar.zst": lambda data: zstd(tar(data)),
}
TEXT = ["é one", "", "two\r\u2028still two ", "\t", "last"]


def numbered(path):
    return {
        number: line
        for block in read_lines(path, progress=False)
        for number, line in zip(block.numbers.tolist(), block.lines.to_pylist(), strict=True)
    }


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_first_bytes_tell_how_a_file_is_packed(tmp_path, packing, end):
    path = tmp_path / "a.txt"
    text = (end or "\n").join(TEXT) + end
    path.write_bytes(PACKED[packing](b"\xef\xbb\xbf" + text.encode()))
    assert list(iterate_lines(path)) == TEXT
    assert numbered(path) == {number: line for number, line in enumerate(TEXT, 1) if line}
    assert first_line(path) == "é one"
    (block,) = read_blocks(path)
    assert "".join(block.lines.to_pylist()) == text + "\n" * (not end)
    assert block.position == path.stat().st_size


@pytest.mark.parametrize("packing", ["gzip", "bz2", "zstd"])
def test_a_file_of_several_streams(tmp_path, packing):
    """As pigz, pbzip2 and `cat` write them; the dumps of Wikidata are such files."""
    path = tmp_path / "a"
    path.write_bytes(b"".join(map(PACKED[packing], (b"one\ntw", b"", b"o\nthree\n"))))
    assert list(iterate_lines(path)) == ["one", "two", "three"]


@pytest.mark.parametrize("packing", PACKED.keys() - {"plain"})
def test_a_file_that_is_cut_off(tmp_path, packing):
    data = b"".join(b"%d %d\n" % (number, number**9) for number in range(20_000))
    packed = PACKED[packing](data)
    path = tmp_path / "a"
    for size in (len(packed) // 2, 40):
        path.write_bytes(packed[:size])
        if packing == "tar" and size == 40:
            continue  # too short to be told from text
        with pytest.raises(ValueError, match=r"a is cut off or damaged( .* line [1-9].*)?: "):
            list(read_blocks(path))


def test_a_name_that_says_something_else(tmp_path):
    for suffix, kind in ((".gz", "gzip"), (".bz2", "bz2"), (".zst", "zstd")):
        (tmp_path / f"a{suffix}").write_text("<html>")
        with pytest.raises(ValueError, match=rf"is not {kind}, though .* begins with b'<html>'"):
            first_line(tmp_path / f"a{suffix}")
    (tmp_path / "a.tar").write_bytes(tar(b"")[:512] + b"\0" * 1024)
    with pytest.raises(ValueError, match=r"a\.tar holds no file"):
        first_line(tmp_path / "a.tar")


def test_nothing_to_read(tmp_path):
    (tmp_path / "a").touch()
    assert (list(read_blocks(tmp_path / "a")), list(iterate_lines(tmp_path / "a"))) == ([], [])
    assert first_line(tmp_path / "a") == ""
    with pytest.raises(FileNotFoundError, match=r"There is no .*none"):
        first_line(tmp_path / "none")


def test_lines_over_the_ends_of_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "_READ_SIZE", 16)
    monkeypatch.setattr(lines, "_NUMBERED_BLOCK_SIZE", 16)
    text = [f"{'é' * (n % 20)}{n}" for n in range(100)]
    text[50] = ""
    path = tmp_path / "x.txt"
    path.write_text("\n".join(text), encoding="utf-8")
    assert len(list(read_lines(path, progress=False))) > 20
    assert numbered(path) == {n: line for n, line in enumerate(text, 1) if line}
    monkeypatch.setattr(lines, "MAX_LINE", 30)
    with pytest.raises(ValueError, match=r"x\.txt: line \d+ is longer than .* needed|Needed"):
        numbered(path)


def test_lines_that_are_not_utf8(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "_READ_SIZE", 16)
    path = tmp_path / "latin.txt"
    text = [b"line %d" % number for number in range(30)]
    text[20] = "é".encode("latin-1")
    path.write_bytes(b"\n".join(text))
    with pytest.raises(ValueError, match=r"latin\.txt is not UTF-8 \(line 21\)\. Convert it"):
        list(read_blocks(path))
    found = [
        line for block in read_blocks(path, replacement="?") for line in block.lines.to_pylist()
    ]
    text[20] = b"?"
    assert [line.rstrip("\n") for line in found] == [line.decode() for line in text]


def test_what_is_wrong_with_a_line(tmp_path):
    path = tmp_path / "a"
    path.write_text("x\n\n" + "y" * 100)
    (block,) = read_lines(path, progress=False)
    message = str(block.error(1, "this is odd."))
    assert message == f"{path}, line 3: this is odd. The line: '{'y' * 79}…'"
