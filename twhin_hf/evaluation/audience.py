"""Whether posts that lie close to each other share an audience, the people who engage with them.

For each post with an audience, among all others that have one: its k nearest neighbours by cosine,
the share of them that at least one of its own people engaged with too, and the mean Jaccard overlap
of their audiences and its own. Chance is what neighbours drawn at random have, which needs no draw:
it is the mean over all other posts. People read some languages and not others, so that an encoder
that told languages apart and no more would be above it: where languages are known, neighbours drawn
at random from the posts of the same language are compared with too. Copies of a post (the same
text) are no neighbours of it, or finding them would count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from twhin_hf.errors import InputError
from twhin_hf.evaluation.bootstrap import RESAMPLES, bootstrap_means, interval
from twhin_hf.network.neighbours import unit_vectors

if TYPE_CHECKING:
    from rich.table import Table

CHANCE = "chance"
SAME_LANGUAGE = "chance within the language"
_VALUES_PER_BLOCK = 2**22


@dataclass(frozen=True)
class Estimate:
    """A figure and how sure it is.

    Args:
        value: The figure.
        interval: 95 % interval over resampled posts, `[low, high]`.
    """

    value: float
    interval: list[float]


@dataclass(frozen=True)
class Agreement:
    """One measure, of the encoder that is judged and of what it is compared with.

    Args:
        chance: Of neighbours drawn at random.
        values: By the name of each set of vectors, and `SAME_LANGUAGE` where languages are known.
        lifts: The same, divided by chance.
        gains: The first set's value less that of each other set and less chance, of the same posts.
    """

    chance: Estimate
    values: dict[str, Estimate]
    lifts: dict[str, Estimate]
    gains: dict[str, Estimate]


@dataclass(frozen=True)
class AudienceAgreement:
    """How far neighbours share an audience.

    Args:
        num_posts: Posts that were asked for their neighbours: those with an audience.
        k: Neighbours of each.
        share: Share of the neighbours that have at least one person in common with the post.
        overlap: Mean Jaccard overlap of the audiences: people of both by people of either.
    """

    num_posts: int
    k: int
    share: Agreement
    overlap: Agreement


def audience_agreement(
    vectors: Mapping[str, np.ndarray],
    audiences: csr_array,
    copies: np.ndarray | None = None,
    *,
    languages: Sequence[str | None] | None = None,
    k: int = 10,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> AudienceAgreement:
    """How often the nearest neighbours of a post share its audience, against chance.

    Intervals are of posts drawn anew with replacement, the posts among which neighbours are sought
    staying as they are; lifts and gains are of the same draws (paired). Time and memory go by
    blocks of posts: `posts² · (width + users a post)` multiplications.

    Args:
        vectors: Vectors of the same posts by one or more encoders, `[posts, width]` each; the first
            is the one that is judged.
        audiences: Who engaged with which post, `[posts, users]`; whatever is stored and not 0 is an
            engagement. Posts without any take no part.
        copies: Posts of the same number are copies of each other, int `[posts]`; none by default.
        languages: Language of each post `[posts]`; of two or more, chance within them is told.
        k: Neighbours of each post; all others where there are fewer.
        resamples: Draws of the intervals.
        seed: Seed of the draws.

    Raises:
        InputError: Fewer than two different posts with an audience, no user who engaged with two of
            them, or arrays of other lengths.

    Example:
        >>> posts = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
        >>> users = csr_array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]])
        >>> found = audience_agreement({"after": posts}, users, k=1)
        >>> found.share.values["after"].value, round(found.share.chance.value, 3)
        (1.0, 0.5)
    """
    if k < 1:
        raise InputError(f"k is {k}; it must be 1 or more.")
    copies = np.arange(audiences.shape[0]) if copies is None else np.asarray(copies)
    lengths = {name: len(values) for name, values in vectors.items()}
    if languages is not None:
        lengths["languages"] = len(languages)
    if not vectors or {*lengths.values(), len(copies)} != {audiences.shape[0]}:
        raise InputError(
            f"Vectors of {lengths} posts, audiences of {audiences.shape[0]} and copies of "
            f"{len(copies)}; needed are those of the same posts."
        )
    engaged = csr_array(audiences != 0, dtype=np.float32)
    has_audience = np.flatnonzero(engaged.sum(axis=1))
    engaged, copies = engaged[has_audience], copies[has_audience]
    if len(np.unique(copies)) < 2:
        raise InputError(
            f"{len(has_audience)} posts have an audience, {len(np.unique(copies))} of them of "
            "different texts; at least 2 are needed. Give a larger sample, or the whole log."
        )
    units = {name: unit_vectors(np.asarray(v)[has_audience]) for name, v in vectors.items()}
    groups = None
    if languages is not None:
        own = np.array([name or "" for name in languages])[has_audience]
        _, groups = np.unique(own, return_inverse=True)
        groups = groups if groups.any() else None
    found = _of_posts(units, engaged, copies, groups, k)
    if not found[CHANCE].any():
        raise InputError(
            f"None of {len(has_audience):,} posts has a person in common with another; give a "
            "larger sample, or the whole log."
        )
    share, overlap = (
        _agreement({name: values[measure] for name, values in found.items()}, resamples, seed)
        for measure in (0, 1)
    )
    return AudienceAgreement(len(has_audience), min(k, len(has_audience) - 1), share, overlap)


def agreement_table(found: AudienceAgreement) -> Table:
    """Both measures as the screen shows them: values and gains in per cent, with intervals."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", "%", "× chance", "the first is ahead by")
    table.caption = (
        f"Share a person: of a post's {found.k} nearest neighbours, those that one of its own "
        "people engaged with too. People in common: of all people of a post and a neighbour, "
        "those of both (Jaccard), on average. In brackets, 95 % intervals; a difference whose "
        "interval holds 0 is none that this many posts can tell."
    )
    measures = {"share a person": found.share, "people in common": found.overlap}
    for title, measure in measures.items():
        table.add_section()
        table.add_row(Text(title, style="bold"))
        for name, estimate in measure.values.items():
            gain = measure.gains.get(name)
            table.add_row(
                Text(name),
                _in_per_cent(estimate),
                f"{measure.lifts[name].value:.2f}",
                _in_per_cent(gain) if gain else "",
            )
        table.add_row(
            CHANCE, _in_per_cent(measure.chance), "1", _in_per_cent(measure.gains[CHANCE])
        )
    return table


def _in_per_cent(estimate: Estimate) -> str:
    low, high = (100 * bound for bound in estimate.interval)
    return f"{100 * estimate.value:.2f} ({low:.2f} to {high:.2f})"


def _of_posts(
    units: Mapping[str, np.ndarray],
    engaged: csr_array,
    copies: np.ndarray,
    groups: np.ndarray | None,
    k: int,
) -> dict[str, np.ndarray]:
    """Share and overlap of each post by name, chance among them; float64 `[2, posts]`."""
    count = len(copies)
    k = min(k, count - 1)
    people = np.asarray(engaged.sum(axis=1))
    by_user = engaged.T.tocsr()
    names = (*units, CHANCE) if groups is None else (*units, SAME_LANGUAGE, CHANCE)
    found = {name: np.empty((2, count)) for name in names}
    size = max(1, _VALUES_PER_BLOCK // count)
    for start in range(0, count, size):
        rows = slice(start, min(start + size, count))
        common = (engaged[rows] @ by_user).toarray()
        measures = (common > 0, common / (people[rows, None] + people - common))
        others = copies[rows, None] != copies
        for measure, values in enumerate(measures):
            found[CHANCE][measure, rows] = _mean(values, others)
        if groups is not None:
            alike = others & (groups[rows, None] == groups)
            # The only post of its language has all others.
            alike = np.where(alike.any(axis=1, keepdims=True), alike, others)
            for measure, values in enumerate(measures):
                found[SAME_LANGUAGE][measure, rows] = _mean(values, alike)
        for name, own in units.items():
            cosines = np.where(others, own[rows] @ own.T, -np.inf)
            nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
            counted = np.take_along_axis(others, nearest, axis=1)
            for measure, values in enumerate(measures):
                taken = np.take_along_axis(values, nearest, axis=1)
                found[name][measure, rows] = _mean(taken, counted)
    return found


def _mean(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Mean of each row over what is counted, which is at least one value."""
    return np.where(counted, values, 0).sum(axis=1, dtype=np.float64) / counted.sum(axis=1)


def _agreement(values: dict[str, np.ndarray], resamples: int, seed: int) -> Agreement:
    """The estimates of one measure, of its value of each post by name."""
    posts = [np.arange(len(own)) for own in values.values()]
    drawn = bootstrap_means(list(values.values()), posts, resamples, seed)
    means = {name: float(own.mean()) for name, own in values.items()}
    draws = dict(zip(values, drawn.T, strict=True))
    draws[CHANCE][draws[CHANCE] == 0] = np.nan
    judged, *others = (name for name in values if name != CHANCE)
    return Agreement(
        chance=Estimate(means[CHANCE], interval(draws[CHANCE])),
        values={name: Estimate(means[name], interval(draws[name])) for name in (judged, *others)},
        lifts={
            name: Estimate(means[name] / means[CHANCE], interval(draws[name] / draws[CHANCE]))
            for name in (judged, *others)
        },
        gains={
            name: Estimate(means[judged] - means[name], interval(draws[judged] - draws[name]))
            for name in (*others, CHANCE)
        },
    )
