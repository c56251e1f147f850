import numpy as np
import pytest

from twhin_hf.data.language_sampling import resample_languages

LANGUAGES = np.repeat([3, 0, 7], [900, 90, 10])


def shares(exponent, seed=0):
    rows = resample_languages(LANGUAGES, exponent, np.random.default_rng(seed))
    assert len(rows) == 1000
    return [(LANGUAGES[rows] == language).sum() for language in (3, 0, 7)]


def test_exponent_of_the_paper_by_hand():
    # 900^0.7, 90^0.7, 10^0.7 = 116.95, 23.33, 5.01 of 145.29 in all.
    assert shares(0.7) == [805, 161, 34]


def test_ends():
    assert shares(1.0) == [900, 90, 10]
    assert shares(0.0) == pytest.approx([333, 333, 333], abs=1)


def test_every_row_of_a_small_language_comes_before_any_comes_again():
    rows = resample_languages(LANGUAGES, 0.7, np.random.default_rng(0))
    small = np.bincount(rows[LANGUAGES[rows] == 7] - 990)
    assert set(small) == {3, 4}
    large = np.bincount(rows[LANGUAGES[rows] == 3])
    assert set(large) <= {0, 1}


def test_the_draw_depends_on_the_generator_alone():
    one, same, other = (
        resample_languages(LANGUAGES, 0.7, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert (one == same).all()
    assert (one != other).any()


def test_bad_exponent():
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        resample_languages(LANGUAGES, 1.5, np.random.default_rng(0))
