import numpy as np
import pytest

from twhin_hf.evaluation.recommendation.metrics import (
    coverage,
    ndcg,
    popularity_percentiles,
    recall,
)
from twhin_hf.recommendation.ranking import Ranks


def test_recall_is_a_share_of_each_users_own_posts():
    # User 3 has two posts, on ranks 1 and 6; user 8 one on rank 3.
    ranks = Ranks(np.array([0, 5, 2]), np.zeros(3, int))
    users, found = recall(ranks, np.array([3, 3, 8]), k=3)
    assert users.tolist() == [3, 8]
    assert found.tolist() == [0.5, 1.0]
    assert recall(ranks, np.array([3, 3, 8]), k=6)[1].tolist() == [1.0, 1.0]


def test_ndcg_by_hand():
    # Ranks 2 and 4: 1 / log2(3) + 1 / log2(5); ideal: 1 + 1 / log2(3).
    ranks = Ranks(np.array([1, 3]), np.zeros(2, int))
    ideal = 1 + 1 / np.log2(3)
    assert ndcg(ranks, np.array([0, 0]), k=5)[1] == pytest.approx(
        (1 / np.log2(3) + 1 / np.log2(5)) / ideal
    )
    # Rank 4 is beyond a list of three; the best list of one holds one post.
    assert ndcg(ranks, np.array([0, 0]), k=3)[1] == pytest.approx((1 / np.log2(3)) / ideal)
    assert ndcg(ranks, np.array([0, 0]), k=1)[1] == pytest.approx(0.0)


def test_ties_give_the_mean_over_all_orders():
    # One post among two that it ties with, one before them: ranks 2, 3 or 4 alike.
    ranks = Ranks(np.array([1]), np.array([2]))
    assert recall(ranks, np.array([0]), k=3)[1] == pytest.approx(2 / 3)
    by_rank = [1 / np.log2(3), 1 / np.log2(4), 0.0]  # of a list of three
    assert ndcg(ranks, np.array([0]), k=3)[1] == pytest.approx(np.mean(by_rank))


def test_coverage_counts_posts_once_and_no_gaps():
    assert coverage(np.array([[0, 1], [1, 2], [2, -1]]), num_posts=6) == 0.5


def test_popularity_percentiles_are_a_half_on_average():
    engagements = np.array([0, 0, 0, 7, 1, 1])
    found = popularity_percentiles(engagements)
    # Three of none share 0 to 3 of 6, two of one 3 to 5, one 5 to 6.
    assert found == pytest.approx([0.25, 0.25, 0.25, 5.5 / 6, 4 / 6, 4 / 6])
    assert found.mean() == pytest.approx(0.5)
