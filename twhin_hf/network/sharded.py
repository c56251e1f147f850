"""The embedding of `embedding.py` by several processes, each of which holds a shard of the tables.

The objective, the edges' order within a process and the start from an SVD are the same, but steps
are synchronous: each process takes a batch of its own edges, and the gradients of all add up.
Process 0 reads the log and writes the edges to the output folder, which all must see; from there
each process maps its part. Nothing of a table's size is gathered: checkpoints, the vectors of the
finished folder and its engagements are written shard by shard.

Memory of a process: `4 · dimension + 4` bytes a row of its shards, 12 bytes an edge of its part (16
with the softmax); process 0 holds the ids too. A warm start needs some four times the shards for a
while.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from twhin_hf.errors import InputError
from twhin_hf.network.block_svd import factor_rank, factorise
from twhin_hf.network.checkpoint import Position, load_checkpoint, save_checkpoint
from twhin_hf.network.edges import degrees, edge_blocks
from twhin_hf.network.embedding import (
    check_graph,
    describe_embedding,
    identify,
    least_steps,
    progress_bar,
    rank_vectors,
)
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.engagements import Engagements, Neighbours, neighbours_in_range
from twhin_hf.network.folder import CHECKPOINT_FILE, PARTS_FOLDER, VECTORS, Network
from twhin_hf.network.holdout import hold_out
from twhin_hf.network.log import EngagementGraph
from twhin_hf.network.logistic import batch_gradients, batch_loss, batch_of
from twhin_hf.network.processes import Processes
from twhin_hf.network.sampled_softmax import step_gradients
from twhin_hf.network.schedule import ROUND, Schedule, Step, default_batch_size
from twhin_hf.network.sharded_svd import ShardedFactors
from twhin_hf.network.sharded_tables import ShardedTables, check_installed
from twhin_hf.network.tables import Tables
from twhin_hf.network.tensor_files import (
    Blocks,
    map_tensors,
    reserve_tensor,
    write_rows,
    write_tensors,
)
from twhin_hf.stopping import stop_requests

logger = logging.getLogger(__name__)

_SIDES = ("users", "posts")
_EDGES_FILE = "edges.safetensors"
_TOGETHER = 32  # steps between two looks at what other processes want
_BLOCK = 2**20


class _Plan(NamedTuple):
    """What process 0 tells the others."""

    rows: tuple[int, int]  # users, posts
    bounds: list[int]  # first training edge of each relation, and the end
    batch_size: int  # edges of a process's step
    position: Position | None  # of a checkpoint
    identity: dict[str, Any]  # of graph and options


def embed_sharded(
    graph: EngagementGraph | None,
    config: NetworkEmbeddingConfig | None = None,
    *,
    processes: Processes,
    output: str | Path,
    resume: bool = False,
    progress: bool = True,
) -> Network | None:
    """Learns the vectors of `embed_network` with tables sharded over processes by TorchRec.

    Args:
        graph: Distinct engagements, as `read_log` returns them, in process 0; None in the others.
        config: Options, the same in all processes; the methods are softmax and twhin.
        processes: Of `processes_of_torchrun`.
        output: Folder for edges and checkpoints, which all processes see.
        resume: Go on from the checkpoint in `output` where there is one; process 0 decides.
        progress: Show a progress bar.

    Returns:
        In process 0 the network, its vectors mapped from files that `save_network` moves into
        place; None in the others.

    Raises:
        InputError: As of `embed_network`; TorchRec is not installed or does not fit torch, the
            method or the device cannot be sharded, or the graph has fewer rows than processes need.
        SystemExit: SIGTERM came, after a checkpoint; SIGINT ends in a KeyboardInterrupt.
    """
    config = config or NetworkEmbeddingConfig()
    check_sharded(config)
    parts = Path(output) / PARTS_FOLDER
    held_out = None
    if graph is not None:
        config = config.for_edges(graph.num_edges)
        check_graph(graph)
        held_out = hold_out(graph, config.holdout, config.seed)
        plan = _prepare(graph, held_out, config, processes, Path(output), resume)
        processes.from_first((plan, config))
    else:
        told = processes.from_first(None)
        if told is None:  # process 0 has nothing to do, or says why not
            return None
        plan, config = told
    began = time.monotonic()
    training = _Training(plan, config, processes, Path(output))
    loss = training.run(progress)
    engagements = training.write_network()
    seconds = time.monotonic() - began
    processes.wait()
    if graph is None or held_out is None:
        return None
    users, posts = (map_tensors(parts / f"{side}.safetensors", "c")[VECTORS] for side in _SIDES)
    relations = training.tables.relations.vectors["relations"].numpy()
    metrics = rank_vectors(graph, held_out, (users, posts, relations), config)
    return describe_embedding(
        graph,
        held_out,
        config,
        (users, posts, relations),
        engagements,
        {"seconds": seconds, "loss": loss, "metrics": metrics, "processes": processes.size},
    )


def check_sharded(config: NetworkEmbeddingConfig) -> None:
    """Raises an InputError where tables cannot be sharded: packages, method, device."""
    check_installed()
    if config.method == "als":
        raise InputError(
            "The engine torchrec embeds by the methods softmax and twhin; als needs the whole "
            "matrix in one process. Choose another method, or leave the engine out."
        )
    if config.partitions is not None:
        raise InputError(
            "partitions are for the tables of one process; with the engine torchrec each holds a "
            "shard. Leave partitions out, or the engine."
        )
    if config.device not in (None, "cpu"):
        raise InputError(
            f"device is {config.device!r}, but the engine torchrec runs on the CPU. Leave it out."
        )


def _prepare(
    graph: EngagementGraph,
    held_out: np.ndarray,
    config: NetworkEmbeddingConfig,
    processes: Processes,
    output: Path,
    resume: bool,
) -> _Plan:
    """Writes the edges where all processes see them, and looks for a checkpoint."""
    parts = output / PARTS_FOLDER
    parts.mkdir(parents=True, exist_ok=True)
    order = None
    if any(
        (np.diff(graph.relation[i : i + _BLOCK + 1]) < 0).any() for i in _starts(graph.relation)
    ):
        order = np.argsort(graph.relation, kind="stable")
    counts = np.bincount(graph.relation[~held_out], minlength=graph.num_relations)
    bounds = [0, *np.cumsum(counts).tolist()]

    def chosen(values: np.ndarray, mask: np.ndarray) -> Iterator[np.ndarray]:
        for start in _starts(values):
            if order is None:
                yield values[start : start + _BLOCK][mask[start : start + _BLOCK]]
            else:
                rows = order[start : start + _BLOCK]
                yield values[rows[mask[rows]]]

    num_held = graph.num_edges - bounds[-1]
    kinds = {"": (~held_out, bounds[-1]), "held_": (held_out, num_held)}
    write_tensors(
        parts / _EDGES_FILE,
        {
            f"{kind}{name}": Blocks(np.dtype(np.int32), (count,), chosen(values, mask))
            for kind, (mask, count) in kinds.items()
            for name, values in {"lhs": graph.lhs, "rhs": graph.rhs}.items()
        },
    )
    identity = identify(graph, config) | {"processes": processes.size}
    checkpoint = output / CHECKPOINT_FILE
    position = None
    if resume and checkpoint.exists():
        relations = Tables.zeros("relations", graph.num_relations, config.dimension)
        position = load_checkpoint(checkpoint, relations.named(), identity)
    batch_size = config.batch_size or default_batch_size(bounds[-1], least_steps(config), "cpu")
    return _Plan(
        (graph.num_users, graph.num_posts),
        bounds,
        max(1, batch_size // processes.size),
        position,
        identity,
    )


def _starts(values: np.ndarray) -> range:
    return range(0, len(values), _BLOCK)


class _Training:
    """One process's part of an embedding."""

    def __init__(
        self, plan: _Plan, config: NetworkEmbeddingConfig, processes: Processes, output: Path
    ) -> None:
        self.config, self.processes, self.plan = config, processes, plan
        self.parts, self.checkpoint = output / PARTS_FOLDER, output / CHECKPOINT_FILE
        self.edges = map_tensors(self.parts / _EDGES_FILE)
        self.tables = ShardedTables(
            plan.rows, len(plan.bounds) - 1, config.dimension, processes, config.seed
        )
        self.schedule = self._schedule()
        self.counts = self._log_counts() if config.method == "softmax" else None
        self.num_steps = int(processes.most(self.schedule.num_steps)[0])

    def run(self, progress: bool) -> float:
        """Trains; the mean loss of an edge in the last epoch."""
        start = self._load(self.plan.position)
        if start is None:
            start = Position(0, 0, [])
            if self.config.option("warm_start"):
                self._warm_start()
        epochs, losses = self.config.option("epochs"), start.losses
        saved = time.monotonic()
        bar = progress_bar(progress and self.processes.rank == 0)
        with stop_requests("the step") as request, bar:
            task = bar.add_task("Embedding", total=epochs * self.num_steps)
            for epoch in range(start.epoch, epochs):
                first = start.step if epoch == start.epoch else 0
                losses = losses if first else []
                for number, step in enumerate(self._steps(epoch, first), first):
                    done = epoch * self.num_steps + number
                    loss = self._train(step, done / (epochs * self.num_steps))
                    losses += [] if loss is None else [loss]
                    if (number + 1) % _TOGETHER and number + 1 < self.num_steps:
                        continue
                    minutes = (time.monotonic() - saved) / 60
                    is_due = self.processes.rank == 0 and minutes >= self.config.checkpoint_minutes
                    wants = (bool(request), not np.isfinite(losses).all(), is_due)
                    must_stop, has_diverged, must_save = self.processes.most(*wants)
                    state = f"Epoch {epoch + 1}: loss {_mean(losses):.3f}"
                    bar.update(task, completed=done + 1, description=state)
                    if has_diverged:
                        raise self._diverged(f"the loss is not finite in epoch {epoch + 1}")
                    if must_stop or must_save:
                        self._save(Position(epoch, number + 1, losses))
                        saved = time.monotonic()
                    if must_stop:
                        request.leave()
                logger.info("Epoch %d of %d: loss %.4f", epoch + 1, epochs, _mean(losses))
            tensors = [*self.tables.named().values(), self.tables.relations.vectors["relations"]]
            if self.processes.most(not all(torch.isfinite(t.sum()) for t in tensors))[0]:
                raise self._diverged("the vectors hold NaN or infinity")
            if start.epoch < epochs:
                self._save(Position(epochs, 0, losses))
            if self.processes.most(bool(request))[0]:
                request.leave()
        found = torch.tensor([sum(losses), len(losses)], dtype=torch.float64)
        total, count = self.processes.sum(found).tolist()
        return total / count if count else float("nan")

    def write_network(self) -> Engagements:
        """Writes this process's vectors and engagements into files of the whole network."""
        rank, (num_users, num_posts) = self.processes.rank, self.plan.rows
        for side, count in zip(_SIDES, self.plan.rows, strict=True):
            path = self.parts / f"{side}.safetensors"
            if rank == 0:
                reserve_tensor(path, VECTORS, np.float32, (count, self.config.dimension))
            self.processes.wait()
            shard = self.tables.shards[side]
            write_rows(path, shard.first, shard.vectors.numpy())
        return Engagements(
            users_of_posts=self._write_neighbours("posts", num_posts),
            posts_of_users=self._write_neighbours("users", num_users),
        )

    def _schedule(self) -> Schedule:
        """Every so many-th training edge of each relation is this process's."""
        rank, size, bounds = self.processes.rank, self.processes.size, self.plan.bounds
        runs = list(pairwise(bounds))
        lhs, rhs = (
            np.concatenate([self.edges[name][start + rank : end : size] for start, end in runs])
            for name in ("lhs", "rhs")
        )
        counts = [len(range(start + rank, end, size)) for start, end in runs]
        chunk = self.config.option("num_batch_negs") + 1
        return Schedule(
            lhs=torch.from_numpy(lhs),
            rhs=torch.from_numpy(rhs),
            bounds=[0, *np.cumsum(counts).tolist()],
            num_rows=self.plan.rows,
            chunk=chunk,
            batch_size=max(1, self.plan.batch_size // chunk) * chunk,
            num_uniform_negs=self.config.option("num_uniform_negs") or 0,
            seed=int(np.random.SeedSequence([self.config.seed, rank]).generate_state(1)[0]),
        )

    def _log_counts(self) -> Tensor:
        """As `log_counts`, of this process's edges among those of all."""
        found = torch.empty(self.schedule.num_edges)
        own = self.schedule.bounds
        for relation, (start, end) in enumerate(pairwise(own)):
            bounds = slice(*self.plan.bounds[relation : relation + 2])
            counts = torch.from_numpy(degrees(self.edges["rhs"][bounds], self.plan.rows[1]))
            found[start:end] = counts[self.schedule.rhs[start:end].long()].float()
        return found.log_()

    def _warm_start(self) -> None:
        shards, rows, dimension = self.tables.shards, self.plan.rows, self.config.dimension
        lhs, rhs = self.edges["lhs"], self.edges["rhs"]
        rank = factor_rank(rows, dimension)
        with threadpool_limits(limits=self.config.threads or torch.get_num_threads()):
            factors = ShardedFactors(
                lhs, rhs, rows[1], shards, rank, self.processes, self.config.seed
            )
            factorise(factors, rows, dimension, len(lhs))
        for side, vectors in factors.vectors.items():
            shards[side].vectors[:, : vectors.shape[1]] += torch.from_numpy(vectors)

    def _steps(self, epoch: int, first: int) -> Iterator[Step | None]:
        """The steps of an epoch; None where only other processes have edges left."""
        rounds = self.schedule.rounds(epoch, first // ROUND)
        for start in range(first // ROUND * ROUND, self.num_steps, ROUND):
            count = min(ROUND, self.num_steps - start)
            steps: list[Step | None] = [*next(rounds, [])]
            yield from [*steps, *[None] * (count - len(steps))][max(0, first - start) :]

    @torch.no_grad()
    def _train(self, step: Step | None, done: float) -> float | None:
        """One step of all processes; the mean loss of this one's edges, where it is measured."""
        rate = self.config.option("learning_rate")
        if self.config.method == "softmax":
            rate *= 1 - done
        tables = self.tables
        if step is None:  # others look up rows of this process's shards
            row = torch.zeros(1, dtype=torch.int64)
            vectors = self._look_up(row, row, rate)
            nothing = torch.zeros_like(vectors[0])
            tables.update(vectors, (nothing, nothing.clone()), 0, nothing, rate)
            return None
        lhs, rhs = (
            rows.index_select(0, step.edges).long()
            for rows in (self.schedule.lhs, self.schedule.rhs)
        )
        relation = tables.relations.vectors["relations"][step.relation]
        if self.counts is not None:
            users, posts = self._look_up(lhs, rhs, rate)
            (for_users, for_posts, for_relation), loss = step_gradients(
                users.detach(),
                posts.detach(),
                relation,
                self.counts.index_select(0, step.edges),
                (lhs, rhs),
                chunk=self.schedule.chunk,
                l2=self.config.option("l2"),
                measure=step.measure,
            )
        else:
            users, posts = self._look_up(
                torch.cat([lhs, step.uniform_users]), torch.cat([rhs, step.uniform_posts]), rate
            )
            n = len(lhs)
            own, others = users.detach().clone(), posts.detach().clone()
            batch = batch_of(
                (own[:n], own[n:]), (others[:n], others[n:]), relation, lhs, rhs, step, self.config
            )
            weight = self.config.weight
            loss = batch_loss(batch, weight).item() / n if step.measure else None
            for_users, for_posts, for_more_users, for_more_posts = batch_gradients(batch, weight)
            for_relation = for_users.sum(0) + for_more_users.sum(0)
            for_users = torch.cat([for_users, for_more_users])
            for_posts = torch.cat([for_posts, for_more_posts])
        gradients = (for_users, for_posts)
        tables.update((users, posts), gradients, int(step.relation), for_relation, rate)
        return loss

    @torch.enable_grad()
    def _look_up(self, users: Tensor, posts: Tensor, rate: float) -> tuple[Tensor, Tensor]:
        return self.tables.look_up(users, posts, rate)

    def _save(self, position: Position) -> None:
        """Writes shards, then the file that names them: what it names is whole."""
        shard = self._shard_file(position)
        save_checkpoint(shard, self.tables.named(), position, self.plan.identity)
        self.processes.wait()
        if self.processes.rank == 0:
            relations = self.tables.relations.named()
            save_checkpoint(self.checkpoint, relations, position, self.plan.identity)
        self.processes.wait()
        for path in self.parts.glob(f"shard-{self.processes.rank}-*"):
            if path != shard:
                path.unlink()

    def _load(self, position: Position | None) -> Position | None:
        """Where this process goes on; None where all begin anew."""
        if position is None:
            return None
        found = None
        shard = self._shard_file(position)
        if shard.exists() and load_checkpoint(
            self.checkpoint, self.tables.relations.named(), self.plan.identity
        ):
            found = load_checkpoint(shard, self.tables.named(), self.plan.identity)
        if self.processes.most(found is None)[0]:
            logger.warning(
                "A shard of %s is missing or damaged: training begins anew", shard.parent
            )
            self.tables.reset()
            return None
        done = position.epoch * self.num_steps + position.step
        total = self.config.option("epochs") * self.num_steps
        logger.info("Going on after %d of %d steps, from %s", done, total, self.checkpoint)
        return found

    def _shard_file(self, position: Position) -> Path:
        name = f"shard-{self.processes.rank}-{position.epoch}-{position.step}.safetensors"
        return self.parts / name

    def _diverged(self, what: str) -> InputError:
        if self.processes.rank == 0:
            self.checkpoint.unlink(missing_ok=True)  # nothing to go on with
        rate = self.config.option("learning_rate")
        return InputError(f"Training diverged: {what}. Lower learning_rate, which is {rate}.")

    def _write_neighbours(self, side: str, num_rows: int) -> Neighbours:
        """Of the rows of this process's shard, into files of all rows, which are mapped."""
        own, other = ("lhs", "rhs") if side == "users" else ("rhs", "lhs")
        shard, rank = self.tables.shards[side], self.processes.rank
        found = neighbours_in_range(self._edge_blocks(own, other), shard.first, shard.end)
        counts = self.processes.counts(len(found.others))
        files = [self.parts / f"{side}-{name}.safetensors" for name in Neighbours._fields]
        if rank == 0:
            reserve_tensor(files[0], "offsets", np.int64, (num_rows + 1,))
            reserve_tensor(files[1], "others", np.int32, (sum(counts),))
        self.processes.wait()
        before = sum(counts[:rank])
        write_rows(files[0], shard.first, found.offsets + before)
        write_rows(files[1], before, found.others)
        self.processes.wait()
        return Neighbours(
            *(map_tensors(file)[name] for file, name in zip(files, Neighbours._fields, strict=True))
        )

    def _edge_blocks(self, own: str, other: str) -> Iterator[tuple[np.ndarray, ...]]:
        """All edges, the held-out ones too."""
        for kind in ("", "held_"):
            yield from edge_blocks(self.edges[kind + own], self.edges[kind + other])


def _mean(losses: list[float]) -> float:
    return float(np.mean(losses)) if losses else float("nan")
