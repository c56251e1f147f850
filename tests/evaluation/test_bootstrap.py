import numpy as np
import pytest

from twhin_hf.evaluation import bootstrap
from twhin_hf.evaluation.bootstrap import bootstrap_means, interval, p_value


def test_means_by_hand():
    # User 7 has one record of 1, user 3 three of 0: both, 1/4; the first twice, 1; the second, 0.
    values, users = np.array([0.0, 1.0, 0.0, 0.0]), np.array([3, 7, 3, 3])
    means = bootstrap_means([values], [users], resamples=4000)[:, 0]
    found, counts = np.unique(means, return_counts=True)
    assert found.tolist() == [0, 1 / 4, 1]
    # With probability 1/4, 1/2, 1/4; the deviation of a count is 32 at most.
    np.testing.assert_allclose(counts, [1000, 2000, 1000], atol=5 * 32)
    assert interval(means) == [0, 1]


def test_all_records_of_a_user_come_along():
    rng = np.random.default_rng(0)
    by_user = rng.random(400)
    values, users = np.repeat(by_user, 25), np.repeat(np.arange(400), 25)
    low, high = interval(bootstrap_means([values], [users])[:, 0])
    # As 400 figures and not 10,000: 2 · 1.96 · √(1/12 / 400) = .0566.
    assert high - low == pytest.approx(0.0566, abs=0.006)


def test_tables_share_their_users():
    values, users = np.random.default_rng(0).random(60), np.arange(60) % 20
    one, same, other = bootstrap_means(
        [values, values, 1 - values], [users, users, users], resamples=50
    ).T
    assert (one == same).all()
    np.testing.assert_allclose(one + other, 1)


def test_seeds_and_blocks(monkeypatch):
    values, users = np.random.default_rng(0).random(60), np.arange(60) % 20
    whole = bootstrap_means([values], [users])
    assert whole.shape == (1000, 1)
    assert (bootstrap_means([values], [users]) == whole).all()
    assert (bootstrap_means([values], [users], seed=1) != whole).any()
    monkeypatch.setattr(bootstrap, "_DRAWS_PER_BLOCK", 130)
    np.testing.assert_allclose(bootstrap_means([values], [users]), whole)


def test_a_table_whose_users_are_not_drawn():
    means = bootstrap_means(
        [np.array([1.0]), np.array([0.5])], [np.array([0]), np.array([1])], resamples=200
    )
    assert 20 < np.isnan(means[:, 0]).sum() < 80  # a quarter
    assert interval(means[:, 0]) == [1, 1]


def test_p_by_hand():
    assert p_value(np.full(1000, 0.1)) == pytest.approx(2 / 1001)
    assert p_value(np.full(1000, -0.1)) == pytest.approx(2 / 1001)
    # A quarter at 0 counts for both sides: twice (1 + 250) / 1,001.
    assert p_value(np.repeat([0.0, 0.5, 1.0], [250, 500, 250])) == pytest.approx(2 * 251 / 1001)
    assert p_value(np.repeat([-1.0, 0.0, 1.0], [250, 500, 250])) == 1
    assert p_value(np.array([0.1, np.nan, 0.1])) == pytest.approx(2 / 3)


def test_nothing_to_resample():
    with pytest.raises(ValueError, match="at least one record in every table"):
        bootstrap_means([np.array([])], [np.array([], int)])
