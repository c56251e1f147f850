"""The arithmetic of near posts, by numbers computed by hand."""

import numpy as np
import pytest

from twhin_hf.demo.neighbours import (
    Nearest,
    audience_shares,
    likely_hashtags,
    nearest,
    nearest_in_each,
)

# To (3, 4), of length 5: 0.6, 0.8, (0.36 + 0.64) = 1, -0.6 and, of no direction, 0.
UNITS = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0], [0, 0]], np.float16)
QUERY = np.array([3.0, 4.0])


def test_all_posts_by_their_cosine():
    found = nearest(QUERY, UNITS)
    assert found.rows.tolist() == [2, 1, 0, 4, 3]
    assert found.similarities == pytest.approx([1, 0.8, 0.6, 0, -0.6], abs=1e-3)
    assert found.similarities.max() <= 1  # though half precision rounds
    assert found.first(2).rows.tolist() == [2, 1]
    assert found.where(found.similarities < 0.7).rows.tolist() == [0, 4, 3]


def test_what_is_left_out_and_what_has_no_direction():
    assert nearest(QUERY, UNITS, [2, 0]).rows.tolist() == [1, 4, 3]
    found = nearest(np.zeros(2), UNITS)
    assert found.rows.tolist() == [0, 1, 2, 3, 4]
    assert found.similarities.tolist() == [0] * 5


def test_hashtags_by_shares_of_the_similarity():
    # Weights 1, 0.8, 0.6, 0 and 0 (not -0.6): 2.4 in all.
    found = nearest(QUERY, UNITS)
    tags = [["a"], ["b", "a", "a"], [], ["a", "c"], ["c"]]
    assert likely_hashtags(found, tags) == [
        ("a", pytest.approx((0.8 + 0.6) / 2.4, abs=1e-3)),
        ("b", pytest.approx(0.8 / 2.4, abs=1e-3)),
    ]
    assert [name for name, _ in likely_hashtags(found, tags, 1)] == ["a"]
    assert likely_hashtags(found, [[]] * 5) == []
    far = Nearest(np.array([3]), np.array([-0.6]))
    assert likely_hashtags(far, tags) == []


def test_equal_shares_come_by_name():
    found = Nearest(np.array([0]), np.array([1.0]))
    assert likely_hashtags(found, [["z", "b"]]) == [("b", 1.0), ("z", 1.0)]


def test_the_nearest_of_each_language():
    found = nearest_in_each(nearest(QUERY, UNITS), ["en", "en", "ja", "ar", "ja"])
    assert {name: near.rows.tolist() for name, near in found.items()} == {
        "ja": [2],
        "en": [1],
        "ar": [3],
    }
    assert list(found) == ["ja", "en", "ar"]
    assert found["ar"].similarities == pytest.approx([-0.6], abs=1e-3)


def test_shares_of_audiences_that_are_known():
    audiences = np.array([0, 2, 2, -1, -1])
    found = nearest(QUERY, UNITS)
    assert audience_shares(found, audiences, 3) == pytest.approx([1 / 3, 0, 2 / 3])
    assert audience_shares(found.first(1), audiences, 3).tolist() == [0, 0, 1]
    unknown = np.full(5, -1)
    assert audience_shares(found, unknown, 3).tolist() == [0, 0, 0]
