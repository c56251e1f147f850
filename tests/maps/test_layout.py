"""Places on the map: whole numbers inside it, the same by the same seed, turned onto each other."""

import numpy as np
import pytest

from twhin_hf.maps import layout
from twhin_hf.maps.layout import SIDE, layouts


@pytest.fixture(scope="module")
def vectors():
    random = np.random.default_rng(0)
    return {name: random.normal(size=(60, 8)) for name in ("after", "before")}


def test_places_lie_on_the_map_and_repeat(vectors):
    found = layouts(vectors, "t-SNE", seed=1)
    assert list(found) == ["after", "before"]
    for places in found.values():
        assert places.shape == (60, 2)
        assert places.dtype == int
        assert places.min() >= 0
        assert places.max() <= SIDE
        assert np.ptp(places, axis=0).max() == SIDE  # the wider side fills the map
    again = layouts(vectors, "t-SNE", seed=1)
    assert all((found[name] == again[name]).all() for name in found)
    assert (layouts(vectors, "t-SNE", seed=2)["after"] != found["after"]).any()


def test_a_turned_and_mirrored_projection_is_turned_back(vectors, monkeypatch):
    flat = np.random.default_rng(1).normal(size=(60, 2))
    turned = 3 * flat @ np.array([[0.6, 0.8], [0.8, -0.6]]) + 5
    projections = iter([flat, turned])
    monkeypatch.setattr(layout, "project", lambda *_: next(projections))
    found = layouts(vectors, "t-SNE")
    assert np.abs(found["after"] - found["before"]).max() <= 1


def test_posts_at_one_place_stand_in_the_middle(vectors, monkeypatch):
    monkeypatch.setattr(layout, "project", lambda *_: np.ones((60, 2)))
    assert np.abs(layouts({"after": vectors["after"]}, "t-SNE")["after"] - SIDE / 2).max() <= 0.5
