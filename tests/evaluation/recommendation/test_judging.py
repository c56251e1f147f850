import numpy as np
import pytest

from twhin_hf.errors import InputError
from twhin_hf.evaluation.recommendation.baselines import at_random, by_post
from twhin_hf.evaluation.recommendation.judging import Scorer, judge
from twhin_hf.evaluation.recommendation.splits import Task
from twhin_hf.recommendation.records import Records


def records(*pairs):
    users, posts = np.array(pairs, np.int64).reshape(-1, 2).T
    return Records(users, posts)


def scorer(scores):
    """The scores themselves: users are unit vectors."""
    scores = np.asarray(scores, np.float32)
    return Scorer(np.eye(len(scores), dtype=np.float32), scores.T.copy())


def some_task(num_users=60, num_posts=80, seed=0):
    rng = np.random.default_rng(seed)
    engaged = rng.random((num_users, num_posts)) < 0.2
    kept_out = engaged & (rng.random(engaged.shape) < 0.4)
    history = Records(*np.nonzero(engaged & ~kept_out))
    pool = np.arange(0, num_posts, 2)
    wanted = Records(*np.nonzero(kept_out)).restrict_to(pool)
    return Task("some", wanted, pool), history, scorer(rng.standard_normal(engaged.shape))


def test_ranks_by_hand():
    # User 0 has seen post 1 and is to find 0 and 3; of the pool 0, 1, 3, 4, post 2 is none.
    task = Task("t", records((0, 0), (0, 3)), np.array([0, 1, 3, 4]))
    scores = scorer([[1.0, 9.0, 8.0, 3.0, 2.0]])
    found = judge({"m": scores}, task, records((0, 1)), num_candidates=9, recommended=2)["m"]
    assert found.wanted.posts.tolist() == [0, 3]
    # In the list of all, 3 then 4 then 0; without the other one to find, 0 is behind 4 alone.
    assert found.listed.expected().tolist() == [3, 1]
    assert found.apart.expected().tolist() == [2, 1]
    assert found.sampled.expected().tolist() == [2, 1]
    assert sorted(found.top[0].tolist()) == [3, 4]


def test_a_list_is_no_longer_than_what_is_left():
    task = Task("t", records((0, 0)), np.array([0, 1]))
    found = judge({"m": scorer([[1.0, 2.0]])}, task, records((0, 1)), recommended=3)["m"]
    assert found.top.tolist() == [[0, -1, -1]]


def test_blocks_make_no_difference():
    task, history, model = some_task()
    whole, parts = (
        judge({"m": model}, task, history, num_candidates=12, scores_per_block=size)["m"]
        for size in (2**30, 50)
    )
    for name in ("listed", "apart", "sampled"):
        for one, other in zip(getattr(whole, name), getattr(parts, name), strict=True):
            assert np.array_equal(one, other), name
    assert np.array_equal(np.sort(whole.top), np.sort(parts.top))


def test_all_models_are_asked_for_the_same_candidates():
    task, history, model = some_task()
    twice = judge({"a": model, "b": model}, task, history, num_candidates=10)
    alone = judge({"a": model}, task, history, num_candidates=10)
    assert np.array_equal(twice["a"].sampled.better, twice["b"].sampled.better)
    assert np.array_equal(twice["a"].sampled.better, alone["a"].sampled.better)


def test_an_oracle_finds_everything_and_chance_is_chance():
    task, history, _ = some_task(num_users=400)
    truth = np.zeros((400, 80))
    truth[task.wanted.users, task.wanted.posts] = 1.0
    models = {
        "oracle": scorer(truth),
        "nothing": scorer(np.zeros_like(truth)),
        "random": at_random(400, 80, seed=1),
    }
    found = judge(models, task, history, num_candidates=10)
    assert (found["oracle"].apart.reciprocal() == 1).all()
    assert (found["oracle"].sampled.reciprocal() == 1).all()
    # Among 10 candidates, the engaged one included, a blind guess has 3 of 10 in the first three.
    assert found["nothing"].sampled.hits(3).mean() == pytest.approx(0.3)
    deviation = (0.3 * 0.7 / len(task.wanted)) ** 0.5
    assert abs(found["random"].sampled.hits(3).mean() - 0.3) < 4 * deviation


def test_popularity_gives_everybody_the_same_order():
    model = by_post(2, np.array([5, 900, 5, 7]))
    scores = model.users @ model.posts.T
    assert (scores[0] == scores[1]).all()
    assert scores[0, 1] > scores[0, 3] > scores[0, 0] == scores[0, 2]


def test_vectors_without_numbers_are_refused():
    task, history, model = some_task()
    model.posts[3, 0] = np.nan
    with pytest.raises(InputError, match="vectors of m hold NaN"):
        judge({"m": model}, task, history)
