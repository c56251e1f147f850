"""An output folder belongs to one run: it goes on, is not written over, and is one process's."""

import json
import multiprocessing
import os
import subprocess
import sys

import pytest

from twhin_hf.data_fingerprint import RUN_NAME
from twhin_hf.errors import InputError
from twhin_hf.run_file import run_file, run_whole_folder
from twhin_hf.run_folder import lock_folder, read_run, run_folder

OPTIONS = {"steps": 4, "seed": 0}


def begin_and_break_off(folder, options=OPTIONS, **more):
    def work():
        with run_folder(folder, "train", options, **more):
            (folder / "checkpoint-1").mkdir(exist_ok=True)
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError):
        work()


def test_a_run_that_was_broken_off_goes_on_and_ends_once(tmp_path):
    folder = tmp_path / "out"
    begin_and_break_off(folder)
    assert read_run(folder)["finished"] is False
    with run_folder(folder, "train", OPTIONS) as run:
        assert (run.is_resumed, run.is_finished) == (True, False)
    assert read_run(folder)["finished"] is True
    with run_folder(folder, "train", OPTIONS) as run:
        assert run.is_finished


def test_what_a_run_was_made_of_is_written_down(tmp_path):
    posts = tmp_path / "posts.csv"
    posts.write_text("post_id,text\n1,a\n")
    with run_folder(
        tmp_path / "out", "train", OPTIONS, data={"posts": posts, "pairs": None}, seed=7
    ):
        pass
    run = read_run(tmp_path / "out")
    assert (run["command"], run["options"], run["seed"]) == ("train", OPTIONS, 7)
    assert [(name, len(print_)) for name, print_ in run["data"].items()] == [("posts", 32)]
    assert {"twhin_hf", "python", "torch"} <= run["versions"].keys()
    assert str(tmp_path) not in json.dumps(run["data"] | run["options"])


@pytest.mark.parametrize(
    "words",
    [
        ["--hub_token", "mine"],
        ["--hub-token=mine"],
        ["--training.hub_token", "mine"],
        ["--training", '{"hub_token": "mine"}'],
        ["--password", "mine", "mine"],
        ["--note", "hf_" + "mine" * 5],
        ["--to", "https://h/x?key=mine", "--log", "postgresql://me:mine@h/x"],
    ],
)
def test_no_secret_of_the_command_line_is_written_down(tmp_path, monkeypatch, words):
    monkeypatch.setattr("sys.argv", ["twhin-hf", "pretrain", *words, "--mask_token", "[MASK]"])
    with run_folder(tmp_path, "train", OPTIONS):
        assert "mine" not in (tmp_path / ".lock.json").read_text()
    line = read_run(tmp_path)["command_line"]
    assert "***" in line
    assert "mine" not in line
    assert line.endswith(" --mask_token '[MASK]'")
    record = run_file(tmp_path / "x.parquet", "count", OPTIONS).record
    assert record["command_line"] == line


@pytest.mark.parametrize("finished", [False, True])
def test_other_options_are_named_and_refused(tmp_path, finished):
    if finished:
        with run_folder(tmp_path, "train", OPTIONS):
            pass
    else:
        begin_and_break_off(tmp_path)
    with (
        pytest.raises(InputError, match=r"steps was 4 and is 5.*--overwrite"),
        run_folder(tmp_path, "train", OPTIONS | {"steps": 5}),
    ):
        pass
    assert read_run(tmp_path)["options"] == OPTIONS


def test_data_that_changed_are_named(tmp_path):
    posts = tmp_path / "posts.csv"
    posts.write_text("1")
    begin_and_break_off(tmp_path / "out", data={"posts": posts})
    posts.write_text("2")
    with (
        pytest.raises(InputError, match="the content of posts has changed"),
        run_folder(tmp_path / "out", "train", OPTIONS, data={"posts": posts}),
    ):
        pass


def test_overwrite_begins_anew_and_goes_on_with_its_own(tmp_path):
    discarded = []
    with run_folder(tmp_path, "train", OPTIONS):
        pass
    begin_and_break_off(tmp_path, overwrite=True, discard=discarded.append)
    assert len(discarded) == 1
    # The same command again, --overwrite and all, goes on with what it had begun.
    with run_folder(tmp_path, "train", OPTIONS, overwrite=True, discard=discarded.append) as run:
        assert run.is_resumed
    assert discarded == [tmp_path]


def test_results_of_an_unknown_run_are_not_written_over(tmp_path):
    (tmp_path / "model.safetensors").write_text("")
    with (
        pytest.raises(InputError, match=r"model\.safetensors.*--overwrite"),
        run_folder(tmp_path, "train", OPTIONS, results=("*.safetensors",)),
    ):
        pass
    with run_folder(tmp_path, "train", OPTIONS, results=("*.safetensors",), overwrite=True):
        pass


def test_a_mistake_in_the_options_does_not_block_the_run_without_it(tmp_path):
    with pytest.raises(InputError, match="bad"), run_folder(tmp_path, "train", {"steps": -1}):
        raise InputError("bad steps")
    with run_folder(tmp_path, "train", {"steps": 1}) as run:
        assert not run.is_resumed
    assert read_run(tmp_path)["options"] == {"steps": 1}


def test_options_that_may_change_go_on(tmp_path):
    with run_folder(tmp_path, "train", {"seeds": [0]}):
        (tmp_path / "model").mkdir()
    with run_folder(tmp_path, "train", {"seeds": [0, 1]}, free=("seeds",)) as run:
        assert (run.is_resumed, run.is_finished) == (True, False)
    with run_folder(tmp_path, "train", {"seeds": [0, 1]}, free=("seeds",)) as run:
        assert run.is_finished


@pytest.mark.parametrize("text", ["{", "[]", '{"command": 1, "options": {}, "data": {}}'])
def test_a_damaged_record_is_told(tmp_path, text):
    (tmp_path / RUN_NAME).write_text(text)
    with pytest.raises(InputError, match=r"run\.json"), run_folder(tmp_path, "train", OPTIONS):
        pass


def hold(folder, ready, done):
    with lock_folder(folder):
        ready.set()
        done.wait(600)


def test_two_processes_do_not_share_a_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(str(tmp_path), ready, done))
    other.start()
    try:
        assert ready.wait(600)
        with (
            pytest.raises(InputError, match=rf"Process {other.pid} of .* works in"),
            run_folder(tmp_path, "train", OPTIONS),
        ):
            pass
    finally:
        done.set()
        other.join(600)
    with run_folder(tmp_path, "train", OPTIONS) as run:
        assert not run.is_finished


def make(path, ready, done):
    with run_whole_folder(path, "train", OPTIONS) as run:
        (run.path / "a").write_text("a")
        ready.set()
        done.wait(600)


def test_two_processes_do_not_make_the_same_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    path = tmp_path / "whole"
    other = context.Process(target=make, args=(str(path), ready, done))
    other.start()
    try:
        assert ready.wait(600)
        for overwrite in (False, True):
            with (
                pytest.raises(InputError, match=rf"Process {other.pid} of .* works in {path}\."),
                run_whole_folder(path, "train", OPTIONS, overwrite=overwrite),
            ):
                pass
    finally:
        done.set()
        other.join(600)
    assert [file.name for file in tmp_path.iterdir()] == ["whole"]
    with run_whole_folder(path, "train", OPTIONS) as run:
        assert run.is_finished


def test_a_killed_process_leaves_no_lock(tmp_path):
    script = (
        "import os\nfrom twhin_hf.run_folder import run_folder\n"
        f"with run_folder({str(tmp_path)!r}, 'train', {{'steps': 4, 'seed': 0}}):\n"
        f"    open({str(tmp_path / 'model')!r}, 'w').close()\n"
        f"    open({str(tmp_path / '.a.%s.partial')!r} % __import__('twhin_hf.scratch', "
        "fromlist=['x']).owner(), 'w').close()\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], env=os.environ).returncode == -9
    assert list(tmp_path.glob(".a.*"))
    with run_folder(tmp_path, "train", OPTIONS) as run:
        assert run.is_resumed
        assert not list(tmp_path.glob(".a.*"))
