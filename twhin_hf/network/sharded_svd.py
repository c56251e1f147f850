"""The SVD to begin with, its factors sharded over processes as the tables are."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from scipy.sparse import csr_matrix

from twhin_hf.network.block_svd import degree_weights, weighted_block
from twhin_hf.network.edges import edge_blocks
from twhin_hf.network.processes import Processes
from twhin_hf.network.sharded_tables import Shard
from twhin_hf.network.tensor_files import row_blocks


class ShardedFactors:
    """Factors whose rows are sharded; a process has the edges of its users.

    One shard of posts at a time goes to all processes, or comes from them.

    Args:
        lhs: User of every training edge; may be mapped.
        rhs: Post of every training edge; may be mapped.
        num_posts: Number of posts.
        shards: Of users and posts.
        rank: Columns.
        processes: That hold the shards.
        seed: Of the noise to begin with.
    """

    def __init__(
        self,
        lhs: np.ndarray,
        rhs: np.ndarray,
        num_posts: int,
        shards: dict[str, Shard],
        rank: int,
        processes: Processes,
        seed: int,
    ) -> None:
        users, posts = shards["users"], shards["posts"]
        self._processes = processes
        self._bounds = [*range(0, num_posts, posts.block), num_posts]
        own_lhs, own_rhs = _edges_of_users(lhs, rhs, users.first, users.end)
        self._user_weights = degree_weights(np.bincount(own_lhs, minlength=len(users.vectors)))
        degrees = processes.sum(torch.from_numpy(np.bincount(own_rhs, minlength=num_posts)))
        weights = degree_weights(degrees.numpy())
        self._post_weights = weights[posts.first : posts.end]
        self._blocks: list[csr_matrix] = []
        for start, end in zip(self._bounds, self._bounds[1:], strict=False):
            inside = (own_rhs >= start) & (own_rhs < end)
            edges = own_lhs[inside], own_rhs[inside] - start
            self._blocks.append(weighted_block(*edges, self._user_weights, weights[start:end]))
        noise = np.random.default_rng([seed, processes.rank])
        self.vectors = {
            "users": np.zeros((len(users.vectors), rank), np.float32),
            "posts": noise.standard_normal((len(posts.vectors), rank), np.float32),
        }

    def to_users(self) -> None:
        """Makes users = matrix @ posts."""
        self.vectors["users"] = self._times(self.vectors["posts"])

    def to_posts(self) -> None:
        """Makes posts = matrix.T @ users."""
        for owner, block in enumerate(self._blocks):
            part = torch.from_numpy(np.ascontiguousarray(block.T @ self.vectors["users"]))
            dist.reduce(part, owner)
            if owner == self._processes.rank:
                self.vectors["posts"] = part.numpy()

    def gram(self, side: str) -> np.ndarray:
        """Products of the columns of a side, float64 `[rank, rank]`."""
        values = self.vectors[side]
        found = np.zeros((values.shape[1], values.shape[1]))
        for block in row_blocks(values):
            part = values[block].astype(np.float64)
            found += part.T @ part
        return self._processes.sum(torch.from_numpy(found)).numpy()

    def multiply(self, side: str, by: np.ndarray) -> None:
        """Replaces the rows of a side by their product with a matrix `[rank, new_rank]`."""
        self.vectors[side] = self.vectors[side] @ by.astype(np.float32)

    def score_sum(self) -> float:
        """Sum of `u · t` over all training edges."""
        scores = self._times(self.vectors["posts"] / self._post_weights[:, None])
        scores /= self._user_weights[:, None]
        found = torch.tensor(np.vdot(scores, self.vectors["users"]), dtype=torch.float64)
        return self._processes.sum(found).item()

    def _times(self, posts: np.ndarray) -> np.ndarray:
        """The matrix's rows of this process's users times sharded posts."""
        found = np.zeros((len(self._user_weights), posts.shape[1]), np.float32)
        for owner, block in enumerate(self._blocks):
            is_own = owner == self._processes.rank
            part = posts if is_own else np.empty((block.shape[1], posts.shape[1]), np.float32)
            dist.broadcast(torch.from_numpy(part), owner)
            found += block @ part
        return found


def _edges_of_users(
    lhs: np.ndarray, rhs: np.ndarray, first: int, end: int
) -> tuple[np.ndarray, np.ndarray]:
    """The edges whose users are in a range, users numbered from 0; others are not kept."""
    found = []
    for users, posts in edge_blocks(lhs, rhs):
        inside = (users >= first) & (users < end)
        found.append((users[inside] - first, posts[inside]))
    own_lhs, own_rhs = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return own_lhs, own_rhs
