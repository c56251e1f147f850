"""Tables larger than memory on one machine: partitions of the rows, of which two are in memory.

As in PyTorch-BigGraph (Lerer et al., SysML 2019, Section 4.1), users and posts are split into P
partitions each, and edges into the P² buckets of their two partitions. A bucket is trained while
its users and posts are in memory; negatives come from the same two partitions. The next bucket
shares one of them. Row `i` is row `i // P` of partition `i % P`, so that neighbours in the order of
ids are apart.

Each time that a partition leaves memory it becomes a file of a new version. A checkpoint names the
versions that belong together, and those that the last one names stay until the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from twhin_hf.errors import InputError
from twhin_hf.network.block_svd import degree_weights, weighted_block
from twhin_hf.network.checkpoint import Position, load_checkpoint, save_checkpoint
from twhin_hf.network.edges import edge_blocks
from twhin_hf.network.log import EngagementGraph
from twhin_hf.network.sampled_softmax import log_counts
from twhin_hf.network.schedule import Schedule, Step, batch_spans
from twhin_hf.network.tables import INIT_SCALE, Tables
from twhin_hf.network.tensor_files import map_tensors, reserve_tensor, write_rows

SIDES = ("users", "posts")
_NONE = -1
_BLOCK_ROWS = 2**16


class Edges(NamedTuple):
    """Edges of one bucket, sorted by relation.

    Args:
        lhs: Row of the user in its partition, int32 `[num_edges]`.
        rhs: Row of the post in its partition, int32 `[num_edges]`.
        bounds: First edge of each relation, and the end.
    """

    lhs: np.ndarray
    rhs: np.ndarray
    bounds: list[int]


class Buckets:
    """Training edges in files, one for each pair of partitions.

    Args:
        graph: All edges.
        training: Which of them to train on, bool `[num_edges]`.
        partitions: Of users, and as many of posts.
        folder: Of the files; older ones are written over.
    """

    def __init__(
        self, graph: EngagementGraph, training: np.ndarray, partitions: int, folder: Path
    ) -> None:
        self.partitions, self._folder = partitions, folder
        self.counts = np.zeros((partitions, partitions, graph.num_relations), np.int64)
        folder.mkdir(parents=True, exist_ok=True)
        for users in range(partitions):
            for posts in range(partitions):
                self._path(users, posts).write_bytes(b"")
        arrays = graph.lhs, graph.rhs, graph.relation, training
        for lhs, rhs, relation, taken in edge_blocks(*arrays):
            edges = np.stack([lhs, rhs, relation], axis=1).astype(np.int32)[taken]
            bucket = edges[:, 0] % partitions * partitions + edges[:, 1] % partitions
            order = np.argsort(bucket, kind="stable")
            ends = np.cumsum(np.bincount(bucket, minlength=partitions**2))
            edges[:, :2] //= partitions
            for number, part in enumerate(np.split(edges[order], ends[:-1])):
                place = divmod(number, partitions)
                self.counts[place] += np.bincount(part[:, 2], minlength=graph.num_relations)
                with self._path(*place).open("ab") as file:
                    file.write(np.ascontiguousarray(part).data)

    def read(self, users: int, posts: int) -> Edges:
        """The edges of a pair of partitions."""
        edges = np.fromfile(self._path(users, posts), np.int32).reshape(-1, 3)
        edges = edges[np.argsort(edges[:, 2], kind="stable")]
        lhs, rhs = (np.ascontiguousarray(edges[:, column]) for column in (0, 1))
        return Edges(lhs, rhs, self.bounds(users, posts))

    def bounds(self, users: int, posts: int) -> list[int]:
        """First edge of each relation of a bucket, and the end."""
        return [0, *np.cumsum(self.counts[users, posts]).tolist()]

    def _path(self, users: int, posts: int) -> Path:
        return self._folder / f"edges-{users}-{posts}"


@dataclass(frozen=True)
class PartitionedTables(Tables):
    """Tables of which one partition of users and one of posts are in memory.

    Args:
        rows: Numbers of users and posts of all partitions, by side.
        partitions: Of each side.
        folder: Of their files.
        seed: Of the small random vectors to begin with.
        versions: By side, int64 `[partitions]`: the file of each; 0 where it is noise as yet.
        kept: The same of the last checkpoint.
        resident: Which partition is in memory, by side.
    """

    rows: dict[str, int] = field(kw_only=True)
    partitions: int = field(kw_only=True)
    folder: Path = field(kw_only=True)
    seed: int = field(kw_only=True)
    versions: dict[str, Tensor] = field(kw_only=True)
    kept: dict[str, Tensor] = field(kw_only=True)
    resident: dict[str, int] = field(kw_only=True)

    @classmethod
    def on_disk(
        cls,
        graph: EngagementGraph,
        partitions: int,
        dimension: int,
        folder: Path,
        seed: int,
        device: str,
    ) -> PartitionedTables:
        """Tables of a graph, none of whose partitions is in memory."""
        nothing = torch.zeros(0, dimension, device=device)
        relations = torch.zeros(graph.num_relations, dimension, device=device)
        vectors = dict.fromkeys(SIDES, nothing) | {"relations": relations}
        return cls(
            vectors,
            {side: values.new_zeros(len(values)) for side, values in vectors.items()},
            rows={"users": graph.num_users, "posts": graph.num_posts},
            partitions=partitions,
            folder=folder,
            seed=seed,
            versions={side: torch.zeros(partitions, dtype=torch.int64) for side in SIDES},
            kept={side: torch.zeros(partitions, dtype=torch.int64) for side in SIDES},
            resident=dict.fromkeys(SIDES, _NONE),
        )

    def named(self) -> dict[str, Tensor]:
        """What a checkpoint holds: relations, and the versions of all partitions."""
        relations = {
            "relations": self.vectors["relations"],
            "relations.state": self.state["relations"],
        }
        return relations | {f"{side}.versions": found for side, found in self.versions.items()}

    def settle(self) -> None:
        """Takes what a checkpoint has filled in, if one has, as it is on disk; the rest goes."""
        for side, versions in self.versions.items():
            self.kept[side].copy_(versions)
        self.remove_others()

    @contextmanager
    def checkpointed(self) -> Iterator[dict[str, Tensor]]:
        """Writes the partitions in memory; what only the checkpoint before needed goes after it."""
        for side in SIDES:
            self._write(side)
        yield self.named()
        self.settle()

    def remove_others(self) -> None:
        """Removes the files of partitions that the tables do not name."""
        named = {
            self._path(side, index, int(version))
            for side, versions in self.versions.items()
            for index, version in enumerate(versions)
        }
        for side in SIDES:
            for path in self.folder.glob(f"{side}-*.safetensors"):
                if path not in named:
                    path.unlink()

    def bring(self, users: int, posts: int) -> None:
        """Has these partitions in memory, and no others."""
        for side, index in zip(SIDES, (users, posts), strict=True):
            if self.resident[side] != index:
                self.put_away(side)
                self.vectors[side], self.state[side] = self._read(side, index)
                self.resident[side] = index

    def put_away(self, side: str) -> None:
        """Writes the partition of a side that is in memory, where there is one, and forgets it."""
        self._write(side)
        self.vectors[side] = self.vectors[side].new_zeros(0, self.dimension)
        self.state[side] = self.state[side].new_zeros(0)
        self.resident[side] = _NONE

    def begin_with(self, side: str, index: int, vectors: np.ndarray) -> None:
        """Adds vectors to the noise that a partition begins with.

        Args:
            side: Users or posts.
            index: Of the partition.
            vectors: float32 `[rows, at most dimension]`.
        """
        self.put_away(side)
        self.vectors[side], self.state[side] = self._read(side, index)
        self.resident[side] = index
        table = self.vectors[side]
        table[:, : vectors.shape[1]] += torch.from_numpy(vectors).to(table.device)
        self.put_away(side)

    def write_in_order(self, side: str, path: Path, name: str) -> None:
        """Writes the vectors of all partitions in the order of rows, as tensor `name` of a file."""
        self.put_away(side)
        parts = [
            map_tensors(self._path(side, index, int(version)))["vectors"]
            for index, version in enumerate(self.versions[side])
        ]
        count, step = self.rows[side], self.partitions
        reserve_tensor(path, name, np.float32, (count, self.dimension))
        for start in range(0, count, _BLOCK_ROWS * step):
            block = np.empty((min(_BLOCK_ROWS * step, count - start), self.dimension), np.float32)
            for index, part in enumerate(parts):
                rows = block[index::step]
                rows[:] = part[start // step : start // step + len(rows)]
            write_rows(path, start, block)

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        return self.vectors["relations"].shape[1]

    def num_rows(self, side: str, index: int) -> int:
        """Rows of a partition."""
        return len(range(index, self.rows[side], self.partitions))

    def _write(self, side: str) -> None:
        index = self.resident[side]
        if index == _NONE:
            return
        old = int(self.versions[side][index])
        tensors = {"vectors": self.vectors[side], "state": self.state[side]}
        save_checkpoint(self._path(side, index, old + 1), tensors, Position(0, 0, []), {})
        self.versions[side][index] = old + 1
        if old != self.kept[side][index]:
            self._path(side, index, old).unlink(missing_ok=True)

    def _read(self, side: str, index: int) -> tuple[Tensor, Tensor]:
        device = self.vectors["relations"].device
        vectors = torch.empty(self.num_rows(side, index), self.dimension, device=device)
        state = vectors.new_zeros(len(vectors))
        version = int(self.versions[side][index])
        if version == 0:
            key = [self.seed, SIDES.index(side), index]
            seed = int(np.random.SeedSequence(key).generate_state(1)[0])
            vectors.normal_(std=INIT_SCALE, generator=torch.Generator(device).manual_seed(seed))
            return vectors, state
        path = self._path(side, index, version)
        try:
            found = load_checkpoint(path, {"vectors": vectors, "state": state}, {})
        except FileNotFoundError:
            found = None
        if found is None:
            raise InputError(
                f"{path} is missing or damaged, a partition of the embedding that is under way. "
                "Begin anew (`--overwrite`)."
            )
        return vectors, state

    def _path(self, side: str, index: int, version: int) -> Path:
        return self.folder / f"{side}-{index}-{version}.safetensors"


class BucketedSchedule:
    """A `Schedule` of buckets one after the other; its tables hold those of the current one.

    Args:
        buckets: Training edges.
        tables: What learns.
        chunk: As of a schedule, like the other arguments.
        batch_size: Edges per step.
        num_uniform_negs: Negatives drawn from the two partitions.
        seed: Of the orders.
        device: Of the edges.
    """

    def __init__(
        self,
        buckets: Buckets,
        tables: PartitionedTables,
        *,
        chunk: int,
        batch_size: int,
        num_uniform_negs: int,
        seed: int,
        device: str,
    ) -> None:
        self._buckets, self._tables = buckets, tables
        self.chunk, self.batch_size = chunk, max(1, batch_size // chunk) * chunk
        self._num_uniform_negs, self._seed, self._device = num_uniform_negs, seed, device
        self.num_edges = int(buckets.counts.sum())
        self.num_steps = sum(self._num_steps(*bucket) for bucket in self._order(0))
        self.current: Schedule | None = None
        self.counts: Tensor | None = None

    def steps_from(self, epoch: int, first: int) -> Iterator[tuple[int, list[Step]]]:
        """As of a schedule; bucket by bucket, of which the next shares a partition."""
        start = 0
        for users, posts in self._order(epoch):
            count = self._num_steps(users, posts)
            if max(first, start) < start + count:
                self._tables.bring(users, posts)
                self.current = self._schedule(users, posts)
                self.counts = log_counts(self.current)
                for begin, steps in self.current.steps_from(epoch, max(0, first - start)):
                    yield start + begin, steps
            start += count

    def _order(self, epoch: int) -> Iterator[tuple[int, int]]:
        """All buckets: users one after the other, posts to and fro, in an order of the epoch."""
        random = np.random.default_rng([self._seed, epoch])
        users, posts = (random.permutation(self._buckets.partitions).tolist() for _ in SIDES)
        for number, user_part in enumerate(users):
            for post_part in posts[:: 1 if number % 2 == 0 else -1]:
                yield user_part, post_part

    def _num_steps(self, users: int, posts: int) -> int:
        return len(batch_spans(self._buckets.bounds(users, posts), self.chunk, self.batch_size))

    def _schedule(self, users: int, posts: int) -> Schedule:
        edges = self._buckets.read(users, posts)
        key = np.random.SeedSequence([self._seed, users, posts])
        return Schedule(
            lhs=torch.from_numpy(edges.lhs).to(self._device),
            rhs=torch.from_numpy(edges.rhs).to(self._device),
            bounds=edges.bounds,
            num_rows=(
                self._tables.num_rows("users", users),
                self._tables.num_rows("posts", posts),
            ),
            chunk=self.chunk,
            batch_size=self.batch_size,
            num_uniform_negs=self._num_uniform_negs,
            seed=int(key.generate_state(1)[0]),
        )


class PartitionedFactors:
    """Factors of the SVD to begin with, in files; two partitions of them are in memory.

    Args:
        buckets: Training edges.
        tables: Say how many rows partitions have.
        rank: Columns.
        folder: Of the files.
        seed: Of the noise to begin with.
    """

    def __init__(
        self, buckets: Buckets, tables: PartitionedTables, rank: int, folder: Path, seed: int
    ) -> None:
        self._buckets, self._folder = buckets, folder
        self._parts = range(buckets.partitions)
        degrees = {
            side: [np.zeros(tables.num_rows(side, part), np.int64) for part in self._parts]
            for side in SIDES
        }
        for users in self._parts:
            for posts in self._parts:
                edges = buckets.read(users, posts)
                np.add.at(degrees["users"][users], edges.lhs, 1)
                np.add.at(degrees["posts"][posts], edges.rhs, 1)
        self._weights = {side: list(map(degree_weights, found)) for side, found in degrees.items()}
        for part in self._parts:
            noise = np.random.default_rng([seed, part])
            size = (tables.num_rows("posts", part), rank)
            self._save("posts", part, noise.standard_normal(size, np.float32))

    def load(self, side: str, part: int) -> np.ndarray:
        """The rows of a partition, float32 `[rows, rank]`."""
        return np.load(self._path(side, part))

    def remove(self) -> None:
        """Removes the files."""
        for side in SIDES:
            for part in self._parts:
                self._path(side, part).unlink()

    def to_users(self) -> None:
        """Makes users = matrix @ posts."""
        for users in self._parts:
            self._save(
                "users",
                users,
                sum(self._block(users, p) @ self.load("posts", p) for p in self._parts),
            )

    def to_posts(self) -> None:
        """Makes posts = matrix.T @ users."""
        for posts in self._parts:
            self._save(
                "posts",
                posts,
                sum(self._block(u, posts).T @ self.load("users", u) for u in self._parts),
            )

    def gram(self, side: str) -> np.ndarray:
        """Products of the columns of a side, float64 `[rank, rank]`."""
        found = np.zeros(())
        for part in self._parts:
            values = self.load(side, part)
            for start in range(0, len(values), _BLOCK_ROWS):
                block = values[start : start + _BLOCK_ROWS].astype(np.float64)
                found = found + block.T @ block
        return found

    def multiply(self, side: str, by: np.ndarray) -> None:
        """Replaces the rows of a side by their product with a matrix `[rank, new_rank]`."""
        for part in self._parts:
            self._save(side, part, self.load(side, part) @ by.astype(np.float32))

    def score_sum(self) -> float:
        """Sum of `u · t` over all training edges."""
        found = 0.0
        for users in self._parts:
            own = self.load("users", users) / self._weights["users"][users][:, None]
            for posts in self._parts:
                others = self.load("posts", posts) / self._weights["posts"][posts][:, None]
                found += float(np.vdot(self._block(users, posts) @ others, own))
        return found

    def _block(self, users: int, posts: int) -> csr_matrix:
        edges = self._buckets.read(users, posts)
        weights = self._weights["users"][users], self._weights["posts"][posts]
        return weighted_block(edges.lhs, edges.rhs, *weights)

    def _save(self, side: str, part: int, values: np.ndarray) -> None:
        np.save(self._path(side, part), values)

    def _path(self, side: str, part: int) -> Path:
        return self._folder / f"factor-{side}-{part}.npy"
