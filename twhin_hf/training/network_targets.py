"""What a network says of the posts of a batch: who engaged with them, and their vectors."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset

from twhin_hf.errors import InputError
from twhin_hf.id_rows import rows_of_ids
from twhin_hf.network.engagements import pair_keys
from twhin_hf.network.folder import Network
from twhin_hf.network.tensor_files import row_blocks
from twhin_hf.training.masking import mix, random_numbers
from twhin_hf.training.packing import positions_in_posts

logger = logging.getLogger(__name__)

_BLOCK = 65_536

USERS_STREAM = 3
"""Of `random_numbers`, beside those of the masking."""


class EngagedUsers(NamedTuple):
    """Who engaged with the posts of a batch, as `in_batch_engagement_loss` takes it.

    Args:
        content_ids: int64 `[num_posts]`; posts of the same tokens share one.
        user_vectors: float32 `[num_users, dimension]`, of the users of the batch.
        pair_users: int64 `[num_engagements]`, the row in `user_vectors` of each engagement.
        pair_posts: int64 `[num_engagements]`, its post in the batch.
        user_posts: int64 `[total]`, content ids of all training posts that each user engaged with.
        user_post_counts: int64 `[num_users]`, how many of them each user has.
        log_frequencies: float32 `[num_posts]`, logarithm of how often a post is drawn, up to a
            constant.
    """

    content_ids: np.ndarray
    user_vectors: np.ndarray
    pair_users: np.ndarray
    pair_posts: np.ndarray
    user_posts: np.ndarray
    user_post_counts: np.ndarray
    log_frequencies: np.ndarray


class PostVectors(NamedTuple):
    """The network vectors of the posts of a batch.

    Args:
        posts: int64 `[num_known]`, which posts of the batch have one.
        vectors: float32 `[num_known, dimension]`.
        all_vectors: float32 `[num_targets, dimension]`, those to compare with.
    """

    posts: np.ndarray
    vectors: np.ndarray
    all_vectors: np.ndarray | None = None


class NetworkTargets:
    """Looks up the network's side of a batch of posts; nothing of it is copied but what is needed.

    Args:
        network: Of the training posts alone; its vectors may be memory-mapped.
        posts: Tokenized posts, with `post_id` and `input_ids`.
        engagements: Whether engaged users are looked up.
        vectors: Whether post vectors are.
        max_users_per_post: Users of a post that take part at once; a post that has more brings
            others at each draw.
        num_targets: Posts whose vectors `all_vectors` holds: all where there are no more, else a
            sample, another one in each epoch; 0 for none.
        log_frequencies: float32 `[num_posts]`, logarithm of how often each post is drawn, up to a
            constant; by default all alike.
        seed: Of the samples.

    Raises:
        InputError: A network without engagements or with a single user, or one that shares no post
            with `posts`.
    """

    def __init__(
        self,
        network: Network,
        posts: Dataset,
        *,
        engagements: bool = True,
        vectors: bool = True,
        max_users_per_post: int = 64,
        num_targets: int = 0,
        log_frequencies: np.ndarray | None = None,
        seed: int = 0,
    ):
        self.network, self.seed = network, seed
        self.max_users_per_post, self.num_targets = max_users_per_post, num_targets
        self.has_engagements, self.has_vectors = engagements, vectors
        ids = posts.select_columns("post_id").with_format("arrow")[:].column("post_id")
        self.network_rows = rows_of_ids(ids, network.post_ids)
        self.num_posts, self.num_known = len(posts), int((self.network_rows >= 0).sum())
        if not self.num_known:
            raise InputError(
                f"none of the {len(posts):,} posts is in the network, which has "
                f"{network.num_posts:,} others, as {str(network.post_ids[0])!r}; give the network "
                "that was embedded from engagements with these posts",
                faq="unknown-posts",
            )
        if self.num_known < len(posts):
            logger.warning(
                "%s of %s posts are not in the network: they bring no engagement and no vector",
                f"{len(posts) - self.num_known:,}",
                f"{len(posts):,}",
            )
        if engagements:
            _check_engagements(network)
        self.log_frequencies = (
            np.zeros(len(posts), np.float32) if log_frequencies is None else log_frequencies
        )
        self.content_ids = content_ids(posts)
        # Content of each of the network's posts; -1 where it is none of the training posts.
        self.content_of = np.full(network.num_posts, -1, np.int64)
        known = self.network_rows >= 0
        self.content_of[self.network_rows[known]] = self.content_ids[known]
        self._drawn: tuple[int, np.ndarray] | None = None
        held_out = np.empty((0, 2), np.int64) if network.held_out is None else network.held_out
        self._held_out = np.sort(pair_keys(held_out[:, 0], held_out[:, 1]))

    def engaged_users(self, rows: np.ndarray, draws: np.ndarray) -> EngagedUsers | None:
        """Of some posts.

        Args:
            rows: int64 `[num_posts]`, rows of the data set.
            draws: int64 `[num_posts]`, which draw of the run each is; seeds the choice of users.
        """
        engagements = self.network.engagements
        if not self.has_engagements or engagements is None:
            return None
        known = np.flatnonzero(self.network_rows[rows] >= 0)
        users, counts = self._learnt_users(self.network_rows[rows[known]])
        users, counts = self._at_most(users, counts, draws[known])
        distinct, pair_users = np.unique(users, return_inverse=True)
        posts, post_counts = engagements.posts_of_users.of(distinct)
        contents = self.content_of[posts]
        is_training_post = contents >= 0
        owners = np.repeat(np.arange(len(distinct)), post_counts)[is_training_post]
        return EngagedUsers(
            content_ids=self.content_ids[rows],
            user_vectors=np.asarray(self.network.user_vectors[distinct]),
            pair_users=pair_users.astype(np.int64),
            pair_posts=np.repeat(known, counts),
            user_posts=contents[is_training_post],
            user_post_counts=np.bincount(owners, minlength=len(distinct)),
            log_frequencies=self.log_frequencies[rows],
        )

    def post_vectors(self, rows: np.ndarray, draws: np.ndarray) -> PostVectors | None:
        """Of some posts; see `engaged_users`."""
        if not self.has_vectors:
            return None
        found = self.network_rows[rows]
        known = np.flatnonzero(found >= 0)
        targets = self._targets(int(draws[0]) // self.num_posts) if self.num_targets else None
        return PostVectors(known, np.asarray(self.network.post_vectors[found[known]]), targets)

    def _learnt_users(self, posts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The users of posts, without the engagements that the network held out.

        What is judged and mixed by those later must not have been learnt here either.
        """
        assert self.network.engagements is not None
        users, counts = self.network.engagements.users_of_posts.of(posts)
        if not len(self._held_out):
            return users, counts
        owners = np.repeat(np.arange(len(posts)), counts)
        keys = pair_keys(users, posts[owners])
        places = np.searchsorted(self._held_out, keys).clip(max=len(self._held_out) - 1)
        is_learnt = self._held_out[places] != keys
        return users[is_learnt], np.bincount(owners[is_learnt], minlength=len(posts))

    def _at_most(
        self, users: np.ndarray, counts: np.ndarray, draws: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """At most `max_users_per_post` users of each post, chosen by the number of its draw."""
        most = self.max_users_per_post
        if not len(counts) or counts.max() <= most:
            return users, counts
        posts = np.repeat(np.arange(len(counts)), counts)
        numbers = random_numbers(self.seed, draws[posts], users, USERS_STREAM)
        order = np.lexsort((numbers, posts))
        kept = np.sort(order[positions_in_posts(counts) < most])
        return users[kept], np.minimum(counts, most)

    def _targets(self, epoch: int) -> np.ndarray:
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._draw_targets(epoch)
        return self._drawn[1]

    def _draw_targets(self, epoch: int) -> np.ndarray:
        known = np.flatnonzero(self.content_of >= 0)
        if len(known) > self.num_targets:
            random = np.random.default_rng([self.seed, epoch])
            known = np.sort(random.choice(known, self.num_targets, replace=False))
        return np.asarray(self.network.post_vectors[known])


def user_statistics(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the users' vectors, float32 `[dimension]` each.

    Users are read a block at a time.
    """
    total, squares = np.zeros((2, network.dimension))
    for block in row_blocks(network.user_vectors):
        vectors = np.asarray(network.user_vectors[block], np.float64)
        total += vectors.sum(axis=0)
        squares += (vectors**2).sum(axis=0)
    mean = total / network.num_users
    variance = np.maximum(squares / network.num_users - mean**2, 0)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def content_ids(posts: Dataset) -> np.ndarray:
    """A number for each post's tokens, which copies share: a hash of 63 bits.

    Of a billion posts some might be taken for copies by mistake, with a chance of one in twenty.

    Args:
        posts: With `input_ids`.

    Returns:
        int64 `[num_posts]`, none below 0.
    """
    column = posts.select_columns("input_ids").with_format("arrow")
    found = np.empty(len(posts), np.int64)
    for start in range(0, len(posts), _BLOCK):
        ids = column[start : start + _BLOCK].column("input_ids").combine_chunks()
        lengths = np.diff(ids.offsets.to_numpy())
        positions = positions_in_posts(lengths).astype(np.uint64)
        tokens = ids.flatten().to_numpy().astype(np.uint64)
        placed = mix(mix((positions << np.uint64(32)) + tokens + np.uint64(1)))
        hashes = np.add.reduceat(placed, np.cumsum(lengths) - lengths)
        found[start : start + len(lengths)] = hashes >> np.uint64(1)
    return found


def _check_engagements(network: Any) -> None:
    if network.engagements is None:
        raise InputError(
            "this network folder holds no engagements (an earlier version wrote it); embed the "
            "network again, or set engagement_weight to 0",
            faq="old-network",
        )
    if network.num_users < 2:
        raise InputError(
            f"the network has {network.num_users} user; the engagement objective compares users, "
            "and needs at least two"
        )
