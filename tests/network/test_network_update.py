"""Updates of a network: what moves, what stays, what is added, and what it is worth."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from small_graphs import make_community_graph, make_graph

from twhin_hf.network import updating
from twhin_hf.network.embedding import embed_network
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.engagements import Engagements, Neighbours
from twhin_hf.network.update_config import NetworkUpdateConfig
from twhin_hf.network.updating import update_network

METHODS = ["softmax", "twhin", "als"]


def part_of(graph, chosen):
    """The chosen edges of a graph, with the ids that have one, in another order of rows."""
    users, lhs = np.unique(graph.lhs[chosen], return_inverse=True)
    posts, rhs = np.unique(graph.rhs[chosen], return_inverse=True)
    return replace(
        graph,
        lhs=(len(users) - 1 - lhs).astype(np.int32),
        rhs=rhs.astype(np.int32),
        relation=graph.relation[chosen],
        user_ids=graph.user_ids.take(pa.array(users[::-1])),
        post_ids=graph.post_ids.take(pa.array(posts)),
    )


@pytest.fixture(scope="module")
def log():
    """The log of yesterday, that of today, and engagements kept from both.

    Posts of 160 on and users of 180 on are of today; a tenth of all else is of today as well.
    """
    graph = make_community_graph()
    random = np.random.default_rng(1)
    post = np.random.default_rng(2).permutation(200)[graph.rhs]  # some of each community are new
    graph = replace(graph, rhs=post.astype(np.int32))
    is_new = (graph.rhs >= 160) | (graph.lhs >= 180) | (random.random(graph.num_edges) < 0.02)
    is_held = random.random(graph.num_edges) < 0.1
    old, new = part_of(graph, ~is_new & ~is_held), part_of(graph, is_new & ~is_held)
    return graph, old, new, is_new & is_held


def embed(graph, method, **options):
    options = {"dimension": 16, "threads": 1, "holdout": 0.0, "device": "cpu", **options}
    if method == "als":
        pytest.importorskip("implicit")
    return embed_network(graph, NetworkEmbeddingConfig(method, **options), progress=False)


@pytest.fixture(scope="module")
def embedded(log):
    made = {}

    def of(method):
        if method not in made:
            made[method] = embed(log[1], method)
        return made[method]

    return of


def update(network, graph, **options):
    config = NetworkUpdateConfig(**{"threads": 1, "device": "cpu", **options})
    return update_network(network, graph, config, progress=False)


def pairs_of(network):
    users, posts = network.user_ids.to_pylist(), network.post_ids.to_pylist()
    by_user, by_post = network.engagements.posts_of_users, network.engagements.users_of_posts
    found = [(users[u], posts[t]) for u in range(len(users)) for t in by_user.of(np.array([u]))[0]]
    again = [(users[u], posts[t]) for t in range(len(posts)) for u in by_post.of(np.array([t]))[0]]
    assert sorted(found) == sorted(again)
    assert len(set(found)) == len(found)
    return set(found)


def edges_of(graph):
    users, posts = graph.user_ids.to_pylist(), graph.post_ids.to_pylist()
    return [(users[u], posts[t]) for u, t in zip(graph.lhs, graph.rhs, strict=True)]


@pytest.mark.parametrize("method", METHODS)
def test_what_moves_and_what_is_added(log, embedded, method):
    _, old_graph, graph, _ = log
    old = embedded(method)
    new = update(old, graph)
    assert new.user_ids[: old.num_users].equals(old.user_ids)
    assert new.post_ids[: old.num_posts].equals(old.post_ids)
    edges = edges_of(graph)
    both = edges_of(old_graph) + edges
    assert set(new.user_ids.to_pylist()) == {user for user, _ in both}
    assert set(new.post_ids.to_pylist()) == {post for _, post in both}
    assert pairs_of(new) == set(both)
    assert dict(zip(new.user_ids.to_pylist(), new.user_degrees, strict=True)) == {
        user: sum(other == user for other, _ in both) for user in new.user_ids.to_pylist()
    }
    assert new.post_degrees.sum() == len(both)
    touched = {"user": {user for user, _ in edges}, "post": {post for _, post in edges}}
    for side, ids in (("user", new.user_ids), ("post", new.post_ids)):
        before, after = (getattr(network, f"{side}_vectors") for network in (old, new))
        moves = np.array([name in touched[side] for name in ids.to_pylist()])[: len(before)]
        assert 0 < moves.sum() < len(moves)
        np.testing.assert_array_equal(before[~moves], after[: len(before)][~moves])
        assert (before[moves] != after[: len(before)][moves]).any(axis=1).all()
        assert np.linalg.norm(after[len(before) :], axis=1).min() > 0.05
    np.testing.assert_array_equal(old.relation_vectors, new.relation_vectors)
    assert old.metadata.get("updates") is None
    (entry,) = new.metadata["updates"]
    assert entry["num_edges"] == len(edges)
    assert entry["num_posts"] == new.num_posts - old.num_posts
    assert new.metadata["options"] == old.metadata["options"]
    again = update(old, graph)
    np.testing.assert_array_equal(again.post_vectors, new.post_vectors)
    assert update(new, graph) is new  # nothing is new


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("side", ["users", "posts"])
def test_a_frozen_side(log, embedded, method, side):
    old = embedded(method)
    new = update(old, log[2], freeze=side)
    frozen, free = ("user", "post") if side == "users" else ("post", "user")
    before, after = (getattr(network, f"{frozen}_vectors") for network in (old, new))
    np.testing.assert_array_equal(before, after[: len(before)])
    assert np.linalg.norm(after[len(before) :], axis=1).min() > 0.05
    before, after = (getattr(network, f"{free}_vectors") for network in (old, new))
    assert (before != after[: len(before)]).any()


def mean_rank(network, graph, held_out):
    """Of held-out engagements among all posts that are known; the middle where one is not."""
    users = {name: row for row, name in enumerate(network.user_ids.to_pylist())}
    posts = {name: row for row, name in enumerate(network.post_ids.to_pylist())}
    ranks = []
    for edge in np.flatnonzero(held_out):
        user = users.get(graph.user_ids[int(graph.lhs[edge])].as_py())
        post = posts.get(graph.post_ids[int(graph.rhs[edge])].as_py())
        if user is None or post is None:
            ranks.append(0.5)
            continue
        scores = network.post_vectors @ network.user_vectors[user]
        ranks.append((scores > scores[post]).mean())
    return np.mean(ranks)


@pytest.mark.parametrize("method", METHODS)
def test_an_update_is_worth_nearly_what_embedding_anew_is(log, embedded, method):
    graph, _, new, held_out = log
    never, updated = embedded(method), update(embedded(method), new)
    anew = embed(part_of(graph, ~held_out), method)
    ranks = [mean_rank(network, graph, held_out) for network in (never, updated, anew)]
    assert ranks[1] < ranks[0] - 0.15
    assert ranks[1] < ranks[2] + 0.05


@pytest.mark.parametrize("method", METHODS)
def test_the_cost_follows_what_is_new(method):
    """Twice the old engagements cost nothing, one more new one what it repeats."""
    random = np.random.default_rng(0)
    costs = {}
    for size in (1, 4):
        users = np.repeat(np.arange(50 * size), 60)
        posts = np.concatenate([random.choice(80, 60, replace=False) for _ in range(50 * size)])
        graph = make_graph(users, posts, users % 2, 50 * size, 80)
        network = embed(graph, method, epochs=1)
        for count in (1, 3):
            new = make_graph(np.arange(count), np.zeros(count), np.zeros(count), count, 1)
            new = replace(new, post_ids=pa.array(["new"]))
            options = {"epochs": 1, "min_replay": 10}
            updated = update(network, new, **options)
            costs[size, count] = updated.metadata["updates"][0]["learnt_edges"]
    assert costs[1, 1] == costs[4, 1]
    assert costs[1, 3] == costs[4, 3] <= 3 * costs[1, 1]


def test_engagements_of_old_and_new_relations():
    network = embed(make_graph([0, 1], [0, 1], [0, 1], 2, 2), "softmax")
    graph = make_graph([0, 0, 0], [0, 1, 1], [1, 0, 1], 2, 2)  # user 1 has none here
    new = update(network, graph)
    assert new.metadata["updates"][0]["passed_over"] == 1  # of a pair that is known
    assert new.metadata["updates"][0]["num_edges"] == 2
    assert new.user_degrees.tolist() == [3, 1]
    assert new.post_degrees.tolist() == [1, 3]
    assert new.engagements.num_engagements == 3
    only_known = make_graph([1], [1], [0], 2, 2, relations=["reply"])
    assert update(new, only_known) is new
    unknown = make_graph([0], [1], [0], 1, 2, relations=["share"])
    with pytest.raises(ValueError, match=r"relation 'share', but the network has 'favorite', 're"):
        update(network, unknown)


def test_what_cannot_be_updated(log, embedded):
    network, graph = embedded("softmax"), log[2]
    with pytest.raises(ValueError, match="has no edge: nothing to update"):
        update(network, make_graph([], [], [], 0, 0))
    with pytest.raises(ValueError, match=r"holds no engagements.*Embed it again"):
        update(replace(network, engagements=None), graph)
    with pytest.raises(ValueError, match=r"does not say by which options.*Embed it again"):
        update(replace(network, metadata={}), graph)
    spoilt = network.post_vectors.copy()
    spoilt[3, 2] = np.nan
    with pytest.raises(ValueError, match=f"first is that of '{network.post_ids[3]}'"):
        update(replace(network, post_vectors=spoilt), graph)
    with pytest.raises(ValueError, match="Training diverged"):
        update(network, graph, learning_rate=1e30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": "user"}, "freeze is 'user'; it must be none, users or posts"),
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"min_replay": -1}, "min_replay is -1; it must be at least 0"),
        ({"replay": float("nan")}, "replay is nan"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0"),
    ],
)
def test_options_that_cannot_work(options, message):
    with pytest.raises(ValueError, match=message):
        NetworkUpdateConfig(**options)


def test_neighbours_with_more():
    random = np.random.default_rng(0)
    users, posts = np.divmod(random.choice(300, 120, replace=False), 15)  # of 20 users
    old, new = np.arange(120) < 80, np.arange(120) >= 80
    whole = Engagements.from_edges(users, posts, 25, 15)
    part = Engagements.from_edges(users[old & (users < 15)], posts[old & (users < 15)], 15, 15)
    more = new | (users >= 15)
    by_user = part.posts_of_users.extended(25).added(users[more], posts[more])
    np.testing.assert_array_equal(by_user.offsets, whole.posts_of_users.offsets)
    np.testing.assert_array_equal(by_user.others, whole.posts_of_users.others)
    places, is_there = whole.posts_of_users.find(users, posts)
    assert is_there.all()
    np.testing.assert_array_equal(whole.posts_of_users.others[places], posts)
    all_users, all_posts = np.divmod(np.arange(300), 15)
    assert whole.posts_of_users.find(all_users, all_posts)[1].sum() == 120
    none = Neighbours(np.zeros(3, np.int64), np.zeros(0, np.int32))
    assert none.find(np.array([0, 1]), np.array([0, 0]))[1].tolist() == [False, False]


@pytest.mark.parametrize("method", METHODS)
def test_held_out_engagements_are_not_learnt(log, method, monkeypatch):
    """Others in their place change nothing, so they are not read."""
    old = embed(log[1], method, holdout=0.1)
    learnt = []
    monkeypatch.setattr(
        updating.Schedule,
        "of",
        classmethod(
            lambda _, graph, *more, of=updating.Schedule.of, **options: (
                learnt.append(graph),
                of(graph, *more, **options),
            )[1]
        ),
    )
    parts = []
    monkeypatch.setattr(
        updating.Part,
        "of",
        classmethod(lambda _, *given, of=updating.Part.of: (parts.append(given), of(*given))[1]),
    )
    new = update(old, log[2])
    np.testing.assert_array_equal(new.held_out, old.held_out)
    held_out = set(map(tuple, old.held_out.tolist()))
    assert len(held_out) > 20
    if method == "als":
        pairs = {*zip(*(part.tolist() for part in parts[0][1:3]), strict=True)}
        pairs |= {*zip(*(part.tolist() for part in parts[1][2:0:-1]), strict=True)}
    else:
        pairs = {*zip(learnt[0].lhs.tolist(), learnt[0].rhs.tolist(), strict=True)}
    assert len(pairs) > 500
    assert not held_out & pairs


def test_the_end_of_the_engagements_is_the_later_one(log, embedded):
    network = embedded("softmax")
    for old, new, later in (
        ("2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z", "2024-01-03T00:00:00Z"),
        ("2024-01-02T00:00:00Z", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"),
        ("2024-01-02T00:00:00Z", None, None),
        (None, "2024-01-02T00:00:00Z", None),
    ):
        noted = replace(network, metadata=network.metadata | {"before": old})
        updated = update(noted, replace(log[2], before=new), epochs=1)
        assert updated.metadata["before"] == later
