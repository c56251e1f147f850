"""A log of four groups of people who each like posts on a subject of their own."""

import numpy as np
import pyarrow as pa
import pytest
from four_groups import ENCODER, QUICK, Log, graph_of, texts_of

from twhin_hf.network.embedding import embed_network
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.recommendation.model import EngagementModel


@pytest.fixture(scope="session")
def log():
    rng = np.random.default_rng(0)
    numbers = np.arange(120)
    posts = pa.table(
        {"post_id": [f"p{number}" for number in numbers], "text": texts_of(numbers, rng)}
    )
    same = numbers[None, :] % 4 == np.arange(80)[:, None] % 4
    users, liked = np.nonzero(rng.random(same.shape) < np.where(same, 0.5, 0.03))
    engagements = pa.table(
        {"user_id": [f"u{user}" for user in users], "post_id": [f"p{post}" for post in liked]}
    )
    return Log(posts, engagements)


@pytest.fixture(scope="session")
def network(log):
    """Of users below 70 and posts below 80."""
    known = [
        int(user[1:]) < 70 and int(post[1:]) < 80
        for user, post in zip(*log.engagements.to_pydict().values(), strict=True)
    ]
    graph = graph_of(log.engagements.filter(pa.array(known)))
    config = NetworkEmbeddingConfig(dimension=8, holdout=0.1, seed=1, threads=1, device="cpu")
    return embed_network(graph, config, progress=False)


@pytest.fixture(scope="session")
def fitted(log, network):
    """Knows posts below 110 and users below 70, but for `u0`'s engagements beyond the network."""
    posts = np.array([int(post[1:]) for post in log.engagements["post_id"].to_pylist()])
    users = np.array([int(user[1:]) for user in log.engagements["user_id"].to_pylist()])
    graph = graph_of(log.engagements.filter(pa.array((posts < 100) & (users < 70))))
    return EngagementModel.fit(graph, log.posts.slice(0, 110), ENCODER, network, QUICK)


@pytest.fixture
def model(fitted, tmp_path):
    """A copy that a test may change."""
    fitted.save_pretrained(tmp_path / "copy")
    return EngagementModel.from_pretrained(tmp_path / "copy", encoder=ENCODER)
