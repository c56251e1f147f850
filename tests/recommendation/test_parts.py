"""Fold-in, mixing, calibration and word features, each alone."""

import math

import numpy as np
import pytest

from twhin_hf.errors import InputError
from twhin_hf.recommendation.calibration import fit_calibration, reliability
from twhin_hf.recommendation.fold_in import FoldIn, cross_fitted_ridge
from twhin_hf.recommendation.mixing import KNOTS, Candidates, Mixing, fit_mixing
from twhin_hf.recommendation.words import WordFeatures


def test_fold_in_by_hand():
    # Of a mean m and n links: 2 m + 3 m ln(1 + n) + 5 ln(1 + n) + 7.
    fold = FoldIn(np.array([[2.0], [3.0], [5.0], [7.0]], np.float32))
    found = fold.vectors(np.array([[6.0], [0.0]]), np.array([3, 0]))
    grown = math.log(4)
    np.testing.assert_allclose(found, [[4 + 6 * grown + 5 * grown + 7], [7]], rtol=1e-6)


def test_fold_in_learns_a_linear_law_in_any_scale():
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 1e3):
        counts = rng.integers(1, 30, 400)
        means = rng.standard_normal((400, 3)) * scale
        vectors = means @ rng.standard_normal((3, 3)) + 0.1 * scale * np.log1p(counts)[:, None]
        fold = FoldIn.fit(means * counts[:, None], counts, vectors, None)
        found = fold.vectors(means * counts[:, None], counts)
        assert np.abs(found - vectors).mean() < 0.02 * scale


def test_a_prior_counts_for_less_the_more_links_there_are():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 40, 3000)
    truth = rng.standard_normal((3000, 1))
    noise = rng.standard_normal((3000, 1)) / np.sqrt(np.maximum(counts, 1))[:, None]
    sums = (truth + noise) * counts[:, None]
    prior = truth + 0.5 * rng.standard_normal((3000, 1))
    fold = FoldIn.fit(sums, counts, truth, prior)
    moved = [
        (
            fold.vectors(np.zeros((1, 1)), np.array([n]), np.ones((1, 1)))
            - fold.vectors(np.zeros((1, 1)), np.array([n]), np.zeros((1, 1)))
        ).item()
        for n in (0, 5, 30)
    ]
    assert moved[0] > moved[1] > moved[2]


def test_fold_in_needs_a_row():
    with pytest.raises(InputError, match="no row has a vector"):
        FoldIn.fit(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2)), None)


def test_predictions_of_the_ridge_are_those_of_the_other_half():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((40, 30))
    targets = rng.standard_normal((40, 2))  # nothing to be learnt
    weights, unseen = cross_fitted_ridge(features, targets, 0)
    seen = features @ weights[:-1] + weights[-1]
    assert weights.shape == (31, 2)
    assert ((seen - targets) ** 2).mean() < ((unseen - targets) ** 2).mean()


def test_mixing_between_the_knots():
    weights = np.zeros((3, KNOTS), np.float32)
    weights[0, 1:3] = 1.0, 3.0  # at 1 and 3 engagements
    a, c, b = Mixing(weights).of(np.array([1, 2, 3, 10**6]))
    np.testing.assert_allclose(a, [1.0, 1 + 2 * (math.log2(3) - 1), 3.0, 0.0], rtol=1e-6)
    assert not c.any()
    assert not b.any()


def test_mixing_learns_which_score_to_trust():
    """Text tells the engaged post among new posts, the network among those with 255 engagements."""
    rng = np.random.default_rng(0)
    shape = (600, 8)
    text, network = rng.standard_normal((2, *shape)).astype(np.float32)
    engagements = np.repeat(np.where(np.arange(600) % 2, 255, 0)[:, None], 8, axis=1)
    text[engagements[:, 0] == 0, 0] += 2
    network[engagements[:, 0] == 255, 0] += 2
    given = Candidates(text, network, engagements, np.zeros(shape, bool), np.ones(600))
    a, c, _ = fit_mixing(given).of(np.array([0, 255]))
    assert a[0] > 1 > abs(c[0]) * 2
    assert c[1] > 1 > abs(a[1]) * 2


def test_mixing_leaves_excluded_posts_out():
    """A candidate that the user has engaged with scores high, and must not count."""
    rng = np.random.default_rng(0)
    text = rng.standard_normal((300, 6)).astype(np.float32)
    text[:, 0] += 2
    text[:, 1] += 6
    excluded = np.zeros(text.shape, bool)
    excluded[:, 1] = True
    given = Candidates(text, np.zeros_like(text), np.zeros(text.shape, int), excluded, np.ones(300))
    assert fit_mixing(given).of(np.array([0]))[0][0] > 1
    given = given._replace(excluded=np.zeros(text.shape, bool))
    assert fit_mixing(given).of(np.array([0]))[0][0] < 1


def test_calibrated_probabilities():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(40_000) * 2
    truth = 1 / (1 + np.exp(-(scores * 1.5 - 4)))
    engaged = rng.random(40_000) < truth
    # Half of the others were left out; each that stays stands for two.
    kept = engaged | (np.arange(40_000) % 2 == 0)
    weights = np.where(engaged, 1.0, 2.0)[kept]
    calibration = fit_calibration(scores[kept], engaged[kept], weights)
    found = calibration.probability(scores)
    assert np.abs(found - truth).mean() < 0.01
    assert (np.diff(calibration.probability(np.linspace(-9, 9, 99))) >= 0).all()
    assert reliability(found, engaged, np.ones(40_000)).error < 0.01


def test_reliability_counts_what_is_off():
    found = reliability(np.array([0.2, 0.2, 0.9, 0.9]), np.array([0, 1, 1, 1], bool), np.ones(4), 2)
    np.testing.assert_allclose(found.predicted, [0.2, 0.9])
    np.testing.assert_allclose(found.observed, [0.5, 1.0])
    assert found.error == pytest.approx(0.5 * 0.3 + 0.5 * 0.1)


def test_word_features_are_saved(tmp_path):
    texts = ["red bus", "red car", "blue car bus", "東京へ行く", "東京へ"]
    words = WordFeatures.fit(texts, 3)
    words.save(tmp_path)
    again = WordFeatures.load(tmp_path)
    assert again.dimension == words.dimension == 3
    np.testing.assert_array_equal(again.encode([*texts, "zebra"]), words.encode([*texts, "zebra"]))
    assert not again.encode(["zebra"]).any()
    (tmp_path / "words.json").write_text('["red"]')
    with pytest.raises(InputError, match=r"words.safetensors"):
        WordFeatures.load(tmp_path)


def test_words_that_never_recur():
    with pytest.raises(InputError, match="no word stands in two of 2"):
        WordFeatures.fit(["one", "two"])
