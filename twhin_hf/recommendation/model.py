"""Who will like which post: a model that is fitted once, saved, updated and asked.

Every score is one inner product: of a user's vector (projected, network, content, 1) and a post's
(projected times a, network times c, content times d, b), where a, c, d and b are the mixing weights
of the number of engagements by which the network had learnt of the post at the fit; those that came
since move its vector, and not the weights, for such a vector has not the worth of one that was
learnt from the start. So an index of posts answers for users, and one of users for posts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from datasets import Dataset

from twhin_hf.errors import InputError
from twhin_hf.hub.client import Push
from twhin_hf.loading.text_encoders import (
    TextEncoder,
    length_normalized,
    load_text_encoder,
    side_by_side,
)
from twhin_hf.network.folder import Network
from twhin_hf.network.log import EngagementGraph
from twhin_hf.recommendation import folder
from twhin_hf.recommendation.catalogue import (
    as_ids,
    as_posts,
    catalogue,
    ids_and_texts,
    mean_relation,
    network_records,
    rows_in,
    seen_and_unseen,
)
from twhin_hf.recommendation.encoded import EncodedPosts, EncodedTexts
from twhin_hf.recommendation.fitting import Observed, fit_parameters
from twhin_hf.recommendation.growing_table import GrowingTable
from twhin_hf.recommendation.links import Links
from twhin_hf.recommendation.parameters import Parameters
from twhin_hf.recommendation.recommendation_config import RecommendationConfig
from twhin_hf.recommendation.records import Records, distinct_records
from twhin_hf.recommendation.top_k import Ranking, best, row_blocks, score_blocks
from twhin_hf.recommendation.words import WordFeatures

_SCORED = ("text", "network", "content")
"""Columns of posts that scores are made of."""

Encode = Callable[[Sequence[str]], np.ndarray]
"""Vectors float32 `[texts, width]`."""


class PostIndex(Protocol):
    """An index of `post_vectors`, by inner product."""

    def search(
        self, queries: np.ndarray, k: int, exclude: Sequence[Sequence[str]] | None = None
    ) -> Any:
        """The `post_ids` and `scores` of the k best of each query."""


class EngagementModel:
    """Two projections over an encoder, the network beside them, tables of users and posts.

    Make one by `fit` or `from_pretrained`.

    Args:
        parameters: What was learnt.
        settings: Encoder, features, figures of the fit; see `config.json`.
        encode: Vectors of texts, float32 `[texts, width]`.
        words: TF-IDF features beside them, where the model has any.
        users: Columns `vectors` float32 `[users, dimension]`, `content` float32 `[users, content]`:
            the sum of that of the posts engaged with.
        posts: Columns `text` float32 `[posts, projection]`, `predicted` and `network` float32
            `[posts, dimension]`, `content` float32 `[posts, content]`, `learnt` int64 `[posts]`,
            the engagements that the network was learnt from, `has_text` bool `[posts]`.
        posts_of_users: Engagements, by user.
        users_of_posts: The same, by post.
    """

    def __init__(
        self,
        parameters: Parameters,
        settings: dict[str, Any],
        encode: Encode,
        words: WordFeatures | None,
        users: GrowingTable,
        posts: GrowingTable,
        posts_of_users: Links,
        users_of_posts: Links,
    ):
        self.parameters, self.settings = parameters, settings
        self.encode, self.words = encode, words
        self.users, self.posts = users, posts
        self.posts_of_users, self.users_of_posts = posts_of_users, users_of_posts
        # What questions are asked of, kept up to date row by row.
        every = np.arange(len(posts))
        posts.add_column("vectors", self._weighted_rows(every))
        posts.add_column("directions", length_normalized(posts["text"]))

    # --- making one -----------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        log: EngagementGraph,
        posts: pa.Table,
        encoder: str | Path | TextEncoder,
        network: Network,
        config: RecommendationConfig | None = None,
    ) -> EngagementModel:
        """Learns who engages with which post.

        The network gives the vectors of users and posts; the log brings, beyond what the network
        has seen, the engagements to choose and to calibrate by: those that it held out, and those
        with posts that it was embedded without (`twhin-hf split`). In the end every engagement of
        the log counts: users and posts that the network lacks are folded in.

        Args:
            log: All engagements up to now.
            posts: `post_id` and `text` of all posts up to now.
            encoder: Folder or Hub repository; or what `load_text_encoder` gives, whose model is
                not saved with this one.
            network: Embedded from a part of the log.
            config: Options.

        Returns:
            The model; `settings["figures"]` says how it was chosen and how well it is calibrated.

        Raises:
            InputError: Log, posts and network have nothing in common, or nothing is left to choose
                by; see `fit_parameters`.
        """
        config = config or RecommendationConfig()
        if network.engagements is None:
            raise InputError(
                "this network folder holds no engagements (an earlier version wrote it); embed "
                "the network again",
                faq="old-network",
            )
        loaded = (
            encoder
            if isinstance(encoder, TextEncoder)
            else load_text_encoder(str(encoder), pooling=config.pooling)
        )
        ids, texts = catalogue(posts, network)
        row_in_network = rows_in(pa.array(ids, pa.string()), network.post_ids)
        in_network, has_text = row_in_network >= 0, np.arange(len(ids)) < len(texts)
        seen, unseen, weights = seen_and_unseen(log, network, ids)
        vectors = loaded.encode(texts)
        words = None
        if config.words:
            training = [
                text for text, known in zip(texts, in_network[: len(texts)], strict=True) if known
            ]
            words = WordFeatures.fit(training, config.words)
        features = _pad(_features(vectors, texts, words), len(ids))
        network_vectors = np.zeros((len(ids), network.dimension), np.float32)
        network_vectors[in_network] = network.post_vectors[row_in_network[in_network]]
        user_vectors = np.array(network.user_vectors)
        fitted = fit_parameters(
            Observed(
                user_vectors,
                mean_relation(log, network),
                features,
                has_text,
                network_vectors,
                in_network,
                seen,
                unseen,
                weights,
            ),
            config,
        )
        parameters = fitted.parameters
        read = length_normalized(features) if fitted.normalize else features
        predicted = parameters.predict_network(read)
        predicted[~has_text] = 0.0
        text = parameters.project_posts(read)
        text[~has_text] = 0.0
        content = parameters.content(features)
        content[~has_text] = 0.0
        every = network_records(network, ids)
        columns: dict[str, np.ndarray] = {
            "text": text.astype(np.float32),
            "predicted": predicted.astype(np.float32),
            "network": np.where(in_network[:, None], network_vectors, predicted).astype(np.float32),
            "content": content,
            "learnt": np.bincount(seen.posts, minlength=len(ids)),
            "has_text": has_text,
        }
        settings = {
            "encoder": None if isinstance(encoder, TextEncoder) else str(encoder),
            "pooling": loaded.pooling,
            "asked_pooling": config.pooling,
            "network": _stamp(network),
            "normalize": fitted.normalize,
            "figures": fitted.figures,
            "reliability": {
                name: values.tolist() for name, values in fitted.reliability._asdict().items()
            },
        }
        links = Links(every.users, every.posts, network.num_users)
        liked, _ = links.sums(np.arange(network.num_users), content)
        model = cls(
            parameters,
            settings,
            loaded.encode,
            words,
            GrowingTable(network.user_ids.to_pylist(), vectors=user_vectors, content=liked),
            GrowingTable(ids, **columns),
            links,
            Links(every.posts, every.users, len(ids)),
        )
        model._add_graph(log)
        return model

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        encoder: TextEncoder | None = None,
        revision: str | None = None,
    ) -> EngagementModel:
        """Loads what `save_pretrained` wrote.

        Args:
            name_or_path: Folder or Hub repository.
            encoder: What encodes texts in place of the saved encoder, such as its export.
            revision: Revision of the repository.

        Raises:
            FileNotFoundError: The folder or one of its files is missing.
            InputError: A file is damaged, or the encoder gives vectors of another width.
        """
        saved = folder.load(name_or_path, revision)
        if encoder is None:
            if saved.encoder is None:
                raise InputError(
                    f"{name_or_path} was saved without its encoder; give encoder= (in commands "
                    "--encoder) the one that it was fitted with"
                )
            pooling = saved.settings.get("asked_pooling")
            encoder = load_text_encoder(saved.encoder, pooling=pooling)
        return cls(
            saved.parameters,
            saved.settings,
            encoder.encode,
            saved.words,
            GrowingTable(saved.user_ids, **saved.users),
            GrowingTable(saved.post_ids, **saved.posts),
            Links(saved.engagements.users, saved.engagements.posts, len(saved.user_ids)),
            Links(saved.engagements.posts, saved.engagements.users, len(saved.post_ids)),
        )

    def save_pretrained(
        self, directory: str | Path, *, key: bytes | None = None, encoder: bool = True
    ) -> None:
        """Writes a folder; it appears whole or not at all.

        Args:
            directory: Created where it is missing; an older model there is replaced.
            key: To publish: ids of users and posts are replaced by keyed hashes, who engaged with
                what is left out, and so are users of fewer than 5 engagements; whoever has the key
                can look a user up by her hash.
            encoder: Copy the encoder's folder too; without it the encoder is given at loading.
        """
        folder.save(self._saved(encoder), directory, key)

    def push_to_hub(self, repo_id: str, *, key: bytes, **options: Any) -> Push:
        """Publishes what `save_pretrained` writes with a key, and a card, in one commit.

        Args:
            repo_id: `owner/name`.
            key: Secret key of the hashes; see `save_pretrained`.
            **options: As `push_recommender` takes: `private`, `token`, `message`, `metadata`, …

        Raises:
            InputError: See `push_recommender`.
        """
        from twhin_hf.recommendation.publishing import push_recommender

        return push_recommender(self._saved(), repo_id, key=key, **options)

    def _saved(self, encoder: bool = True) -> folder.Saved:
        return folder.Saved(
            self.parameters,
            self.settings,
            self.settings["encoder"] if encoder else None,
            self.words,
            self.users.ids,
            {name: self.users[name] for name in folder.USER_COLUMNS},
            self.posts.ids,
            {name: self.posts[name] for name in folder.POST_COLUMNS},
            Records(*self.posts_of_users.all()),
        )

    # --- what is known --------------------------------------------------------------------------

    @property
    def num_users(self) -> int:
        """Users with a vector."""
        return len(self.users)

    @property
    def num_posts(self) -> int:
        """Posts of the catalogue."""
        return len(self.posts)

    @property
    def fingerprint(self) -> str:
        """What tells this fit from others: vectors of two fits cannot be compared."""
        return self.parameters.fingerprint()

    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        """What texts tell, for questions that take `EncodedPosts`; it reads no table of the model.

        Raises:
            InputError: The encoder gives vectors of another width than that of the fit.
        """
        if not texts:
            parameters = self.parameters
            sizes = (parameters.projection_size, parameters.dimension, parameters.content_size)
            widths = (0, *sizes)
            return EncodedTexts(*(np.empty((0, width), np.float32) for width in widths))
        vectors = self.encode(texts)
        features = _features(vectors, texts, self.words)
        if features.shape[1] != self.parameters.num_features:
            raise InputError(
                f"the encoder gives {features.shape[1]} features with the words', and the model "
                f"was fitted with {self.parameters.num_features}; give the encoder that it was "
                "fitted with"
            )
        read = length_normalized(features) if self.settings["normalize"] else features
        return EncodedTexts(
            np.asarray(vectors, np.float32),
            self.parameters.project_posts(read).astype(np.float32),
            self.parameters.predict_network(read).astype(np.float32),
            self.parameters.content(features),
        )

    def add_posts(self, posts: pa.Table | EncodedPosts) -> int:
        """Adds posts that came since, and texts to those that had none.

        Args:
            posts: `post_id` and `text`; or encoded.

        Returns:
            How many were new. Those that are there with a text stay as they are.

        Raises:
            InputError: A column is missing, or a post has no text.
        """
        posts = posts if isinstance(posts, EncodedPosts) else as_posts(posts)
        ids, texts = _ids_and_texts(posts)
        place_of = dict(zip(reversed(ids), range(len(ids) - 1, -1, -1), strict=True))
        first = list(dict.fromkeys(ids))
        rows = self.posts.rows(first)
        known = np.flatnonzero(rows >= 0)
        without = known[~self.posts["has_text"][rows[known]]]
        if len(without):
            places = [place_of[first[place]] for place in without]
            self._add_texts(rows[without], self._encoded(texts, places))
        new = [name for name, row in zip(first, rows, strict=True) if row < 0]
        if not new:
            return 0
        found = self._encoded(texts, [place_of[name] for name in new])
        self.posts.add(
            new,
            text=found.text,
            predicted=found.predicted,
            network=found.predicted,
            content=found.content,
            learnt=0,
            has_text=True,
            vectors=self.vectors_of_new(found),
            directions=length_normalized(found.text),
        )
        return len(new)

    def _add_texts(self, rows: np.ndarray, found: EncodedTexts) -> None:
        """Texts of posts that the network alone has known."""
        own = {"text": found.text, "predicted": found.predicted, "content": found.content}
        for name, values in {**own, "directions": length_normalized(found.text)}.items():
            self.posts[name][rows] = values
        self.posts["has_text"][rows] = True
        users, counts = self.users_of_posts.of(rows)
        np.add.at(self.users["content"], users, np.repeat(found.content, counts, axis=0))
        self.posts["vectors"][rows] = self._weighted_rows(rows)

    def add_engagements(self, users: Sequence[str], posts: Sequence[str]) -> tuple[int, int]:
        """Engagements that came since: their users and posts get vectors that know of them.

        Args:
            users: Who, `[engagements]`; unknown ones become known.
            posts: Engaged with which post, `[engagements]`; add the post first.

        Returns:
            How many were new, and how many users were.

        Raises:
            InputError: The two have different lengths, or a post is unknown.
        """
        if self.settings.get("published"):
            raise InputError(
                "this model was published, without who engaged with what, so that it cannot learn "
                "more of it; ask by fold_in or histories, or add to the model that it was made of"
            )
        users, posts = as_ids(users, "users"), as_ids(posts, "posts")
        if len(users) != len(posts):
            raise InputError(f"{len(users)} users and {len(posts)} posts; give one of each a row")
        post_rows = self._known_posts(posts)
        before = len(self.users)
        first = list(dict.fromkeys(users))
        new = [name for name, row in zip(first, self.users.rows(first), strict=True) if row < 0]
        if new:
            nothing = self._fold_in_users(np.zeros((1, self.parameters.dimension)), np.zeros(1))
            self._add_users(new, np.repeat(nothing, len(new), axis=0))
        added = self._link(self.users.rows(users), post_rows, before)
        return added, len(new)

    def _add_graph(self, log: EngagementGraph) -> None:
        """The engagements of a log with posts of the catalogue, in bulk."""
        post_of = self.posts.rows(log.post_ids.to_pylist())
        edges = distinct_records(log.lhs, log.rhs)
        edges = edges.where(post_of[edges.posts] >= 0)
        ids = log.user_ids.to_pylist()
        user_of = self.users.rows(ids)
        before = len(self.users)
        new = np.unique(edges.users[user_of[edges.users] < 0])
        if len(new):
            vectors = np.zeros((len(new), self.parameters.dimension), np.float32)
            self._add_users([ids[row] for row in new], vectors)
            user_of[new] = before + np.arange(len(new))
        self._link(user_of[edges.users], post_of[edges.posts], before)

    def _add_users(self, names: Sequence[str], vectors: np.ndarray) -> None:
        content = np.zeros((len(names), self.parameters.content_size), np.float32)
        self.users.add(names, vectors=vectors, content=content)

    def _link(self, user_rows: np.ndarray, post_rows: np.ndarray, known_users: int) -> int:
        """Adds links and moves the vectors of both ends by what the links tell."""
        users, posts = self.posts_of_users.missing(user_rows, post_rows)
        if not len(users):
            return 0
        network, vectors = self.posts["network"], self.users["vectors"]
        np.add.at(self.users["content"], users, self.posts["content"][posts])
        own = np.unique(users)
        old_sums, old_counts = self.posts_of_users.sums(own, network)
        liked = np.unique(posts)
        old_post_sums, old_post_counts = self.users_of_posts.sums(liked, vectors)
        self.posts_of_users.add(users, posts)
        self.users_of_posts.add(posts, users)
        # A vector keeps what the network knows beyond its links; one without links has no more.
        has_more = (old_counts > 0) & (own < known_users)
        more = vectors[own] - self._fold_in_users(old_sums, old_counts)
        sums, counts = self.posts_of_users.sums(own, network)
        vectors[own] = self._fold_in_users(sums, counts) + more * has_more[:, None]
        predicted = self.posts["predicted"][liked]
        fold = self.parameters.fold_in_post
        more = network[liked] - fold.vectors(old_post_sums, old_post_counts, predicted)
        sums, counts = self.users_of_posts.sums(liked, vectors)
        has_more = old_post_counts > 0
        network[liked] = fold.vectors(sums, counts, predicted) + more * has_more[:, None]
        self.posts["vectors"][liked] = self._weighted_rows(liked)
        return len(users)

    def update(self, network: Network) -> None:
        """Takes over the vectors and engagements of a network that has learnt since.

        The projections stay: `network update` starts from the old vectors, so that the new ones lie
        in the same space; and so do the weights of text and network, which are those of the fit:
        fit anew from time to time. What `add_engagements` told and the network lacks is folded in
        again.

        Args:
            network: Updated from the one that the model was fitted by. Its posts that are not in
                the catalogue are known by the network alone; to have their texts, add them first.

        Raises:
            InputError: Its vectors have another dimension, it holds no engagements, or it was
                embedded anew: then its vectors say other things, and the model must be fitted anew.
        """
        if network.dimension != self.parameters.dimension or network.engagements is None:
            raise InputError(
                f"the network has {network.dimension} dimensions and "
                f"{'no ' if network.engagements is None else ''}engagements; the model was fitted "
                f"by {self.parameters.dimension} dimensions: give an update of that network"
            )
        if self.settings.get("network") != _stamp(network):
            raise InputError(
                "the network is no update (`twhin-hf network update`) of the one that the model "
                "was fitted by: its relations have other vectors. Fit a model by it"
            )
        told = self.posts_of_users.all()
        user_rows = self._rows_or_new(self.users, network.user_ids, vectors=0.0, content=0.0)
        post_rows = self._rows_or_new(
            self.posts,
            network.post_ids,
            **dict.fromkeys(
                ("text", "predicted", "network", "content", "vectors", "directions"), 0.0
            ),
            learnt=0,
            has_text=False,
        )
        self.posts["network"][:] = self.posts["predicted"]
        self.posts["network"][post_rows] = network.post_vectors
        self.users["vectors"][user_rows] = network.user_vectors
        posts, counts = network.engagements.posts_of_users.of(np.arange(network.num_users))
        users, posts = np.repeat(user_rows, counts), post_rows[posts]
        self.posts_of_users = Links(users, posts, len(self.users))
        self.users_of_posts = Links(posts, users, len(self.posts))
        everyone = np.arange(len(self.users))
        liked, _ = self.posts_of_users.sums(everyone, self.posts["content"])
        self.users["content"][:] = liked
        every = np.arange(len(self.posts))
        self.posts["vectors"][:] = self._weighted_rows(every)
        self._link(*told, len(self.users))

    @staticmethod
    def _rows_or_new(table: GrowingTable, ids: pa.Array, **columns: Any) -> np.ndarray:
        """Rows of ids; those that are not there are added with the columns."""
        names = ids.to_pylist()
        rows = table.rows(names)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            rows[missing] = len(table) + np.arange(len(missing))
            table.add([names[place] for place in missing], **columns)
        return rows

    def _fold_in_users(self, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return self.parameters.fold_in_user.vectors(sums, counts)

    def fold_in(self, histories: Sequence[Sequence[str]]) -> np.ndarray:
        """Vectors of users who are in no table, by the posts that they engaged with.

        Args:
            histories: Ids of posts of each user; an empty one gives what holds for anybody.

        Returns:
            float32 `[users, dimension + content]`, for `recommend` and `score` as `vectors`: what
            stands for the network's, and the sum of the posts' contents.

        Raises:
            InputError: A post is unknown.
        """
        return self._folded_in(*self._links_of(histories))

    def _links_of(self, histories: Sequence[Sequence[str]]) -> tuple[Links, np.ndarray]:
        counts = np.array([len(history) for history in histories], np.int64)
        rows = self._known_posts([post for history in histories for post in history])
        owners = np.repeat(np.arange(len(counts)), counts)
        return Links(owners, rows, len(counts)), np.arange(len(counts))

    def _folded_in(self, links: Links, users: np.ndarray) -> np.ndarray:
        sums, counts = links.sums(users, self.posts["network"])
        content, _ = links.sums(users, self.posts["content"])
        return np.concatenate([self._fold_in_users(sums, counts), content], axis=1)

    # --- vectors --------------------------------------------------------------------------------

    def user_vectors(
        self,
        users: Sequence[str] | None = None,
        *,
        vectors: np.ndarray | None = None,
        rows: slice | None = None,
    ) -> np.ndarray:
        """What to search an index of `post_vectors` with, by inner product.

        Args:
            users: Known users; all in the order of the table where None.
            vectors: Of others in their place, as `fold_in` gives them.
            rows: Of all users, these rows of the table.

        Returns:
            float32 `[users, projection + dimension + content + 1]`.

        Raises:
            InputError: A user is unknown.
        """
        if vectors is None:
            chosen = (rows or slice(None)) if users is None else self._known_users(users)
            network, content = self.users["vectors"][chosen], self.users["content"][chosen]
        else:
            network, content = np.split(vectors, [self.parameters.dimension], axis=1)
        parts = [
            self.parameters.project_users(network),
            network + self.parameters.relation,
            length_normalized(content),
            np.ones((len(network), 1)),
        ]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def post_vectors(
        self, posts: Sequence[str] | pa.Table | EncodedPosts | None = None
    ) -> np.ndarray:
        """Vectors whose inner product with a user's is the score.

        Args:
            posts: Ids of the catalogue; or a table of `post_id` and `text`, whose unknown posts are
                encoded, or `EncodedPosts`; all of the catalogue where None, to be read only.

        Returns:
            float32 `[posts, projection + dimension + content + 1]`.

        Raises:
            InputError: A post is unknown, or has no text.
        """
        if posts is None:
            return self.posts["vectors"]
        if not isinstance(posts, (pa.Table, EncodedPosts)):
            return self.posts["vectors"][self._known_posts(posts)]
        ids, texts = _ids_and_texts(posts)
        rows = self.posts.rows(ids)
        table = self.posts["vectors"]
        vectors = np.empty((len(rows), table.shape[1]), np.float32)
        vectors[rows >= 0] = table[rows[rows >= 0]]
        unknown = np.flatnonzero(rows < 0)
        if len(unknown):
            vectors[unknown] = self.vectors_of_new(self._encoded(texts, unknown.tolist()))
        return vectors

    def vectors_of_new(self, texts: EncodedTexts) -> np.ndarray:
        """As `post_vectors`, of texts that nobody has engaged with yet; it reads no table."""
        nothing = np.zeros(len(texts.text), np.int64)
        columns = {"text": texts.text, "network": texts.predicted, "content": texts.content}
        return self._weighted(columns, nothing)

    def _encoded(self, texts: Sequence[str] | EncodedTexts, places: list[int]) -> EncodedTexts:
        """Those at some places, encoded unless they are."""
        if isinstance(texts, EncodedTexts):
            return texts.take(places)
        return self.encode_texts([texts[place] for place in places])

    def _weighted_rows(self, rows: np.ndarray) -> np.ndarray:
        columns = {name: self.posts[name][rows] for name in _SCORED}
        return self._weighted(columns, self.posts["learnt"][rows])

    def _weighted(self, columns: Mapping[str, np.ndarray], learnt: np.ndarray) -> np.ndarray:
        *weights, bias = self.parameters.mixing.of(learnt)
        parts = [columns[name] * own[:, None] for name, own in zip(_SCORED, weights, strict=True)]
        return np.concatenate([*parts, bias[:, None]], axis=1)

    # --- questions ------------------------------------------------------------------------------

    def score(
        self,
        users: Sequence[str] | None,
        posts: Sequence[str] | pa.Table | EncodedPosts,
        *,
        vectors: np.ndarray | None = None,
    ) -> np.ndarray:
        """Scores of each user with each post.

        Args:
            users: Known users, or None with `vectors`.
            posts: Ids of the catalogue; or a table of `post_id` and `text`, or `EncodedPosts`.
            vectors: Of `fold_in`, in place of known users.

        Returns:
            float32 `[users, posts]`; `probability` turns it into probabilities.

        Raises:
            InputError: A user or a post is unknown.
        """
        return self.user_vectors(users, vectors=vectors) @ self.post_vectors(posts).T

    def probability(self, scores: np.ndarray) -> np.ndarray:
        """That a pair with these scores is an engagement of the log, float32 of the same shape.

        Of all pairs of a user and a post, seen by her or not: as the log does not say what she was
        shown, it says how often she engages, not how often she does when she is shown the post.
        """
        return self.parameters.calibration.probability(scores)

    def recommend(
        self,
        users: Sequence[str] | None = None,
        posts: Sequence[str] | pa.Table | EncodedPosts | PostIndex | None = None,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        vectors: np.ndarray | None = None,
        histories: Sequence[Sequence[str]] | None = None,
    ) -> Ranking:
        """The posts that each user will most likely engage with.

        Args:
            users: Known users; or None with `vectors` or `histories`.
            posts: Of which: ids of the catalogue; a table of `post_id` and `text`, or
                `EncodedPosts`; an index of `post_vectors`; or None for the whole catalogue.
            k: How many; there are fewer where fewer are left.
            exclude_seen: Leave out what a user has engaged with, as far as it is known: by the
                model, or by her history.
            vectors: Of `fold_in`, in place of known users.
            histories: Ids of the posts that each of others engaged with, in place of known users.

        Raises:
            InputError: A user or a post is unknown, k is below 1, or it is not one of the three
                that says whom to ask for.
        """
        if k < 1:
            raise InputError(f"k is {k}; it must be 1 or more")
        if sum(given is not None for given in (users, vectors, histories)) != 1:
            raise InputError("say whom to recommend to: users, vectors or histories, one of them")
        seen: tuple[Links, np.ndarray] | None = None
        if histories is not None:
            links, everyone = self._links_of(histories)
            vectors, seen = self._folded_in(links, everyone), (links, everyone)
        elif users is not None:
            users = as_ids(users, "users")
            seen = self.posts_of_users, self._known_users(users)
        if not exclude_seen:
            seen = None
        queries = self.user_vectors(users, vectors=vectors)
        if hasattr(posts, "search") and not isinstance(posts, Dataset):
            return self._ask_index(posts, queries, k, seen)
        if posts is not None:
            posts = self._distinct(posts)
        ids = self.posts.ids if posts is None else _ids(posts)
        targets = self.post_vectors(posts)
        columns_of = None
        if seen is not None and posts is not None:
            columns_of = _columns_of(self.posts.rows(ids))
        found = []
        for block, scores in score_blocks(queries, targets):
            if seen is not None:
                liked, counts = seen[0].of(seen[1][block])
                owners = np.repeat(np.arange(len(counts)), counts)
                columns = liked if columns_of is None else columns_of(liked)
                scores[owners[columns >= 0], columns[columns >= 0]] = -np.inf
            found += best(scores, k)
        return self._ranking(found, ids)

    def _distinct(
        self, posts: Sequence[str] | pa.Table | EncodedPosts
    ) -> list[str] | pa.Table | EncodedPosts:
        """Candidates once each."""
        if not isinstance(posts, EncodedPosts):
            posts = as_posts(posts)
        ids = _ids(posts)
        places = list(dict(zip(reversed(ids), range(len(ids) - 1, -1, -1), strict=True)).values())
        if len(places) == len(ids):
            return posts
        places.sort()
        if isinstance(posts, EncodedPosts):
            return EncodedPosts([ids[place] for place in places], posts.texts.take(places))
        return posts.take(places) if isinstance(posts, pa.Table) else [ids[at] for at in places]

    def _ask_index(
        self, index: Any, queries: np.ndarray, k: int, seen: tuple[Links, np.ndarray] | None
    ) -> Ranking:
        exclude = None
        if seen is not None:
            liked, counts = seen[0].of(seen[1])
            names = [self.posts.ids[row] for row in liked.tolist()]
            ends = np.cumsum(counts)
            exclude = [names[end - count : end] for end, count in zip(ends, counts, strict=True)]
        found = index.search(queries, k, exclude)
        scores = [
            np.asarray(row)[: len(ids)]
            for ids, row in zip(found.post_ids, found.scores, strict=True)
        ]
        return Ranking(found.post_ids, scores, [self.probability(row) for row in scores])

    def _ranking(self, found: list[tuple[np.ndarray, np.ndarray]], ids: Sequence[str]) -> Ranking:
        return Ranking(
            [[ids[place] for place in places.tolist()] for places, _ in found],
            [scores for _, scores in found],
            [self.probability(scores) for _, scores in found],
        )

    def similar_posts(self, posts: Sequence[str] | pa.Table | EncodedPosts, k: int = 10) -> Ranking:
        """Posts of the catalogue that the same people would like, by cosine of the projected texts.

        Args:
            posts: Ids of the catalogue; or a table of `post_id` and `text`, or `EncodedPosts`.
            k: How many; the post itself is none of them.

        Returns:
            The scores are cosines; the probabilities are empty.

        Raises:
            InputError: A post is unknown or without text, or k is below 1.
        """
        if k < 1:
            raise InputError(f"k is {k}; it must be 1 or more")
        posts = posts if isinstance(posts, EncodedPosts) else as_posts(posts)
        if isinstance(posts, (pa.Table, EncodedPosts)):
            ids, texts = _ids_and_texts(posts)
            own = self.posts.rows(ids)
            asked = length_normalized(self._encoded(texts, list(range(len(ids)))).text)
        else:
            own = self._known_posts(posts)
            without = np.flatnonzero(~self.posts["has_text"][own])
            if len(without):
                raise InputError(f"the post {posts[int(without[0])]!r} has no text to compare by")
            asked = self.posts["directions"][own]
        found = []
        for block, scores in score_blocks(asked, self.posts["directions"]):
            scores[:, ~self.posts["has_text"]] = -np.inf
            rows = own[block]
            scores[np.flatnonzero(rows >= 0), rows[rows >= 0]] = -np.inf
            found += best(scores, k)
        ranking = self._ranking(found, self.posts.ids)
        return ranking._replace(probabilities=[])

    def likely_users(
        self,
        posts: Sequence[str] | pa.Table | EncodedPosts,
        k: int = 10,
        *,
        exclude_seen: bool = True,
    ) -> Ranking:
        """The users who will most likely engage with each post.

        Args:
            posts: Ids of the catalogue; or a table of `post_id` and `text`, or `EncodedPosts`.
            k: How many.
            exclude_seen: Leave out who has engaged with the post already.

        Raises:
            InputError: A post is unknown, or k is below 1.
        """
        if k < 1:
            raise InputError(f"k is {k}; it must be 1 or more")
        posts = posts if isinstance(posts, EncodedPosts) else as_posts(posts)
        rows = self.posts.rows(_ids(posts))
        asked = self.post_vectors(posts)
        found = []
        for block in row_blocks(len(asked), len(self.users)):
            scores = np.concatenate(
                [
                    asked[block] @ self.user_vectors(rows=part).T
                    for part in row_blocks(len(self.users), asked.shape[1])
                ],
                axis=1,
            )
            known = np.flatnonzero(rows[block] >= 0)
            if exclude_seen and len(known):
                engaged, counts = self.users_of_posts.of(rows[block][known])
                scores[np.repeat(known, counts), engaged] = -np.inf
            found += best(scores, k)
        return self._ranking(found, self.users.ids)

    def _known_users(self, users: Sequence[str]) -> np.ndarray:
        rows = self.users.rows(users)
        if (unknown := np.flatnonzero(rows < 0)).size:
            raise InputError(
                f"{len(unknown):,} of {len(rows):,} users are unknown ({users[int(unknown[0])]!r} "
                "for one). Add what they engaged with by add_engagements, or give vectors= what "
                "fold_in makes of it; fold_in of an empty history is what holds for anybody.",
                faq="unknown-users",
            )
        return rows

    def _known_posts(self, posts: Sequence[str]) -> np.ndarray:
        rows = self.posts.rows(posts)
        if (unknown := np.flatnonzero(rows < 0)).size:
            raise InputError(
                f"{len(unknown):,} of {len(rows):,} posts are unknown ({posts[int(unknown[0])]!r} "
                "for one). Add them with their texts by add_posts."
            )
        return rows


def _stamp(network: Network) -> str:
    """What an update leaves as it is, and embedding anew does not."""
    return hashlib.blake2b(
        np.ascontiguousarray(network.relation_vectors).tobytes(), digest_size=16
    ).hexdigest()


def _ids_and_texts(
    posts: pa.Table | EncodedPosts,
) -> tuple[Sequence[str], Sequence[str] | EncodedTexts]:
    return posts if isinstance(posts, EncodedPosts) else ids_and_texts(posts)


def _ids(posts: Any) -> Sequence[str]:
    if isinstance(posts, (pa.Table, EncodedPosts)):
        return _ids_and_texts(posts)[0]
    return list(posts)


def _columns_of(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What gives the places of rows in an array; −1 where they are not there."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]

    def find(wanted: np.ndarray) -> np.ndarray:
        if not len(ordered):
            return np.full(len(wanted), -1)
        places = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        return np.where(ordered[places] == wanted, order[places], -1)

    return find


def _features(vectors: np.ndarray, texts: Sequence[str], words: WordFeatures | None) -> np.ndarray:
    vectors = np.asarray(vectors, np.float32)
    return vectors if words is None else side_by_side(vectors, words.encode(texts))


def _pad(features: np.ndarray, rows: int) -> np.ndarray:
    """Rows of zeros for posts without text."""
    padded = np.zeros((rows, features.shape[1]), np.float32)
    padded[: len(features)] = features
    return padded
