import json
import logging
import math
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch
from safetensors import safe_open
from small_graphs import make_community_graph, make_graph

from twhin_hf.network import embedding as module
from twhin_hf.network.embedding import embed_network
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.folder import CHECKPOINT_FILE, load_network, save_network
from twhin_hf.network.holdout import hold_out, rank_held_out
from twhin_hf.network.logistic import Batch, batch_gradients, batch_loss, train_batch
from twhin_hf.network.schedule import Schedule, Step
from twhin_hf.network.tables import Tables


@pytest.fixture(scope="module")
def community_graph():
    return make_community_graph()


def small(**options):
    """The paper's method; the others have files of their own."""
    defaults = {"dimension": 16, "epochs": 6, "num_batch_negs": 10, "num_uniform_negs": 10}
    defaults |= {"method": "twhin", "threads": 1, "device": "cpu"}
    return NetworkEmbeddingConfig(**{**defaults, **options})


def schedule_of(graph, batch_size=8, chunk=4):
    everything = np.ones(len(graph.lhs), bool)
    options = {"batch_size": batch_size, "num_uniform_negs": 3, "seed": 0, "device": "cpu"}
    return Schedule.of(graph, everything, chunk=chunk, **options)


def hand_batch():
    """Two edges: u0 = (1, 0) with t0 = (2, 0), u1 = (0, 1) with t1 = (0, 3); relation added."""
    no = torch.zeros(2, 1, dtype=torch.bool)
    return Batch(
        users=torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]),
        posts=torch.tensor([[[2.0, 0.0], [0.0, 3.0]]]),
        uniform_users=torch.tensor([[1.0, 1.0]]),
        uniform_posts=torch.tensor([[-1.0, 1.0]]),
        engaged=torch.eye(2, dtype=torch.bool)[None],
        same_user=no,
        same_post=no,
    )


def softplus(x):
    return math.log1p(math.exp(x))


def test_loss_by_hand():
    # Positives score 2 and 3. In the batch (u0, t1) and (u1, t0) score 0, each a negative of both
    # sides. Uniform posts: u0 -> -1, u1 -> 1. Uniform user: t0 -> 2, t1 -> 3.
    negatives = 4 * softplus(0) + softplus(-1) + softplus(1) + softplus(2) + softplus(3)
    expected = softplus(-2) + softplus(-3) + 0.5 * negatives
    assert batch_loss(hand_batch(), weight=0.5).item() == pytest.approx(expected, rel=1e-6)


def test_negatives_are_averaged_by_default_and_summed_on_request():
    config = NetworkEmbeddingConfig("twhin", num_batch_negs=30, num_uniform_negs=20)
    assert config.weight == 1 / 100
    assert NetworkEmbeddingConfig("twhin", negative_weight=1.0).weight == 1


def test_known_pairs_are_no_negatives():
    batch = hand_batch()
    batch = batch._replace(
        engaged=torch.ones(1, 2, 2, dtype=torch.bool),
        same_user=torch.tensor([[True], [False]]),
        same_post=torch.tensor([[False], [True]]),
    )
    expected = softplus(-2) + softplus(-3) + softplus(-1) + softplus(3)
    assert batch_loss(batch, weight=1.0).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("num_uniform", "size"), [(3, 5), (0, 5), (3, 1)])
def test_gradients_are_those_of_autograd(num_uniform, size):
    generator = torch.Generator().manual_seed(1)

    def vectors(*shape):
        return torch.randn(*shape, 6, generator=generator, dtype=torch.float64).requires_grad_()

    engaged = torch.rand(4, size, size, generator=generator) < 0.2
    engaged |= torch.eye(size, dtype=torch.bool)
    batch = Batch(
        users=vectors(4, size),
        posts=vectors(4, size),
        uniform_users=vectors(num_uniform),
        uniform_posts=vectors(num_uniform),
        engaged=engaged,
        same_user=torch.rand(4 * size, num_uniform, generator=generator) < 0.2,
        same_post=torch.rand(4 * size, num_uniform, generator=generator) < 0.2,
    )
    expected = torch.autograd.grad(batch_loss(batch, weight=0.3), batch[:4])
    with torch.no_grad():
        found = batch_gradients(batch, weight=0.3)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs.reshape(ours.shape))


def test_row_wise_adagrad_by_hand():
    tables = Tables({"posts": torch.zeros(3, 2)}, {"posts": torch.tensor([0.0, 7.5, 0.0])})
    tables.update("posts", torch.tensor([1]), torch.tensor([[3.0, 4.0]]), learning_rate=0.1)
    # State: 7.5 + (9 + 16) / 2 = 20.
    assert tables.state["posts"].tolist() == [0, 20, 0]
    expected = -0.1 / math.sqrt(20) * torch.tensor([3.0, 4.0])
    torch.testing.assert_close(tables.vectors["posts"][1], expected)
    assert not tables.vectors["posts"][[0, 2]].any()


def test_step_moves_along_the_gradient_of_the_whole_objective():
    """One step against autograd through gather, translation and the definition of the loss."""
    graph = make_graph([0, 1, 2, 0], [0, 1, 2, 3], [1, 1, 1, 0], 4, 5)
    config = small(num_batch_negs=2, num_uniform_negs=2, learning_rate=0.1)
    tables = Tables.random(graph, config, "cpu")
    for vectors in tables.vectors.values():
        vectors.normal_(generator=torch.Generator().manual_seed(3))
    users, posts, relations = (v.clone().requires_grad_() for v in tables.vectors.values())
    loss = 0.0
    # Edges (0, 0), (1, 1), (2, 2) of relation 1; uniform users 3 and 0, uniform posts 4 and 1.
    for u, t in ((0, 0), (1, 1), (2, 2)):
        loss = loss + torch.nn.functional.softplus(-((users[u] + relations[1]) @ posts[t]))
        negative = [(u, other) for other in (0, 1, 2) if other != t]
        negative += [(other, t) for other in (0, 1, 2) if other != u]
        negative += [(u, other) for other in (4, 1) if other != t]
        negative += [(other, t) for other in (3, 0) if other != u]
        for user, post in negative:
            score = (users[user] + relations[1]) @ posts[post]
            loss = loss + torch.nn.functional.softplus(score) / 8  # four negatives a side
    gradients = torch.autograd.grad(loss, (users, posts, relations))

    step = Step(
        edges=torch.tensor([0, 1, 2], dtype=torch.int32),
        relation=torch.tensor([1]),
        uniform_users=torch.tensor([3, 0]),
        uniform_posts=torch.tensor([4, 1]),
        measure=True,
    )
    before = {side: table.clone() for side, table in tables.vectors.items()}
    lhs, rhs = torch.from_numpy(graph.lhs), torch.from_numpy(graph.rhs)
    measured = train_batch(tables, lhs, rhs, step, config)
    assert measured == pytest.approx(loss.item() / 3, rel=1e-5)
    for (side, table), gradient in zip(tables.vectors.items(), gradients, strict=True):
        moved = (table - before[side]).flatten(), -gradient.flatten()
        # Rows that occur once move by lr * sqrt(dimension) exactly along the gradient.
        assert torch.nn.functional.cosine_similarity(*moved, dim=0) > 0.8
        once = {"users": [1, 2, 3], "posts": [0, 2, 4], "relations": [1]}[side]
        for row in once:
            expected = -0.1 * gradient[row] / gradient[row].square().mean().sqrt()
            torch.testing.assert_close(table[row] - before[side][row], expected)
    assert torch.equal(tables.vectors["posts"][3], before["posts"][3])
    assert torch.equal(tables.vectors["relations"][0], before["relations"][0])


def test_state_is_four_bytes_a_dimension_and_four_a_row(community_graph):
    tables = Tables.random(community_graph, small(dimension=256), "cpu")
    assert tables.nbytes() == (200 + 200 + 2) * (4 * 256 + 4)


def test_an_epoch_has_every_edge_once_in_chunks_of_one_relation():
    rng = np.random.default_rng(0)
    relation = np.array([0] * 23 + [1] * 3 + [0] * 7)
    graph = make_graph(rng.integers(0, 9, 33), rng.integers(0, 9, 33), relation, 9, 9)
    schedule = schedule_of(graph)
    steps = [step for steps in schedule.rounds(epoch=0) for step in steps]
    edges = torch.cat([step.edges for step in steps])
    assert sorted(edges.tolist()) == list(range(33))
    assert edges.tolist() != list(range(33))
    for step in steps:
        assert len(step.edges) % 4 == 0 or len(step.edges) < 4
        assert len(step.edges) <= 8
        assert (step.edges >= 30).all() == bool(step.relation)
        assert step.uniform_users.max() < 9
    seen = sorted(zip(schedule.lhs.tolist(), schedule.rhs.tolist(), strict=True))
    assert seen == sorted(zip(graph.lhs.tolist(), graph.rhs.tolist(), strict=True))


def test_order_depends_on_seed_and_epoch_alone(community_graph):
    schedule = schedule_of(community_graph)

    def first(epoch, **change):
        (steps, *_) = module.Schedule(**{**vars(schedule), **change}).rounds(epoch)
        return torch.cat([torch.cat([step.edges, step.uniform_posts]) for step in steps])

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))
    assert not torch.equal(first(1), first(1, seed=5))
    late = list(schedule.rounds(0))[1]
    again = next(schedule.rounds(0, first=1))
    assert all(torch.equal(a.edges, b.edges) for a, b in zip(late, again, strict=True))
    assert torch.equal(late[0].uniform_users, again[0].uniform_users)


@pytest.mark.parametrize("threads", [1, 2])
def test_learns_more_than_popularity(community_graph, threads, tmp_path):
    before = torch.get_num_threads()
    network = embed_network(
        community_graph,
        small(epochs=20, holdout=0.05, num_candidates=100, threads=threads),
        progress=False,
    )
    assert torch.get_num_threads() == before
    metrics = network.metadata["metrics"]
    assert metrics["held_out_edges"] > 100
    assert metrics["candidates"] == 100
    # Of 100 candidates 25 are of the user's community, of which 3 are trained on and rank first:
    # who knows communities and no more hits 7 times in 22, who knows nothing once in 10.
    assert metrics["popularity_hits@10"] < 0.2
    assert metrics["hits@10"] > 0.25
    assert metrics["mrr"] > 1.5 * metrics["popularity_mrr"]
    assert network.relation_vectors.any(axis=1).all()  # relations learn too
    assert network.post_degrees.sum() == 2400

    json.dumps(network.metadata, allow_nan=False)
    save_network(network, tmp_path)
    loaded = load_network(tmp_path)
    np.testing.assert_array_equal(loaded.post_vectors, network.post_vectors)
    assert loaded.metadata["metrics"] == metrics


def test_one_thread_repeats_itself(community_graph):
    runs = [embed_network(community_graph, small(epochs=2), progress=False) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].post_vectors, runs[1].post_vectors)
    other = embed_network(community_graph, small(epochs=2, seed=1), progress=False)
    assert not np.array_equal(runs[0].post_vectors, other.post_vectors)


@pytest.mark.parametrize("option", [{"num_batch_negs": 0}, {"num_uniform_negs": 0}])
def test_either_kind_of_negative_will_do(community_graph, option):
    config = small(**option, epochs=20, holdout=0.05, batch_size=30)
    metrics = embed_network(community_graph, config, progress=False).metadata["metrics"]
    assert metrics["hits@10"] > 1.5 * metrics["popularity_hits@10"]


class Interrupted(Exception):
    pass


def interrupt_after(monkeypatch, saves):
    """Makes training stop right after so many checkpoints."""
    save, count = module.save_checkpoint, iter(range(1, saves + 1))

    def save_and_stop(*arguments):
        save(*arguments)
        if next(count) == saves:
            raise Interrupted

    monkeypatch.setattr(module, "save_checkpoint", save_and_stop)


@pytest.mark.parametrize("saves", [1, 2, 3])  # the middle of an epoch, its end, the next one
def test_interrupted_and_resumed_is_as_uninterrupted(community_graph, tmp_path, monkeypatch, saves):
    config = small(epochs=3, batch_size=11, num_batch_negs=4, checkpoint_minutes=0)
    whole = embed_network(community_graph, config, progress=False)
    interrupt_after(monkeypatch, saves)
    with pytest.raises(Interrupted):
        embed_network(community_graph, config, output=tmp_path, progress=False)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_FILE]
    with safe_open(tmp_path / CHECKPOINT_FILE, "np") as file:
        assert file.get_tensor("posts.state").shape == (200,)
    resumed = embed_network(community_graph, config, output=tmp_path, resume=True, progress=False)
    for name in ("user_vectors", "post_vectors", "relation_vectors"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    for name in ("metrics", "loss"):
        assert resumed.metadata[name] == whole.metadata[name]
    save_network(resumed, tmp_path)
    assert not (tmp_path / CHECKPOINT_FILE).exists()


def test_checkpoint_of_other_options_or_damaged(community_graph, tmp_path, monkeypatch):
    config = small(epochs=2, checkpoint_minutes=0)
    interrupt_after(monkeypatch, 1)
    with pytest.raises(Interrupted):
        embed_network(community_graph, config, output=tmp_path, progress=False)
    monkeypatch.undo()

    def resume(graph, config):
        embed_network(graph, config, output=tmp_path, resume=True, progress=False)

    with pytest.raises(ValueError, match=r"other options \(learning_rate: 0.05, now 0.2\)"):
        resume(community_graph, small(learning_rate=0.2, checkpoint_minutes=0))
    other = make_graph(
        community_graph.lhs, community_graph.rhs[::-1], community_graph.relation, 200, 200
    )
    with pytest.raises(ValueError, match=r"another graph.*edges.*Delete it"):
        resume(other, config)
    with pytest.raises(ValueError, match="needs the output folder"):
        embed_network(community_graph, config, resume=True)


@pytest.mark.parametrize("place", [1_000, -1])
def test_a_damaged_checkpoint_is_told_and_not_used(
    community_graph, tmp_path, monkeypatch, place, caplog
):
    config = small(epochs=2, checkpoint_minutes=0)
    whole = embed_network(community_graph, config, progress=False)
    interrupt_after(monkeypatch, 1)
    with pytest.raises(Interrupted):
        embed_network(community_graph, config, output=tmp_path, progress=False)
    monkeypatch.undo()
    checkpoint = tmp_path / CHECKPOINT_FILE
    content = bytearray(checkpoint.read_bytes())
    if place < 0:
        content[place] ^= 1  # one bit of a number
    else:
        del content[place:]
    checkpoint.write_bytes(content)
    anew = embed_network(community_graph, config, output=tmp_path, resume=True, progress=False)
    assert "damaged" in caplog.text
    np.testing.assert_array_equal(anew.post_vectors, whole.post_vectors)


@pytest.mark.parametrize("method", ["twhin", "softmax"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 1.0])  # two rounds an epoch, two epochs
def test_a_signal_saves_and_the_run_goes_on_as_if_none_had_come(
    community_graph, tmp_path, monkeypatch, method, share
):
    config = NetworkEmbeddingConfig(
        method=method, dimension=8, epochs=2, batch_size=5, num_batch_negs=4, threads=1
    )
    name = "train_batch" if method == "twhin" else "train_softmax_batch"
    train, steps, stop_at = getattr(module, name), [], None

    def train_and_signal(*arguments):
        if len(steps) == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)  # the main thread takes it
        steps.append(arguments)
        return train(*arguments)

    monkeypatch.setattr(module, name, train_and_signal)
    whole = embed_network(community_graph, config, progress=False)
    total, stop_at = len(steps), round(share * (len(steps) - 1))
    steps.clear()
    with pytest.raises(SystemExit) as ended:
        embed_network(community_graph, config, output=tmp_path, progress=False)
    assert ended.value.code == 143
    assert len(steps) > stop_at
    stop_at = None
    again = embed_network(community_graph, config, output=tmp_path, resume=True, progress=False)
    assert len(steps) == total  # none was lost, none came twice
    for name in ("user_vectors", "post_vectors", "relation_vectors"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    assert again.metadata["loss"] == whole.metadata["loss"]


def test_a_trained_network_costs_no_training_again(community_graph, tmp_path, monkeypatch):
    config = small(epochs=2)
    whole = embed_network(community_graph, config, output=tmp_path, progress=False)
    monkeypatch.setattr(module, "train_batch", pytest.fail)
    again = embed_network(community_graph, config, output=tmp_path, resume=True, progress=False)
    np.testing.assert_array_equal(again.post_vectors, whole.post_vectors)
    assert again.metadata["loss"] == whole.metadata["loss"]


def test_held_out_edges_leave_every_node_and_relation_an_edge():
    rng = np.random.default_rng(0)
    lhs, rhs = rng.integers(0, 40, 100), rng.integers(0, 40, 100)
    relation = np.array([0] * 99 + [1])
    graph = make_graph(lhs, rhs, relation, 40, 40)
    held = hold_out(graph, 0.5, seed=0)
    assert 5 < held.sum() <= 50
    for ids in (lhs, rhs, relation):
        assert set(ids[~held]) == set(ids)


def test_ranking_by_hand():
    """One user with vector 1; posts score 0, 1, 2, 2: the post of score 2 ties with another."""
    graph = make_graph([0, 0, 0], [2, 1, 1], [0, 0, 1], 1, 4)
    posts = torch.tensor([[0.0], [1.0], [2.0], [2.0]])
    found = rank_held_out(
        graph,
        np.array([True, False, False]),
        torch.tensor([[0.25]]),
        posts,
        torch.tensor([[0.75], [-5.0]]),
        num_candidates=1000,
        seed=0,
    )
    # Post 1 is no candidate, because the user engaged with it. By score: no post above, one tie:
    # rank 1.5. By training degree (0, 2, 0, 0): none above, two ties: rank 2.
    assert found == {
        "held_out_edges": 1,
        "candidates": 4,
        "mrr": pytest.approx(1 / 1.5),
        "hits@10": 1.0,
        "popularity_mrr": pytest.approx(1 / 2),
        "popularity_hits@10": 1.0,
    }


def test_candidates_are_sampled_where_posts_are_many():
    graph = make_graph([0], [0], [0], 1, 500, relations=["engage"])
    posts = torch.arange(500.0)[:, None]  # post 0 scores least, so its rank is that of the last
    arguments = (graph, np.array([True]), torch.ones(1, 1), posts, torch.zeros(1, 1))
    found = rank_held_out(*arguments, num_candidates=100, seed=0)
    assert 1 / 100.1 < found["mrr"] < 1 / 95  # a draw of the post itself does not count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimension": 0}, "dimension is 0; it must be at least 1"),
        ({"epochs": 0}, "epochs is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"num_batch_negs": -1}, "num_batch_negs is -1"),
        (
            {"method": "twhin", "num_batch_negs": 0, "num_uniform_negs": 0},
            "both 0: without negatives",
        ),
        ({"num_batch_negs": 0}, "num_batch_negs is 0: a softmax over one post learns nothing"),
        ({"method": "word2vec"}, "method is 'word2vec'; it must be one of softmax, twhin, als"),
        (
            {"num_uniform_negs": 50},
            "num_uniform_negs is 50, but has no effect with the method softmax. Leave it out, or "
            "set method to twhin",
        ),
        ({"method": "als", "learning_rate": 0.1}, "set method to softmax or twhin"),
        ({"method": "twhin", "l2": 0.0}, "set method to softmax or als"),
        ({"l2": -1.0}, "l2 is -1.0; it must be 0 or more"),
        ({"method": "als", "confidence": 0.0}, "confidence is 0.0; it must be above 0"),
        (
            {"method": "als", "relation_weights": {"reply": 0.0}},
            "relation_weights has 0.0 for 'reply'; a weight must be above 0",
        ),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0"),
        ({"method": "twhin", "negative_weight": 0.0}, "negative_weight is 0.0"),
        ({"holdout": 1.0}, "holdout is 1.0; it is a share"),
        ({"num_candidates": 1}, "ranking needs 2 or more"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        NetworkEmbeddingConfig(**options)


def test_graphs_that_cannot_be_embedded():
    with pytest.raises(ValueError, match="no edge: nothing to embed"):
        embed_network(make_graph([], [], [], 0, 0))
    with pytest.raises(ValueError, match=r"No edge has the relation 'reply'.*Leave"):
        embed_network(make_graph([0], [0], [0], 1, 1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_gpu_asked_for_where_there_is_none(community_graph):
    with pytest.raises(ValueError, match=r"device is 'cuda', but torch finds no GPU"):
        embed_network(community_graph, small(device="cuda"))
    with pytest.raises(ValueError, match=r"device is 'auto'; give cpu, cuda or cuda:1, or leave"):
        embed_network(community_graph, small(device="auto"))


def test_divergence_says_what_to_do(community_graph):
    config = small(learning_rate=1e30, epochs=20)
    with pytest.raises(ValueError, match=r"diverged.*Lower learning_rate, which is 1e\+30"):
        embed_network(community_graph, config, progress=False)


def test_vectors_worse_than_popularity_are_warned_of(community_graph, monkeypatch, caplog):
    found = {"mrr": 0.1, "popularity_mrr": 0.2}
    monkeypatch.setattr(module, "rank_held_out", lambda *_, **__: found)
    embed_network(community_graph, small(epochs=1), progress=False)
    assert "Popularity ranks the held-out edges better" in caplog.text
    assert "lower learning_rate, epochs or dimension" in caplog.text


def test_one_edge_is_enough():
    graph = make_graph([0], [0], [0], 1, 1, relations=["engage"])
    network = embed_network(graph, small(holdout=0.5), progress=False)
    assert network.metadata["metrics"] == {}
    assert np.isfinite(network.user_vectors).all()


def test_workers_run_side_by_side(community_graph, monkeypatch):
    names = set()
    step = module.train_batch

    def spy(*arguments):
        names.add(threading.current_thread().name)
        return step(*arguments)

    monkeypatch.setattr(module, "train_batch", spy)
    embed_network(community_graph, small(threads=2, epochs=10), progress=False)
    assert len(names) == 2


def test_epochs_are_logged(community_graph, caplog):
    with caplog.at_level(logging.INFO, logger="twhin_hf"):
        embed_network(community_graph, small(epochs=2), progress=False)
    assert "Epoch 2 of 2" in caplog.text
    assert "Held-out edges" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_learns_as_the_cpu_does(community_graph):
    config = small(epochs=20, holdout=0.05, num_candidates=100, device="cuda", batch_size=50)
    metrics = embed_network(community_graph, config, progress=False).metadata["metrics"]
    assert metrics["hits@10"] > 0.25
