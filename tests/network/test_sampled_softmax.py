import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from small_graphs import make_community_graph, make_graph

from twhin_hf.network import embedding as module
from twhin_hf.network.embedding import embed_network
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.folder import CHECKPOINT_FILE, load_network, save_network
from twhin_hf.network.sampled_softmax import (
    log_counts,
    softmax_gradients,
    softmax_logits,
    softmax_loss,
    train_softmax_batch,
)
from twhin_hf.network.schedule import Schedule, Step
from twhin_hf.network.tables import Tables


@pytest.fixture(scope="module")
def community_graph():
    return make_community_graph()


def small(**options):
    defaults = {"dimension": 16, "num_batch_negs": 15, "threads": 1, "device": "cpu"}
    return NetworkEmbeddingConfig(**{**defaults, **options})


def schedule_of(graph, chunk=4):
    everything = np.ones(len(graph.lhs), bool)
    options = {"batch_size": 8, "num_uniform_negs": 0, "seed": 0, "device": "cpu"}
    return Schedule.of(graph, everything, chunk=chunk, **options)


def test_loss_by_hand():
    # Scores: [[2, 0, 1], [0, 3, 1], [1, 1, 2]]. Post 0 has 2 engagements, the others 1: less log 2.
    users = torch.tensor([[[2.0, 0, 1], [0, 3, 1], [1, 1, 2]]])
    posts = torch.eye(3)[None]
    counts = torch.tensor([[2.0, 1.0, 1.0]]).log()
    rows = torch.tensor([[0, 1, 2]])
    logits = softmax_logits(users, posts, counts, lhs=rows, rhs=rows)
    e = math.exp
    expected = -math.log(e(2) / 2 / (e(2) / 2 + e(0) + e(1)))
    expected -= math.log(e(3) / (e(0) / 2 + e(3) + e(1)))
    expected -= math.log(e(2) / (e(1) / 2 + e(1) + e(2)))
    assert softmax_loss(logits).item() == pytest.approx(expected, rel=1e-6)


def test_posts_that_the_user_engaged_with_are_no_candidates():
    scores = torch.zeros(1, 3, 3)
    # Edges 0 and 1 are of one user, edges 1 and 2 of one post: edge 1 has its own post alone.
    logits = softmax_logits(
        scores,
        torch.eye(3)[None],
        torch.zeros(1, 3),
        lhs=torch.tensor([[5, 5, 6]]),
        rhs=torch.tensor([[7, 8, 8]]),
    )
    gone = -math.inf
    assert logits.tolist() == [[[0, gone, 0], [gone, 0, gone], [0, gone, 0]]]
    assert softmax_loss(logits).item() == pytest.approx(2 * math.log(2))


def test_counts_are_of_the_relation():
    graph = make_graph([0, 1, 2, 0, 1], [0, 0, 1, 0, 0], [0, 0, 0, 1, 1], 3, 2)
    schedule = schedule_of(graph)
    assert log_counts(schedule).exp().round().tolist() == [2, 2, 1, 2, 2]


def test_gradients_are_those_of_autograd():
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    users, posts = random(3, 5, 6).requires_grad_(), random(3, 5, 6).requires_grad_()
    lhs = torch.randint(6, (3, 5), generator=generator)
    rhs = torch.randint(6, (3, 5), generator=generator)
    counts = random(3, 5)

    def logits():
        scores = users @ posts.mT - counts[:, None]
        known = (lhs[:, :, None] == lhs[:, None]) | (rhs[:, :, None] == rhs[:, None])
        return scores.masked_fill(known & ~torch.eye(5, dtype=torch.bool), -torch.inf)

    expected = torch.autograd.grad(softmax_loss(logits()), (users, posts))
    with torch.no_grad():
        ours = softmax_logits(users, posts, counts, lhs, rhs)
        torch.testing.assert_close(ours, logits())
        found = softmax_gradients(ours, users, posts)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs.flatten(0, 1))


def test_step_moves_along_the_gradient_of_the_whole_objective():
    graph = make_graph([0, 1, 2, 0], [0, 1, 2, 3], [1, 1, 1, 0], 4, 5)
    schedule = schedule_of(graph, chunk=3)
    tables = Tables.random(graph, small(), "cpu")
    for vectors in tables.vectors.values():
        vectors.normal_(generator=torch.Generator().manual_seed(3))
    users, posts, relations = (v.clone().requires_grad_() for v in tables.vectors.values())
    # Edges 1 to 3 of the schedule, which sorts by relation: users and posts 0, 1, 2, relation 1.
    query = users[:3] + relations[1]
    entropy = torch.nn.functional.cross_entropy(
        query @ posts[:3].T, torch.arange(3), reduction="sum"
    )
    squares = users[:3].square().sum() + posts[:3].square().sum() + 3 * relations[1].square().sum()
    gradients = torch.autograd.grad(entropy + 0.3 / 2 * squares, (users, posts, relations))

    step = Step(
        edges=torch.tensor([1, 2, 3], dtype=torch.int32),
        relation=torch.tensor([1]),
        uniform_users=torch.tensor([], dtype=torch.int64),
        uniform_posts=torch.tensor([], dtype=torch.int64),
        measure=True,
    )
    before = {side: table.clone() for side, table in tables.vectors.items()}
    measured = train_softmax_batch(tables, schedule, log_counts(schedule), step, 0.1, l2=0.3)
    assert measured == pytest.approx(entropy.item() / 3, rel=1e-5)
    for (side, table), gradient in zip(tables.vectors.items(), gradients, strict=True):
        for row in {"users": [0, 1, 2], "posts": [0, 1, 2], "relations": [1]}[side]:
            expected = -0.1 * gradient[row] / gradient[row].square().mean().sqrt()
            torch.testing.assert_close(table[row] - before[side][row], expected)
    assert torch.equal(tables.vectors["users"][3], before["users"][3])
    assert torch.equal(tables.vectors["relations"][0], before["relations"][0])


def test_learning_rate_falls_to_zero_over_all_steps(community_graph, monkeypatch):
    rates = []
    step = module.train_softmax_batch

    def spy(tables, schedule, counts, one, learning_rate, l2):
        rates.append(learning_rate)
        return step(tables, schedule, counts, one, learning_rate, l2)

    monkeypatch.setattr(module, "train_softmax_batch", spy)
    embed_network(
        community_graph, small(epochs=2, learning_rate=0.5, batch_size=16), progress=False
    )
    count = len(rates)
    np.testing.assert_allclose(rates, [0.5 * (1 - i / count) for i in range(count)])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("warm_start", [True, False])
def test_learns_more_than_popularity(community_graph, threads, warm_start, tmp_path):
    config = small(holdout=0.05, num_candidates=100, threads=threads, warm_start=warm_start)
    if not warm_start:
        config = replace(config, epochs=20)
    network = embed_network(community_graph, config, progress=False)
    metrics = network.metadata["metrics"]
    # As for the paper's method: who knows communities and no more hits 7 times in 22.
    assert metrics["hits@10"] > 0.25
    assert metrics["mrr"] > 1.5 * metrics["popularity_mrr"]
    assert network.relation_vectors.any(axis=1).all()
    assert network.metadata["method"] == "softmax"
    assert network.metadata["seconds"] > 0
    assert network.metadata["options"]["l2"] == 0.15  # the default that was used

    json.dumps(network.metadata, allow_nan=False)
    save_network(network, tmp_path)
    assert load_network(tmp_path).metadata["metrics"] == metrics


def test_one_thread_repeats_itself(community_graph):
    runs = [embed_network(community_graph, small(), progress=False) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].post_vectors, runs[1].post_vectors)
    other = embed_network(community_graph, small(seed=1), progress=False)
    assert not np.array_equal(runs[0].post_vectors, other.post_vectors)


class Interrupted(Exception):
    pass


def test_interrupted_and_resumed_is_as_uninterrupted(community_graph, tmp_path, monkeypatch):
    config = small(epochs=3, batch_size=16, checkpoint_minutes=0)
    whole = embed_network(community_graph, config, progress=False)
    save = module.save_checkpoint

    def save_and_stop(*arguments):
        save(*arguments)
        raise Interrupted

    monkeypatch.setattr(module, "save_checkpoint", save_and_stop)
    with pytest.raises(Interrupted):
        embed_network(community_graph, config, output=tmp_path, progress=False)
    monkeypatch.undo()
    with safe_open(tmp_path / CHECKPOINT_FILE, "np") as file:
        assert file.get_tensor("posts.state").shape == (200,)
    with pytest.raises(ValueError, match=r"other options \(epochs: 3, now 4\)"):
        embed_network(
            community_graph, replace(config, epochs=4), output=tmp_path, resume=True, progress=False
        )
    resumed = embed_network(community_graph, config, output=tmp_path, resume=True, progress=False)
    for name in ("user_vectors", "post_vectors", "relation_vectors"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))


def test_one_edge_is_enough():
    graph = make_graph([0], [0], [0], 1, 1, relations=["engage"])
    network = embed_network(graph, small(holdout=0.5), progress=False)
    assert network.metadata["metrics"] == {}
    assert np.isfinite(network.user_vectors).all()


def test_divergence_says_what_to_do(community_graph):
    with pytest.raises(ValueError, match=r"diverged.*Lower learning_rate, which is 1e\+30"):
        embed_network(community_graph, small(learning_rate=1e30), progress=False)
