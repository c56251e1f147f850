"""The privacy report of a benchmark: what it shows by itself, and what attacks find."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array, diags_array

from twhin_hf.errors import InputError
from twhin_hf.evaluation.bootstrap import bootstrap_means, interval
from twhin_hf.evaluation.privacy.attacks import (
    area_under_curve,
    draw_known,
    rank_candidates,
    resampled_areas,
    unit_rows,
)
from twhin_hf.evaluation.privacy.config import AttackConfig
from twhin_hf.evaluation.privacy.published import (
    PublishedRecords,
    describe_records,
    read_published,
)
from twhin_hf.files import write_json, write_text
from twhin_hf.network.folder import Network
from twhin_hf.network.holdout import hold_out
from twhin_hf.network.log import EngagementGraph
from twhin_hf.printing import in_words
from twhin_hf.privacy.keys import hash_ids
from twhin_hf.privacy.vectors import row_bytes
from twhin_hf.recommendation.records import Records, distinct_records

REPORT_NAME = "privacy.json"
_CARD = "README.md"
_BEGIN, _END = "<!-- twhin_hf:begin privacy -->", "<!-- twhin_hf:end privacy -->"
_PART = re.compile(f"{_BEGIN}\n.*?{_END}", re.DOTALL)
_TOP = 10


def privacy_report(
    benchmark: str | Path,
    graph: EngagementGraph | None = None,
    network: Network | None = None,
    key: bytes | None = None,
    config: AttackConfig | None = None,
) -> dict[str, Any]:
    """Measures what a published benchmark reveals.

    Args:
        benchmark: Folder that a `twhin-hf data` command has written.
        graph: The whole log that it was made of, for the attacks; `network` comes with it.
        network: The network whose user vectors were published.
        key: Of the hashes that stand for post ids; None where ids are as in the log.
        config: Options of the attacks.

    Returns:
        JSON values: `set`, of `read_published`; of an engagement benchmark `records`, of
        `describe_records`; and with a log `re_identification`, of `reidentify`, `membership`, of
        `tell_members`, and `options`.

    Raises:
        FileNotFoundError: No such folder, or no Parquet file in it.
        InputError: The set, the log, the network and the key do not belong together, or the set
            has no records to attack.
    """
    counts, records = read_published(benchmark)
    found: dict[str, Any] = {"set": counts}
    if records is not None:
        found["records"] = describe_records(records)
    if graph is None and network is None:
        return found
    if graph is None or network is None or records is None:
        raise InputError(
            f"{benchmark} has no records of users; attacks need an engagement benchmark."
            if records is None
            else "The attacks need both the log and the network that the benchmark was made of."
        )
    config = config or AttackConfig()
    found["re_identification"] = reidentify(records, graph, network, key, config)
    found["membership"] = tell_members(records, graph, network, config)
    found["options"] = asdict(config)
    return found


def write_privacy_report(benchmark: str | Path, found: Mapping[str, Any]) -> Path:
    """Writes `privacy.json` into the benchmark's folder, and the figures into its card.

    Returns:
        The file.
    """
    folder = Path(benchmark)
    write_json(folder / REPORT_NAME, found)
    card = folder / _CARD
    if card.is_file():
        section = f"{_BEGIN}\n{_section(found)}\n{_END}"
        text, times = _PART.subn(lambda _: section, card.read_text(encoding="utf-8"))
        write_text(card, text if times else f"{text.rstrip()}\n\n{section}\n")
    return folder / REPORT_NAME


def attack_rows(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Each attack of a report in words, its figure with the interval, and what chance gives."""
    rows = [
        (
            f"user found by {in_words(name)}, {title}",
            _figure(attack[rank], "share"),
            f"{attack[rank]['chance']:.4f}",
        )
        for name, attack in found.get("re_identification", {}).items()
        for rank, title in (("rank_1", "first"), ("top_10", "among ten"))
        if rank in attack
    ]
    rows += [
        (f"trained on, told from {in_words(name)} (AUC)", _figure(told, "auc"), "0.5")
        for name, told in found.get("membership", {}).items()
    ]
    return rows


def reidentify(
    records: PublishedRecords,
    graph: EngagementGraph,
    network: Network,
    key: bytes | None,
    config: AttackConfig,
) -> dict[str, Any]:
    """Whether a part of a user's engagements finds the vector published of that user.

    The attacker averages the vectors of the posts that a user is known to have engaged with, and
    takes the nearest published vectors by cosine. Vectors of posts are those of the network, should
    they be known (`network_vectors`), or made of the set alone: the mean of the users recorded with
    a post (`published_records`; candidates with a known post then come before all others).

    Args:
        records: What was published.
        graph: The whole log.
        network: Whose vectors were published.
        key: Of the hashes that stand for post ids.
        config: Options.

    Returns:
        Of each attack: `users` attacked (those of whom a post with a vector is known),
        `candidates`, and `rank_1` and `top_10`: the share of users found so, its 95 % interval over
        users, and what chance gives.

    Raises:
        InputError: No published vector is one of the network, or no published post is in the log.
    """
    rng = np.random.default_rng(config.seed)
    candidate_of, user_rows = _owners(records, graph, network)
    edges = distinct_records(graph.lhs, graph.rhs)
    edges = edges.where(np.isin(edges.users, user_rows))
    known = edges.where(draw_known(edges.users, config.known_share, rng))
    if len(user_rows) > config.max_users:
        user_rows = rng.choice(user_rows, config.max_users, replace=False)
    users, own = np.sort(user_rows), candidate_of[np.sort(user_rows)]
    known = known.where(np.isin(known.users, users))

    shape = (len(users), len(graph.post_ids))
    all_known = _matrix(np.searchsorted(users, known.users), known.posts, shape)
    from_network = _rows_in(graph.post_ids, network.post_ids)
    from_set = _rows_in(_published_ids(graph.post_ids, key), records.post_ids)
    if (from_set < 0).all():
        raise InputError(
            "No published post is in the log: give the log that the benchmark was made of, and "
            "the file with the key of its ids (`--key_file`)."
        )
    recorded = _matrix(records.users, records.posts, (len(records.vectors), len(records.post_ids)))
    posts_of_set = unit_rows(recorded.T @ unit_rows(records.vectors))
    attacks = {
        "network_vectors": _attack(
            all_known, from_network, unit_rows(network.post_vectors), records.vectors, own
        ),
        "published_records": _attack(
            all_known, from_set, posts_of_set, records.vectors, own, recorded
        ),
    }
    return {name: _hits(ranks, len(records.vectors), config) for name, ranks in attacks.items()}


def tell_members(
    records: PublishedRecords, graph: EngagementGraph, network: Network, config: AttackConfig
) -> dict[str, Any]:
    """Whether the score of a published user and a post tells that the network was trained on it.

    The score is u·t, of the network's vectors. Members are engagements that took part in its
    training. They are told from engagements that were held out of it (`held_out_engagements`: the
    attacker tells members from non-members), and from posts that the user did not engage with
    (`no_engagements`: the attacker tells what the user likes, which the network is made for).

    Args:
        records: What was published.
        graph: The whole log.
        network: Whose vectors were published.
        config: Options.

    Returns:
        Of each: the numbers of `members` and `others`, `auc` (0.5 is chance) and its 95 % interval
        over users. What there is none of is left out.

    Raises:
        InputError: No published vector is one of the network.
    """
    rng = np.random.default_rng(config.seed)
    _, user_rows = _owners(records, graph, network)
    wanted = np.zeros(network.num_users, bool)
    rows = _rows_in(graph.user_ids.take(pa.array(user_rows)), network.user_ids)
    wanted[rows] = True
    inside, held_out = _network_edges(graph, network)
    trained = distinct_records(inside.lhs[~held_out], inside.rhs[~held_out])
    kept_out = _without(distinct_records(inside.lhs[held_out], inside.rhs[held_out]), trained)
    engaged = distinct_records(inside.lhs, inside.rhs)

    members = _some(trained.where(wanted[trained.users]), config.max_engagements, rng)
    drawn = Records(members.users, rng.integers(network.num_posts, size=len(members)))
    others = {
        "held_out_engagements": _some(
            kept_out.where(wanted[kept_out.users]), config.max_engagements, rng
        ),
        "no_engagements": _without(drawn, engaged),
    }
    found: dict[str, Any] = {}
    for name, against in others.items():
        if not len(members) or not len(against):
            continue
        high, low = _scores(network, members), _scores(network, against)
        areas = resampled_areas(
            high, low, members.users, against.users, config.resamples, config.seed
        )
        found[name] = {
            "members": len(members),
            "others": len(against),
            "auc": area_under_curve(high, low),
            "interval": interval(areas),
        }
    return found


def _owners(
    records: PublishedRecords, graph: EngagementGraph, network: Network
) -> tuple[np.ndarray, np.ndarray]:
    """The candidate of each user of the log (−1 where there is none), and the users who have one.

    Vectors go out as they are, so equal ones are of one user. Of users with equal vectors each has
    the same candidate.
    """
    if records.vectors.shape[1] != network.dimension:
        raise InputError(
            f"Published vectors have {records.vectors.shape[1]} dimensions, those of the network "
            f"{network.dimension}. Give the network that the benchmark was made of."
        )
    published, theirs = row_bytes(records.vectors), row_bytes(network.user_vectors)
    place = np.minimum(np.searchsorted(published, theirs), len(published) - 1)
    candidates = np.where(published[place] == theirs, place, -1)
    in_network = _rows_in(graph.user_ids, network.user_ids)
    candidate_of = np.where(in_network >= 0, candidates[in_network], -1)
    rows = np.flatnonzero(candidate_of >= 0)
    if not len(rows):
        raise InputError(
            "No published vector is one of the network and of a user of the log. Give the log and "
            "the network that the benchmark was made of."
        )
    return candidate_of, rows


def _attack(
    known: csr_array,
    place_of: np.ndarray,
    post_vectors: np.ndarray,
    candidates: np.ndarray,
    own: np.ndarray,
    recorded: csr_array | None = None,
) -> np.ndarray:
    """Ranks of the users of whom a post with a vector is known; `place_of` is its row, or −1."""
    columns = np.flatnonzero(place_of >= 0)
    coo = known[:, columns].tocoo()
    shape = (known.shape[0], len(post_vectors))
    known = _matrix(coo.row, place_of[columns[coo.col]], shape)
    degree = known.sum(axis=1)
    rows = np.flatnonzero(degree > 0)
    targets = diags_array(1 / degree[rows]) @ known[rows] @ post_vectors
    return rank_candidates(targets, candidates, own[rows], known[rows], recorded)


def _hits(ranks: np.ndarray, num_candidates: int, config: AttackConfig) -> dict[str, Any]:
    found: dict[str, Any] = {"users": len(ranks), "candidates": num_candidates}
    if not len(ranks):
        return found
    hits = [(ranks <= most).astype(np.float64) for most in (1, _TOP)]
    means = bootstrap_means(hits, [np.arange(len(ranks))] * 2, config.resamples, config.seed)
    for column, (name, most) in enumerate({"rank_1": 1, "top_10": _TOP}.items()):
        found[name] = {
            "share": float(hits[column].mean()),
            "interval": interval(means[:, column]),
            "chance": min(most, num_candidates) / num_candidates,
        }
    return found


def _network_edges(graph: EngagementGraph, network: Network) -> tuple[EngagementGraph, np.ndarray]:
    """The log's edges among the network's rows, and which took no part in its training.

    Both are numbered in the order of ids, so that the edges held out can be drawn again where the
    log is the one that the network was embedded from.
    """
    users = _rows_in(graph.user_ids, network.user_ids)
    posts = _rows_in(graph.post_ids, network.post_ids)
    kinds = _rows_in(pa.array(graph.relations), pa.array(network.relations))
    lhs, rhs, relation = users[graph.lhs], posts[graph.rhs], kinds[graph.relation]
    kept = (lhs >= 0) & (rhs >= 0) & (relation >= 0)
    inside = replace(
        graph,
        lhs=lhs[kept],
        rhs=rhs[kept],
        relation=relation[kept],
        user_ids=network.user_ids,
        post_ids=network.post_ids,
        relations=network.relations,
    )
    metadata = network.metadata
    # Where some of it was forgotten since, other edges would be drawn.
    was_whole = not metadata.get("forgotten")
    share = metadata.get("options", {}).get("holdout", 0.0)
    if share and was_whole and metadata.get("num_edges") == inside.num_edges:
        return inside, hold_out(inside, share, metadata["seed"])
    return inside, np.zeros(inside.num_edges, bool)


def _published_ids(ids: pa.Array, key: bytes | None) -> pa.Array:
    return ids if key is None else pa.array(hash_ids(ids.to_pylist(), key), pa.string())


def _rows_in(ids: pa.Array, among: pa.Array) -> np.ndarray:
    """Row of each id among others, −1 where it is not there, int64."""
    return pc.fill_null(pc.index_in(ids, value_set=among), -1).to_numpy().astype(np.int64)


def _matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """A matrix of ones at the distinct places."""
    made = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    made.sum_duplicates()
    made.data[:] = 1
    return made


def _without(records: Records, others: Records) -> Records:
    return records.where(~np.isin(records.keys(), others.keys()))


def _some(records: Records, most: int, rng: np.random.Generator) -> Records:
    if len(records) <= most:
        return records
    return records.where(np.sort(rng.choice(len(records), most, replace=False)))


def _scores(network: Network, records: Records) -> np.ndarray:
    users, posts = network.user_vectors[records.users], network.post_vectors[records.posts]
    return np.einsum("ij,ij->i", users, posts, dtype=np.float64)


def _section(found: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    told = found["set"]
    lines = [
        "## Privacy",
        "",
        f"Of {told['posts']:,} posts {told['texts_that_name_people']:,} texts name people; "
        f"{told['ids_that_name_people']:,} ids do, and {told['ids_neither_hashed_nor_numbers']:,} "
        "ids are neither keyed hashes nor numbers.",
    ]
    if records := found.get("records"):
        lines[-1] += (
            f" Of {records['users']:,} users {records['users_in_several_records']:,} have several "
            f"records; the smallest config has {records['smallest_config']:,} users; a post is "
            f"recorded of {records['smallest_group']:,} or more users, and "
            f"{records['groups_of_one']:,} posts of one alone."
        )
    if rows := attack_rows(found):
        share = found["options"]["known_share"]
        lines += [
            "",
            f"Attacks by somebody who knows a share of {share:g} of a user's engagements, and "
            "on whether an engagement was trained on, with 95 % intervals:",
            "",
            "| attack | share of users, or AUC | by chance |",
            "| --- | ---: | ---: |",
            *(f"| {' | '.join(row)} |" for row in rows),
        ]
    return "\n".join(lines)


def _figure(found: Mapping[str, Any], name: str) -> str:
    low, high = found["interval"]
    return f"{found[name]:.4f} [{low:.4f}, {high:.4f}]"
