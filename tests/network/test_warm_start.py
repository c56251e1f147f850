import numpy as np
import pytest
import torch
from small_graphs import make_community_graph

from twhin_hf.network import embedding as module
from twhin_hf.network.embedding import embed_network
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.warm_start import svd_vectors


def test_vectors_by_hand():
    """Two users with two posts and one user with one: a matrix of rank 2."""
    lhs, rhs = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 2])
    users, posts = svd_vectors(lhs, rhs, (3, 3), 4, seed=0)
    # Entries of the first block are 2^-0.6, of the second 1: the scores are those, up to a factor
    # that makes the five edges score 4 on average.
    entry = 2**-0.6
    factor = 4 * 5 / (4 * entry + 1)
    expected = factor * np.array([[entry, entry, 0], [entry, entry, 0], [0, 0, 1]])
    np.testing.assert_allclose(users @ posts.T, expected, atol=1e-5)
    assert users.dtype == posts.dtype == np.float32
    assert not users[:, 3].any()  # beyond the rank
    assert np.square(users).mean() == pytest.approx(np.square(posts).mean(), rel=1e-5)


def test_seed_decides_alone():
    graph = make_community_graph()
    arguments = (graph.lhs, graph.rhs, (200, 200), 16)
    first, again = (svd_vectors(*arguments, seed=0, threads=1) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], svd_vectors(*arguments, seed=1, threads=1)[0])


def test_a_user_or_post_without_an_edge_has_no_vector():
    users, posts = svd_vectors(np.array([0, 2]), np.array([1, 1]), (3, 2), 2, seed=0)
    assert not users[1].any()
    assert not posts[0].any()
    assert np.isfinite(users).all()


@pytest.mark.parametrize("method", ["softmax", "twhin"])
def test_training_begins_with_the_vectors_of_its_edges_and_some_noise(monkeypatch, method):
    begun = {}

    def keep(tables, *_):
        begun.update({side: vectors.clone() for side, vectors in tables.vectors.items()})

    monkeypatch.setattr(module, "train_tables", keep)
    graph = make_community_graph()
    config = NetworkEmbeddingConfig(
        method, dimension=16, warm_start=True, holdout=0.05, threads=1, device="cpu"
    )
    embed_network(graph, config, progress=False)
    training = ~module.hold_out(graph, 0.05, 0)
    expected = svd_vectors(
        graph.lhs[training], graph.rhs[training], (200, 200), 16, seed=0, threads=1
    )
    for side, vectors in zip(("users", "posts"), expected, strict=True):
        difference = begun[side] - torch.from_numpy(vectors)
        assert 0 < difference.abs().max() < 0.01
    assert not begun["relations"].any()
