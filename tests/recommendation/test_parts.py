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
    weights = np.zeros((4, KNOTS), np.float32)
    weights[0, 1:3] = 1.0, 3.0  # at 1 and 3 engagements
    a, c, d, b = Mixing(weights).of(np.array([1, 2, 3, 10**6]))
    np.testing.assert_allclose(a, [1.0, 1 + 2 * (math.log2(3) - 1), 3.0, 0.0], rtol=1e-6)
    assert not np.any([c, d, b])


def told_from(text, network, engaged, counts, drawn_counts, excluded=None):
    """Candidates without content."""
    drawn = np.stack([text, network, np.zeros_like(text)]).astype(np.float32)
    excluded = np.zeros(text.shape, bool) if excluded is None else excluded
    own = np.concatenate([engaged, np.zeros((1, len(text)))]).astype(np.float32)
    return Candidates(own, counts, drawn, drawn_counts, excluded)


def test_mixing_learns_which_score_to_trust():
    """Text tells the engaged post among new posts, the network among those with 255 engagements."""
    rng = np.random.default_rng(0)
    text, network = rng.standard_normal((2, 2000, 8))
    is_known = np.arange(2000) % 2 == 1
    engaged = rng.standard_normal((2, 2000)) + 2 * np.stack([~is_known, is_known])
    counts, drawn_counts = np.where(is_known, 255, 0), np.where(np.arange(8) % 2, 255, 0)
    given = told_from(text, network, engaged, counts, drawn_counts)
    a, c, d, _ = fit_mixing(given).of(np.array([0, 255]))
    assert a[0] > 1 > abs(c[0]) * 2
    assert c[1] > 1 > abs(a[1]) * 2
    assert np.isfinite(d).all()


def test_a_few_posts_drawn_stand_for_all():
    """Engagements by a softmax of 2 text + network over 64 posts, told from 8 of these."""
    rng = np.random.default_rng(0)
    text, network = rng.standard_normal((2, 6000, 64))
    chances = np.exp(2 * text + network)
    chosen = (chances.cumsum(axis=1) < rng.random((6000, 1)) * chances.sum(axis=1)[:, None]).sum(1)
    engaged = np.stack([scores[np.arange(6000), chosen] for scores in (text, network)])
    none = np.zeros(6000, int)
    excluded = chosen[:, None] == np.arange(8)
    given = told_from(text[:, :8], network[:, :8], engaged, none, none[:8], excluded)
    a, c, _, _ = fit_mixing(given).of(np.array([0]))
    assert a[0] / c[0] == pytest.approx(2, rel=0.1)


def test_mixing_leaves_excluded_posts_out():
    """A candidate that the user has engaged with scores high, and must not count."""
    rng = np.random.default_rng(0)
    text = rng.standard_normal((300, 5))
    text[:, 0] += 6
    engaged = np.stack([rng.standard_normal(300) + 2, np.zeros(300)])
    none = np.zeros(300, int)
    excluded = np.zeros(text.shape, bool)
    excluded[:, 0] = True
    without, with_it = (
        fit_mixing(told_from(text, np.zeros_like(text), engaged, none, none[:5], mask))
        for mask in (excluded, None)
    )
    # Scores are weighed in units of their spread, of which the high ones are a part.
    assert without.of(np.array([0]))[0][0] > 1 > with_it.of(np.array([0]))[0][0]


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
