"""Nobody stays behind a link or a hidden name, or comes back from a process that works on it."""

import multiprocessing
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from twhin_hf.commands.cli import main
from twhin_hf.errors import InputError
from twhin_hf.forgetting.forget import forget
from twhin_hf.forgetting.forgotten import Forgotten
from twhin_hf.forgetting.trained import EARLIER_NAME
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
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    owned = f"{owner().split('-')[0]}-{dead.pid}"
    network = write_network(tmp_path / "store" / "network")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "network").symlink_to(network)
    network.rename(network.with_name(f".network.{owned}.old"))  # the new one not yet in place
    forget([tmp_path / "data"], WHO)
    assert users_of(network) == ["u0", "u1", "u3"]
    assert left_over(tmp_path) == []


def test_links_inside_what_is_replaced_as_a_whole_are_refused(tmp_path):
    network = write_network(tmp_path / "network")
    shutil.move(network / "users.parquet", tmp_path / "users.parquet")
    (network / "users.parquet").symlink_to(tmp_path / "users.parquet")
    before = (tmp_path / "users.parquet").read_bytes()
    with pytest.raises(InputError, match=r"users\.parquet is a link.*Nothing was changed"):
        forget([tmp_path / "network"], WHO)
    assert (tmp_path / "users.parquet").read_bytes() == before
    assert forget([tmp_path / "network"], Forgotten(pa.array(["u9"]))).num_removed == 0


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
    odd = [write(tmp_path / name, "x") for name in (".DS_Store", ".git/config", other)]
    odd.append(write(tmp_path / "._log.csv"))
    odd[-1].write_bytes(b"\xff\xfeuser_id\n")
    users = write(tmp_path / "users.txt", "u2\n")
    for _ in range(2):  # with somebody to take out, and without
        assert main(["data", "forget", "--users", str(users), str(tmp_path)]) == 0
        told = capsys.readouterr().out
        unread = next(line for line in told.splitlines() if line.startswith("Not looked through"))
        assert "may hold them still (4): " in unread
        for path in (tmp_path / ".DS_Store", tmp_path / ".git", tmp_path / other, odd[-1]):
            assert str(path) in unread
        assert (
            f"Passed over, as files that hold no ids by their kind or columns (1): {users}\n"
            in (told)
        )
    assert log.read_text() == LEFT


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


def hold(folder, ready, done):
    with lock_folder(folder):
        ready.set()
        done.wait(60)


@pytest.fixture
def held():
    """Has another process hold a folder; gives its number."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    others = []

    def start(folder):
        others.append(context.Process(target=hold, args=(str(folder), ready, done)))
        others[-1].start()
        assert ready.wait(60)
        return others[-1].pid

    yield start
    done.set()
    for other in others:
        other.join(60)


@pytest.mark.parametrize("name", ["network", "index", ".", "run", "vectors.csv.parts"])
def test_what_another_process_works_on_is_refused(tmp_path, held, name):
    write_network(tmp_path / "run" / "network")
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "network").symlink_to("run/network")
    vectors = write(tmp_path / "vectors.csv")
    index = build_index(
        (["p1", "at://u2/x/1"], np.eye(2, 3, dtype=np.float32)),
        tmp_path / "index",
        IndexConfig(metric="inner_product"),
    )
    pid = held(tmp_path / name)
    given = [tmp_path / given for given in ("vectors.csv", "index", "network")]
    with pytest.raises(InputError, match=rf"Process {pid} of .* works in"):
        forget(given, WHO)
    assert vectors.read_text() == LOG
    assert users_of(tmp_path / "network") == ["u0", "u1", "u2", "u3"]
    assert len(load_index(index.path).all_ids) == 2
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


def test_a_log_that_a_service_writes_to_is_refused(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"user_id": "u2", "post_id": "p1", "relation": "like"}\n')
    log = EventsLog(path)
    with pytest.raises(InputError, match="A service writes to"):
        forget([tmp_path], WHO)
    log.close()
    assert forget([tmp_path], WHO).num_removed == 1
