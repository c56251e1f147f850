import importlib.util

import numpy as np
import pytest
from small_graphs import make_community_graph, make_graph

from twhin_hf.network.als import confidences
from twhin_hf.network.embedding import embed_network
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig


def config_of(**options):
    return NetworkEmbeddingConfig("als", **{"dimension": 16, "threads": 1, **options})


def test_confidences_by_hand():
    graph = make_graph([0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1], 2, 2)
    config = config_of(confidence=10.0, relation_weights={"reply": 0.5})
    training = np.array([True, False, True, True])
    assert confidences(graph, training, config).toarray().tolist() == [[10, 0], [10, 5]]
    both = make_graph([0, 0], [0, 0], [0, 1], 1, 1)
    everything = np.array([True, True])
    assert confidences(both, everything, config).toarray().tolist() == [[15]]


def test_relation_weights_of_a_relation_that_is_not_there():
    graph = make_graph([0], [0], [0], 1, 1, relations=["engage"])
    config = config_of(relation_weights={"retweet": 2.0})
    with pytest.raises(ValueError, match=r"names 'retweet', but.*are 'engage'. Name these"):
        embed_network(graph, config, progress=False)


def test_without_the_library(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"implicit, which is not installed.*twhin_hf\[als\]"):
        config_of()
    assert NetworkEmbeddingConfig("softmax").method == "softmax"


def test_one_edge_by_hand():
    graph = make_graph([0], [0], [0], 1, 1, relations=["engage"])
    config = config_of(dimension=1, confidence=20.0, l2=0.5, epochs=100, holdout=0.0)
    network = embed_network(graph, config, progress=False)
    user, post = network.user_vectors[0, 0], network.post_vectors[0, 0]
    # u (c t² + l2) = c t and t (c u² + l2) = c u: u² = t² = 1 - l2 / c.
    assert user * post == pytest.approx(1 - 0.5 / 20, rel=1e-3)


def test_learns_more_than_popularity():
    graph = make_community_graph()
    config = config_of(holdout=0.05, num_candidates=100)
    runs = [embed_network(graph, config, progress=False) for _ in range(2)]
    metadata = runs[0].metadata
    assert metadata["metrics"]["hits@10"] > 0.25
    assert metadata["metrics"]["mrr"] > 1.5 * metadata["metrics"]["popularity_mrr"]
    assert metadata["method"] == "als"
    assert metadata["loss"] is None
    assert metadata["options"]["confidence"] == 20
    assert not runs[0].relation_vectors.any()  # (u + r) · t ranks as u · t
    np.testing.assert_array_equal(runs[0].post_vectors, runs[1].post_vectors)
