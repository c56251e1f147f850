"""Vectors of users, posts and relations from engagements: TwHIN-BERT, Section 2.1.2.

An engagement `e = (u, r, t)` of user `u` with post `t` scores `f(e) = (u + r) · t`. Training
maximises `log σ(f(e)) + w · Σ log σ(−f(e'))`, where each negative `e'` is `e` with its user or its
post replaced: by others of the same batch (that is, by prevalence) and by uniform draws. The paper
prints the sum (w = 1), but PyTorch-BigGraph, with which it was computed, averages the negatives of
an edge; so do we, because it learns far faster.

What makes it fast:

- A batch holds edges of one relation, cut into chunks of `num_batch_negs + 1`. The users and posts
  of a chunk are each other's negatives, and `(u_i + r) · t_j` is edge i with its post replaced as
  well as edge j with its user replaced: one matrix of scores serves both sides.
- The uniform negatives are shared by the whole batch, so their scores are two large products.
- The gradients of this loss are products of the same matrices: there is no autograd graph.
- Row-wise Adagrad keeps one number a row and touches the rows of the batch alone.
- Threads update the tables without locks (Hogwild); a GPU runs the same code, one batch at a time.

Memory: `4 · dimension + 4` bytes a user, post or relation, 12 bytes an edge (some 30 while they are
sorted), and one batch a thread. The vectors of the finished network are the tables, not a copy.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from twhin_hf.devices import pick_device
from twhin_hf.network.checkpoint import FILE_NAME, load_checkpoint, save_checkpoint
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.engagements import Engagements
from twhin_hf.network.folder import Network
from twhin_hf.network.holdout import hold_out, name_metrics, rank_held_out
from twhin_hf.network.log import EngagementGraph
from twhin_hf.network.schedule import Schedule, Step
from twhin_hf.report import counts_sentence
from twhin_hf.version import __version__

logger = logging.getLogger(__name__)

_INIT_SCALE = 1e-3


def embed_network(
    graph: EngagementGraph,
    config: NetworkEmbeddingConfig | None = None,
    *,
    output: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Network:
    """Learns a vector of every user, post and relation of a graph.

    Args:
        graph: Distinct engagements, as `read_log` returns them.
        config: Options; by default the paper's.
        output: Folder for checkpoints, which go away when training ends; none without it.
        resume: Go on from the checkpoint in `output` where there is one.
        progress: Show a progress bar.

    Returns:
        The network. `metadata["metrics"]` holds MRR and HITS@10 of the held-out edges, for the
        vectors and for ranking by popularity (the degree of the post).

    Raises:
        ValueError: The graph has no edge or a relation without one, the options leave nothing to
            train on, the checkpoint is of another graph or other options, or training diverged.
    """
    config = config or NetworkEmbeddingConfig()
    _check_graph(graph)
    if resume and output is None:
        raise ValueError("resume needs the output folder that holds the checkpoint.")
    device = pick_device(config.device)
    checkpoint = None if output is None else Path(output) / FILE_NAME

    held_out = hold_out(graph, config.holdout, config.seed)
    schedule = Schedule.of(
        graph,
        ~held_out,
        chunk=config.num_batch_negs + 1,
        batch_size=config.batch_size,
        num_uniform_negs=config.num_uniform_negs,
        seed=config.seed,
        device=device,
    )
    tables = Tables.random(graph, config, device)
    identity = _identity(graph, config) | {"batch_size": schedule.batch_size}
    start = (0, 0)
    if checkpoint is not None and resume and checkpoint.exists():
        start = load_checkpoint(checkpoint, tables.named(), identity)
        logger.info("Resuming in epoch %d, round %d of %s", *start, checkpoint)
    elif checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)

    loss = _train(tables, schedule, config, start, checkpoint, identity, progress)
    for side, vectors in tables.vectors.items():
        # One bad number spoils the sum, which needs no memory of the table's size.
        if not torch.isfinite(vectors.sum()):
            raise _diverged(f"the vectors of {side} hold NaN or infinity", config)
    metrics = rank_held_out(
        graph,
        held_out,
        *tables.vectors.values(),
        num_candidates=config.num_candidates,
        seed=config.seed,
    )
    logger.info("Held-out edges: %s", counts_sentence(name_metrics(metrics)) or "none")
    if metrics and metrics["mrr"] < metrics["popularity_mrr"]:
        logger.warning(
            "Popularity ranks the held-out edges better than the vectors do (MRR %.3f, %.3f): "
            "lower learning_rate, epochs or dimension.",
            metrics["popularity_mrr"],
            metrics["mrr"],
        )
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    users, posts, relations = (table.cpu().numpy() for table in tables.vectors.values())
    return Network(
        user_ids=graph.user_ids,
        post_ids=graph.post_ids,
        relations=list(graph.relations),
        user_vectors=users,
        post_vectors=posts,
        relation_vectors=relations,
        user_degrees=np.bincount(graph.lhs, minlength=graph.num_users),
        post_degrees=np.bincount(graph.rhs, minlength=graph.num_posts),
        metadata={
            "num_edges": len(graph.lhs),
            "num_training_edges": schedule.num_edges,
            "loss": loss,
            "metrics": metrics,
            "options": asdict(config),
            "seed": config.seed,
            "versions": {"twhin_hf": __version__, "torch": torch.__version__},
        },
        engagements=Engagements.from_edges(graph.lhs, graph.rhs, graph.num_users, graph.num_posts),
    )


# The objective


class Batch(NamedTuple):
    """Vectors of one batch; users are translated already, that is `u + r`."""

    users: Tensor  # [chunks, size, dimension]
    posts: Tensor  # [chunks, size, dimension]
    uniform_users: Tensor  # [num_uniform_negs, dimension]
    uniform_posts: Tensor  # [num_uniform_negs, dimension]
    # Pairs that are no negatives, because they are the edge itself or another edge of the chunk:
    engaged: Tensor  # bool [chunks, size, size], user i with post j
    same_user: Tensor  # bool [chunks * size, num_uniform_negs]
    same_post: Tensor  # bool [chunks * size, num_uniform_negs]


def batch_loss(batch: Batch, weight: float) -> Tensor:
    """The objective with its sign turned, summed over the edges of a batch.

    Args:
        batch: Vectors and masks.
        weight: Of each negative.
    """
    scores = batch.users @ batch.posts.mT
    positive = logsigmoid(scores.diagonal(dim1=1, dim2=2)).sum()
    from_batch = softplus(scores.masked_fill(batch.engaged, -torch.inf)).sum()
    scores = batch.users.flatten(0, 1) @ batch.uniform_posts.mT
    uniform_posts = softplus(scores.masked_fill(batch.same_post, -torch.inf)).sum()
    scores = batch.posts.flatten(0, 1) @ batch.uniform_users.mT
    uniform_users = softplus(scores.masked_fill(batch.same_user, -torch.inf)).sum()
    return weight * (2 * from_batch + uniform_posts + uniform_users) - positive


def batch_gradients(batch: Batch, weight: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `batch_loss` for the first four fields, the first two as `[edges, dimension]`.

    The derivative by the score of a negative is w · σ, twice where the score serves both sides;
    by that of a positive it is σ − 1. All else is the chain rule of a matrix product.
    """
    slope = torch.bmm(batch.users, batch.posts.mT).sigmoid_()
    positive = slope.diagonal(dim1=1, dim2=2) - 1
    slope.masked_fill_(batch.engaged, 0).mul_(2 * weight)
    slope.diagonal(dim1=1, dim2=2).copy_(positive)
    users, posts = batch.users.flatten(0, 1), batch.posts.flatten(0, 1)
    for_users = torch.bmm(slope, batch.posts).flatten(0, 1)
    for_posts = torch.bmm(slope.mT, batch.users).flatten(0, 1)

    slope = (users @ batch.uniform_posts.mT).sigmoid_().masked_fill_(batch.same_post, 0)
    for_users.addmm_(slope, batch.uniform_posts, alpha=weight)
    for_uniform_posts = (slope.mT @ users).mul_(weight)

    slope = (posts @ batch.uniform_users.mT).sigmoid_().masked_fill_(batch.same_user, 0)
    for_posts.addmm_(slope, batch.uniform_users, alpha=weight)
    for_uniform_users = (slope.mT @ posts).mul_(weight)
    return for_users, for_posts, for_uniform_users, for_uniform_posts


# Tables and steps


@dataclass(frozen=True)
class Tables:
    """Vectors `[rows, dimension]` and Adagrad state `[rows]` of users, posts and relations."""

    vectors: dict[str, Tensor]
    state: dict[str, Tensor]

    @classmethod
    def random(cls, graph: EngagementGraph, config: NetworkEmbeddingConfig, device: str) -> Tables:
        """Tables of small random vectors."""
        generator = torch.Generator(device).manual_seed(config.seed)
        rows = {"users": graph.num_users, "posts": graph.num_posts}
        vectors = {
            side: torch.empty(count, config.dimension, device=device).normal_(
                std=_INIT_SCALE, generator=generator
            )
            for side, count in rows.items()
        }
        vectors["relations"] = torch.zeros(len(graph.relations), config.dimension, device=device)
        return cls(vectors, {side: table.new_zeros(len(table)) for side, table in vectors.items()})

    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.named().values())

    def named(self) -> dict[str, Tensor]:
        """Every tensor by the name that it has in a checkpoint."""
        state = {f"{side}.state": values for side, values in self.state.items()}
        return {**self.vectors, **state}

    def update(self, side: str, rows: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """A step of row-wise Adagrad, whose state is the sum of mean squared gradients.

        Args:
            side: Which table.
            rows: int64 `[n]`; a row may come more than once.
            gradient: `[n, dimension]`; overwritten.
            learning_rate: Length of the step.
        """
        state = self.state[side]
        norm = torch.linalg.vector_norm(gradient, dim=1)
        state.index_add_(0, rows, norm.square_().div_(gradient.shape[1]))
        step = state.index_select(0, rows).add_(1e-20).rsqrt_().mul_(-learning_rate)
        self.vectors[side].index_add_(0, rows, gradient.mul_(step[:, None]))


@torch.inference_mode()
def train_batch(
    tables: Tables, lhs: Tensor, rhs: Tensor, step: Step, config: NetworkEmbeddingConfig
) -> float | None:
    """One step: gather, gradients, scatter.

    Args:
        tables: What learns.
        lhs: User of every edge, int32 `[num_edges]`.
        rhs: Post of every edge, int32 `[num_edges]`.
        step: Which edges: whole chunks, or fewer than one.
        config: Negatives and learning rate.

    Returns:
        The mean loss of an edge before the step, where the step measures it.
    """
    users, posts, relations = tables.vectors.values()
    lhs, rhs = lhs.index_select(0, step.edges).long(), rhs.index_select(0, step.edges).long()
    chunks = (-1, min(config.num_batch_negs + 1, len(lhs)))
    lhs_chunks, rhs_chunks = lhs.view(chunks), rhs.view(chunks)
    translation = relations[step.relation]
    batch = Batch(
        users=users.index_select(0, lhs).add_(translation).unflatten(0, chunks),
        posts=posts.index_select(0, rhs).unflatten(0, chunks),
        uniform_users=users.index_select(0, step.uniform_users).add_(translation),
        uniform_posts=posts.index_select(0, step.uniform_posts),
        engaged=(lhs_chunks[:, :, None] == lhs_chunks[:, None])
        | (rhs_chunks[:, :, None] == rhs_chunks[:, None]),
        same_user=lhs[:, None] == step.uniform_users,
        same_post=rhs[:, None] == step.uniform_posts,
    )
    loss = batch_loss(batch, config.weight).item() / len(lhs) if step.measure else None
    for_users, for_posts, for_uniform_users, for_uniform_posts = batch_gradients(
        batch, config.weight
    )
    # Before the updates, which overwrite the gradients.
    for_relation = (for_users.sum(0) + for_uniform_users.sum(0))[None]
    for side, rows, gradient in (
        ("users", lhs, for_users),
        ("posts", rhs, for_posts),
        ("users", step.uniform_users, for_uniform_users),
        ("posts", step.uniform_posts, for_uniform_posts),
        ("relations", step.relation, for_relation),
    ):
        tables.update(side, rows, gradient, config.learning_rate)
    return loss


def _train(
    tables: Tables,
    schedule: Schedule,
    config: NetworkEmbeddingConfig,
    start: tuple[int, int],
    checkpoint: Path | None,
    identity: dict[str, Any],
    progress: bool,
) -> float | None:
    """Trains in place and returns the mean loss of an edge in the last epoch."""
    threads = config.threads or torch.get_num_threads()
    if schedule.lhs.device.type == "cuda":
        threads = 1

    def work(queue: Iterator[Step]) -> list[float]:
        losses = (train_batch(tables, schedule.lhs, schedule.rhs, step, config) for step in queue)
        return [loss for loss in losses if loss is not None]

    began = saved = time.monotonic()
    mean_loss, seen = None, 0
    with _workers(threads) as pool, _progress(progress) as bar:
        task = bar.add_task("Embedding", total=config.epochs * schedule.num_edges)
        for epoch in range(start[0], config.epochs):
            first = start[1] if epoch == start[0] else 0
            bar.update(task, completed=epoch * schedule.num_edges)
            losses: list[float] = []
            for number, steps in enumerate(schedule.rounds(epoch, first), first):
                queue = iter(steps)
                for found in pool.map(work, [queue] * threads):
                    losses += found
                if not np.isfinite(losses).all():
                    raise _diverged(f"the loss is not finite in epoch {epoch + 1}", config)
                mean_loss = float(np.mean(losses))
                edges = sum(len(step.edges) for step in steps)
                seen += edges
                now = time.monotonic()
                speed = f"{seen / (now - began):,.0f} edges/s"
                state = f"Epoch {epoch + 1}: loss {mean_loss:.3f}, {speed}"
                bar.update(task, advance=edges, description=state)
                if checkpoint and now - saved >= 60 * config.checkpoint_minutes:
                    save_checkpoint(checkpoint, tables.named(), (epoch, number + 1), identity)
                    saved = time.monotonic()
            shown = mean_loss and f"{mean_loss:.4f}"
            logger.info("Epoch %d of %d: loss %s", epoch + 1, config.epochs, shown)
    return mean_loss


@contextmanager
def _workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads of one core each; torch releases the GIL inside an operation."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, "embed", torch.set_num_threads, (1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _progress(show: bool) -> Progress:
    text = TextColumn("{task.description}")
    return Progress(text, BarColumn(), TimeRemainingColumn(), disable=not show)


def _identity(graph: EngagementGraph, config: NetworkEmbeddingConfig) -> dict[str, Any]:
    """What a run must share with the checkpoint that it goes on from."""
    options = asdict(config)
    for free in ("epochs", "threads", "device", "checkpoint_minutes", "num_candidates"):
        del options[free]
    arrays = {"lhs": graph.lhs, "rhs": graph.rhs, "relation": graph.relation}
    edges = {name: zlib.crc32(np.ascontiguousarray(values).data) for name, values in arrays.items()}
    return {**options, "users": graph.num_users, "posts": graph.num_posts, "edges": edges}


def _check_graph(graph: EngagementGraph) -> None:
    if not len(graph.lhs):
        raise ValueError("The graph has no edge: nothing to embed. Check the engagement log.")
    counts = np.bincount(graph.relation, minlength=len(graph.relations))
    if empty := [name for name, n in zip(graph.relations, counts, strict=True) if not n]:
        raise ValueError(
            f"No edge has the relation {', '.join(map(repr, empty))}: its vector would learn "
            "nothing. Leave the relation out, or lower the minimum degrees of the log."
        )


def _diverged(what: str, config: NetworkEmbeddingConfig) -> ValueError:
    return ValueError(
        f"Training diverged: {what}. Lower learning_rate, which is {config.learning_rate}."
    )
