"""Questions to an engagement model and events for it, from many clients at once.

Two worker threads: one encodes texts, which reads nothing that changes, and one alone reads and
changes the tables of the model. So no question sees half an event, and events wait for no encoding
but their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from twhin_hf.recommendation.encoded import EncodedPosts, EncodedTexts
from twhin_hf.recommendation.model import EngagementModel, PostIndex
from twhin_hf.recommendation.top_k import Ranking
from twhin_hf.serving.service.batching import Batcher
from twhin_hf.serving.service.events_log import Engagement, EventsLog
from twhin_hf.serving.service.refused import Refused
from twhin_hf.serving.service.service_config import ServiceLimits

Answer = TypeVar("Answer")

_WARM_LENGTHS = (6, 14, 22, 30, 38, 46, 54, 62, 126)
"""Words of texts that make most of the shapes that a runtime compiles."""


class Taken(NamedTuple):
    """What came of events.

    Args:
        new_posts: Posts that were not known.
        new_users: Users that were not known.
        new_engagements: Engagements that were not known.
    """

    new_posts: int
    new_users: int
    new_engagements: int


class Service:
    """A model that is asked and told from an event loop.

    Args:
        model: The model; nobody else may use it meanwhile.
        limits: Of requests.
        log: Where events go; None keeps them in memory alone.
        index: Of the model's post vectors, in which questions without posts look.
    """

    def __init__(
        self,
        model: EngagementModel,
        limits: ServiceLimits,
        log: EventsLog | None = None,
        index: PostIndex | None = None,
    ):
        self._model, self._limits, self._log, self._index = model, limits, log, index
        self._batcher = Batcher(model.encode_texts, limits.batch_texts)
        self._thread = ThreadPoolExecutor(1, "model")
        self._writing = asyncio.Lock()

    def warm(self) -> None:
        """Does once what questions do, so that the first one is as fast as the others."""
        counts = [count for count in (1, 2, 3, 4, 6, 8) if count <= self._limits.batch_texts]
        for count in counts:
            for length in _WARM_LENGTHS:
                found = self._model.encode_texts([" ".join(["word"] * length)] * count)
        vectors = self._model.fold_in([[]])
        self._model.recommend(None, EncodedPosts(["a"] * count, found), 1, vectors=vectors)
        self._model.recommend(None, self._index, 1, vectors=vectors)

    def close(self) -> None:
        """Ends the threads, after what they do, and closes the log."""
        self._batcher.close()
        self._thread.shutdown()
        if self._log is not None:
            self._log.close()

    @property
    def counts(self) -> dict[str, int]:
        """Users and posts that are known."""
        return {"users": self._model.num_users, "posts": self._model.num_posts}

    async def embed(self, texts: Sequence[str]) -> EncodedTexts:
        """Vectors of texts."""
        return await self._batcher.encode(texts)

    def vectors_of_new(self, texts: EncodedTexts) -> np.ndarray:
        """Vectors of new posts, whose inner product with a user's vector is the score."""
        return self._model.vectors_of_new(texts)

    async def recommend(
        self,
        users: Sequence[str] | None,
        histories: Sequence[Sequence[str]] | None,
        posts: Sequence[tuple[str, str]] | None,
        post_ids: Sequence[str] | None,
        k: int,
        exclude_seen: bool,
    ) -> Ranking:
        """The best posts for users, or for people with such histories.

        Args:
            users: Known users; or None.
            histories: Ids of posts of each person, where there are no users.
            posts: New posts to choose from: id and text.
            post_ids: Known posts to choose from; with neither, all that are known.
            k: How many.
            exclude_seen: Leave out what a known user has engaged with.

        Raises:
            Refused: A user or a post is unknown.
        """
        encoded = None if posts is None else await self._encoded(posts)

        def ask() -> Ranking:
            if users is not None:
                self._check_users(users)
            self._check_posts([post for history in histories or () for post in history])
            self._check_posts(post_ids or ())
            choice = encoded if encoded is not None else post_ids
            return self._model.recommend(
                users,
                self._index if choice is None else choice,
                k,
                exclude_seen=exclude_seen,
                histories=histories,
            )

        return await self._on_model(ask)

    async def similar(
        self, post_ids: Sequence[str] | None, texts: Sequence[str] | None, k: int
    ) -> Ranking:
        """The posts that the same people would like as those posts or texts.

        Raises:
            Refused: A post is unknown, or has no text.
        """
        encoded = None if texts is None else await self._batcher.encode(texts)

        def ask() -> Ranking:
            if encoded is not None:
                # No id of a post is empty: none of them is taken for a known one.
                return self._model.similar_posts(EncodedPosts([""] * len(encoded.text), encoded), k)
            asked = list(post_ids or ())
            self._check_posts(asked)
            has_text = self._model.posts["has_text"][self._model.posts.rows(asked)]
            if not has_text.all():
                name = asked[int(np.flatnonzero(~has_text)[0])]
                raise Refused(
                    422, f"the post {name!r} has no text to compare by; ask with its text"
                )
            return self._model.similar_posts(asked, k)

        return await self._on_model(ask)

    async def add(
        self, posts: Sequence[tuple[str, str]], engagements: Sequence[Engagement]
    ) -> Taken:
        """Takes new posts and engagements; the same ones again change nothing.

        Raises:
            Refused: An engagement is with a post that nobody knows.
        """
        # One event after the other: what is checked holds until it is written and done.
        async with self._writing:
            return await self._add(posts, engagements)

    async def _add(
        self, posts: Sequence[tuple[str, str]], engagements: Sequence[Engagement]
    ) -> Taken:
        def look() -> list[tuple[str, str]]:
            here = {name for name, _ in posts}
            self._check_posts([one.post_id for one in engagements if one.post_id not in here])
            return _unknown(self._model, posts)

        new = await self._on_model(look)
        encoded = await self._encoded(new) if new else None
        if self._log is not None:
            await asyncio.to_thread(self._log.append, new, engagements)

        def write() -> Taken:
            if encoded is not None:
                self._model.add_posts(encoded)
            added, people = self._model.add_engagements(
                [one.user_id for one in engagements], [one.post_id for one in engagements]
            )
            return Taken(len(new), people, added)

        return await self._on_model(write)

    async def _encoded(self, posts: Sequence[tuple[str, str]]) -> EncodedPosts:
        return EncodedPosts(
            [name for name, _ in posts], await self._batcher.encode([text for _, text in posts])
        )

    async def _on_model(self, ask: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, ask)

    def _check_users(self, users: Sequence[str]) -> None:
        rows = self._model.users.rows(users)
        if (unknown := np.flatnonzero(rows < 0)).size:
            raise Refused(
                404,
                f"{len(unknown)} of {len(users)} users are unknown ({users[int(unknown[0])]!r} for "
                "one); send what they engaged with to /events, or ask with histories",
            )

    def _check_posts(self, posts: Sequence[str]) -> None:
        rows = self._model.posts.rows(posts)
        if (unknown := np.flatnonzero(rows < 0)).size:
            raise Refused(
                404,
                f"{len(unknown)} of {len(posts)} posts are unknown ({posts[int(unknown[0])]!r} for "
                "one); send them with their texts to /events, or leave them out",
            )


def replay(model: EngagementModel, log: EventsLog) -> Taken:
    """Takes again what a log holds; engagements with posts that nobody knows are left out."""
    new, new_posts = _unknown(model, log.posts), 0
    if new:
        texts = model.encode_texts([text for _, text in new])
        new_posts = model.add_posts(EncodedPosts([name for name, _ in new], texts))
    known = model.posts.rows(one.post_id for one in log.engagements) >= 0
    kept = [one for one, is_known in zip(log.engagements, known.tolist(), strict=True) if is_known]
    added, people = model.add_engagements(
        [one.user_id for one in kept], [one.post_id for one in kept]
    )
    return Taken(new_posts, people, added)


def _unknown(model: EngagementModel, posts: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The posts that a model does not know, the first of each id."""
    first = dict(reversed(posts))
    known = model.posts.rows(first) >= 0
    new = [pair for pair, is_known in zip(first.items(), known, strict=True) if not is_known]
    return new[::-1]
