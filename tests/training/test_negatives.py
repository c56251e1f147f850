import numpy as np
import pytest

from twhin_hf.training.negatives import NegativeSampler

NAMES = ["ar", "en", "es"]


@pytest.fixture
def world():
    """3,000 pairs in three languages on either side, of 700 items."""
    rng = np.random.default_rng(0)
    items = rng.integers(0, 700, 3000)
    first = rng.integers(0, 3, 3000)
    second = (first + rng.integers(1, 3, 3000)) % 3
    return np.concatenate([first, second]), items


def draw(world, draws, seed=0, rows=None):
    languages, items = world
    pairs = np.arange(len(items))
    sampler = NegativeSampler(languages, items, seed, NAMES)
    return sampler.replace(pairs, draws, pairs if rows is None else rows)


def test_one_side_is_replaced_by_another_item_in_its_language(world):
    languages, items = world
    of_text = np.concatenate([items, items])
    pairs = np.arange(len(items))
    whole = np.stack([pairs, pairs + len(items)])
    for epoch in range(5):
        negatives = draw(world, pairs + epoch * len(items))
        assert ((negatives != whole).sum(axis=0) == 1).all()
        assert (languages[negatives] == languages[whole]).all()
        assert (of_text[negatives[0]] != of_text[negatives[1]]).all()
        # Either side: five standard deviations of a fair coin.
        replaced = (negatives[0] != whole[0]).mean()
        assert replaced == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(len(items)))


def test_the_same_draw_gives_the_same_negative_wherever_it_happens(world):
    languages, items = world
    draws = np.arange(len(items)) + 7 * len(items)
    whole = draw(world, draws)
    some = np.random.default_rng(1).permutation(len(items))[:500]
    again = NegativeSampler(languages, items, 0, NAMES).replace(some, draws[some], some)
    assert (again == whole[:, some]).all()


def test_epochs_seeds_and_several_negatives_differ(world):
    size = len(world[1])
    first = draw(world, np.arange(size))
    for other in (
        draw(world, np.arange(size) + size),
        draw(world, np.arange(size), seed=1),
        draw(world, np.arange(size), rows=np.arange(size) + size),
    ):
        # The replaced text differs but by chance, one in about 2,000.
        assert (other != first).any(axis=0).mean() > 0.99


def test_every_other_text_is_drawn_alike():
    # Item 0 lies amid the sorted texts of its language: texts 0 and 3, jumped over.
    languages = np.array([0] * 6 + [1] * 6)
    items = np.array([5, 1, 9, 5, 2, 7])
    sampler = NegativeSampler(languages, items, 0, ["en", "es"])
    draws = np.arange(40_000)
    negatives = sampler.replace(np.zeros(40_000, int), draws, np.zeros(40_000, int))
    replaced = negatives[0][negatives[0] != 0]
    texts, counts = np.unique(replaced, return_counts=True)
    assert texts.tolist() == [1, 2, 4, 5]
    assert np.abs(counts - len(replaced) / 4).max() < 5 * np.sqrt(len(replaced) / 4)
    assert np.unique(negatives[1]).tolist() == [6, 7, 8, 10, 11]


def test_a_language_of_one_item_is_refused():
    with pytest.raises(ValueError, match=r"all texts in \['es'\] are translations of one another"):
        NegativeSampler(np.array([1, 1, 1, 2, 0, 0]), np.array([0, 1, 2]), 0, NAMES)
