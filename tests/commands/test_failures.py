"""A full disk, no memory, dead workers: told in a line, and the same command goes on."""

import errno
import json
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import SafetensorError

from twhin_hf.commands import failures
from twhin_hf.commands.cli import main
from twhin_hf.modeling import TwhinBertModel, apply_settings
from twhin_hf.network.folder import load_network
from twhin_hf.serving import vectors


def chained(outer, inner):
    try:
        try:
            raise inner
        except Exception as error:
            raise outer from error
    except Exception as error:
        return error


DISK, MEMORY, WORKER, FORBIDDEN = "disk is full", "memory does not suffice", "worker", "permissions"
ERRORS = [
    (OSError(errno.ENOSPC, "No space left on device"), DISK),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), DISK),
    (SafetensorError("I/O error: No space left on device (os error 28)"), DISK),
    (RuntimeError("[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed "
                  "writing file data/3: file write failed"), DISK),
    (chained(RuntimeError("not saved"), OSError(errno.ENOSPC, "full")), DISK),
    (MemoryError(), MEMORY),
    (np._core._exceptions._ArrayMemoryError((9, 9), np.dtype("f8")), MEMORY),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't "
                  "allocate memory: you tried to allocate 4000000000000 bytes."), MEMORY),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), MEMORY),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), MEMORY),
    (BrokenProcessPool("A process in the process pool was terminated abruptly"), WORKER),
    (RuntimeError("DataLoader worker (pid(s) 71, 72) exited unexpectedly"), WORKER),
    (RuntimeError("DataLoader worker (pid 71) is killed by signal: Killed."), WORKER),
    (RuntimeError("One of the subprocesses has abruptly died during map operation."), WORKER),
    (PermissionError(errno.EACCES, "Permission denied", "out"), FORBIDDEN),
    (OSError(errno.EROFS, "Read-only file system", "out"), FORBIDDEN),
]  # fmt: skip


@pytest.mark.parametrize(("error", "said"), ERRORS)
def test_what_is_said(error, said):
    assert said in failures.advice(error)
    assert "the same command goes on" in failures.advice(error)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("No space left on device"),
        ValueError("a text of DefaultCPUAllocator"),
        FileNotFoundError(errno.ENOENT, "No such file", "a"),
        RuntimeError("shapes do not match"),
    ],
)
def test_what_nothing_is_said_of(error):
    assert failures.advice(error) is None


def test_the_engine_without_memory():
    import duckdb

    with duckdb.connect() as engine:
        engine.execute("SET memory_limit = '1MB'; SET temp_directory = ''")
        with pytest.raises(duckdb.Error) as raised:
            engine.execute("SELECT list(i) FROM range(10000000) t(i)").fetchall()
    assert MEMORY in failures.advice(raised.value)


@pytest.mark.parametrize(("error", "said"), ERRORS)
def test_a_command_says_it_in_a_line_and_goes_on(error, said, tmp_path, monkeypatch, capsys):
    (tmp_path / "posts.csv").write_text(
        "post_id,text\n" + "".join(f"{i},t {i}\n" for i in range(90))
    )
    command = ["split", "--posts", str(tmp_path / "posts.csv"), "--output", str(tmp_path / "out")]
    write, count = pq.ParquetWriter.write_table, iter(range(9))

    def failing(*arguments, **options):
        if next(count) == 2:  # after what was read, and train.parquet
            raise error
        write(*arguments, **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", failing)
    assert main(command) == 2
    told = capsys.readouterr().err
    assert told.startswith("twhin-hf: ")
    assert told.count("\n") == 1
    assert said in told
    left = {file.name for file in (tmp_path / "out").iterdir() if not file.name.startswith(".")}
    assert left == {"train.parquet", "run.json"}
    assert main(command) == 0
    assert {"train.parquet", "test.parquet", "validation.parquet"} <= {
        file.name for file in (tmp_path / "out").iterdir()
    }


def test_other_errors_are_mistakes_of_the_package(tmp_path, monkeypatch):
    (tmp_path / "posts.csv").write_text("post_id,text\n1,a\n")
    monkeypatch.setattr(pq.ParquetWriter, "write_table", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["split", "--posts", str(tmp_path / "posts.csv"), "--output", str(tmp_path / "out")])


def ends_full(command, capsys):
    assert main(command) == 2
    told = capsys.readouterr().err
    assert DISK in told
    assert told.count("\n") == 1


@pytest.fixture
def log(tmp_path):
    """Engagements and posts of 60 users and 3,000 posts."""
    random = np.random.default_rng(0)
    words = np.array(["red", "green", "blue", "sea", "tree", "house", "road", "sun"])
    rows = ["user_id,post_id,text\n"]
    for post in range(3_000):
        text = " ".join(words[random.integers(0, 8, 12)])
        rows += [f"u{user},p{post},{text} {post}\n" for user in random.integers(0, 60, 3)]
    path = tmp_path / "log.csv"
    path.write_text("".join(rows))
    return str(path)


def test_the_disk_is_full_while_a_log_is_imported(log, small_disk, capsys):
    disk = small_disk(100)
    command = ["network", "import", "--source", "table", "--input", log, "--no_progress"]
    command += ["--output", str(disk / "out")]
    ends_full(command, capsys)
    assert not (disk / "out" / "engagements.parquet").exists()
    small_disk.enlarge(disk)
    assert main(command) == 0
    assert pq.read_table(disk / "out" / "posts.parquet").num_rows == 3_000


def test_the_disk_is_full_while_a_network_is_embedded_and_saved(log, small_disk, capsys):
    command = ["network", "embed", "--engagements", log, "--dimension", "16", "--epochs", "1"]
    command += ["--threads", "1", "--device", "cpu", "--no_progress", "--output"]
    disk = small_disk(10_000)
    assert main([*command, str(disk / "whole")]) == 0
    whole = load_network(disk / "whole").post_vectors.copy()
    for kibibytes in (64, 320):  # not enough for the checkpoint, nor for the network beside it
        disk = small_disk(kibibytes)
        ends_full([*command, str(disk / "out")], capsys)
        assert not (disk / "out" / "network.json").exists()
        has_checkpoint = (disk / "out" / "embedding_checkpoint.safetensors").exists()
        assert has_checkpoint == (kibibytes == 320)
        small_disk.enlarge(disk)
        assert main([*command, str(disk / "out")]) == 0
        np.testing.assert_array_equal(load_network(disk / "out").post_vectors, whole)


def test_the_disk_is_full_while_pairs_are_mined(log, tmp_path, small_disk, capsys):
    command = ["network", "embed", "--engagements", log, "--dimension", "16", "--epochs", "1"]
    command += ["--threads", "1", "--device", "cpu", "--no_progress"]
    assert main([*command, "--output", str(tmp_path / "network")]) == 0
    command = ["network", "mine", "--network", str(tmp_path / "network"), "--posts", log]
    command += ["--no_progress", "--threads", "1", "--max_text_similarity", "2", "--output"]
    for kibibytes in (64, 250):  # not enough for the neighbours, nor for the pairs beside them
        disk = small_disk(kibibytes)
        ends_full([*command, str(disk / "pairs.parquet")], capsys)
        assert not list(disk.iterdir())
        small_disk.enlarge(disk)
        assert main([*command, str(disk / "pairs.parquet")]) == 0
        assert pq.read_table(disk / "pairs.parquet").num_rows > 1_000


@pytest.fixture
def encoder(tiny_config, tokenizer, tmp_path):
    TwhinBertModel(apply_settings(tiny_config)).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def embedding(encoder, tmp_path, monkeypatch):
    """A command that embeds 200 posts in parts of ten."""
    rows = "".join(f"p{i},{'abc'[i % 3]} {'def'[i % 2]} text {i}\n" for i in range(200))
    (tmp_path / "posts.csv").write_text("post_id,text\n" + rows)
    embed_posts = vectors.embed_posts
    monkeypatch.setattr(
        vectors, "embed_posts", lambda *args, **more: embed_posts(*args, posts_per_part=10, **more)
    )
    command = ["embed", "--model", encoder, "--input", str(tmp_path / "posts.csv")]
    return [*command, "--device", "cpu", "--no_progress", "--output"]


def parts_of(output):
    return sorted(output.with_name(f"{output.name}.parts").glob("*.parquet"))


def test_the_disk_is_full_while_posts_are_embedded(embedding, small_disk, monkeypatch, capsys):
    disk = small_disk(56)
    output = disk / "vectors.parquet"
    ends_full([*embedding, str(output)], capsys)
    kept, written = len(parts_of(output)), []
    assert 0 < kept < 20
    small_disk.enlarge(disk)
    write = vectors._Embedder.write
    monkeypatch.setattr(
        vectors._Embedder, "write", lambda self, part: written.append(part) or write(self, part)
    )
    assert main([*embedding, str(output)]) == 0
    assert pq.read_table(output).num_rows == 200
    assert len(written) == 20 - kept


def test_a_killed_worker_is_told_and_its_parts_are_made_again(
    embedding, tmp_path, monkeypatch, capsys
):
    output = tmp_path / "vectors.parquet"
    write, count = vectors._Embedder.write, iter(range(1_000))

    def stop_at_third(self, part):
        if next(count) == 3:
            raise MemoryError
        return write(self, part)

    monkeypatch.setattr(vectors._Embedder, "write", stop_at_third)
    assert main([*embedding, str(output)]) == 2
    monkeypatch.setattr(vectors._Embedder, "write", write)
    assert len(parts_of(output)) == 3
    capsys.readouterr()

    others, is_over = set(multiprocessing.active_children()), threading.Event()

    def kill_one():
        while not (workers := set(multiprocessing.active_children()) - others):
            if is_over.wait(0.01):
                return
        workers.pop().kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        assert main([*embedding, str(output), "--processes", "2"]) == 2
    finally:
        is_over.set()
        killer.join()
    told = capsys.readouterr().err
    assert WORKER in told
    assert len(parts_of(output)) >= 3
    kept = parts_of(output)
    written = []
    monkeypatch.setattr(
        vectors._Embedder, "write", lambda self, part: written.append(part) or write(self, part)
    )
    assert main([*embedding, str(output)]) == 0
    assert len(written) == 20 - len(kept)
    record = json.loads(pq.read_schema(output).metadata[b"twhin_hf"])
    assert (record["command"], record["model"]) == ("embed", embedding[2])
    assert pq.read_table(output)["post_id"].to_pylist() == [f"p{i}" for i in range(200)]


def test_a_worker_that_dies_while_the_next_is_started():
    """The pool then closes the queue that the next worker is to be given."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    queue._reader.close()
    with pytest.raises(OSError, match="handle is closed") as raised:
        context.Process(target=print, args=(queue,)).start()
    assert WORKER in failures.advice(raised.value)


EMBED = """
import sys
from functools import partial

from twhin_hf.commands.cli import main
from twhin_hf.serving import vectors

if __name__ == "__main__":
    vectors.embed_posts = partial(vectors.embed_posts, posts_per_part=1_000)
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(embedding, tmp_path, signum):
    output = tmp_path / "vectors.parquet"
    with (tmp_path / "posts.csv").open("a") as file:
        file.writelines(f"q{i},text {i}\n" for i in range(20_000))
    script = tmp_path / "embed.py"
    script.write_text(EMBED)
    command = [sys.executable, str(script), *embedding, str(output), "--processes", "2"]
    log = tmp_path / "log"
    with log.open("w") as file, subprocess.Popen(command, stderr=file) as parent:
        try:
            until(lambda: parts_of(output))
            workers = [
                child
                for child in psutil.Process(parent.pid).children(recursive=True)
                if any("spawn_main" in word for word in child.cmdline())
            ]
            assert len(workers) == 2
            parent.send_signal(signum)
            ended = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
            assert parent.wait(600) == ended[signum]
            until(lambda: not any(alive(worker) for worker in workers))
        finally:
            parent.kill()
    assert not output.exists()
    assert parts_of(output)
    assert "Traceback" not in log.read_text()


def alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition, seconds=600):
    for _ in range(10 * seconds):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("it did not come about")
