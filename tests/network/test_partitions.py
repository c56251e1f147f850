"""Tables of which two partitions are in memory, against tables that are there whole."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from small_graphs import make_graph, make_taste_graph

from twhin_hf.errors import InputError
from twhin_hf.network import embedding as module
from twhin_hf.network.block_svd import factor_rank, factorise
from twhin_hf.network.embedding import embed_network
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.engagements import Engagements
from twhin_hf.network.folder import CHECKPOINT_FILE, PARTS_FOLDER, load_network, save_network
from twhin_hf.network.partitions import (
    BucketedSchedule,
    Buckets,
    PartitionedFactors,
    PartitionedTables,
)
from twhin_hf.network.warm_start import svd_vectors


@pytest.fixture(scope="module")
def graph():
    return make_taste_graph(1500, 1200, 30)


def small(**options):
    defaults = {"dimension": 8, "holdout": 0.3, "threads": 1, "device": "cpu", "partitions": 4}
    return NetworkEmbeddingConfig(**{**defaults, **options})


def tables_of(graph, partitions, folder, dimension=8):
    return PartitionedTables.on_disk(graph, partitions, dimension, folder, 0, "cpu")


def test_four_partitions_reach_the_quality_of_one(graph, tmp_path):
    whole = embed_network(graph, small(partitions=None), progress=False).metadata["metrics"]
    start = small(partitions=None, learning_rate=1e-6)
    begun = embed_network(graph, start, progress=False).metadata["metrics"]
    network = embed_network(graph, small(), output=tmp_path, progress=False)
    save_network(network, tmp_path)
    found = load_network(tmp_path)
    for name in ("mrr", "hits@10"):
        assert found.metadata["metrics"][name] == pytest.approx(whole[name], rel=0.02)
        assert begun[name] < 0.95 * whole[name]  # training is more than what it begins with
    assert found.metadata["options"]["partitions"] == 4
    np.testing.assert_array_equal(found.user_vectors, network.user_vectors)
    expected = Engagements.from_edges(graph.lhs, graph.rhs, graph.num_users, graph.num_posts)
    for one, other in zip(found.engagements, expected, strict=True):
        np.testing.assert_array_equal(one.offsets, other.offsets)
        np.testing.assert_array_equal(one.others, other.others)
    assert not (tmp_path / PARTS_FOLDER).exists()
    assert not (tmp_path / CHECKPOINT_FILE).exists()


def test_the_papers_method(graph, tmp_path):
    config = small(method="twhin", epochs=3, learning_rate=0.2, partitions=2)
    metrics = embed_network(graph, config, output=tmp_path, progress=False).metadata["metrics"]
    assert metrics["mrr"] > 1.2 * metrics["popularity_mrr"]


class Killed(Exception):
    pass


@pytest.mark.parametrize(("saved", "killed"), [(0.05, 0.5), (0.4, 0.8), (None, 0.3)])
def test_killed_and_resumed_is_as_uninterrupted(tmp_path, monkeypatch, saved, killed):
    graph = make_taste_graph(90, 60, 10)
    config = small(epochs=2, partitions=3, num_batch_negs=3, batch_size=4, holdout=0.05)
    train, steps, clock = module.train_softmax_batch, [], [0.0]
    save_at = kill_at = None

    def train_and_die(*arguments):
        if len(steps) == kill_at:
            raise Killed
        if len(steps) == save_at:
            clock[0] += 1e6  # a checkpoint is due: partitions go on leaving memory after it
        steps.append(arguments)
        return train(*arguments)

    def tick():
        clock[0] += 0.001
        return clock[0]

    monkeypatch.setattr(module, "train_softmax_batch", train_and_die)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=tick))
    whole = embed_network(graph, config, output=tmp_path / "whole", progress=False)
    total, kill_at = len(steps), int(killed * len(steps))
    save_at = None if saved is None else int(saved * total)
    steps.clear()
    with pytest.raises(Killed):
        embed_network(graph, config, output=tmp_path, progress=False)
    assert (tmp_path / CHECKPOINT_FILE).exists() == (saved is not None)
    done, kill_at, save_at = len(steps), None, None
    again = embed_network(graph, config, output=tmp_path, resume=True, progress=False)
    assert (len(steps) < done + total) == (saved is not None)
    for name in ("user_vectors", "post_vectors", "relation_vectors"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    assert again.metadata["loss"] == whole.metadata["loss"]
    names = [path.name for path in (tmp_path / PARTS_FOLDER).glob("posts-*.safetensors")]
    assert len({name.split("-")[1] for name in names}) == 3 <= len(names) <= 6

    with pytest.raises(InputError, match=r"other options \(partitions: 3, now 2\)"):
        embed_network(graph, replace(config, partitions=2), output=tmp_path, resume=True)


def test_a_damaged_partition_is_told(tmp_path):
    graph = make_taste_graph(90, 60, 10)
    config = small(epochs=1, partitions=2, holdout=0.05)
    embed_network(graph, config, output=tmp_path, progress=False)
    for path in (tmp_path / PARTS_FOLDER).glob("users-*.safetensors"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    tables = tables_of(graph, 2, tmp_path / PARTS_FOLDER)
    with safe_open(tmp_path / CHECKPOINT_FILE, "pt") as file:
        tables.versions["users"].copy_(file.get_tensor("users.versions"))
    with pytest.raises(InputError, match=r"users-0-\d+\.safetensors is missing or damaged"):
        tables.bring(0, 0)


def test_two_partitions_are_in_memory(tmp_path):
    graph = make_graph([0] * 9, range(9), [0] * 9, 5, 10, relations=["engage"])
    tables = tables_of(graph, 4, tmp_path)
    assert tables.vectors["users"].shape == tables.vectors["posts"].shape == (0, 8)
    tables.bring(0, 1)
    # Rows 0 and 4 of five users, 1, 5 and 9 of ten posts.
    assert tables.vectors["users"].shape == (2, 8)
    assert tables.vectors["posts"].shape == (3, 8)
    tables.vectors["users"][:] = torch.tensor([[0.0], [4.0]])
    tables.vectors["posts"][:] = torch.tensor([[1.0], [5.0], [9.0]])
    tables.bring(3, 2)
    assert tables.vectors["users"].shape == (1, 8)
    assert tables.vectors["posts"].shape == (2, 8)
    tables.bring(0, 1)
    assert tables.vectors["users"][:, 0].tolist() == [0, 4]
    for part in (0, 2, 3):
        tables.bring(part, part)
    tables.bring(1, 1)
    for side, row in {"users": 4, "posts": 9}.items():
        tables.write_in_order(side, tmp_path / side, "vectors")
        vectors = load_file(tmp_path / side)["vectors"]
        assert vectors[row, 0] == row
        assert np.abs(vectors[2]).max() < 0.01  # noise as yet


def test_an_epoch_has_every_edge_once_bucket_by_bucket(tmp_path):
    graph = make_taste_graph(90, 60, 10)
    training = np.arange(graph.num_edges) % 7 > 0
    buckets = Buckets(graph, training, 3, tmp_path)
    tables = tables_of(graph, 3, tmp_path)
    schedule = BucketedSchedule(
        buckets, tables, chunk=4, batch_size=8, num_uniform_negs=2, seed=0, device="cpu"
    )
    assert schedule.num_edges == training.sum()
    seen, visited, number = [], [], 0
    for begin, steps in schedule.steps_from(0, 0):
        assert begin == number
        number += len(steps)
        here = tables.resident["users"], tables.resident["posts"]
        if here not in visited:
            if visited:  # one of the two stays
                assert sum(a == b for a, b in zip(here, visited[-1], strict=True)) == 1
            visited.append(here)
        for step in steps:
            users = schedule.current.lhs[step.edges.long()] * 3 + here[0]
            posts = schedule.current.rhs[step.edges.long()] * 3 + here[1]
            relation = step.relation.expand(len(users))
            seen += zip(relation.tolist(), users.tolist(), posts.tolist(), strict=True)
            assert (step.uniform_users < tables.num_rows("users", here[0])).all()
    assert number == schedule.num_steps
    assert len(visited) == len(set(visited)) == 9
    columns = (graph.relation, graph.lhs, graph.rhs)
    assert sorted(seen) == sorted(zip(*(c[training].tolist() for c in columns), strict=True))
    # From a step in a later bucket on.
    first, rest = number // 2, 0
    for begin, steps in schedule.steps_from(0, first):
        assert begin == first + rest
        rest += len(steps)
    assert rest == number - first


def test_the_svd_in_blocks_is_that_of_the_whole_matrix(tmp_path):
    graph = make_taste_graph(300, 200, 20)
    shape, dimension = (graph.num_users, graph.num_posts), 6  # of twelve tastes
    everything = np.ones(graph.num_edges, bool)
    buckets, tables = Buckets(graph, everything, 3, tmp_path), tables_of(graph, 3, tmp_path)
    rank = factor_rank(shape, dimension)
    factors = PartitionedFactors(buckets, tables, rank, tmp_path, seed=0)
    factorise(factors, shape, dimension, graph.num_edges)
    found = [np.empty((count, dimension), np.float32) for count in shape]
    for vectors, side in zip(found, ("users", "posts"), strict=True):
        for part in range(3):
            vectors[part::3] = factors.load(side, part)
    expected = svd_vectors(graph.lhs, graph.rhs, shape, dimension, seed=0, threads=1)
    scores, wanted = found[0] @ found[1].T, expected[0] @ expected[1].T
    assert np.abs(scores - wanted).mean() < 0.05 * np.abs(wanted).mean()
    assert scores[graph.lhs, graph.rhs].mean() == pytest.approx(4, rel=1e-4)
    for one, other in zip(found, expected, strict=True):
        assert np.square(one).mean() == pytest.approx(np.square(other).mean(), rel=0.01)


def test_a_matrix_of_low_rank_has_few_columns(tmp_path):
    graph = make_graph([0, 0, 1, 1], [0, 1, 0, 1], [0] * 4, 4, 4, relations=["engage"])
    buckets, tables = Buckets(graph, np.ones(4, bool), 2, tmp_path), tables_of(graph, 2, tmp_path)
    factors = PartitionedFactors(buckets, tables, factor_rank((4, 4), 3), tmp_path, seed=0)
    factorise(factors, (4, 4), 3, 4)
    users, posts = factors.load("users", 0), factors.load("posts", 1)
    assert users.shape == (2, 1)  # all edges score alike
    assert (users @ posts.T)[0, 0] == pytest.approx(4, rel=1e-4)
    assert not users[1].any()  # user 2 has no edge


def test_partitions_by_the_memory_limit(graph, tmp_path):
    # 2,700 rows of 36 bytes, and once more as much: 194,400 bytes.
    config = small(partitions=0)
    assert config.for_memory(2700, "100KB").partitions == 2
    assert config.for_memory(2700, "1MB").partitions == 1
    assert small(partitions=None).for_memory(2700, "1KB").partitions is None
    with pytest.raises(InputError, match="memory_limit is '80%'; give it as 8GB or 600MB"):
        config.for_memory(2700, "80%")
    network = embed_network(
        graph, small(partitions=0, epochs=1), output=tmp_path, memory_limit="100KB", progress=False
    )
    assert network.metadata["options"]["partitions"] == 2


def test_what_cannot_be_partitioned(graph):
    with pytest.raises(InputError, match="partitions need an output folder"):
        embed_network(graph, small())
    with pytest.raises(InputError, match="partitions is 4, but has no effect with the method als"):
        NetworkEmbeddingConfig("als", partitions=4)
    with pytest.raises(InputError, match="partitions is -1; it must be at least 0"):
        small(partitions=-1)
