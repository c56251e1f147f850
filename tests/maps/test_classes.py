"""The classes of a map: languages by number of posts, clusters named by words that stand out."""

import numpy as np
import pytest

from twhin_hf.maps.classes import MOST_CLASSES, clusters, languages, top_words


def test_languages_beyond_the_colours_are_one_rest():
    codes = [f"l{i}" for i in range(10) for _ in range(20 - i)] + ["und"] * 50
    found = languages(codes)
    assert found.names == [f"l{i}" for i in range(MOST_CLASSES)] + ["other or unknown"]
    assert found.has_rest
    assert found.counts == [20 - i for i in range(8)] + [12 + 11 + 50]
    assert [found.names[place] for place in found.of_posts[:21]] == ["l0"] * 20 + ["l1"]


def test_one_language_is_no_colouring():
    assert languages(["en", "en", "und"]) is None
    assert languages(["und"]) is None


@pytest.fixture(scope="module")
def two_groups():
    """30 posts of one direction and 12 of another, and 5 without a vector."""
    random = np.random.default_rng(0)
    vectors = np.zeros((47, 6))
    vectors[:30, 0], vectors[30:42, 1] = 1, 1
    vectors[:42] += 0.05 * random.normal(size=(42, 6))
    texts = ["the red bus goes"] * 30 + ["the green tree grows"] * 12 + ["the"] * 5
    return vectors, texts


def test_clusters_are_named_by_words_and_sorted_by_size(two_groups):
    vectors, texts = two_groups
    found = clusters(vectors[:42], texts[:42], "Topic")
    assert sorted(found.counts, reverse=True) == found.counts
    assert sum(found.counts) == 42
    assert not found.has_rest
    of_bus = {found.names[place] for place in found.of_posts[:30]}
    of_tree = {found.names[place] for place in found.of_posts[30:]}
    assert not of_bus & of_tree
    assert all(set(name.split(", ")) <= {"red", "bus", "goes"} for name in of_bus)
    assert of_tree == {"green, grows, tree"}


def test_posts_without_a_vector_are_the_rest(two_groups):
    vectors, texts = two_groups
    found = clusters(vectors, texts, "Audience", "not known")
    assert found.has_rest
    assert found.names[-1] == "not known"
    assert found.of_posts[42:].tolist() == [len(found.names) - 1] * 5
    assert found.counts[-1] == 5
    again = clusters(vectors, texts, "Audience", "not known")
    assert again.names == found.names
    assert (again.of_posts == found.of_posts).all()


def test_without_texts_clusters_have_numbers(two_groups):
    vectors, _ = two_groups
    names = clusters(vectors[:42], None, "Topic").names
    assert names == [f"Topic {number + 1}" for number in range(len(names))]
    assert clusters(vectors[:19], None, "Topic") is None
    assert clusters(np.zeros((40, 3)), None, "Topic") is None


def test_words_by_hand():
    # TF-IDF rows of length 1: "rare" stands in two posts only and names nothing.
    texts = ["sun rare", "sun rare", "sun", "moon", "moon", "moon"]
    assert top_words(texts, np.array([0, 0, 0, 1, 1, 2]), 2) == [["sun"], ["moon"]]
    assert top_words(["a b", "c d"], np.array([0, 1]), 2) == [[], []]
