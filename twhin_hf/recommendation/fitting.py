"""Learns the parameters of an engagement model from a network and features of posts."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
import torch

from twhin_hf.devices import pick_device
from twhin_hf.errors import InputError
from twhin_hf.loading.text_encoders import length_normalized
from twhin_hf.network.engagements import pair_keys
from twhin_hf.recommendation.calibration import Reliability, fit_calibration, reliability
from twhin_hf.recommendation.fold_in import FoldIn, cross_fitted_ridge
from twhin_hf.recommendation.mixing import Candidates, Mixing, fit_mixing
from twhin_hf.recommendation.parameters import Parameters
from twhin_hf.recommendation.predictor import (
    Standardization,
    check_finite,
    one_thread_an_operation,
    rows_to_try,
    train_predictor,
)
from twhin_hf.recommendation.ranking import CandidateSets
from twhin_hf.recommendation.recommendation_config import RecommendationConfig
from twhin_hf.recommendation.records import Records

logger = logging.getLogger(__name__)

_FEWEST_POSTS = 20
"""Unseen posts by which the epoch is chosen; with fewer, unseen engagements choose it."""

_RANDOM_PAIRS = 400_000

_MIXING_PAIRS = 12_000_000
"""Held-out engagements times posts that each is told from, at most: some 40 bytes each."""

_CONTENT = 256
"""Width of what texts are compared by, at most."""
_CONTENT_ROWS = 50_000
"""Posts that its directions are learnt from, at most."""


@dataclass(frozen=True)
class Observed:
    """What is known when a model is fitted; posts are rows of the catalogue.

    Args:
        user_vectors: Of the network, float32 `[users, dimension]`.
        relation: What the network adds to a user's vector, float32 `[dimension]`.
        features: Of the texts, float32 `[posts, width]`; any where a post has no text.
        has_text: Bool `[posts]`.
        network_vectors: float32 `[posts, dimension]`; any where the network has none.
        in_network: Bool `[posts]`: the network has a vector of it.
        seen: Engagements that the network was learnt from.
        unseen: Engagements of these users that it was not learnt from, with posts that it has or
            has not.
        weights: How many engagements each unseen one stands for, float64 `[unseen]`.
    """

    user_vectors: np.ndarray
    relation: np.ndarray
    features: np.ndarray
    has_text: np.ndarray
    network_vectors: np.ndarray
    in_network: np.ndarray
    seen: Records
    unseen: Records
    weights: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """Parameters, and what was found on the way.

    Args:
        parameters: Of the model.
        normalize: Whether rows of features are scaled to length 1 first.
        figures: Epoch, validation MRR, calibration error, numbers of records.
        reliability: Of the probabilities, measured on users that the calibration was not learnt
            from.
    """

    parameters: Parameters
    normalize: bool
    figures: dict[str, Any]
    reliability: Reliability


def fit_parameters(given: Observed, config: RecommendationConfig) -> Fitted:
    """Projections, maps of fold-in, mixing and calibration.

    Raises:
        InputError: Features or vectors are not finite, or there is nothing to learn from: no
            engagement with a post that has text, or none that the network has not seen.
    """
    rng = np.random.default_rng(config.seed)
    check_finite("post features", given.features[given.has_text])
    train = given.seen.where(given.has_text[given.seen.posts])
    unseen = given.unseen
    if not len(train):
        raise InputError(
            "no engagement of the network is with a post that has a text; give the posts that the "
            "network was embedded from."
        )
    if not len(unseen):
        raise InputError(
            "the network has seen every engagement of the log. Some must be left to choose and to "
            "calibrate by: embed it with --holdout 0.01 or more, and without the validation posts "
            "(`twhin-hf split`).",
            faq="unseen-engagements",
        )
    train = _at_most(train, config.max_records, rng)
    logger.info(
        "Learning from %s engagements, choosing by %s that the network has not seen",
        f"{len(train):,}",
        f"{len(unseen):,}",
    )
    maps, normalize, figures = _projections(given, train, config)
    read = length_normalized(given.features) if normalize else given.features
    known = given.in_network & given.has_text
    content_map = _main_directions(given.features[known], config.seed)
    text_to_network, predicted = _text_to_network(read, given, known, config.seed)
    engaged = np.bincount(given.seen.posts, minlength=len(given.has_text))
    fold_in_user, fold_in_post = _fold_ins(given, predicted, rng)
    # Only now: what stands for the network's vectors where it has none.
    guesses = read @ text_to_network[:-1] + text_to_network[-1]
    guesses[~given.has_text] = 0.0
    network = np.where(given.in_network[:, None], given.network_vectors, guesses)
    content = length_normalized(length_normalized(given.features) @ content_map)
    content[~given.has_text] = 0.0
    tables = _Scores(
        text_users=given.user_vectors @ maps["user_map"].T + maps["user_bias"],
        text_posts=np.where(
            given.has_text[:, None], read @ maps["post_map"].T + maps["post_bias"], 0.0
        ),
        network_users=given.user_vectors + given.relation,
        network_posts=network,
        content_users=length_normalized(_links_of_users(given) @ content),
        content_posts=content,
    )
    every = Records.concatenate([given.seen, unseen])
    weights = given.weights
    chosen = rng.permutation(len(unseen))[: config.max_held_out]
    fewer = min(config.num_negatives, len(engaged))
    mixed = _by_weight(weights, min(config.max_held_out, _MIXING_PAIRS // fewer), rng)
    candidates = _candidates(tables, unseen.where(mixed), every, engaged, fewer, rng)
    mixing = fit_mixing(candidates)
    pairs = _pairs(tables, mixing, unseen.where(chosen), weights[chosen], every, engaged, rng)
    calibration = fit_calibration(pairs.scores, pairs.engaged, pairs.weights)
    judged = _judge_calibration(pairs)
    parameters = Parameters(
        **maps,
        relation=given.relation,
        text_to_network=text_to_network,
        content_map=content_map,
        fold_in_user=fold_in_user,
        fold_in_post=fold_in_post,
        mixing=mixing,
        calibration=calibration,
    )
    figures |= {
        "training_engagements": len(train),
        "unseen_engagements": len(unseen),
        "calibration_error": judged.error,
    }
    return Fitted(parameters, normalize, figures, judged)


def _at_most(records: Records, most: int, rng: np.random.Generator) -> Records:
    if len(records) <= most:
        return records
    return records.where(np.sort(rng.permutation(len(records))[:most]))


def _projections(
    given: Observed, train: Records, config: RecommendationConfig
) -> tuple[dict[str, np.ndarray], bool, dict[str, Any]]:
    """The two maps with their intercepts, whether rows are normalised, and validation MRR."""
    options = config.predictor
    unseen = given.unseen
    cold = unseen.where(~given.in_network[unseen.posts] & given.has_text[unseen.posts])
    cold_posts = np.flatnonzero(~given.in_network & given.has_text)
    if len(cold) and len(cold_posts) >= _FEWEST_POSTS:
        choosing, pool, by = cold, cold_posts, "posts that the network has not seen"
    else:
        choosing = unseen.where(given.has_text[unseen.posts])
        pool, by = np.flatnonzero(given.has_text), "engagements that the network has not seen"
    if not len(choosing):
        raise InputError("no unseen engagement is with a post that has a text; give more posts.")
    choosing = _at_most(choosing, config.max_held_out, np.random.default_rng(config.seed))
    every = Records.concatenate([given.seen, unseen])
    validation = CandidateSets(choosing, pool, every, options.num_candidates, config.seed)
    users = Standardization.fit(given.user_vectors, np.unique(train.users), options)
    device = pick_device(options.device)
    user_table = users.apply(given.user_vectors).to(device)
    found = []
    for rows in rows_to_try(given.features[given.has_text], options):
        read = length_normalized(given.features) if rows == "normalized" else given.features
        posts = Standardization.fit(read, np.unique(train.posts), options)
        post_table = posts.apply(read).to(device)
        with one_thread_an_operation():
            model, epoch = train_predictor(
                user_table, post_table, train, validation, options, config.seed, progress=True
            )
            mrr = float(model.rank(user_table, post_table, validation).reciprocal().mean())
        maps = _affine(model.user, users, "user") | _affine(model.post, posts, "post")
        found.append((mrr, rows, epoch, maps))
    mrr, rows, epoch, maps = max(found, key=lambda one: one[0])
    logger.info("Projections: MRR %.3f on %s, epoch %d, rows %s", mrr, by, epoch, rows)
    figures = {"validation_mrr": mrr, "chosen_by": by, "epoch": epoch, "rows": rows}
    return maps, rows == "normalized", figures


def _affine(
    linear: torch.nn.Linear, standardized: Standardization, side: str
) -> dict[str, np.ndarray]:
    """The linear layer on standardised rows as one on rows as they come."""
    weight = linear.weight.detach().cpu() * standardized.scale
    return {f"{side}_map": weight.numpy(), f"{side}_bias": (-weight @ standardized.mean).numpy()}


def _text_to_network(
    read: np.ndarray, given: Observed, known: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The map, and what it says of the network's posts without having learnt from them."""
    weights, found = cross_fitted_ridge(read[known], given.network_vectors[known], seed)
    predicted = np.zeros((len(read), given.network_vectors.shape[1]), np.float32)
    predicted[known] = found
    return weights, predicted


def _main_directions(features: np.ndarray, seed: int) -> np.ndarray:
    """By which texts are compared, float32 `[features, content]`: the first singular vectors."""
    from sklearn.utils.extmath import randomized_svd

    size = min(_CONTENT, *features.shape)
    rows = np.random.default_rng(seed).permutation(len(features))[:_CONTENT_ROWS]
    _, _, directions = randomized_svd(length_normalized(features[rows]), size, random_state=seed)
    return np.ascontiguousarray(directions.T, np.float32)


def _links_of_users(given: Observed) -> scipy.sparse.csr_array:
    """1 where a user engaged with a post, as the network saw it, float32 `[users, posts]`."""
    shape = (len(given.user_vectors), len(given.has_text))
    ones = np.ones(len(given.seen), np.float32)
    return scipy.sparse.csr_array((ones, (given.seen.users, given.seen.posts)), shape=shape)


def _fold_ins(
    given: Observed, predicted: np.ndarray, rng: np.random.Generator
) -> tuple[FoldIn, FoldIn]:
    """Learnt from a random part of each row's links: few links must be enough."""
    users, posts = given.seen.users, given.seen.posts
    ones = np.ones(len(users), np.float32)
    user_links = _links_of_users(given)
    user_sums = user_links @ np.where(given.in_network[:, None], given.network_vectors, 0.0)
    counts = np.diff(user_links.indptr)
    rows = np.flatnonzero(counts)
    fold_in_user = FoldIn.fit(user_sums[rows], counts[rows], given.user_vectors[rows], None)
    # Posts differ much in their number of users: shares from none to all, drawn for each post.
    kept = rng.random(len(posts)) < rng.random(len(given.has_text))[posts]
    post_links = scipy.sparse.csr_array(
        (ones[kept], (posts[kept], users[kept])), shape=user_links.shape[::-1]
    )
    counts = np.diff(post_links.indptr)
    rows = np.flatnonzero(given.in_network)
    fold_in_post = FoldIn.fit(
        (post_links @ given.user_vectors)[rows],
        counts[rows],
        given.network_vectors[rows],
        predicted[rows],
    )
    return fold_in_user, fold_in_post


@dataclass(frozen=True)
class _Scores:
    """Tables whose inner products are the scores of text and network."""

    text_users: np.ndarray
    text_posts: np.ndarray
    network_users: np.ndarray
    network_posts: np.ndarray
    content_users: np.ndarray
    content_posts: np.ndarray

    def parts(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Users and posts of text, network and content."""
        return [
            (self.text_users, self.text_posts),
            (self.network_users, self.network_posts),
            (self.content_users, self.content_posts),
        ]

    def of(self, users: np.ndarray, posts: np.ndarray) -> list[np.ndarray]:
        """Text, network and content of pairs, float32 `[pairs]` each."""
        blocks = np.array_split(np.arange(len(users)), 1 + len(users) // 100_000)
        return [
            np.concatenate(
                [
                    np.einsum("pd,pd->p", of_users[users[rows]], of_posts[posts[rows]])
                    for rows in blocks
                ]
            ).astype(np.float32)
            for of_users, of_posts in self.parts()
        ]


def _by_weight(weights: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Some of the engagements, each as likely as it is heavy: those drawn count alike."""
    number = min(most, len(weights))
    return rng.choice(len(weights), number, replace=False, p=weights / weights.sum())


def _candidates(
    tables: _Scores,
    records: Records,
    every: Records,
    engaged: np.ndarray,
    num_negatives: int,
    rng: np.random.Generator,
) -> Candidates:
    """The engaged posts, and posts drawn from all for all of them together."""
    drawn = np.sort(rng.permutation(len(engaged))[:num_negatives])
    pairs = pair_keys(records.users[:, None], drawn[None])
    scores = [of_users[records.users] @ of_posts[drawn].T for of_users, of_posts in tables.parts()]
    return Candidates(
        np.stack(tables.of(records.users, records.posts)),
        engaged[records.posts],
        np.stack(scores).astype(np.float32),
        engaged[drawn],
        np.isin(pairs, pair_keys(every.users, every.posts)),
    )


@dataclass(frozen=True)
class _Pairs:
    users: np.ndarray
    scores: np.ndarray
    engaged: np.ndarray
    weights: np.ndarray

    def where(self, mask: np.ndarray) -> _Pairs:
        return replace(self, **{name: values[mask] for name, values in self.__dict__.items()})


def _pairs(
    tables: _Scores,
    mixing: Mixing,
    records: Records,
    weights: np.ndarray,
    every: Records,
    engaged: np.ndarray,
    rng: np.random.Generator,
) -> _Pairs:
    """Unseen engagements and random pairs, each with how many pairs of users and posts it is."""
    num_users, num_posts = len(tables.text_users), len(engaged)
    users = rng.integers(0, num_users, _RANDOM_PAIRS)
    posts = rng.integers(0, num_posts, _RANDOM_PAIRS)
    free = ~np.isin(pair_keys(users, posts), pair_keys(every.users, every.posts))
    users, posts = users[free], posts[free]
    stands_for = (num_users * num_posts - len(every)) / max(1, len(users))
    all_users = np.concatenate([records.users, users])
    all_posts = np.concatenate([records.posts, posts])
    a, c, d, b = mixing.of(engaged[all_posts])
    text, network, content = tables.of(all_users, all_posts)
    # All unseen engagements take part, or a random choice of them that stands for all.
    total = weights * (len(every) / weights.sum())
    return _Pairs(
        all_users,
        a * text + c * network + d * content + b,
        np.arange(len(all_users)) < len(records),
        np.concatenate([total, np.full(len(users), stands_for)]),
    )


def _judge_calibration(pairs: _Pairs) -> Reliability:
    """Fitted on one half of the users, judged on the other."""
    half = (pairs.users * 2654435761 >> 7) % 2 == 0
    own = pairs.where(half)
    if not own.engaged.any() or not pairs.engaged[~half].any():
        own = other = pairs
    else:
        other = pairs.where(~half)
    fitted = fit_calibration(own.scores, own.engaged, own.weights)
    return reliability(fitted.probability(other.scores), other.engaged, other.weights)
