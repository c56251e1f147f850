"""Each metric beside a number computed by hand."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from twhin_hf.evaluation.privacy.attacks import (
    area_under_curve,
    draw_known,
    rank_candidates,
    resampled_areas,
)
from twhin_hf.evaluation.privacy.config import AttackConfig


def test_ranks_by_cosine():
    candidates = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    # Cosines of [1, 0.1] are .995, .0995, .774 and .774; of [-1, -1] the equal ones are last.
    targets = np.array([[1.0, 0.1], [1.0, 0.1], [1.0, 0.1], [-1.0, -1.0]])
    found = rank_candidates(targets, candidates, np.array([0, 1, 2, 3]))
    assert found.tolist() == [1.0, 4.0, 2.5, 3.5]


def test_candidates_with_a_known_post_come_first():
    candidates = np.array([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0]])
    recorded = csr_array(np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0]], np.float32))
    known = csr_array(np.array([[0, 1, 1]], np.float32))
    target, own = np.array([[1.0, 0.0]]), np.array([2])
    assert rank_candidates(target, candidates, own).tolist() == [3.0]
    assert rank_candidates(target, candidates, own, known, recorded).tolist() == [2.0]


def test_an_attacker_knows_a_share_of_each_user():
    users = np.repeat([3, 1, 2], [4, 1, 5])
    known = draw_known(users, 0.5, np.random.default_rng(0))
    assert np.bincount(users[known]).tolist() == [0, 1, 3, 2]
    assert draw_known(users, 1.0, np.random.default_rng(0)).all()
    others = [draw_known(users, 0.5, np.random.default_rng(seed)).tolist() for seed in range(9)]
    assert len(set(map(tuple, others))) > 1


def test_area_under_the_curve():
    # Of four pairs three are in order and one is tied.
    assert area_under_curve(np.array([0.9, 0.5]), np.array([0.5, 0.1])) == 3.5 / 4
    assert area_under_curve(np.array([1.0, 1.0]), np.array([1.0])) == 0.5
    assert area_under_curve(np.array([0.0]), np.array([1.0, 2.0])) == 0.0


def test_users_are_resampled_with_all_that_is_theirs():
    # User 0 has area 1, user 1 area 0: a draw of both is as the whole, of one alone 1 or 0.
    members, others = np.array([4.0, 1.0]), np.array([3.0, 2.0])
    areas = resampled_areas(members, others, np.array([0, 1]), np.array([0, 1]), 200)
    assert set(areas.tolist()) == {0.0, 0.5, 1.0}
    assert area_under_curve(members, others) == 0.5
    assert (areas == 0.5).mean() == pytest.approx(0.5, abs=0.12)
    # A user without others alone gives no area.
    alone = resampled_areas(members, others, np.array([0, 1]), np.array([1, 1]), 200)
    assert 0.15 < np.isnan(alone).mean() < 0.35


def test_options_are_checked():
    for name, value in (("known_share", 0.0), ("known_share", 1.5), ("max_users", 0)):
        with pytest.raises(ValueError, match=name):
            AttackConfig(**{name: value})
