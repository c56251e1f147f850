"""Vectors of users, posts and relations from engagements: `(u + r) · t` scores user u, post t.

Three methods: a softmax over posts (`sampled_softmax.py`, the default), the paper's logistic loss
(`logistic.py`; TwHIN-BERT, Section 2.1.2), and alternating least squares (`als.py`). The first two
share what makes them fast:

- A batch holds edges of one relation in chunks whose users and posts are each other's negatives,
  so that scores and gradients are small matrix products, written by hand.
- Row-wise Adagrad keeps one number a row and touches the rows of the batch alone.
- Threads update the tables without locks (Hogwild); a GPU runs the same code, one batch at a time.

Memory: `4 · dimension + 4` bytes a user, post or relation, 12 bytes an edge (some 30 while they are
sorted; 16 with the softmax), and one batch a thread; a warm start needs some four times the vectors
for a while. The vectors of the finished network are the tables, not a copy.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from twhin_hf.devices import pick_device
from twhin_hf.errors import InputError
from twhin_hf.network.als import als_vectors
from twhin_hf.network.checkpoint import Position, load_checkpoint, save_checkpoint
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.engagements import Engagements
from twhin_hf.network.folder import CHECKPOINT_FILE, Network
from twhin_hf.network.holdout import hold_out, name_metrics, rank_held_out
from twhin_hf.network.log import EngagementGraph
from twhin_hf.network.logistic import train_batch
from twhin_hf.network.sampled_softmax import log_counts, train_softmax_batch
from twhin_hf.network.schedule import ROUND, Schedule, Step
from twhin_hf.network.tables import Tables
from twhin_hf.network.warm_start import svd_vectors
from twhin_hf.report import counts_sentence
from twhin_hf.stopping import stop_requests
from twhin_hf.version import __version__

logger = logging.getLogger(__name__)


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
        config: Options; `method="twhin"` is the paper's.
        output: Folder for checkpoints; none without it. The last one, of the trained vectors, stays
            until `save_network` has written the network beside it.
        resume: Go on from the checkpoint in `output` where there is one; a damaged one is told and
            not used.
        progress: Show a progress bar.

    Returns:
        The network. `metadata["metrics"]` holds MRR and HITS@10 of the held-out edges, for the
        vectors and for ranking by popularity (the degree of the post).

    Raises:
        InputError: The graph has no edge or a relation without one, the options leave nothing to
            train on, the checkpoint is of another graph or other options, or training diverged.
        SystemExit: SIGTERM came, after a checkpoint; SIGINT ends in a KeyboardInterrupt.
    """
    config = (config or NetworkEmbeddingConfig()).for_edges(graph.num_edges)
    check_graph(graph)
    if resume and output is None:
        raise InputError("resume needs the output folder that holds the checkpoint.")
    device = pick_device(config.device)
    checkpoint = None if output is None else Path(output) / CHECKPOINT_FILE

    held_out = hold_out(graph, config.holdout, config.seed)
    began = time.monotonic()
    loss = None
    if config.method == "als":
        tables = _als_tables(graph, ~held_out, config)
    else:
        tables, loss = _gradient_descent(
            graph, ~held_out, config, device, checkpoint, resume, progress
        )
    seconds = time.monotonic() - began
    users, posts, relations = (table.cpu().numpy() for table in tables.vectors.values())
    vectors = (users, posts, relations)
    metrics = rank_vectors(graph, held_out, vectors, config, device)
    return describe_embedding(
        graph,
        held_out,
        config,
        vectors,
        Engagements.from_edges(graph.lhs, graph.rhs, graph.num_users, graph.num_posts),
        {"seconds": seconds, "loss": loss, "metrics": metrics},
    )


Vectors = tuple[np.ndarray, np.ndarray, np.ndarray]  # users, posts, relations


def rank_vectors(
    graph: EngagementGraph,
    held_out: np.ndarray,
    vectors: Vectors,
    config: NetworkEmbeddingConfig,
    device: str = "cpu",
) -> dict[str, float]:
    """Metrics of the held-out edges; warns where popularity ranks them better."""
    metrics = rank_held_out(
        graph,
        held_out,
        *(torch.from_numpy(values).to(device) for values in vectors),
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
    return metrics


def describe_embedding(
    graph: EngagementGraph,
    held_out: np.ndarray,
    config: NetworkEmbeddingConfig,
    vectors: Vectors,
    engagements: Engagements,
    results: dict[str, Any],
) -> Network:
    """The network with what its metadata tell of the embedding, `results` among them."""
    return Network(
        graph.user_ids,
        graph.post_ids,
        list(graph.relations),
        *vectors,
        user_degrees=graph.user_degrees(),
        post_degrees=graph.post_degrees(),
        metadata={
            "num_edges": len(graph.lhs),
            "before": graph.before,
            "num_training_edges": int(len(held_out) - held_out.sum()),
            "method": config.method,
            **results,
            "options": config.options(),
            "seed": config.seed,
            "versions": {"twhin_hf": __version__, "torch": torch.__version__},
        },
        engagements=engagements,
        held_out=np.stack([graph.lhs[held_out], graph.rhs[held_out]], axis=1).astype(np.int64),
    )


def _als_tables(
    graph: EngagementGraph, training: np.ndarray, config: NetworkEmbeddingConfig
) -> Tables:
    threads = config.threads or torch.get_num_threads()
    users, posts = map(torch.from_numpy, als_vectors(graph, training, config, threads))
    relations = torch.zeros(len(graph.relations), config.dimension)
    return Tables({"users": users, "posts": posts, "relations": relations}, {})


def _gradient_descent(
    graph: EngagementGraph,
    training: np.ndarray,
    config: NetworkEmbeddingConfig,
    device: str,
    checkpoint: Path | None,
    resume: bool,
    progress: bool,
) -> tuple[Tables, float | None]:
    """Trained tables, and the mean loss of an edge in the last epoch."""
    schedule = Schedule.of(
        graph,
        training,
        chunk=config.option("num_batch_negs") + 1,
        batch_size=config.batch_size,
        num_uniform_negs=config.option("num_uniform_negs") or 0,
        seed=config.seed,
        device=device,
        least_steps=400 if config.method == "softmax" else 1_000,
    )
    tables = Tables.random(graph, config, device)
    identity = identify(graph, config) | {"batch_size": schedule.batch_size}
    start = None
    if checkpoint is not None and resume and checkpoint.exists():
        start = load_checkpoint(checkpoint, tables.named(), identity)
    if start is not None:
        done = start.epoch * schedule.num_steps + start.step
        total = config.option("epochs") * schedule.num_steps
        logger.info("Going on after %d of %d steps, from %s", done, total, checkpoint)
    else:
        start = Position(0, 0, [])
        if config.option("warm_start"):
            _warm_start(tables, graph, training, config)
    counts = log_counts(schedule) if config.method == "softmax" else None
    loss = train_tables(tables, schedule, config, counts, start, checkpoint, identity, progress)
    return tables, loss


def _warm_start(
    tables: Tables, graph: EngagementGraph, training: np.ndarray, config: NetworkEmbeddingConfig
) -> None:
    """Adds the vectors of an SVD to the noise, which stays where the matrix says nothing."""
    found = svd_vectors(
        graph.lhs[training],
        graph.rhs[training],
        (graph.num_users, graph.num_posts),
        config.dimension,
        seed=config.seed,
        threads=config.threads or torch.get_num_threads(),
    )
    for side, vectors in zip(("users", "posts"), found, strict=True):
        table = tables.vectors[side]
        table.add_(torch.from_numpy(vectors).to(table.device))


def train_tables(
    tables: Tables,
    schedule: Schedule,
    config: NetworkEmbeddingConfig,
    counts: Tensor | None,
    start: Position,
    checkpoint: Path | None,
    identity: dict[str, Any],
    progress: bool,
) -> float:
    """Trains in place by gradient descent.

    Args:
        tables: What learns.
        schedule: Edges and their order.
        config: Options, `epochs` among them.
        counts: Logarithm of how often the post of each edge comes, `[num_edges]`; for softmax.
        start: Where to begin.
        checkpoint: File to write; none without it.
        identity: What a checkpoint must share with the run that goes on from it.
        progress: Show a progress bar.

    Returns:
        The mean loss of an edge in the last epoch.

    Raises:
        InputError: Training diverged.
        SystemExit: SIGTERM came, after a checkpoint; SIGINT ends in a KeyboardInterrupt.
    """
    epochs = config.option("epochs")
    threads = config.threads or torch.get_num_threads()
    if schedule.lhs.device.type == "cuda":
        threads = 1

    def one_step(number: int, step: Step) -> float | None:
        if counts is None:
            return train_batch(tables, schedule.lhs, schedule.rhs, step, config)
        rate = config.option("learning_rate") * (1 - number / (epochs * schedule.num_steps))
        return train_softmax_batch(tables, schedule, counts, step, rate, config.option("l2"))

    def save(epoch: int, step: int, losses: list[float]) -> None:
        if checkpoint is not None:
            save_checkpoint(checkpoint, tables.named(), Position(epoch, step, losses), identity)

    def diverged(what: str) -> InputError:
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)  # nothing to go on with
        rate = config.option("learning_rate")
        return InputError(f"Training diverged: {what}. Lower learning_rate, which is {rate}.")

    began = saved = time.monotonic()
    losses, seen = start.losses, 0
    with (
        stop_requests("the step") as request,
        _workers(threads) as pool,
        progress_bar(progress) as bar,
    ):

        def work(queue: deque[tuple[int, Step]]) -> list[float]:
            found = []
            while not request and (taken := _take(queue)):
                found.append(one_step(*taken))
            return [loss for loss in found if loss is not None]

        task = bar.add_task("Embedding", total=epochs * schedule.num_edges)
        for epoch in range(start.epoch, epochs):
            first = start.step if epoch == start.epoch else 0
            losses = losses if first else []
            bar.update(task, completed=epoch * schedule.num_edges)
            for number, steps in enumerate(schedule.rounds(epoch, first // ROUND), first // ROUND):
                begin = max(first, number * ROUND)
                steps = steps[begin - number * ROUND :]
                queue = deque(enumerate(steps, epoch * schedule.num_steps + begin))
                for found in pool.map(work, [queue] * threads):
                    losses += found
                if not np.isfinite(losses).all():
                    raise diverged(f"the loss is not finite in epoch {epoch + 1}")
                edges = sum(len(step.edges) for step in steps)
                seen += edges
                now = time.monotonic()
                speed = f"{seen / (now - began):,.0f} edges/s"
                state = f"Epoch {epoch + 1}: loss {_mean(losses):.3f}, {speed}"
                bar.update(task, advance=edges, description=state)
                done = begin + len(steps) - len(queue)
                if request:
                    save(epoch, done, losses)
                    request.leave()
                if now - saved >= 60 * config.checkpoint_minutes:
                    save(epoch, done, losses)
                    saved = time.monotonic()
            logger.info("Epoch %d of %d: loss %.4f", epoch + 1, epochs, _mean(losses))
        for side, vectors in tables.vectors.items():
            # One bad number spoils the sum, which needs no memory of the table's size.
            if not torch.isfinite(vectors.sum()):
                raise diverged(f"the vectors of {side} hold NaN or infinity")
        if start.epoch < epochs:
            save(epochs, 0, losses)
        if request:
            request.leave()
    return _mean(losses)


def _take(queue: deque[tuple[int, Step]]) -> tuple[int, Step] | None:
    """The next of a queue that several threads share; None where there is none."""
    try:
        return queue.popleft()
    except IndexError:
        return None


def _mean(losses: list[float]) -> float:
    return float(np.mean(losses)) if losses else float("nan")


@contextmanager
def _workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads of one core each; torch releases the GIL inside an operation."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, "embed", torch.set_num_threads, (1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def progress_bar(show: bool) -> Progress:
    """A bar for edges or steps."""
    text = TextColumn("{task.description}")
    return Progress(text, BarColumn(), TimeRemainingColumn(), disable=not show)


def identify(graph: EngagementGraph, config: NetworkEmbeddingConfig) -> dict[str, Any]:
    """What a run must share with the checkpoint that it goes on from."""
    options = config.options()
    for free in ("threads", "device", "checkpoint_minutes", "num_candidates"):
        del options[free]
    if config.method == "twhin":  # its learning rate does not depend on them
        del options["epochs"]
    arrays = {"lhs": graph.lhs, "rhs": graph.rhs, "relation": graph.relation}
    edges = {name: zlib.crc32(np.ascontiguousarray(values).data) for name, values in arrays.items()}
    return {**options, "users": graph.num_users, "posts": graph.num_posts, "edges": edges}


def check_graph(graph: EngagementGraph) -> None:
    """Raises an InputError where there is nothing to embed, or a relation without an edge."""
    if not len(graph.lhs):
        raise InputError("The graph has no edge: nothing to embed. Check the engagement log.")
    counts = np.bincount(graph.relation, minlength=len(graph.relations))
    if empty := [name for name, n in zip(graph.relations, counts, strict=True) if not n]:
        raise InputError(
            f"No edge has the relation {', '.join(map(repr, empty))}: its vector would learn "
            "nothing. Leave the relation out, or lower the minimum degrees of the log."
        )
