import stat
import struct
import zipfile

import pytest

from twhin_hf.benchmarks.archives import list_files, open_folder


def archive(path, **files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in files.items():
            made.writestr(name.replace("__", "/"), text)
    return path


def refused(path, message, wanted=lambda name: True):
    with pytest.raises(ValueError, match=message), open_folder(path, wanted):
        pytest.fail("the archive was opened")


def test_only_what_is_wanted_is_unpacked_and_goes_away(tmp_path):
    path = archive(tmp_path / "a.zip", en__train="1", en__notes="2", x="3")
    with open_folder(path, lambda name: "train" in name) as folder:
        assert list_files(folder) == ["en/train"]
        assert (folder / "en" / "train").read_text() == "1"
    assert not folder.exists()
    # A folder with nothing wanted but the archive is the archive; any other is itself.
    with open_folder(tmp_path, lambda name: "train" in name) as folder:
        assert list_files(folder) == ["en/train"]
    (tmp_path / "train.tsv").write_text("")
    with open_folder(tmp_path, lambda name: "train" in name) as folder:
        assert folder == tmp_path


@pytest.mark.parametrize("name", ["../evil.tsv", "/evil.tsv", "en/../../evil", "..\\evil", "C:/e"])
def test_paths_that_leave_the_folder(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("en/train.tsv", "fine")
        entry = zipfile.ZipInfo("x")
        entry.filename = name
        made.writestr(entry, "evil")
    refused(tmp_path / "a.zip", r"it may leave the folder .* Nothing was unpacked")
    assert [path.name for path in tmp_path.parent.rglob("evil*")] == []


def test_links(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        entry = zipfile.ZipInfo("en")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(entry, "/etc")
    refused(tmp_path / "a.zip", "holds the link 'en'")


def test_an_archive_that_unpacks_to_far_more_than_its_size(tmp_path):
    path = archive(tmp_path / "a.zip", train="0" * (20 << 20))
    refused(path, r"unpacks to 20,971,520, more than 100 times")


def test_a_member_that_holds_more_than_it_states(tmp_path):
    path = archive(tmp_path / "a.zip", train="0" * 5000)
    data = bytearray(path.read_bytes())
    stated = struct.pack("<I", 5000)
    assert data.count(stated) == 2
    path.write_bytes(bytes(data).replace(stated, struct.pack("<I", 50)))
    refused(path, "unpacks to something else than it states")


def test_truncated_damaged_and_missing(tmp_path):
    path = archive(tmp_path / "a.zip", train="".join(map(str, range(5000))))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "is no whole zip archive .* cut short")
    path.write_bytes(whole[:200] + b"\xff" * 50 + whole[250:])
    refused(path, "is no whole zip archive")
    with pytest.raises(FileNotFoundError, match="Give the zip archive or its unpacked folder"):
        open_folder(tmp_path / "gone.zip", bool).__enter__()
