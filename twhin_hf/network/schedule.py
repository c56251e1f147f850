"""The order in which an embedding meets its edges, and the negatives that are drawn for them.

Seed, epoch and round decide both, so that a run which was interrupted goes on as it would have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from twhin_hf.network.log import EngagementGraph

ROUND = 256  # steps
_MEASURED = 16  # one step in so many has its loss computed


class Step(NamedTuple):
    """What one batch is made of."""

    edges: Tensor  # int32 [n], rows of the schedule's edges
    relation: Tensor  # int64 [1]
    uniform_users: Tensor  # int64 [num_uniform_negs]
    uniform_posts: Tensor  # int64 [num_uniform_negs]
    measure: bool


@dataclass(frozen=True)
class Schedule:
    """Training edges sorted by relation, and the order that seed and epoch give them."""

    lhs: Tensor  # int32 [num_edges]
    rhs: Tensor  # int32 [num_edges]
    bounds: list[int]  # first edge of each relation, and the end
    num_rows: tuple[int, int]  # users, posts
    chunk: int
    batch_size: int
    num_uniform_negs: int
    seed: int

    @classmethod
    def of(
        cls,
        graph: EngagementGraph,
        training: np.ndarray,
        *,
        chunk: int,
        batch_size: int | None,
        num_uniform_negs: int,
        seed: int,
        device: str,
        least_steps: int = 1_000,
    ) -> Schedule:
        """The schedule of those edges of a graph that `training` (bool `[num_edges]`) marks.

        Where no batch size is given, an epoch has `least_steps` steps, or more on a large graph.
        """
        relation = graph.relation[training]
        # A stable sort of small integers counts them, and the graph is sorted as a rule.
        order = np.flatnonzero(training)[np.argsort(relation, kind="stable")]
        counts = np.bincount(relation, minlength=len(graph.relations))
        batch_size = batch_size or default_batch_size(len(order), least_steps, device)
        return cls(
            lhs=torch.from_numpy(graph.lhs[order]).to(device),
            rhs=torch.from_numpy(graph.rhs[order]).to(device),
            bounds=[0, *np.cumsum(counts).tolist()],
            num_rows=(graph.num_users, graph.num_posts),
            chunk=chunk,
            batch_size=max(1, batch_size // chunk) * chunk,
            num_uniform_negs=num_uniform_negs,
            seed=seed,
        )

    @property
    def num_edges(self) -> int:
        """Number of edges."""
        return len(self.lhs)

    def rounds(self, epoch: int, first: int = 0) -> Iterator[list[Step]]:
        """The steps of an epoch in rounds; `first` skips the rounds that a checkpoint has seen."""
        device = self.lhs.device
        generator = self._generator(epoch)
        permutations = []
        for start, end in zip(self.bounds, self.bounds[1:], strict=False):
            permutation = torch.randperm(
                end - start, generator=generator, dtype=torch.int32, device=device
            )
            permutations.append(permutation.add_(start))
        spans = batch_spans(self.bounds, self.chunk, self.batch_size)
        order = torch.cat(permutations)
        relations = torch.arange(len(self.bounds) - 1, device=device)
        shuffled = np.random.default_rng([self.seed, epoch]).permutation(len(spans)).tolist()
        for number in range(first, -(-len(spans) // ROUND)):
            generator = self._generator(epoch, number)
            uniform_users, uniform_posts = (
                torch.randint(
                    rows, (ROUND, self.num_uniform_negs), generator=generator, device=device
                )
                for rows in self.num_rows
            )
            steps = []
            for i, span in enumerate(shuffled[number * ROUND : (number + 1) * ROUND]):
                relation, start, end = spans[span]
                steps.append(
                    Step(
                        order[start:end],
                        relations[relation : relation + 1],
                        uniform_users[i],
                        uniform_posts[i],
                        measure=i % _MEASURED == 0,
                    )
                )
            yield steps

    def steps_from(self, epoch: int, first: int) -> Iterator[tuple[int, list[Step]]]:
        """The steps of an epoch from one on, in rounds, each with the number of its first step."""
        for number, steps in enumerate(self.rounds(epoch, first // ROUND), first // ROUND):
            begin = max(first, number * ROUND)
            yield begin, steps[begin - number * ROUND :]

    @cached_property
    def num_steps(self) -> int:
        """Steps of an epoch."""
        return len(batch_spans(self.bounds, self.chunk, self.batch_size))

    def _generator(self, *key: int) -> torch.Generator:
        seed = np.random.SeedSequence([self.seed, *key]).generate_state(1)[0]
        return torch.Generator(self.lhs.device).manual_seed(int(seed))


def default_batch_size(num_edges: int, least_steps: int, device: str) -> int:
    """Edges per step; fewer on a small graph, which needs its steps an epoch as well."""
    return min(10_000 if device.startswith("cuda") else 1_000, num_edges // least_steps)


def batch_spans(bounds: list[int], chunk: int, batch_size: int) -> list[tuple[int, int, int]]:
    """Relation, start and end of every batch, in the order of the edges.

    Args:
        bounds: First edge of each relation, and the end.
        chunk: Edges that are each other's negatives.
        batch_size: Edges of a batch, whole chunks.
    """
    spans = []
    for relation, (start, end) in enumerate(pairwise(bounds)):
        # The rest that fills no chunk is a batch of its own.
        whole = end - (end - start) % chunk
        starts = [*range(start, whole, batch_size)]
        ends = [*starts[1:], whole] if starts else []
        spans += [(relation, *span) for span in zip(starts, ends, strict=True)]
        if whole < end:
            spans.append((relation, whole, end))
    return spans
