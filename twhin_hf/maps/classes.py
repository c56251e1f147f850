"""The classes that a map can be coloured by: languages, topics and audiences."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from twhin_hf.data.posts import UNKNOWN_LANGUAGE
from twhin_hf.network.neighbours import unit_vectors
from twhin_hf.recommendation.words import words_of

MOST_CLASSES = 8
"""As many colours as people tell apart, colour-blind ones too; what is left is grey."""
_FEWEST_POSTS = 10
_WORDS = 3
_LEAST_POSTS_OF_A_WORD = 3


@dataclass(frozen=True)
class Classes:
    """A class for each post.

    Args:
        names: Names of the classes, the largest class first; the grey rest, where there is one,
            last.
        of_posts: Index of the name, int `[posts]`.
        has_rest: Whether the last one is the rest.
    """

    names: list[str]
    of_posts: np.ndarray
    has_rest: bool = False

    @property
    def counts(self) -> list[int]:
        """Posts of each class."""
        return np.bincount(self.of_posts, minlength=len(self.names)).tolist()


def languages(codes: Sequence[str]) -> Classes | None:
    """The most frequent languages, and all others together.

    Args:
        codes: Language of each post.

    Returns:
        None where all posts are of one language, or of none that is known.

    Example:
        >>> languages(["en", "es", "en"])
        Classes(names=['en', 'es'], of_posts=array([0, 1, 0]), has_rest=False)
    """
    names, found = np.unique(np.asarray(codes), return_inverse=True)
    counts = np.bincount(found) * (names != UNKNOWN_LANGUAGE)
    if np.count_nonzero(counts) < 2:
        return None
    order = np.argsort(-counts, kind="stable")
    shown = [str(names[place]) for place in order[:MOST_CLASSES] if counts[place]]
    place_of = np.full(len(names), len(shown))
    place_of[order[: len(shown)]] = np.arange(len(shown))
    has_rest = len(shown) < len(names)
    return Classes(shown + ["other or unknown"] * has_rest, place_of[found], has_rest)


def clusters(
    vectors: np.ndarray, texts: Sequence[str] | None, title: str, rest: str = "", seed: int = 0
) -> Classes | None:
    """Groups of posts whose vectors have about one direction (k-means), the largest first.

    Args:
        vectors: `[posts, width]`; a post of a zero vector belongs to the rest.
        texts: Of which the names are made: the words that stand out in a group.
        title: What a group is called where it has no words, with a number.
        rest: Name of the rest.
        seed: Seed of k-means.

    Returns:
        None where fewer than 20 posts have a vector.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    units = unit_vectors(vectors)
    known = np.flatnonzero(units.any(axis=1))
    number = min(MOST_CLASSES, len(known) // _FEWEST_POSTS)
    if number < 2:
        return None
    with threadpool_limits(1), warnings.catch_warnings():  # several add up in no fixed order
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer directions than groups
        model = KMeans(number, n_init=4, random_state=seed)
        labels = model.fit_predict(units[known])
    counts = np.bincount(labels, minlength=number)
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    place_of = np.empty(number, int)
    place_of[order] = np.arange(len(order))
    of_posts = np.full(len(units), len(order))
    of_posts[known] = place_of[labels]
    has_rest = len(known) < len(units)
    found = None if texts is None else top_words(texts, of_posts, len(order))
    names = [
        ", ".join(words) if (words := found[place] if found else []) else f"{title} {place + 1}"
        for place in range(len(order))
    ]
    return Classes(names + [rest] * has_rest, of_posts, has_rest)


def top_words(texts: Sequence[str], of_posts: np.ndarray, number: int) -> list[list[str]]:
    """The words that stand out in each class: their mean TF-IDF less that of all posts.

    A word of fewer than three posts names nothing: it may tell of one person.

    Args:
        texts: Of the posts.
        of_posts: Class of each post; those from `number` on have none.
        number: Number of classes.

    Returns:
        At most three words of each class, the first stands out most.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    least = _LEAST_POSTS_OF_A_WORD
    vectorizer = TfidfVectorizer(analyzer=words_of, sublinear_tf=True, min_df=least)
    try:
        weights = csr_array(vectorizer.fit_transform(texts))
    except ValueError:  # no word stands in so many posts
        return [[] for _ in range(number)]
    words = vectorizer.get_feature_names_out()
    inside = np.flatnonzero(of_posts < number)
    ones = np.ones(len(inside))
    members = csr_array((ones, (of_posts[inside], inside)), shape=(number, len(of_posts)))
    means = (members @ weights).toarray() / members.sum(axis=1)[:, None]
    above = means - np.asarray(weights.mean(axis=0))
    best = np.argsort(-above, axis=1, kind="stable")[:, :_WORDS]
    return [
        [str(words[word]) for word in own if row[word] > 0]
        for own, row in zip(best, above, strict=True)
    ]
