"""What recommenders learn from, and what they are to find: posts and users new and known.

    engagements of …   training posts             validation posts   test posts
    known users        learnt from, some found    chosen by          found: new posts
    new users          half known, half found     —                  found: new posts

A network and an encoder are made of the engagements of known users with training posts alone, less
those that are to be found and as many that a model is mixed by (`training_log`): an encoder that
has seen these is trusted too much where it is mixed with the network. The model knows them, and
those with validation posts (`known_log`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from twhin_hf.data.splits import split_posts
from twhin_hf.errors import InputError
from twhin_hf.evaluation.recommendation.config import RecommendationJudgingConfig
from twhin_hf.network.engagements import pair_keys
from twhin_hf.network.folder import Network
from twhin_hf.network.log import EngagementGraph
from twhin_hf.recommendation.catalogue import rows_in
from twhin_hf.recommendation.records import Records, distinct_records


@dataclass(frozen=True)
class Task:
    """Engagements to find.

    Args:
        name: Such as `new posts`.
        wanted: Engagements, as rows of the log's users and of the posts; sorted by user.
        pool: Rows of the posts that are ranked, rising.
    """

    name: str
    wanted: Records
    pool: np.ndarray


@dataclass(frozen=True)
class RecommendationSplit:
    """A log taken apart.

    Args:
        log: All of it; users are its rows.
        posts: `post_id` and `text` of all posts; posts are its rows.
        splits: `train`, `validation` or `test` of each post.
        new_users: Rows of the users who are kept out.
        known: Engagements of `known_log`, as records.
        history: What is known of every user when she is judged: `known`, and half of what new users
            did with training posts.
        tasks: What is to be found.
        training_log: What a network may be embedded from.
        known_log: What a model may be fitted with.
        visible_log: `training_log` and what known users did with validation and test posts: for
            what splits the posts again.
    """

    log: EngagementGraph
    posts: pa.Table
    splits: np.ndarray
    new_users: np.ndarray
    known: Records
    history: Records
    tasks: list[Task]
    training_log: EngagementGraph
    known_log: EngagementGraph
    visible_log: EngagementGraph

    @property
    def known_posts(self) -> pa.Table:
        """Posts that a model may be fitted with: training and validation posts."""
        return self.posts.filter(pa.array(np.isin(self.splits, ("train", "validation"))))

    @property
    def counts(self) -> dict[str, int]:
        """Engagements to find by task, and what is learnt from."""
        found = {task.name: len(task.wanted) for task in self.tasks}
        return {"training": self.training_log.num_edges, "known": len(self.known)} | found


def split_recommendation(
    log: EngagementGraph,
    posts: pa.Table,
    splits: np.ndarray,
    config: RecommendationJudgingConfig | None = None,
) -> RecommendationSplit:
    """Takes a log apart.

    Args:
        log: All engagements.
        posts: `post_id` and `text`, of all posts; engagements with others take no part.
        splits: `train`, `validation` or `test` of each post, as of `split_posts`; any other way to
            split gives new posts of another kind.
        config: Shares.

    Raises:
        InputError: There is nothing to learn from, or nothing to find.
    """
    config = config or RecommendationJudgingConfig()
    rng = np.random.default_rng(config.seed)
    row_of = rows_in(log.post_ids, posts["post_id"].combine_chunks())
    post_rows = row_of[log.rhs]
    edges = np.flatnonzero(post_rows >= 0)
    split = splits[post_rows[edges]]
    # By a hash of the id, so that a user stays new in a longer log.
    shares = (1 - config.new_users, config.new_users, 0.0)
    is_new = split_posts(log.user_ids, config.seed, shares) != "train"
    new = is_new[log.lhs[edges]]

    learnable = edges[(split == "train") & ~new]
    kept = _kept_out(log, learnable, post_rows, config.known_posts, rng)
    mixed = _kept_out(log, learnable[~kept], post_rows, config.mixed_by, rng)
    training, mixed_by = learnable[~kept][~mixed], learnable[~kept][mixed]
    training_log = _part(log, training)
    others = edges[(split != "train") & ~new]
    visible_log = _part(log, np.sort(np.concatenate([training, others])))
    others = others[splits[post_rows[others]] == "validation"]
    known_log = _part(log, np.sort(np.concatenate([training, mixed_by, others])))
    if not training_log.num_edges:
        raise InputError(
            "no engagement of a known user with a training post is left to learn from; give a "
            "longer log, smaller shares or, in a split by time, a later `--validation_from`: the "
            "posts' times decide where it begins, and the log may begin after that."
        )

    def records(chosen: np.ndarray) -> Records:
        return distinct_records(log.lhs[chosen], post_rows[chosen])

    own = records(edges[(split == "train") & new])
    shown = _every_second(own.users, rng)
    known = _of_log(known_log, log, posts)
    history = Records.concatenate([known, own.where(shown)])
    has_history = np.zeros(log.num_users, bool)
    has_history[history.users] = True
    engaged = np.zeros(len(posts), bool)
    engaged[known.posts] = True
    old, fresh = (np.flatnonzero(splits == name) for name in ("train", "test"))
    old = old[engaged[old]]
    later = records(edges[split == "test"])
    hidden = records(learnable[kept])
    rest = own.where(~shown)
    both = np.sort(np.concatenate([old, fresh]))
    # Among all posts, new and known ones are to be found as often as the log has them.
    share = int(kept.sum()) / max(1, len(learnable))
    known_users = {
        "new posts": (later, fresh),
        "known posts": (hidden, old),
        "all posts": (Records.concatenate([_some(later, share, rng), hidden]), both),
    }
    unknown_users = {
        "new users, new posts": (later, fresh),
        "new users, known posts": (rest, old),
        "new users, all posts": (Records.concatenate([_some(later, 0.5, rng), rest]), both),
    }
    tasks = []
    for group, wants_new in ((known_users, False), (unknown_users, True)):
        for name, (wanted, pool) in group.items():
            fits = (is_new[wanted.users] == wants_new) & has_history[wanted.users]
            wanted = wanted.where(fits & np.isin(wanted.posts, pool)).sorted_by_user()
            if len(wanted) and len(pool) > 1:
                tasks.append(Task(name, _of_some_users(wanted, config, rng), pool))
    if not tasks:
        raise InputError("no engagement is left to find; give a longer log, or larger shares.")
    return RecommendationSplit(
        log,
        posts,
        splits,
        np.flatnonzero(is_new),
        known,
        history,
        tasks,
        training_log,
        known_log,
        visible_log,
    )


def log_table(log: EngagementGraph) -> pa.Table:
    """A log as it is written: `user_id`, `post_id` and `relation`."""
    relations = pa.array(log.relations, pa.string())
    columns = {
        "user_id": log.user_ids.take(pa.array(log.lhs)),
        "post_id": log.post_ids.take(pa.array(log.rhs)),
        "relation": relations.take(pa.array(log.relation)),
    }
    return pa.table(columns)


def check_network(network: Network, split: RecommendationSplit) -> None:
    """Refuses a network that was embedded from what is to be found.

    Raises:
        InputError: It holds an engagement that `training_log` does not, or it does not tell what it
            was embedded from.
    """
    if network.engagements is None:
        raise InputError(
            "this network folder holds no engagements (an earlier version wrote it), so nobody can "
            "tell what it has seen; embed the network again",
            faq="old-network",
        )
    users = rows_in(network.user_ids, split.log.user_ids)
    posts = rows_in(network.post_ids, split.log.post_ids)
    linked, counts = network.engagements.posts_of_users.of(np.arange(network.num_users))
    own = pair_keys(np.repeat(users, counts), posts[linked])
    training = split.training_log
    allowed_users = rows_in(training.user_ids, split.log.user_ids)[training.lhs]
    allowed_posts = rows_in(training.post_ids, split.log.post_ids)[training.rhs]
    leaked = int((~np.isin(own, pair_keys(allowed_users, allowed_posts))).sum())
    if leaked:
        raise InputError(
            f"the network was embedded from {leaked:,} engagements that are to be found, or that "
            "are not in this log: its figures would be those of engagements seen in training. "
            "Embed it from training_engagements.parquet, or let the evaluation embed it.",
            faq="held-out",
        )


def _of_log(part: EngagementGraph, log: EngagementGraph, posts: pa.Table) -> Records:
    """Engagements of a part as rows of the whole log's users and of the posts."""
    users = rows_in(part.user_ids, log.user_ids)
    rows = rows_in(part.post_ids, posts["post_id"].combine_chunks())
    return distinct_records(users[part.lhs], rows[part.rhs])


def _kept_out(
    log: EngagementGraph,
    edges: np.ndarray,
    post_rows: np.ndarray,
    share: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Which edges are kept out; all relations of a pair together, and no user's or post's last."""
    pairs, pair_of = np.unique(pair_keys(log.lhs[edges], post_rows[edges]), return_inverse=True)
    chosen = rng.random(len(pairs)) < share
    for side in (pairs >> 32, pairs & 0xFFFFFFFF):
        left = np.bincount(side[~chosen], minlength=int(side.max(initial=0)) + 1)
        chosen &= left[side] > 0
    return chosen[pair_of]


def _every_second(users: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random half of each user's rows, the larger one; bool `[rows]`."""
    order = np.lexsort((rng.random(len(users)), users))
    starts = np.searchsorted(users[order], users[order])
    shown = np.empty(len(users), bool)
    shown[order] = (np.arange(len(users)) - starts) % 2 == 0
    return shown


def _some(records: Records, share: float, rng: np.random.Generator) -> Records:
    return records.where(rng.random(len(records)) < share)


def _of_some_users(
    wanted: Records, config: RecommendationJudgingConfig, rng: np.random.Generator
) -> Records:
    users = np.unique(wanted.users)
    if len(users) <= config.max_users:
        return wanted
    return wanted.where(np.isin(wanted.users, rng.permutation(users)[: config.max_users]))


def _part(log: EngagementGraph, edges: np.ndarray) -> EngagementGraph:
    """A log of some of the edges, with the users and posts that are left."""
    users, lhs = np.unique(log.lhs[edges], return_inverse=True)
    posts, rhs = np.unique(log.rhs[edges], return_inverse=True)
    kinds, relation = np.unique(log.relation[edges], return_inverse=True)
    return replace(
        log,
        lhs=lhs.astype(np.int32),
        rhs=rhs.astype(np.int32),
        relation=relation.astype(np.int16),
        user_ids=log.user_ids.take(pa.array(users)),
        post_ids=log.post_ids.take(pa.array(posts)),
        relations=[log.relations[kind] for kind in kinds],
    )
