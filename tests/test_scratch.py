"""What killed processes leave behind goes, and nothing else."""

import subprocess
import sys

from twhin_hf.scratch import is_abandoned, owner, remove_abandoned, scratch_folder


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_folder_goes_with_the_block_and_after_an_error(tmp_path):
    with scratch_folder(tmp_path) as folder:
        (folder / "a").write_text("")
        assert folder.parent == tmp_path
    try:
        with scratch_folder(tmp_path):
            raise RuntimeError
    except RuntimeError:
        pass
    assert not list(tmp_path.iterdir())


def test_only_what_nobody_uses_is_abandoned():
    host = owner().split("-")[0]
    assert is_abandoned(f".posts.{host}-{ended_process()}.partial.parquet")
    assert not is_abandoned(f".posts.{owner()}.partial.parquet")
    other = "0" * 6 if host != "0" * 6 else "1" * 6
    assert not is_abandoned(f".posts.{other}-{ended_process()}.partial")
    assert not is_abandoned(f".posts.{host}-{2**70}.partial")
    assert not is_abandoned("posts.parquet")


def test_the_next_start_removes_what_a_killed_process_left(tmp_path):
    host, pid = owner().split("-")[0], ended_process()
    (tmp_path / f".twhin_hf-{host}-{pid}-x").mkdir()
    (tmp_path / f".twhin_hf-{host}-{pid}-x" / "a").write_text("")
    (tmp_path / f".pairs.{host}-{pid}.partial.parquet").write_text("")
    (tmp_path / "keep.parquet").write_text("")
    with scratch_folder(tmp_path):
        pass
    remove_abandoned(tmp_path, ".*")
    assert [path.name for path in tmp_path.iterdir()] == ["keep.parquet"]
