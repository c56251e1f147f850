"""Takes new engagements into a network that has been embedded, at a cost in proportion to them.

New users and posts are folded in by least squares (`fold_in.py`), then everybody with a new
engagement is learnt by the network's own objective, with negatives from the whole table:

- The edges are the new engagements, old ones of the same users and posts (replay, so that they are
  not forgotten), and a few of anybody's, whose posts are negatives. Old engagements are looked up
  by row; there is no pass over all of them.
- Only rows with a new engagement move. All others keep their vectors bit by bit, and so do those
  of relations: what all share must not follow one day.
- Recent posts have a larger share of these edges than of the log. The softmax is corrected by how
  often a post was engaged with in all, which cancels that.
- Adagrad begins as if it had met the old engagements, so that an old row takes short steps.

Networks of alternating least squares are updated by the same equations that made them, for the rows
with a new engagement alone.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from twhin_hf.devices import pick_device
from twhin_hf.errors import InputError
from twhin_hf.network.checkpoint import Position
from twhin_hf.network.embedding import step_trainer, train_tables
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.engagements import Neighbours
from twhin_hf.network.fold_in import Part, alternate
from twhin_hf.network.folder import Network, check_finite
from twhin_hf.network.log import EngagementGraph, LogReport
from twhin_hf.network.new_engagements import NewEngagements, find_new
from twhin_hf.network.sampled_softmax import log_counts
from twhin_hf.network.schedule import Schedule
from twhin_hf.network.tables import INIT_SCALE, Tables
from twhin_hf.network.update_config import NetworkUpdateConfig
from twhin_hf.version import __version__

logger = logging.getLogger(__name__)

_EPOCHS = {"softmax": 2, "twhin": 3, "als": 1}
_NEGATIVES = 0.1  # engagements of anybody, for each that is learnt
# Adagrad's state of an old row for each of its engagements: about the mean squared gradient of one.
_STATE = {"softmax": 0.1, "twhin": 0.1}
# Of the least squares that new rows begin with, where a network is none of least squares itself.
_CONFIDENCE, _SHARE, _L2, _ROUNDS = 3.0, 0.1, 1.0, 2
_MOST_SOLVED = 300  # old engagements in the normal equations of one row; more are sampled


def update_network(
    network: Network,
    graph: EngagementGraph,
    config: NetworkUpdateConfig | None = None,
    *,
    progress: bool = True,
) -> Network:
    """Takes new engagements into a network, without embedding it anew.

    Users and posts that the network does not have are added behind those that it has. Rows without
    a new engagement, rows of a frozen side and relations keep their vectors bit by bit.

    Args:
        network: The network as it was; it is left as it is.
        graph: The new engagements, as `read_log` returns them. Those of a user with a post that
            have an engagement already, of whatever relation, are passed over.
        config: Options.
        progress: Show a progress bar.

    Returns:
        The updated network; `network` itself where nothing is new. `metadata["updates"]` gets an
        entry with counts, options and a fingerprint of the new engagements; `metadata["metrics"]`
        remain those of the embedding.

    Raises:
        InputError: The graph has no edge, or a relation that the network has not; the network holds
            no engagements, no options or vectors that are not finite; or training diverged.
        SystemExit: SIGTERM came; SIGINT ends in a KeyboardInterrupt.

    Example:
        `update_network(load_network("network"), read_log("today.parquet"))`
    """
    config = config or NetworkUpdateConfig()
    options = _embedding_options(network)
    _check(network, graph)
    update = find_new(network, graph)
    passed_over = graph.num_edges - len(update.edges.users)
    if not len(update.edges.users):
        logger.info("Nothing is new: the network has all %d engagements already", passed_over)
        return network
    began = time.monotonic()
    if options.method == "als":
        users, posts, learnt = _solve(update, graph.relations, options, config)
        loss = None
    else:
        users, posts, learnt, loss = _train(update, options, config, progress)
    entry = {
        "num_users": len(users) - network.num_users,
        "num_posts": len(posts) - network.num_posts,
        "num_edges": len(update.edges.users),
        "passed_over": passed_over,
        "learnt_edges": learnt,
        "loss": loss,
        "seconds": time.monotonic() - began,
        "options": vars(config).copy(),
        "engagements": _fingerprint(graph),
        "versions": {"twhin_hf": __version__, "torch": torch.__version__},
    }
    metadata = {
        **network.metadata,
        "num_edges": network.metadata.get("num_edges", 0) + len(update.edges.users),
        "before": _later(network.metadata.get("before"), graph.before),
        "updates": [*network.metadata.get("updates", []), entry],
    }
    return update.network_with(users, posts, metadata)


def _later(old: str | None, new: str | None) -> str | None:
    """When all engagements end, old and new; None where nobody has looked at one of them."""
    return None if old is None or new is None else max(old, new)


def _embedding_options(network: Network) -> NetworkEmbeddingConfig:
    known = NetworkEmbeddingConfig.__dataclass_fields__
    options = network.metadata.get("options")
    if not isinstance(options, Mapping) or "method" not in options:
        raise InputError(
            "The network does not say by which options it was embedded, so it cannot be updated by "
            "the same. Embed it again with `twhin-hf network embed`."
        )
    return NetworkEmbeddingConfig(**{name: options[name] for name in known if name in options})


def _check(network: Network, graph: EngagementGraph) -> None:
    if not graph.num_edges:
        raise InputError("The graph has no edge: nothing to update. Check the engagement log.")
    if network.engagements is None:
        raise InputError(
            "The network holds no engagements (it is of an earlier version), so what is new to it "
            "is not known. Embed it again with `twhin-hf network embed`.",
            faq="old-network",
        )
    if unknown := sorted(set(graph.relations) - set(network.relations)):
        raise InputError(
            f"The new log has the relation {', '.join(map(repr, unknown))}, but the network has "
            f"{', '.join(map(repr, network.relations))}. Leave it out by naming the others "
            "(`relations`), or embed the network again."
        )
    for name, ids, vectors in (
        ("user", network.user_ids, network.user_vectors),
        ("post", network.post_ids, network.post_vectors),
    ):
        check_finite(vectors, ids, f"{name} (the network to update)")


def _train(
    update: NewEngagements,
    options: NetworkEmbeddingConfig,
    config: NetworkUpdateConfig,
    progress: bool,
) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Vectors of users and posts, how many edges were learnt, and their loss."""
    device = pick_device(config.device)
    options = replace(
        options,
        epochs=config.epochs or _EPOCHS[options.method],
        learning_rate=config.learning_rate or options.learning_rate,
        seed=config.seed,
        threads=config.threads,
    )
    threads = config.threads or torch.get_num_threads()
    vectors = _vectors(update, config.seed)
    if options.option("warm_start"):  # the logistic loss learns new rows better from noise
        _fold_in_new(update, vectors, config.seed, threads)
    graph = _edges_to_learn(update, config)
    schedule = Schedule.of(
        graph,
        np.ones(graph.num_edges, bool),
        chunk=options.option("num_batch_negs") + 1,
        batch_size=options.batch_size,
        num_uniform_negs=options.option("num_uniform_negs") or 0,
        seed=config.seed,
        device=device,
        least_steps=400 if options.method == "softmax" else 1_000,
    )
    tables = _tables(update, vectors, config.freeze, _STATE[options.method], device)
    counts = _corrected_counts(update, schedule) if options.method == "softmax" else None
    start = Position(0, 0, [])
    train = step_trainer(tables, schedule, options, counts)
    loss = train_tables(tables, schedule, options, train, start, None, {}, progress)
    users, posts = (tables.vectors[side].cpu().numpy() for side in ("users", "posts"))
    return users, posts, options.option("epochs") * schedule.num_edges, loss


def _fold_in_new(
    update: NewEngagements, vectors: dict[str, np.ndarray], seed: int, threads: int
) -> None:
    """Vectors to begin with for the new rows, in place."""
    others = update.others("users")
    drawn = np.random.default_rng(seed).integers(0, max(1, len(others.others)), 10_000)
    if not len(others.others):
        return
    users = np.searchsorted(others.offsets, drawn, side="right") - 1
    posts = np.asarray(others.others[drawn])
    score = float(np.einsum("ij,ij->i", vectors["users"][users], vectors["posts"][posts]).mean())
    parts = {}
    for side in ("users", "posts"):
        rows = update.touched(side, freeze=side)
        own, other = update.edges.rows(side)
        is_new = own >= update.num_old(side)
        confidence = np.full(is_new.sum(), _CONFIDENCE)
        parts[side] = Part.of(rows, own[is_new], other[is_new], confidence)
    alternate(vectors, parts, _ROUNDS, share=_SHARE, l2=_L2, target=score, threads=threads)


def _edges_to_learn(update: NewEngagements, config: NetworkUpdateConfig) -> EngagementGraph:
    """New engagements, repeated ones, and some of anybody for their posts."""
    random = np.random.default_rng(config.seed)
    num_posts = len(update.ids["posts"])
    keys = []
    for side in ("users", "posts"):
        rows = update.touched(side, config.freeze)
        new = np.bincount(update.edges.rows(side)[0], minlength=1)[rows]
        wanted = np.maximum(np.ceil(config.replay * new), config.min_replay).astype(np.int64)
        own, other, _ = _draw(update.others(side), rows, wanted, random)
        users, posts = (own, other) if side == "users" else (other, own)
        keys.append((users * num_posts + posts)[~update.is_held_out(users, posts)])
    users, posts = np.divmod(np.unique(np.concatenate(keys)), num_posts)
    everybody = update.others("users")
    count = int(_NEGATIVES * (len(update.edges.users) + len(users)))
    drawn = random.integers(0, max(1, len(everybody.others)), count)[: len(everybody.others)]
    anybody = np.searchsorted(everybody.offsets, drawn, side="right") - 1
    taken = ~update.is_held_out(anybody, everybody.others[drawn].astype(np.int64))
    anybody, drawn = anybody[taken], drawn[taken]
    # A network does not keep in which relation an old engagement was.
    relations = random.choice(update.edges.relations, len(users) + len(drawn))
    return EngagementGraph(
        lhs=np.concatenate([update.edges.users, users, anybody]).astype(np.int32),
        rhs=np.concatenate([update.edges.posts, posts, everybody.others[drawn]]).astype(np.int32),
        relation=np.concatenate([update.edges.relations, relations]).astype(np.int16),
        user_ids=update.ids["users"],
        post_ids=update.ids["posts"],
        relations=update.network.relations,
        report=LogReport(),
    )


def _draw(
    neighbours: Neighbours, rows: np.ndarray, wanted: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Others of rows: all where a row has no more than wanted, else draws with replacement.

    Returns:
        Row and other of each draw, and of how many others of its row it stands for.
    """
    starts = np.asarray(neighbours.offsets[rows])
    counts = np.asarray(neighbours.offsets[rows + 1]) - starts
    taken = np.minimum(wanted, counts)
    of = np.repeat(np.arange(len(rows)), taken)
    in_order = np.arange(len(of)) - np.repeat(np.cumsum(taken) - taken, taken)
    drawn = (random.random(len(of)) * counts[of]).astype(np.int64)
    places = starts[of] + np.where((counts <= wanted)[of], in_order, drawn)
    others = np.asarray(neighbours.others[places]).astype(np.int64)
    return rows[of], others, counts[of] / taken[of]


def _tables(
    update: NewEngagements,
    vectors: dict[str, np.ndarray],
    freeze: str,
    state_of_one: float,
    device: str,
) -> Tables:
    relations = torch.tensor(update.network.relation_vectors, device=device)
    tables = {side: torch.from_numpy(values).to(device) for side, values in vectors.items()}
    state, learnt = {}, {"relations": torch.zeros(len(relations), dtype=torch.bool, device=device)}
    for side, values in vectors.items():
        met = state_of_one * np.diff(update.others(side).offsets)
        state[side] = torch.from_numpy(met.astype(np.float32)).to(device)
        moves = np.zeros(len(values), bool)
        moves[update.touched(side, freeze)] = True
        learnt[side] = torch.from_numpy(moves).to(device)
    state["relations"] = torch.zeros(len(relations), device=device)
    return Tables({**tables, "relations": relations}, state, learnt)


def _corrected_counts(update: NewEngagements, schedule: Schedule) -> Tensor:
    """Logarithms for the softmax as if all engagements were learnt.

    Of those with a post, these edges are the share `n_here / n_all`, so a post is met too often by
    that much, which the counts of `log_counts` cannot know.
    """
    num_posts = len(update.ids["posts"])
    here = torch.bincount(schedule.rhs.long(), minlength=num_posts)
    old = np.diff(update.others("posts").offsets)
    new = np.bincount(update.edges.posts, minlength=num_posts)
    everything = torch.from_numpy(old + new).to(here.device)
    return log_counts(schedule) + (everything / here).log()[schedule.rhs.long()].float()


def _solve(
    update: NewEngagements,
    relations: list[str],
    options: NetworkEmbeddingConfig,
    config: NetworkUpdateConfig,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Vectors of users and posts by least squares, and how many engagements that read."""
    random = np.random.default_rng(config.seed)
    vectors = _vectors(update, config.seed)
    weights = options.relation_weights or {}
    own = np.array([weights.get(name, 1.0) for name in update.network.relations])
    own *= options.option("confidence")
    of_old = own.mean()  # a network does not keep in which relation an old engagement was
    parts = {}
    for side in ("users", "posts"):
        rows = update.touched(side, config.freeze)
        mine, other = update.edges.rows(side)
        is_learnt = np.isin(mine, rows)
        wanted = np.full(len(rows), _MOST_SOLVED)
        drawn = _draw(update.others(side), rows, wanted, random)
        pairs = drawn[:2] if side == "users" else drawn[1::-1]
        old_mine, old_other, stands_for = (part[~update.is_held_out(*pairs)] for part in drawn)
        parts[side] = Part.of(
            rows,
            np.concatenate([old_mine, mine[is_learnt]]),
            np.concatenate([old_other, other[is_learnt]]),
            np.concatenate([of_old * stands_for, own[update.edges.relations[is_learnt]]]),
        )
    rounds = config.epochs or _EPOCHS["als"]
    threads = config.threads or torch.get_num_threads()
    l2 = max(options.option("l2"), 1e-6)
    alternate(vectors, parts, rounds, l2=l2, threads=threads)
    solved = sum(len(part.confidence) for part in parts.values())
    return vectors["users"], vectors["posts"], rounds * solved


def _vectors(update: NewEngagements, seed: int) -> dict[str, np.ndarray]:
    """Copies of the old vectors, and noise for new rows."""
    noise = np.random.default_rng(seed)
    found = {}
    network = update.network
    for side, old in {"users": network.user_vectors, "posts": network.post_vectors}.items():
        size = (len(update.ids[side]) - len(old), old.shape[1])
        new = noise.standard_normal(size, np.float32) * np.float32(INIT_SCALE)
        found[side] = np.concatenate([old, new])
    return found


def _fingerprint(graph: EngagementGraph) -> str:
    """A hash of the engagements of a log."""
    digest = hashlib.blake2b(digest_size=16)
    for values in (graph.lhs, graph.rhs, graph.relation):
        digest.update(np.ascontiguousarray(values).data)
    for names in (graph.user_ids.to_pylist(), graph.post_ids.to_pylist(), graph.relations):
        digest.update("\0".join(names).encode(errors="surrogateescape"))
    return digest.hexdigest()
