"""What is new to a network, by rows, and the network with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twhin_hf.network.engagements import Engagements, Neighbours
from twhin_hf.network.folder import Network
from twhin_hf.network.log import EngagementGraph


class Edges(NamedTuple):
    """Engagements by rows of the updated network."""

    users: np.ndarray  # int64
    posts: np.ndarray  # int64
    relations: np.ndarray  # int16

    def rows(self, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows of a side, and those of the other."""
        return (self.users, self.posts) if side == "users" else (self.posts, self.users)


@dataclass(frozen=True)
class NewEngagements:
    """What is new to a network."""

    network: Network
    ids: dict[str, pa.Array]  # of the updated network
    edges: Edges
    old: Engagements  # has the new rows as well, without engagements

    def num_old(self, side: str) -> int:
        """Rows of a side that the network has already."""
        return self.network.num_users if side == "users" else self.network.num_posts

    def touched(self, side: str, freeze: str = "none") -> np.ndarray:
        """Rows that learn: those of a new engagement, of a frozen side the new ones alone."""
        rows = np.unique(self.edges.rows(side)[0])
        return rows[rows >= self.num_old(side)] if side == freeze else rows

    def others(self, side: str) -> Neighbours:
        """The old engagements of the rows of a side."""
        return self.old.posts_of_users if side == "users" else self.old.users_of_posts

    def is_held_out(self, users: np.ndarray, posts: np.ndarray) -> np.ndarray:
        """Which pairs the network holds out from learning, bool `[num_pairs]`."""
        held_out = self.network.held_out
        if held_out is None:
            return np.zeros(len(users), bool)
        num_posts = len(self.ids["posts"])
        return np.isin(users * num_posts + posts, held_out[:, 0] * num_posts + held_out[:, 1])

    def network_with(
        self, users: np.ndarray, posts: np.ndarray, metadata: dict[str, Any]
    ) -> Network:
        """The network with the new engagements.

        Args:
            users: Vectors, float32 `[num_users, dimension]`, new users behind the old.
            posts: Vectors, float32 `[num_posts, dimension]`, the same.
            metadata: All that `network.json` is to hold.
        """
        degrees = {
            side: np.bincount(self.edges.rows(side)[0], minlength=len(self.ids[side]))
            for side in ("users", "posts")
        }
        degrees["users"][: self.network.num_users] += self.network.user_degrees
        degrees["posts"][: self.network.num_posts] += self.network.post_degrees
        pairs = np.unique(self.edges.users * len(self.ids["posts"]) + self.edges.posts)
        lhs, rhs = np.divmod(pairs, len(self.ids["posts"]))  # those of several relations once
        return replace(
            self.network,
            user_ids=self.ids["users"],
            post_ids=self.ids["posts"],
            user_vectors=users,
            post_vectors=posts,
            user_degrees=degrees["users"],
            post_degrees=degrees["posts"],
            metadata=metadata,
            engagements=Engagements(
                self.old.users_of_posts.added(rhs, lhs), self.old.posts_of_users.added(lhs, rhs)
            ),
        )


def find_new(network: Network, graph: EngagementGraph) -> NewEngagements:
    """The engagements that the network has not, by rows of the updated network."""
    assert network.engagements is not None
    rows, ids = {}, {}
    for side, had, new, engaged in (
        ("users", network.user_ids, graph.user_ids, graph.lhs),
        ("posts", network.post_ids, graph.post_ids, graph.rhs),
    ):
        new = pa.chunked_array([new]) if isinstance(new, pa.Array) else new
        found = pc.index_in(new, value_set=had)
        has_edge = np.zeros(len(new), bool)
        has_edge[engaged] = True
        is_added = has_edge & found.is_null().to_numpy()
        places = found.fill_null(0).to_numpy().astype(np.int64)
        places[is_added] = len(had) + np.arange(is_added.sum())
        rows[side] = places
        added = new.filter(pa.array(is_added)).cast(pa.string())
        parts = had.chunks if isinstance(had, pa.ChunkedArray) else [had]
        ids[side] = pa.concat_arrays([*parts, *added.chunks])
    known = Engagements(
        network.engagements.users_of_posts.extended(len(ids["posts"])),
        network.engagements.posts_of_users.extended(len(ids["users"])),
    )
    own = np.array([network.relations.index(name) for name in graph.relations], np.int16)
    users, posts = rows["users"][graph.lhs], rows["posts"][graph.rhs]
    is_new = ~known.posts_of_users.find(users, posts)[1]
    edges = Edges(users[is_new], posts[is_new], own[graph.relation[is_new]])
    return NewEngagements(network, ids, edges, known)
