"""Nobody stays behind a link or a hidden name, or comes back from a process that works on it."""

import multiprocessing
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.commands.cli import main
from twhin_hf.errors import InputError
from twhin_hf.forgetting import forget as forgetting
from twhin_hf.forgetting.forget import forget
from twhin_hf.forgetting.forgotten import Forgotten
from twhin_hf.forgetting.networks import link_others
from twhin_hf.forgetting.places import EARLIER_NAME
from twhin_hf.network.engagements import Engagements
from twhin_hf.network.folder import Network, load_network, save_network
from twhin_hf.run_folder import lock_folder, run_folder
from twhin_hf.scratch import owner
from twhin_hf.serving.index.index import build_index, load_index
from twhin_hf.serving.index.index_config import IndexConfig
from twhin_hf.serving.service.events_log import EventsLog

WHO = Forgotten(pa.array(["u2"]))
LOG = "user_id,post_id\nu1,p1\nu2,p2\n"
LEFT = "user_id,post_id\nu1,p1\n"


def write(path, text=LOG):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_network(folder):
    ids = {side: pa.array([f"{side[0]}{i}" for i in range(4)]) for side in ("users", "posts")}
    rows, ones = np.arange(4), np.ones(4, np.int64)
    vectors = np.eye(4, dtype=np.float32)
    network = Network(
        user_ids=ids["users"],
        post_ids=ids["posts"],
        relations=["engage"],
        user_vectors=vectors,
        post_vectors=vectors,
        relation_vectors=vectors[:1],
        user_degrees=ones,
        post_degrees=ones,
        metadata={"num_edges": 4},
        engagements=Engagements.from_edges(rows, rows, 4, 4),
    )
    save_network(network, folder)
    return folder


def users_of(folder):
    return load_network(folder).user_ids.to_pylist()


def write_index(folder):
    vectors = np.eye(2, 3, dtype=np.float32)
    ids = ["p1", "at://u2/x/1"]
    return build_index((ids, vectors), folder, IndexConfig(metric="inner_product")).path


def dead_owner():
    """What names of files say whose process has ended."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    return f"{owner().split('-')[0]}-{dead.pid}"


def left_over(folder):
    return [path.name for path in folder.rglob("*") if path.name.endswith((".old", ".partial"))]


def test_a_linked_file_changes_where_it_lies(tmp_path):
    store = write(tmp_path / "store" / "log.csv")
    link = tmp_path / "data" / "log.csv"
    link.parent.mkdir()
    link.symlink_to("../store/log.csv")
    for given in (link.parent, link):
        store.write_text(LOG)
        assert forget([given], WHO).removed == {link: 1}
        assert link.is_symlink()
        assert store.read_text() == LEFT


def test_a_linked_file_is_read_by_the_ending_of_its_link(tmp_path):
    store = write(tmp_path / "data" / ".store" / "5e1f")
    (tmp_path / "data" / "log.csv").symlink_to(".store/5e1f")
    done = forget([tmp_path / "data"], WHO)
    assert (done.removed, done.unread) == ({tmp_path / "data" / "log.csv": 1}, [])
    assert store.read_text() == LEFT


def test_linked_folders_change_where_they_lie(tmp_path):
    store = write(tmp_path / "store" / "logs" / "log.csv")
    network = write_network(tmp_path / "store" / "network")
    data = tmp_path / "data"
    data.mkdir()
    for path in (store.parent, network):
        (data / path.name).symlink_to(path)
    done = forget([data], WHO)
    assert done.removed == {data / "logs" / "log.csv": 1, data / "network": 2}
    assert store.read_text() == LEFT
    assert users_of(network) == ["u0", "u1", "u3"]
    assert (data / "network").is_symlink()
    assert left_over(tmp_path) == []
    again = Forgotten(pa.array(["u3"]))
    assert forget([data / "network"], again).removed == {data / "network": 2}  # as a path itself
    assert users_of(network) == ["u0", "u1"]
    assert left_over(tmp_path) == []


def test_each_file_changes_once_by_whatever_names(tmp_path):
    store = write(tmp_path / "store" / "log.csv")
    (tmp_path / "a.csv").symlink_to(store)
    (tmp_path / "b").symlink_to("store")
    (tmp_path / "store" / "round").symlink_to("..")
    done = forget([tmp_path / "b", tmp_path, store], WHO, dry_run=True)
    assert (done.removed, done.unread) == ({store: 1}, [])
    # From inside, the link leads above all that was given.
    done = forget([tmp_path / "store"], WHO)
    assert (done.removed, done.unread) == ({store: 1}, [tmp_path / "store" / "round"])


def test_models_are_named_by_any_name_of_their_log(tmp_path):
    store = write(tmp_path / "store" / "log.csv")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "log.csv").symlink_to(store)
    for name in ("data", "store"):
        with run_folder(tmp_path / "elsewhere" / name, "train", {}, data={"log": tmp_path / name}):
            pass
    with run_folder(tmp_path / "elsewhere" / "file", "train", {}, data={"log": store}):
        pass
    (tmp_path / "runs").symlink_to("elsewhere")
    done = forget([tmp_path / "data", tmp_path / "runs"], WHO)
    assert {found.place for found in done.trained} == {
        tmp_path / "runs" / name for name in ("data", "store", "file")
    }
    assert (tmp_path / "store" / EARLIER_NAME).is_file()


def test_what_a_killed_process_left_where_a_link_leads_goes_too(tmp_path):
    owned = dead_owner()
    network = write_network(tmp_path / "store" / "network")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "network").symlink_to(network)
    network.rename(network.with_name(f".network.{owned}.old"))  # the new one not yet in place
    forget([tmp_path / "data"], WHO)
    assert users_of(network) == ["u0", "u1", "u3"]
    assert left_over(tmp_path) == []


def test_nothing_is_cleaned_where_links_are_not_looked_into(tmp_path):
    owned = dead_owner()
    data = tmp_path / "a" / "data"
    write(data / "log.csv")
    linked = write(tmp_path / "store" / "log.csv")
    (tmp_path / "store" / "top").symlink_to("../a")  # by its name, it lies in there
    (data / "linked.csv").symlink_to(linked)
    (data / "store").symlink_to(linked.parent)
    (data / "up").symlink_to("../..")
    others = [
        write(tmp_path / name / f".log.{owned}.partial.csv") for name in (".", "a", "elsewhere")
    ]
    gone = write(linked.with_name(f".log.{owned}.partial.csv"))
    within = write(data / "deep" / f".other.{owned}.partial.csv")
    done = forget([data], WHO)
    assert done.unread == [data / "up", data / "store" / "top"]
    assert [path.exists() for path in (*others, gone, within)] == [*[True] * 3, False, False]


def test_a_circle_of_links_is_passed_over(tmp_path):
    log = write(tmp_path / "log.csv")
    for name, target in (("a", "b"), ("b", "a")):
        (tmp_path / name).symlink_to(target)
    assert forget([tmp_path], WHO).removed == {log: 1}


def test_what_may_not_be_looked_into_is_named(tmp_path, monkeypatch):
    log, closed = write(tmp_path / "log.csv"), write(tmp_path / "closed" / "log.csv")
    real = os.stat

    def stat(path, *args, **options):
        if not isinstance(path, int) and os.fspath(path) == str(closed):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *args, **options)

    monkeypatch.setattr(os, "stat", stat)  # as of a folder that is readable, and no more
    done = forget([tmp_path], WHO)
    monkeypatch.undo()
    assert (log.read_text(), closed.read_text()) == (LEFT, LOG)
    assert len(done.unread) == 1
    assert closed.is_relative_to(done.unread[0])


def test_damaged_records_are_found_before_anything_changes(tmp_path):
    log = write(tmp_path / "log.csv")
    table = pa.table({"anchor_id": ["p7"], "positive_id": ["p8"]})
    records = ("run.json", EARLIER_NAME, "pairs.json")
    for name, content in zip(records, ("{}", "[]", '{\n  "data"'), strict=True):
        record = write(tmp_path / "mined" / name, content)
        pq.write_table(table, record.with_name("pairs.parquet"))
        with pytest.raises(InputError, match=name):
            forget([tmp_path], WHO)
        assert log.read_text() == LOG
        record.unlink()
        write(tmp_path / ".cache" / name, content)
    pq.write_table(table, tmp_path / ".cache" / "pairs.parquet")
    # What is hidden may be another program's.
    for removed in (1, 0):
        done = forget([tmp_path], WHO)
        assert done.num_removed == removed
        assert sorted(done.unread) == sorted(tmp_path / ".cache" / name for name in records)
        assert not {*done.unread} & {*done.passed_over}
    assert log.read_text() == LEFT
    # What changes needs a note beside it, which a damaged one would lose.
    hidden = write(tmp_path / ".cache" / "log.csv")
    with pytest.raises(InputError, match=f"{EARLIER_NAME} is no note"):
        forget([tmp_path], WHO)
    assert hidden.read_text() == LOG


def test_rows_beside_a_table_are_no_record(tmp_path):
    pq.write_table(pa.table({"user_id": ["u1"]}), tmp_path / "log.parquet")
    rows = write(tmp_path / "log.json", '{"user_id": "u1"}\n{"user_id": "u2"}\n')
    (tmp_path / "empty.parquet").touch()
    assert forget([tmp_path], WHO).removed == {rows: 1}


def test_links_inside_what_is_replaced_as_a_whole_are_refused(tmp_path):
    network = write_network(tmp_path / "network")
    shutil.move(network / "users.parquet", tmp_path / "users.parquet")
    (network / "users.parquet").symlink_to(tmp_path / "users.parquet")
    before = (tmp_path / "users.parquet").read_bytes()
    with pytest.raises(InputError, match=r"users\.parquet is a link.*Nothing was changed"):
        forget([tmp_path / "network"], WHO)
    assert (tmp_path / "users.parquet").read_bytes() == before
    assert forget([tmp_path / "network"], Forgotten(pa.array(["u9"]))).num_removed == 0


def test_links_among_the_files_of_an_index_are_refused(tmp_path):
    index = write_index(tmp_path / "index")
    note = index / "note.csv"
    note.symlink_to(write(tmp_path / "log.csv"))
    assert forget([index], WHO).removed == {note: 1, index: 1}
    ids = next(index.glob("shard-*.parquet"))
    (index / ids.name).rename(tmp_path / ids.name)
    ids.symlink_to(tmp_path / ids.name)
    with pytest.raises(InputError, match=r"is a link, and an index.*Nothing was changed"):
        forget([index], Forgotten(posts=pa.array(["p1"])))
    assert load_index(index).ids.to_pylist() == ["p1"]


def test_hidden_files_and_folders_are_looked_through(tmp_path):
    hidden = ("_log.csv", ".log.csv", "_old/log.csv", ".cache/log.csv", "a/_b/log.csv")
    files = [write(tmp_path / name) for name in hidden]
    network = write_network(tmp_path / ".before" / "network")
    done = forget([tmp_path], WHO)
    assert done.removed == dict.fromkeys(files, 1) | {network: 2}
    assert {path.read_text() for path in files} == {LEFT}
    assert users_of(network) == ["u0", "u1", "u3"]


def test_hidden_files_that_nobody_can_read_are_named(tmp_path, capsys):
    log = write(tmp_path / "log.csv")
    other = f".log.abcdef-{12345}.partial.csv"  # of another machine
    odd = [write(tmp_path / name, "x") for name in (".state", ".git/config", other)]
    odd.append(write(tmp_path / "._log.csv"))
    odd[-1].write_bytes(b"\xff\xfeuser_id\n")
    users = write(tmp_path / "users.txt", "u2\n")
    for _ in range(2):  # with somebody to take out, and without
        assert main(["data", "forget", "--users", str(users), str(tmp_path)]) == 0
        told = capsys.readouterr().out
        unread = next(line for line in told.splitlines() if line.startswith("Not looked through"))
        assert "may hold them still (4): " in unread
        for path in (tmp_path / ".state", tmp_path / ".git", tmp_path / other, odd[-1]):
            assert str(path) in unread
        assert (
            f"Passed over, as files that hold no ids by their kind or columns (1): {users}\n"
            in (told)
        )
    assert log.read_text() == LEFT


def test_many_that_are_not_looked_through_are_counted_by_folder(tmp_path, capsys):
    write(tmp_path / "log" / "part-0.csv")
    for name in (".gitignore", ".gitattributes", ".DS_Store", "log/.part-0.csv.crc"):
        write(tmp_path / name, "x")
    odd = [write(tmp_path / "log" / f".{number:02}", "x") for number in range(12)]
    users = write(tmp_path / "users.txt", "u2\n")
    assert main(["data", "forget", "--users", str(users), str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert f"may hold them still (12): {odd[0]}, " in told
    assert f"{odd[9]}, 2 more in {tmp_path / 'log'}\n" in told


def test_what_changed_is_called_by_its_name(tmp_path, capsys):
    log = write(tmp_path / "_old" / "my_log.csv")
    users = write(tmp_path / "users.txt", "u2\n")
    assert main(["data", "forget", "--users", str(users), str(tmp_path / "_old")]) == 0
    assert f"         1  {log}\n" in capsys.readouterr().out


def test_a_log_beside_a_network_is_looked_through(tmp_path):
    network = write_network(tmp_path / "network")
    logs = [write(network / name) for name in ("log.csv", ".cache/log.csv")]
    vectors = write(network / "note.npy", "x")
    done = forget([tmp_path], WHO)
    assert done.removed == dict.fromkeys(logs, 1) | {network: 2}
    assert {path.read_text() for path in logs} == {LEFT}
    assert vectors.read_text() == "x"


def test_a_log_inside_an_index_is_looked_through(tmp_path):
    index = write_index(tmp_path / "index")
    (index / "run.json").write_text('{"command": "index", "options": {}, "data": {}}')
    with lock_folder(index):
        pass
    logs = [write(index / name) for name in ("log.csv", "notes/log.csv")]
    assert forget([tmp_path], WHO).removed == dict.fromkeys(logs, 1) | {index: 1}
    assert {path.read_text() for path in logs} == {LEFT}
    assert load_index(index).all_ids.to_pylist() == ["p1"]
    with lock_folder(index):  # it is held no more
        pass


def test_a_log_inside_a_recommender_is_looked_through(tmp_path, monkeypatch):
    folder = tmp_path / "recommender"
    logs = [write(folder / name) for name in ("log.csv", "notes/log.csv")]
    write(folder / "config.json", '{"model_type": "twhin_engagement"}')
    pq.write_table(pa.table({"user_id": ["u1", "u2"]}), folder / "users.parquet")
    monkeypatch.setattr(forgetting, "count_rows", lambda *_: 0)
    assert forget([tmp_path], WHO).removed == dict.fromkeys(logs, 1)
    assert {path.read_text() for path in logs} == {LEFT}
    assert pq.read_table(folder / "users.parquet").num_rows == 2  # that is the recommender's to do


def test_an_index_below_a_network_is_one(tmp_path):
    network = write_network(tmp_path / "network")
    index = write_index(network / "index")
    assert forget([tmp_path], WHO).removed == {network: 2, index: 1}
    assert load_index(index).all_ids.to_pylist() == ["p1"]


def test_a_lock_is_linked_and_never_copied(tmp_path, monkeypatch):
    files = [write(tmp_path / "old" / name) for name in (".lock", ".lock.json", "log.csv")]
    (tmp_path / "linked").mkdir()
    link_others(tmp_path / "old", tmp_path / "linked")
    assert all(os.path.samefile(path, tmp_path / "linked" / path.name) for path in files)

    def refuse(*_):
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "copied").mkdir()
    link_others(tmp_path / "old", tmp_path / "copied")
    assert [path.name for path in (tmp_path / "copied").iterdir()] == ["log.csv"]


def hold(folder, ready, done):
    with lock_folder(folder):
        ready.set()
        done.wait(600)


@pytest.fixture
def held():
    """Has another process hold a folder; gives its number."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    others = []

    def start(folder):
        others.append(context.Process(target=hold, args=(str(folder), ready, done)))
        others[-1].start()
        assert ready.wait(600)
        return others[-1].pid

    yield start
    done.set()
    for other in others:
        other.join(600)


@pytest.mark.parametrize("name", ["network", "index", ".", "run", "vectors.csv.parts"])
def test_what_another_process_works_on_is_refused(tmp_path, held, name):
    write_network(tmp_path / "run" / "network")
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "network").symlink_to("run/network")
    vectors = write(tmp_path / "vectors.csv")
    index = write_index(tmp_path / "index")
    pid = held(tmp_path / name)
    given = [tmp_path / given for given in ("vectors.csv", "index", "network")]
    with pytest.raises(InputError, match=rf"Process {pid} of .* works in"):
        forget(given, WHO)
    assert vectors.read_text() == LOG
    assert users_of(tmp_path / "network") == ["u0", "u1", "u2", "u3"]
    assert len(load_index(index).all_ids) == 2
    # To count does no harm, and what is not changed may be worked on; a network may be coming.
    assert forget(given, WHO, dry_run=True).num_removed == 4
    if name not in ("network", "run"):
        assert forget(given, Forgotten(pa.array(["u9"]))).num_removed == 0


def test_a_network_is_held_while_it_changes(tmp_path, monkeypatch):
    network = write_network(tmp_path / "network")
    refused = []

    def embed(change):
        with pytest.raises(InputError, match=r"works in") as error, lock_folder(change.folder):
            pass
        refused.append(error)

    monkeypatch.setattr("twhin_hf.forgetting.forget.apply_change", embed)
    forget([network], WHO)
    assert len(refused) == 1
    with lock_folder(network):  # and afterwards no more
        pass


def test_an_index_is_held_until_the_end(tmp_path, monkeypatch):
    index = write_index(tmp_path / "index")
    original, refused = forgetting.erase_ids, []

    def add(folder, ids):
        with pytest.raises(InputError, match=r"works in") as error:
            load_index(folder).add(["at://u2/x/2"], np.ones((1, 3), np.float32))
        refused.append(error)
        original(folder, ids)

    monkeypatch.setattr(forgetting, "erase_ids", add)
    forget([index], WHO)
    assert len(refused) == 1
    assert load_index(index).all_ids.to_pylist() == ["p1"]


def test_a_log_that_a_service_writes_to_is_refused(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"user_id": "u2", "post_id": "p1", "relation": "like"}\n')
    log = EventsLog(path)
    with pytest.raises(InputError, match="A service writes to"):
        forget([tmp_path], WHO)
    log.close()
    assert forget([tmp_path], WHO).num_removed == 1
