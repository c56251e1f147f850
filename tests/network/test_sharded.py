"""Tables sharded over two processes that `torchrun` starts, against one process."""

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
from safetensors import safe_open
from small_graphs import make_graph, make_taste_graph

from twhin_hf.commands.cli import main
from twhin_hf.errors import InputError
from twhin_hf.network import sharded_tables
from twhin_hf.network.embedding import embed_network
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.engagements import Engagements
from twhin_hf.network.folder import CHECKPOINT_FILE, PARTS_FOLDER, load_network
from twhin_hf.network.holdout import hold_out
from twhin_hf.network.log import read_log
from twhin_hf.network.logistic import train_batch
from twhin_hf.network.processes import Processes
from twhin_hf.network.sampled_softmax import log_counts, train_softmax_batch
from twhin_hf.network.schedule import Step
from twhin_hf.network.sharded import _prepare, _Training, check_sharded
from twhin_hf.network.sharded_tables import ShardedTables
from twhin_hf.network.tables import Tables

pytest.importorskip("torchrec")
pytest.importorskip("fbgemm_gpu")

CONFIG = NetworkEmbeddingConfig(
    dimension=8, holdout=0.3, num_candidates=1000, threads=1, device="cpu", checkpoint_minutes=0
)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    graph = make_taste_graph()
    path = tmp_path_factory.mktemp("log") / "engagements.parquet"
    users, posts = (
        graph.user_ids.take(pa.array(graph.lhs)),
        graph.post_ids.take(pa.array(graph.rhs)),
    )
    relations = pa.array(graph.relations).take(pa.array(graph.relation))
    pq.write_table(pa.table({"user_id": users, "post_id": posts, "relation": relations}), path)
    return path


def options():
    names = ("dimension", "holdout", "num_candidates", "checkpoint_minutes")
    return [f"--{name}={getattr(CONFIG, name)}" for name in names]


def start(log, output):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "-m", "twhin_hf", "network", "embed"]
    command += ["--engine=torchrec", f"--engagements={log}", f"--output={output}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [*command, *options(), "--no_progress"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process):
    said, _ = process.communicate(timeout=600)
    return process.returncode, said


@pytest.fixture(scope="module")
def sharded(log, tmp_path_factory):
    output = tmp_path_factory.mktemp("sharded")
    code, said = finish(start(log, output))
    assert code == 0, said
    return output


def test_two_processes_reach_the_quality_of_one(log, sharded):
    graph = read_log(log)
    one = embed_network(graph, CONFIG, progress=False).metadata["metrics"]
    two = load_network(sharded).metadata["metrics"]
    assert two["held_out_edges"] == one["held_out_edges"] > 10_000
    for name in ("mrr", "hits@10"):
        assert two[name] == pytest.approx(one[name], rel=0.01)
    # The start alone is further away, and so is a quarter of the training.
    for less in ({"learning_rate": 1e-6}, {"epochs": 1}):
        worse = embed_network(graph, replace(CONFIG, **less), progress=False).metadata["metrics"]
        assert worse["mrr"] < 0.98 * one["mrr"]


def test_the_folder_is_that_of_one_process(log, sharded):
    graph, network = read_log(log), load_network(sharded)
    expected = Engagements.from_edges(graph.lhs, graph.rhs, graph.num_users, graph.num_posts)
    assert network.engagements is not None
    for found, wanted in zip(network.engagements, expected, strict=True):
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
    assert network.user_ids.to_pylist() == graph.user_ids.to_pylist()
    np.testing.assert_array_equal(network.post_degrees, graph.post_degrees())
    assert network.relation_vectors.any(axis=1).all()
    assert network.metadata["processes"] == 2
    assert sorted(path.name for path in sharded.iterdir() if path.name[0] != ".") == [
        "engagements.safetensors",
        "held_out.safetensors",
        "network.json",
        "posts.parquet",
        "posts.safetensors",
        "relations.safetensors",
        "run.json",
        "users.parquet",
        "users.safetensors",
    ]


def test_killed_processes_left_shards_and_go_on_as_if_nothing_had_happened(log, sharded, tmp_path):
    process = start(log, tmp_path)
    checkpoint = tmp_path / CHECKPOINT_FILE
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    # The launcher first: it ends the others where one has died.
    for child in [process, *psutil.Process(process.pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.communicate()
    assert not (tmp_path / "network.json").exists()

    for rank in range(2):  # each process holds half of the rows, and no more
        shards = list((tmp_path / PARTS_FOLDER).glob(f"shard-{rank}-*"))
        assert shards
        for path in shards:
            with safe_open(path, "np") as file:
                assert file.get_slice("users").get_shape() == [750, 8]
                assert file.get_slice("posts").get_shape() == [150, 8]
                assert file.get_slice("posts.state").get_shape() == [150]

    graph = read_log(log)
    held_out = hold_out(graph, CONFIG.holdout, CONFIG.seed)
    config = CONFIG.for_edges(graph.num_edges)
    with pytest.raises(InputError, match=r"other options \(processes: 2, now 1\)"):
        _prepare(graph, held_out, config, Processes(0, 1), tmp_path, resume=True)

    code, said = finish(start(log, tmp_path))
    assert code == 0, said
    assert "Going on after" in said
    again, whole = load_network(tmp_path), load_network(sharded)
    for name in ("user_vectors", "post_vectors", "relation_vectors"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    assert again.metadata["loss"] == whole.metadata["loss"]


@pytest.fixture
def alone():
    """A group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield Processes(0, 1)
    dist.destroy_process_group()


@pytest.mark.parametrize("method", ["softmax", "twhin"])
def test_a_step_is_that_of_tables_in_one_process(alone, tmp_path, method):
    graph = make_graph([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [0, 0, 0, 1, 1], 9, 9)
    few = {"num_batch_negs": 2} | ({"num_uniform_negs": 2} if method == "twhin" else {})
    config = NetworkEmbeddingConfig(method, dimension=8, epochs=1, holdout=0.0, **few)
    plan = _prepare(graph, np.zeros(5, bool), config, alone, tmp_path, resume=False)
    training = _Training(plan, config, alone, tmp_path)
    generator = torch.Generator().manual_seed(0)
    tables = Tables.random(graph, config, "cpu")
    ours = {**training.tables.named(), **training.tables.relations.named()}
    for name, tensor in tables.named().items():
        tensor.copy_(torch.rand(tensor.shape, generator=generator))
        ours[name].copy_(tensor)
    step = Step(
        torch.tensor([0, 1, 2], dtype=torch.int32),
        torch.tensor([0]),
        torch.tensor([7, 8]),  # rows that no edge of the step has: each is updated once
        torch.tensor([7, 8]),
        measure=True,
    )
    loss = training._train(step, done=0.25)
    if method == "twhin":
        schedule = training.schedule
        expected = train_batch(tables, schedule.lhs, schedule.rhs, step, config)
    else:
        counts = log_counts(training.schedule)
        rate, l2 = 0.75 * config.option("learning_rate"), config.option("l2")
        expected = train_softmax_batch(tables, training.schedule, counts, step, rate, l2)
    assert loss == pytest.approx(expected, rel=1e-5)
    for name, tensor in tables.named().items():
        torch.testing.assert_close(ours[name], tensor)
    before = {name: tensor.clone() for name, tensor in ours.items()}
    assert training._train(None, done=0.5) is None  # others have edges left
    for name, tensor in ours.items():
        assert torch.equal(tensor, before[name])


def test_without_torchrun(log, tmp_path, capsys):
    assert (
        main(
            [
                "network",
                "embed",
                f"--engagements={log}",
                f"--output={tmp_path}/n",
                "--engine=torchrec",
            ]
        )
        == 2
    )
    assert "torchrun --nproc-per-node 2 -m twhin_hf network embed" in capsys.readouterr().err
    assert not (tmp_path / "n").exists()


def test_what_cannot_be_sharded(monkeypatch):
    with pytest.raises(InputError, match=r"by the methods softmax and twhin; als needs"):
        check_sharded(NetworkEmbeddingConfig("als"))
    with pytest.raises(InputError, match=r"device is 'cuda', but the engine torchrec runs on"):
        check_sharded(NetworkEmbeddingConfig(device="cuda"))
    with pytest.raises(InputError, match=r"4 posts cannot be sharded over 3 processes"):
        ShardedTables((9, 4), 1, 8, Processes(0, 3), seed=0)
    monkeypatch.setattr(sharded_tables.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"torchrec and fbgemm_gpu.*twhin_hf\[torchrec\]"):
        check_sharded(NetworkEmbeddingConfig())
