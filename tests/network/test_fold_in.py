"""Least squares vectors of new rows."""

import numpy as np
import pytest

from twhin_hf.network.engagements import Neighbours
from twhin_hf.network.fold_in import Part, alternate, fold_in


def test_one_dimension_by_hand():
    vectors = np.array([[1.0], [2.0], [3.0]], np.float32)
    rows = Neighbours(np.array([0, 2, 2, 3]), np.array([0, 2, 1], np.int32))
    found = fold_in(vectors, rows, 4.0, gram=vectors.T @ vectors, l2=2.0, target=5.0)
    # Engaged with 1 and 3: (4 · 1 + 4 · 9 + 4 + 2) x = 4 · 5 · (1 + 3); not engaged with 2.
    # Engaged with 2: (4 · 4 + 1 + 9 + 2) x = 4 · 5 · 2.
    np.testing.assert_allclose(found[:, 0], [80 / 46, 0, 40 / 28], rtol=1e-6)


@pytest.mark.parametrize("dimension", [3, 40])  # fewer than engagements, and more
def test_the_gradient_of_the_loss_is_zero(dimension):
    random = np.random.default_rng(0)
    vectors = random.standard_normal((30, dimension), np.float32)
    counts = np.array([1, 12, 0, 5, 7])
    others = np.concatenate([random.choice(30, n, replace=False) for n in counts])
    rows = Neighbours(np.concatenate([[0], np.cumsum(counts)]), others.astype(np.int32))
    confidence = random.uniform(0.5, 20, len(others))
    found = fold_in(vectors, rows, confidence, gram=vectors.T @ vectors, l2=0.1, target=2.0)
    for row in range(5):
        part = slice(*rows.offsets[row : row + 2])
        weights, wanted = np.ones(30), np.zeros(30)
        weights[others[part]], wanted[others[part]] = confidence[part], 2.0
        missing = vectors @ found[row].astype(float) - wanted
        gradient = vectors.T @ (weights * missing) + 0.1 * found[row]
        np.testing.assert_allclose(gradient, 0, atol=2e-4)


def test_the_equations_are_those_of_the_library():
    als = pytest.importorskip("implicit.cpu.als")
    import scipy.sparse

    random = np.random.default_rng(0)
    values = scipy.sparse.random_array((30, 20), density=0.3, rng=random, format="csr") * 10
    model = als.AlternatingLeastSquares(factors=4, regularization=0.3, random_state=0)
    model.fit(values.astype(np.float32), show_progress=False)
    expected = model.recalculate_user(np.arange(30), values.astype(np.float32))
    posts = np.asarray(model.item_factors)
    rows = Neighbours(values.indptr, values.indices)
    found = fold_in(posts, rows, values.data, gram=posts.T @ posts, l2=0.3)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_both_sides_in_turns_by_hand():
    vectors = {side: np.array([[1.0], [0.0]], np.float32) for side in ("users", "posts")}
    one = Part.of(np.array([1]), np.array([1, 1]), np.array([0, 1]), np.array([3.0, 3.0]))
    alternate(vectors, {"users": one, "posts": one}, 1, l2=1.0)
    # The post of users 1 and 0: 3 / (3 + 1). The user of posts 1 and 3/4:
    assert vectors["posts"][:, 0].tolist() == [1.0, 0.75]
    assert vectors["users"][1, 0] == pytest.approx(3 * 1.75 / (3 * (1 + 0.75**2) + 1))


def test_a_part_in_any_order():
    rows = np.array([2, 5, 9])
    part = Part.of(rows, np.array([9, 2, 9]), np.array([1, 7, 0]), np.array([1.0, 2.0, 3.0]))
    assert part.neighbours.offsets.tolist() == [0, 1, 1, 3]
    assert part.neighbours.others.tolist() == [7, 1, 0]
    assert part.confidence.tolist() == [2.0, 1.0, 3.0]
