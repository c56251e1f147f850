"""What a demo answers to a text: near posts, hashtags, other languages, who would engage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from twhin_hf.benchmarks.hashtag.text import find_hashtags
from twhin_hf.demo.content import DemoContent
from twhin_hf.demo.making import MODEL
from twhin_hf.demo.neighbours import (
    Nearest,
    audience_shares,
    likely_hashtags,
    nearest,
    nearest_in_each,
)
from twhin_hf.errors import InputError
from twhin_hf.maps.writing import shown_texts
from twhin_hf.network.near_duplicates import normalize_texts
from twhin_hf.recommendation.model import EngagementModel

Encode = Callable[[str], np.ndarray]
"""A text to its vector `[width]`."""

MOST_HASHTAGS = 5
_AROUND = 50
"""Near posts that hashtags and groups of people are read from."""
_PEOPLE = 5
_LANGUAGES = 8


@dataclass(frozen=True)
class NearPost:
    """A post that lies near.

    Args:
        text: Its text.
        language: Code of its language.
        similarity: Cosine.
        label: What the data say it is of; empty where they do not.
        is_shared: Whether both encoders have found it.
    """

    text: str
    language: str
    similarity: float
    label: str = ""
    is_shared: bool = False


@dataclass(frozen=True)
class Side:
    """What one encoder finds.

    Args:
        name: `stock` or `model`.
        posts: The nearest posts.
        hashtags: Likely hashtags and their shares.
        by_language: The nearest post of each language.
    """

    name: str
    posts: list[NearPost]
    hashtags: list[tuple[str, float]]
    by_language: dict[str, NearPost]


@dataclass(frozen=True)
class Person:
    """Somebody who would engage.

    Args:
        name: Keyed hash of the id.
        probability: That the pair of this person and the post is an engagement.
        favourite: The post, of those that the demo knows, that she would most likely engage with.
    """

    name: str
    probability: float
    favourite: NearPost | None = None


@dataclass(frozen=True)
class Audience:
    """Who would engage.

    Args:
        people: The most likely ones, the first first.
        expected: How many of all would, the sum of their probabilities.
        number: How many people are known.
    """

    people: list[Person]
    expected: float
    number: int


@dataclass(frozen=True)
class Answer:
    """What is shown of a text.

    Args:
        sides: What each encoder finds, the stock one first.
        languages: Codes of the languages to show the nearest posts of.
        audience: Who would engage; None without a recommender.
        groups: Groups of people and their shares, the largest first; None where none is known.
        classified: Likely hashtags and their probabilities; None without a classifier.
    """

    sides: list[Side]
    languages: list[str]
    audience: Audience | None = None
    groups: list[tuple[str, float]] | None = None
    classified: list[tuple[str, float]] | None = None


class Demo:
    """Posts and encoders, asked with a text.

    Args:
        content: Of the folder.
        encoders: By the names of the content's vectors.
        recommender: Who would engage, if anybody is known.
        hashtags: Likely hashtags of a text and their probabilities, by a classifier.
    """

    def __init__(
        self,
        content: DemoContent,
        encoders: Mapping[str, Encode],
        recommender: EngagementModel | None = None,
        hashtags: Callable[[str], list[tuple[str, float]]] | None = None,
    ):
        self.content, self._encoders = content, encoders
        self._recommender, self._classify = recommender, hashtags
        texts = pa.array(content.texts, pa.string())
        self._tags: list[list[str]] = find_hashtags(texts).to_pylist()
        rows = range(len(texts))
        self._row_of = dict(zip(normalize_texts(texts).to_pylist(), rows, strict=True))
        self._languages = np.asarray(content.languages)
        self._language_order = _most_frequent(content.languages)[:_LANGUAGES]
        self._known: dict[str, int] = {}
        if recommender is not None:
            is_known = recommender.posts.rows(content.ids) >= 0
            self._known = {content.ids[row]: row for row in np.flatnonzero(is_known).tolist()}

    def answer(self, text: str) -> Answer:
        """What is shown of a text.

        Args:
            text: The post; what only its copies would find is left out.

        Raises:
            InputError: It is empty.
        """
        if not text.strip():
            raise InputError("write a post first")
        (text,) = shown_texts(pa.array([text]))
        own = self._row_of.get(normalize_texts(pa.array([text]))[0].as_py())
        excluded = [] if own is None else [own]
        found = {
            name: nearest(self._encoders[name](text), units, excluded)
            for name, units in self.content.units.items()
        }
        k = self.content.settings["k"]
        tops = [set(near.first(k).rows.tolist()) for near in found.values()]
        shared = set.intersection(*tops) if len(tops) > 1 else set()
        sides = [self._side(name, near, k, shared) for name, near in found.items()]
        return Answer(
            sides,
            self._language_order if len(self._language_order) > 1 else [],
            self._audience(text),
            self._groups(found[MODEL].first(_AROUND)),
            None if self._classify is None else self._classify(text),
        )

    def _side(self, name: str, near: Nearest, k: int, shared: set[int]) -> Side:
        hashtags = likely_hashtags(near.first(_AROUND), self._tags, MOST_HASHTAGS)
        each = nearest_in_each(near, self._languages)
        return Side(
            name,
            self._posts(near.first(k), shared),
            hashtags,
            {language: self._posts(one, set())[0] for language, one in each.items()},
        )

    def _posts(self, near: Nearest, shared: set[int]) -> list[NearPost]:
        content = self.content
        return [
            NearPost(
                content.texts[row],
                content.languages[row],
                similarity,
                content.labels[row],
                row in shared,
            )
            for row, similarity in zip(near.rows.tolist(), near.similarities.tolist(), strict=True)
        ]

    def _audience(self, text: str) -> Audience | None:
        model = self._recommender
        if model is None:
            return None
        asked = pa.table({"post_id": ["a new post"], "text": [text]})
        ranking = model.likely_users(asked, model.num_users)
        names, chances = ranking.ids[0][:_PEOPLE], ranking.probabilities[0]
        favourites: list[NearPost | None] = [None] * len(names)
        if self._known:
            best = model.recommend(names, list(self._known), 1, exclude_seen=False)
            rows = [self._known[post] for (post,) in best.ids]
            favourites = list(self._posts(Nearest(np.array(rows), np.zeros(len(rows))), set()))
        people = zip(names, chances.tolist(), favourites, strict=False)
        return Audience(
            [Person(*person) for person in people], float(chances.sum()), model.num_users
        )

    def _groups(self, near: Nearest) -> list[tuple[str, float]] | None:
        names = self.content.settings["audiences"]
        if not names:
            return None
        shares = audience_shares(near, self.content.audiences, len(names))
        order = np.argsort(-shares, kind="stable")
        return [(names[place], float(shares[place])) for place in order.tolist() if shares[place]]


def _most_frequent(languages: Sequence[str]) -> list[str]:
    names, counts = np.unique(np.asarray(languages), return_counts=True)
    return names[np.argsort(-counts, kind="stable")].tolist()
