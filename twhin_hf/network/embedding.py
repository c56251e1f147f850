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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from threadpoolctl import threadpool_limits
from torch import Tensor

from twhin_hf.devices import pick_device
from twhin_hf.errors import InputError
from twhin_hf.network.als import als_vectors
from twhin_hf.network.block_svd import factor_rank, factorise
from twhin_hf.network.checkpoint import Position, load_checkpoint, save_checkpoint
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.engagements import Engagements, neighbours_in_file
from twhin_hf.network.folder import CHECKPOINT_FILE, PARTS_FOLDER, VECTORS, Network
from twhin_hf.network.holdout import hold_out, name_metrics, rank_held_out
from twhin_hf.network.log import EngagementGraph
from twhin_hf.network.logistic import train_batch
from twhin_hf.network.partitions import (
    SIDES,
    BucketedSchedule,
    Buckets,
    PartitionedFactors,
    PartitionedTables,
)
from twhin_hf.network.sampled_softmax import log_counts, train_softmax_batch
from twhin_hf.network.schedule import Schedule, Step, default_batch_size
from twhin_hf.network.tables import Tables
from twhin_hf.network.tensor_files import map_tensors
from twhin_hf.network.warm_start import svd_vectors
from twhin_hf.printing import counts_sentence
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
    memory_limit: str = "600MB",
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
        memory_limit: What the tables may take where `config.partitions` is 0.

    Returns:
        The network. `metadata["metrics"]` holds MRR and HITS@10 of the held-out edges, for the
        vectors and for ranking by popularity (the degree of the post). With partitions the vectors
        are mapped from files in the output folder, which `save_network` moves into place.

    Raises:
        InputError: The graph has no edge or a relation without one, the options leave nothing to
            train on, the checkpoint is of another graph or other options, training diverged, or
            partitions have no output folder.
        SystemExit: SIGTERM came, after a checkpoint; SIGINT ends in a KeyboardInterrupt.
    """
    config = (config or NetworkEmbeddingConfig()).for_edges(graph.num_edges)
    config = config.for_memory(graph.num_users + graph.num_posts, memory_limit)
    check_graph(graph)
    partitions = config.partitions or 1
    if partitions > 1 and output is None:
        raise InputError("partitions need an output folder, where those not in memory are.")
    if resume and output is None:
        raise InputError("resume needs the output folder that holds the checkpoint.")
    device = pick_device(config.device)
    checkpoint = None if output is None else Path(output) / CHECKPOINT_FILE

    held_out = hold_out(graph, config.holdout, config.seed)
    began = time.monotonic()
    loss = None
    if config.method == "als":
        vectors = _als_vectors(graph, ~held_out, config)
    elif output is not None and partitions > 1:
        vectors, loss = _train_partitions(
            graph, ~held_out, config, device, Path(output), resume, progress
        )
        device = "cpu"
    else:
        vectors, loss = _gradient_descent(
            graph, ~held_out, config, device, checkpoint, resume, progress
        )
    seconds = time.monotonic() - began
    metrics = rank_vectors(graph, held_out, vectors, config, device)
    if output is not None and partitions > 1:
        engagements = _engagements_in_files(graph, partitions, Path(output) / PARTS_FOLDER)
    else:
        engagements = Engagements.from_edges(graph.lhs, graph.rhs, graph.num_users, graph.num_posts)
    return describe_embedding(
        graph,
        held_out,
        config,
        vectors,
        engagements,
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


def _als_vectors(
    graph: EngagementGraph, training: np.ndarray, config: NetworkEmbeddingConfig
) -> Vectors:
    threads = config.threads or torch.get_num_threads()
    relations = np.zeros((graph.num_relations, config.dimension), np.float32)
    return (*als_vectors(graph, training, config, threads), relations)


def _engagements_in_files(graph: EngagementGraph, ranges: int, folder: Path) -> Engagements:
    sides = {"posts": (graph.rhs, graph.lhs, graph.num_posts)}
    sides["users"] = (graph.lhs, graph.rhs, graph.num_users)
    return Engagements(
        *(neighbours_in_file(*side, ranges, folder / f"of-{name}") for name, side in sides.items())
    )


def _gradient_descent(
    graph: EngagementGraph,
    training: np.ndarray,
    config: NetworkEmbeddingConfig,
    device: str,
    checkpoint: Path | None,
    resume: bool,
    progress: bool,
) -> tuple[Vectors, float]:
    """Trained vectors, and the mean loss of an edge in the last epoch."""
    schedule = Schedule.of(
        graph,
        training,
        chunk=config.option("num_batch_negs") + 1,
        batch_size=config.batch_size,
        num_uniform_negs=config.option("num_uniform_negs") or 0,
        seed=config.seed,
        device=device,
        least_steps=least_steps(config),
    )
    tables = Tables.random(graph, config, device)
    identity = identify(graph, config) | {"batch_size": schedule.batch_size}
    start = _resumed(tables, schedule, config, checkpoint if resume else None, identity)
    if start is None:
        start = Position(0, 0, [])
        if config.option("warm_start"):
            _warm_start(tables, graph, training, config)
    counts = log_counts(schedule) if config.method == "softmax" else None
    train = step_trainer(tables, schedule, config, counts)
    loss = train_tables(tables, schedule, config, train, start, checkpoint, identity, progress)
    users, posts, relations = (table.cpu().numpy() for table in tables.vectors.values())
    return (users, posts, relations), loss


def _train_partitions(
    graph: EngagementGraph,
    training: np.ndarray,
    config: NetworkEmbeddingConfig,
    device: str,
    output: Path,
    resume: bool,
    progress: bool,
) -> tuple[Vectors, float]:
    """The same where two partitions of the tables are in memory and all are in files."""
    folder, checkpoint = output / PARTS_FOLDER, output / CHECKPOINT_FILE
    assert config.partitions is not None
    buckets = Buckets(graph, training, config.partitions, folder)
    tables = PartitionedTables.on_disk(
        graph, config.partitions, config.dimension, folder, config.seed, device
    )
    num_edges = int(buckets.counts.sum())
    schedule = BucketedSchedule(
        buckets,
        tables,
        chunk=config.option("num_batch_negs") + 1,
        batch_size=config.batch_size or default_batch_size(num_edges, least_steps(config), device),
        num_uniform_negs=config.option("num_uniform_negs") or 0,
        seed=config.seed,
        device=device,
    )
    identity = identify(graph, config) | {"batch_size": schedule.batch_size}
    start = _resumed(tables, schedule, config, checkpoint if resume else None, identity)
    tables.settle()
    if start is None:
        start = Position(0, 0, [])
        if config.option("warm_start"):
            _warm_start_of_partitions(tables, buckets, config, num_edges)

    def train(step: Step, done: float) -> float | None:
        assert schedule.current is not None
        counts = schedule.counts if config.method == "softmax" else None
        return step_trainer(tables, schedule.current, config, counts)(step, done)

    loss = train_tables(tables, schedule, config, train, start, checkpoint, identity, progress)
    found = []
    for side in SIDES:
        path = folder / f"{side}.safetensors"
        tables.write_in_order(side, path, VECTORS)
        found.append(map_tensors(path, "c")[VECTORS])
    return (found[0], found[1], tables.vectors["relations"].cpu().numpy()), loss


def _warm_start_of_partitions(
    tables: PartitionedTables, buckets: Buckets, config: NetworkEmbeddingConfig, num_edges: int
) -> None:
    shape = (tables.rows["users"], tables.rows["posts"])
    rank = factor_rank(shape, config.dimension)
    with threadpool_limits(limits=config.threads or torch.get_num_threads()):
        factors = PartitionedFactors(buckets, tables, rank, tables.folder, config.seed)
        factorise(factors, shape, config.dimension, num_edges)
    for side in SIDES:
        for part in range(buckets.partitions):
            tables.begin_with(side, part, factors.load(side, part))
    factors.remove()


def least_steps(config: NetworkEmbeddingConfig) -> int:
    """Steps that an epoch has at least where no batch size is given, but for tiny graphs."""
    return 400 if config.method == "softmax" else 1_000


def _resumed(
    tables: Tables,
    schedule: Schedule | BucketedSchedule,
    config: NetworkEmbeddingConfig,
    checkpoint: Path | None,
    identity: dict[str, Any],
) -> Position | None:
    """Fills the tables from a checkpoint, where there is one to go on from."""
    if checkpoint is None or not checkpoint.exists():
        return None
    start = load_checkpoint(checkpoint, tables.named(), identity)
    if start is not None:
        done = start.epoch * schedule.num_steps + start.step
        total = config.option("epochs") * schedule.num_steps
        logger.info("Going on after %d of %d steps, from %s", done, total, checkpoint)
    return start


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


TrainStep = Callable[[Step, float], float | None]


def step_trainer(
    tables: Tables, schedule: Schedule, config: NetworkEmbeddingConfig, counts: Tensor | None
) -> TrainStep:
    """What trains on one step, told which share of all steps is done; gives the loss if measured.

    Args:
        tables: What learns.
        schedule: Holds the edges.
        config: Method, learning rate, negatives.
        counts: Logarithm of how often the post of each edge comes, `[num_edges]`; for softmax.
    """

    def train(step: Step, done: float) -> float | None:
        if counts is None:
            return train_batch(tables, schedule.lhs, schedule.rhs, step, config)
        rate = config.option("learning_rate") * (1 - done)
        return train_softmax_batch(tables, schedule, counts, step, rate, config.option("l2"))

    return train


def train_tables(
    tables: Tables,
    schedule: Schedule | BucketedSchedule,
    config: NetworkEmbeddingConfig,
    train: TrainStep,
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
        train: Trains on one step.
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
    if tables.vectors["relations"].device.type == "cuda":
        threads = 1

    def save(epoch: int, step: int, losses: list[float]) -> None:
        if checkpoint is not None:
            with tables.checkpointed() as tensors:
                save_checkpoint(checkpoint, tensors, Position(epoch, step, losses), identity)

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
                number, step = taken
                found.append(train(step, number / (epochs * schedule.num_steps)))
            return [loss for loss in found if loss is not None]

        task = bar.add_task("Embedding", total=epochs * schedule.num_edges)
        for epoch in range(start.epoch, epochs):
            first = start.step if epoch == start.epoch else 0
            losses = losses if first else []
            bar.update(task, completed=epoch * schedule.num_edges)
            for begin, steps in schedule.steps_from(epoch, first):
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
    if config.partitions in (None, 1):
        del options["partitions"]
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
