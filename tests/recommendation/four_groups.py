"""People of four groups, who each like posts on a subject of their own."""

import tempfile
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.loading.text_encoders import TextEncoder
from twhin_hf.network.embedding import embed_network
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.log import read_log
from twhin_hf.recommendation.engagement_config import EngagementConfig
from twhin_hf.recommendation.model import EngagementModel
from twhin_hf.recommendation.recommendation_config import RecommendationConfig

SUBJECTS = ("cat dog pet vet", "goal match team win", "rain sun wind storm", "song band stage tour")
WORDS = [word for subject in SUBJECTS for word in subject.split()]
QUICK = RecommendationConfig(
    words=8,
    num_negatives=20,
    predictor=EngagementConfig(
        max_epochs=30, patience=5, seeds=(0,), learning_rate=1e-2, projection_size=8
    ),
)


def encode(texts):
    """How often each word stands in each text, and a constant."""
    counts = np.array([[text.split().count(word) for word in WORDS] for text in texts], np.float32)
    return np.concatenate(
        [counts.reshape(len(texts), len(WORDS)), np.ones((len(texts), 1))], axis=1
    )


ENCODER = TextEncoder(encode, "mean", "Counts")


class Log(NamedTuple):
    """Posts are `p0` to `p119`, users `u0` to `u79`; of both, number modulo 4 is the group."""

    posts: pa.Table
    engagements: pa.Table


def texts_of(numbers, rng):
    return [" ".join(rng.choice(SUBJECTS[number % 4].split(), 6)) for number in numbers]


def graph_of(engagements, posts=None):
    """The log as `read_log` gives it."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, table in (("log", engagements), ("posts", posts)):
            path = None if table is None else f"{folder}/{name}.parquet"
            if path:
                pq.write_table(table, path)
            paths.append(path)
        return read_log(*paths)


def make_log():
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


def make_network(log):
    """Of users below 70 and posts below 80."""
    known = [
        int(user[1:]) < 70 and int(post[1:]) < 80
        for user, post in zip(*log.engagements.to_pydict().values(), strict=True)
    ]
    graph = graph_of(log.engagements.filter(pa.array(known)))
    config = NetworkEmbeddingConfig(dimension=8, holdout=0.1, seed=1, threads=1, device="cpu")
    return embed_network(graph, config, progress=False)


def make_fitted(log=None, network=None):
    """Knows posts below 110 and users below 70, but for `u0`'s engagements beyond the network."""
    log = log or make_log()
    posts = np.array([int(post[1:]) for post in log.engagements["post_id"].to_pylist()])
    users = np.array([int(user[1:]) for user in log.engagements["user_id"].to_pylist()])
    graph = graph_of(log.engagements.filter(pa.array((posts < 100) & (users < 70))))
    return EngagementModel.fit(
        graph, log.posts.slice(0, 110), ENCODER, network or make_network(log), QUICK
    )
