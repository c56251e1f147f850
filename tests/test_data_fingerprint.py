"""One hash a state of the data: it changes with names and contents, and with nothing else."""

import hashlib

import pytest

from twhin_hf import data_fingerprint as module
from twhin_hf.data_fingerprint import data_fingerprint


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "log"
    (folder / "part").mkdir(parents=True)
    (folder / "a.csv").write_text("user_id\nu1\n")
    (folder / "part" / "b.csv").write_text("user_id\nu2\n")
    return folder


def test_a_file_is_its_content_whatever_it_is_called(folder):
    expected = hashlib.blake2b(b"user_id\nu1\n", digest_size=16).hexdigest()
    assert data_fingerprint(folder / "a.csv") == expected
    assert data_fingerprint((folder / "a.csv").rename(folder / "c.csv")) == expected


def test_a_folder_is_the_names_and_contents_of_its_files(folder, tmp_path):
    parts = b"".join(
        name + b"\0" + hashlib.blake2b(text, digest_size=16).hexdigest().encode() + b"\0"
        for name, text in ((b"a.csv", b"user_id\nu1\n"), (b"part/b.csv", b"user_id\nu2\n"))
    )
    expected = hashlib.blake2b(parts, digest_size=16).hexdigest()
    assert data_fingerprint(folder) == expected
    # Neither its place, nor what readers pass over, nor the record of its making.
    folder = folder.rename(tmp_path / "elsewhere")
    (folder / ".hidden.csv").write_text("x")
    (folder / "_report.json").write_text("x")
    (folder / "run.json").write_text("x")
    (folder / "part" / "run.json").write_text("x")
    assert data_fingerprint(folder) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a.csv").write_text("user_id\nu3\n"),
        lambda folder: (folder / "a.csv").rename(folder / "c.csv"),
        lambda folder: (folder / "part" / "b.csv").unlink(),
        lambda folder: (folder / "new.csv").write_text(""),
    ],
)
def test_every_change_of_a_folder_shows(folder, change):
    before = data_fingerprint(folder)
    change(folder)
    assert data_fingerprint(folder) != before


def test_large_files_are_read_in_blocks(tmp_path, monkeypatch):
    content = bytes(range(256)) * 10
    (tmp_path / "a").write_bytes(content)
    monkeypatch.setattr(module, "_BLOCK", 7)
    expected = hashlib.blake2b(content, digest_size=16).hexdigest()
    assert data_fingerprint(tmp_path / "a") == expected


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        data_fingerprint(tmp_path / "none")
