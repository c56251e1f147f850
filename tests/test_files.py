"""Files and folders that appear whole or not at all."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from twhin_hf import files
from twhin_hf.errors import InputError
from twhin_hf.files import list_files, new_file, new_folder, read_json, write_json, write_text
from twhin_hf.scratch import owner


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(path):
    path.write_text("half")
    raise RuntimeError


@pytest.fixture
def flushed(monkeypatch):
    """Names of the files that were flushed before a rename, and of what was renamed, in order."""
    done = []
    replace = os.replace

    def fsync(descriptor):
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))

    monkeypatch.setattr(files.os, "fsync", fsync)
    monkeypatch.setattr(
        files.os, "replace", lambda old, new: (done.append(new.name), replace(old, new))
    )
    return done


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.csv"
    with new_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        assert partial.parent == path.parent
        assert (partial.suffix, partial.name[0]) == (".csv", ".")
        partial.write_text("whole")
    assert path.read_text() == "whole"
    assert names(path.parent) == ["a.csv"]


@pytest.mark.parametrize("is_there", [True, False])
def test_links_are_followed(tmp_path, is_there):
    disk = tmp_path / "disk"
    (disk / "folder").mkdir(parents=True)
    if is_there:
        (disk / "a.csv").write_text("old")
        (disk / "folder" / "old.txt").write_text("old")
    else:
        (disk / "folder").rmdir()
    for name in ("a.csv", "folder"):
        (tmp_path / name).symlink_to(disk / name)
    write_text(tmp_path / "a.csv", "new")
    with new_folder(tmp_path / "folder") as partial:
        assert partial.parent == disk
        write_text(partial / "new.txt", "new")
    assert (tmp_path / "a.csv").is_symlink()
    assert (tmp_path / "folder").is_symlink()
    assert (disk / "a.csv").read_text() == "new"
    assert names(disk / "folder") == ["new.txt"]
    assert names(disk) == ["a.csv", "folder"]
    assert names(tmp_path) == ["a.csv", "disk", "folder"]


def test_what_killed_processes_left_is_put_back_or_goes(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ended, alive = f"{owner().split('-')[0]}-{dead.pid}", owner()
    inner = tmp_path / "data" / "inner"
    inner.mkdir(parents=True)
    for name in ("lost", "there"):
        (inner / f".{name}.{ended}.old").mkdir()
        (inner / f".{name}.{ended}.old" / "a").write_text(name)
    (inner / "there").mkdir()
    for who in (ended, alive):
        (inner / f".a.{who}.partial.csv").write_text("half")
    files.recover(tmp_path / "data")
    assert names(inner) == [f".a.{alive}.partial.csv", "lost", "there"]
    assert names(inner / "lost") == ["a"]
    (tmp_path / "data").rename(tmp_path / f".data.{ended}.old")
    files.recover(tmp_path / "data")
    assert names(tmp_path) == ["data"]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), new_file(path) as partial:
        write_half(partial)
    with pytest.raises(FileNotFoundError), new_file(path):
        pass  # nothing is written
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_files_of_a_stack_appear_together(tmp_path):
    def write(error=None):
        with ExitStack() as stack:
            for name in "abc":
                path = stack.enter_context(new_file(tmp_path / name))
                path.write_text("new")
            if error:
                raise error

    with pytest.raises(RuntimeError):
        write(RuntimeError())
    assert names(tmp_path) == []
    write()
    assert names(tmp_path) == ["a", "b", "c"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "above" / "folder"
    with new_folder(path) as partial:
        (partial / "old").write_text("old")
        assert not path.exists()
    with pytest.raises(RuntimeError), new_folder(path) as partial:
        write_half(partial / "new")
    assert names(path) == ["old"]
    with new_folder(path) as partial:
        (partial / "below").mkdir()
        (partial / "below" / "new").write_text("new")
    assert names(path) == ["below"]
    assert names(path.parent) == ["folder"]
    write_text(tmp_path / "file", "")
    with pytest.raises(FileExistsError, match="is a file"), new_folder(tmp_path / "file"):
        pass


def test_a_rename_that_fails_leaves_the_old_folder(tmp_path, monkeypatch):
    path, replace = tmp_path / "folder", os.replace
    with new_folder(path) as partial:
        (partial / "old").write_text("old")

    def fail(source, target):
        if source.name.endswith(".partial"):
            raise PermissionError
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(PermissionError), new_folder(path) as partial:
        (partial / "new").write_text("new")
    assert names(path) == ["old"]
    assert names(tmp_path) == ["folder"]


KILLED = """
import os, signal, sys
from twhin_hf.files import new_file, new_folder

with new_file(sys.argv[1] + "/a.parquet") as file, new_folder(sys.argv[1] + "/folder") as folder:
    file.write_text("half")
    (folder / "b.parquet").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_what_was_there(tmp_path):
    write_text(tmp_path / "a.parquet", "old")
    write_text(tmp_path / "folder" / "b.parquet", "old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 4  # half a file and half a folder, which nobody reads:
    whole = [tmp_path / "a.parquet", tmp_path / "folder" / "b.parquet"]
    assert list_files(tmp_path) == whole
    assert [path.read_text() for path in whole] == ["old", "old"]
    write_text(tmp_path / "a.parquet", "new")
    with new_folder(tmp_path / "folder") as folder:
        (folder / "b.parquet").write_text("new")
    assert [path.read_text() for path in whole] == ["new", "new"]
    assert names(tmp_path) == ["a.parquet", "folder"]  # and the halves are gone


def test_a_folder_that_a_killed_process_had_set_aside_comes_back(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    aside = tmp_path / f".folder.{owner().split('-')[0]}-{ended.pid}.old"
    write_text(aside / "a", "old")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "folder"):
        raise RuntimeError
    assert (tmp_path / "folder" / "a").read_text() == "old"
    assert names(tmp_path) == ["folder"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of open files are Linux's")
def test_what_is_renamed_is_on_the_disk(tmp_path, flushed):
    write_text(tmp_path / "a.txt", "a")
    # The content, the rename, and the folder that the name stands in.
    assert flushed == [f".a.{owner()}.partial.txt", "a.txt", tmp_path.name]
    flushed.clear()
    with new_folder(tmp_path / "folder") as folder:
        (folder / "below").mkdir()
        (folder / "below" / "b").write_text("b")
    assert flushed == ["b", "folder", tmp_path.name]


def test_json_is_read_as_it_was_written(tmp_path):
    path, value = tmp_path / "a.json", {"b": [1, 0.5, None], "a": "猫"}
    write_json(path, value)
    assert (
        path.read_text(encoding="utf-8") == json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    )
    assert read_json(path) == value
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(path, {"a": number})
    with pytest.raises(TypeError):
        write_json(path, {"a": path})
    assert read_json(path) == value
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe", b""])
def test_a_file_that_is_no_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json is not JSON: "):
        read_json(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        read_json(tmp_path / "none.json")


def test_files_of_a_folder(tmp_path):
    for name in ("b/2.txt", "b/1.txt", "a.txt", ".hidden", "_report.json", "b/.x/3", "_c/4"):
        write_text(tmp_path / name, "")
    found = [path.relative_to(tmp_path).as_posix() for path in list_files(tmp_path)]
    assert found == ["a.txt", "b/1.txt", "b/2.txt"]
    assert list_files(tmp_path / ".hidden") == [tmp_path / ".hidden"]
    assert list_files(tmp_path / "_c") == [tmp_path / "_c" / "4"]
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        list_files(tmp_path / "nowhere")


def test_the_folder_of_a_process_goes_away_with_it():
    code = "from twhin_hf.files import process_folder as f; assert f() == f(); print(f())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not os.path.exists(done.stdout.strip())
    assert files.process_folder().is_dir()


def test_a_mounted_disk_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os.path, "ismount", lambda path: str(path) == str(tmp_path / "disk"))
    with (
        pytest.raises(InputError, match="give the name of a folder in it"),
        new_folder(tmp_path / "disk"),
    ):
        pass
    with new_folder(tmp_path / "disk" / "inside"):
        pass
