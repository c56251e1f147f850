"""What is learnt from and what is to be found have nothing in common."""

import numpy as np
import pyarrow as pa
import pytest

from twhin_hf.data.splits import split_posts
from twhin_hf.data.synthetic import generate_network
from twhin_hf.data.synthetic_config import SyntheticConfig
from twhin_hf.errors import InputError
from twhin_hf.evaluation.recommendation.baselines import als, engagement_matrix, mean_of_history
from twhin_hf.evaluation.recommendation.config import RecommendationJudgingConfig
from twhin_hf.evaluation.recommendation.judging import judge
from twhin_hf.evaluation.recommendation.splits import (
    check_network,
    log_table,
    split_recommendation,
)
from twhin_hf.network.embedding import embed_network
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.log import read_log


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    config = SyntheticConfig(num_users=200, num_posts=500, num_engagements=6000, languages=["en"])
    network = generate_network(config)
    network.save(folder)
    posts = network.posts
    log = read_log(str(folder / "engagements.parquet"), str(folder / "posts.parquet"))
    return log, posts, split_posts(posts["post_id"])


@pytest.fixture(scope="module")
def split(data):
    return split_recommendation(*data)


def pairs(log):
    table = log_table(log)
    return set(zip(table["user_id"].to_pylist(), table["post_id"].to_pylist(), strict=True))


def named(split, records):
    users, posts = split.log.user_ids.to_pylist(), split.posts["post_id"].to_pylist()
    return {(users[u], posts[p]) for u, p in zip(records.users, records.posts, strict=True)}


def test_nothing_to_find_is_learnt_from(split):
    for task in split.tasks:
        wanted = named(split, task.wanted)
        assert wanted
        assert not wanted & (pairs(split.known_log) | named(split, split.history)), task.name
        assert set(task.wanted.posts) <= set(task.pool)
        assert (np.diff(task.wanted.users) >= 0).all()
    hidden = next(task for task in split.tasks if task.name == "known posts")
    assert not named(split, hidden.wanted) & pairs(split.visible_log)


def test_logs_grow_from_one_to_the_next(split):
    training, known, visible, whole = (
        pairs(log) for log in (split.training_log, split.known_log, split.visible_log, split.log)
    )
    assert training < known < whole
    assert training < visible < whole
    mixed_by = known - visible
    assert len(mixed_by) == pytest.approx(0.05 * len(training), rel=0.3)
    of = dict(zip(split.posts["post_id"].to_pylist(), split.splits.tolist(), strict=True))
    assert {of[post] for _, post in training} == {"train"}
    assert {of[post] for _, post in known} == {"train", "validation"}
    assert {of[post] for _, post in mixed_by} == {"train"}


def test_new_users_are_in_no_log_and_half_of_what_they_did_is_known(split):
    users = split.log.user_ids.to_pylist()
    new = {users[row] for row in split.new_users}
    assert 5 < len(new) < 45
    assert not new & {user for user, _ in pairs(split.visible_log)}
    shown = np.isin(split.history.users, split.new_users).sum()
    task = next(task for task in split.tasks if task.name == "new users, known posts")
    assert 0 <= shown - len(task.wanted) <= 2 * len(new)
    assert set(task.wanted.users) <= set(split.new_users)


def test_one_seed_gives_one_split(data, split):
    again = split_recommendation(*data)
    other = split_recommendation(*data, RecommendationJudgingConfig(seed=1))
    assert again.counts == split.counts
    for one, two in zip(again.tasks, split.tasks, strict=True):
        assert np.array_equal(one.wanted.posts, two.wanted.posts)
    assert set(other.new_users) != set(split.new_users)


def test_few_users_when_that_is_asked_for(data):
    found = split_recommendation(*data, RecommendationJudgingConfig(max_users=7))
    assert {len(np.unique(task.wanted.users)) for task in found.tasks} <= set(range(1, 8))


def test_a_network_of_the_training_log_passes_and_others_do_not(split):
    config = NetworkEmbeddingConfig(dimension=4, epochs=1, threads=1, device="cpu")
    check_network(embed_network(split.training_log, config, progress=False), split)
    with pytest.raises(InputError, match="engagements that are to be found"):
        check_network(embed_network(split.visible_log, config, progress=False), split)


def test_nothing_left(data):
    log, posts, _ = data
    with pytest.raises(InputError, match="left to learn from"):
        split_recommendation(log, posts, np.full(len(posts), "test"))
    nothing = RecommendationJudgingConfig(new_users=0, known_posts=0)
    with pytest.raises(InputError, match="left to find"):
        split_recommendation(log, posts, np.full(len(posts), "train"), nothing)


def test_als_finds_known_posts_and_the_topics_new_ones(split):
    pytest.importorskip("implicit")
    shape = (split.log.num_users, len(split.posts))
    known, history = (engagement_matrix(part, shape) for part in (split.known, split.history))
    topics = np.eye(64, dtype=np.float32)[split.posts["topic"].to_numpy()]
    models = {"als": als(known, history, 16, 0), "topics": mean_of_history(history, topics)}
    for task in split.tasks:
        found = judge(models, task, split.history, num_candidates=50)
        hits = {name: one.sampled.hits(10).mean() for name, one in found.items()}
        assert hits["topics"] > 0.3, task.name  # chance is .2
        if "known" in task.name:
            assert hits["als"] > 0.25, task.name
        elif "new posts" in task.name:
            assert hits["als"] == pytest.approx(0.2, abs=0.02)  # nothing is known of them


def test_a_log_written_and_read_is_the_same(split, tmp_path):
    import pyarrow.parquet as pq

    pq.write_table(log_table(split.training_log), tmp_path / "log.parquet")
    again = read_log(str(tmp_path / "log.parquet"))
    assert pairs(again) == pairs(split.training_log)
    assert isinstance(log_table(again), pa.Table)
