"""Vectors of posts in a Parquet file: any number of posts, made part by part in their order.

Each part is written when it is done and kept until all are: a run that was broken off goes on with
the parts that lack. What a part is made of is in its name, a hash of its posts, the model and the
options, so that a part of other posts or of another model is never taken for one of these.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from rich.progress import Progress

from twhin_hf.data.posts import read_posts
from twhin_hf.devices import pick_device
from twhin_hf.errors import InputError
from twhin_hf.files import new_file
from twhin_hf.loading.fingerprint import model_fingerprint
from twhin_hf.loading.joined import pooling_parts
from twhin_hf.loading.places import check_place
from twhin_hf.processes import Workers, local_rank
from twhin_hf.run_file import run_metadata, with_earlier
from twhin_hf.run_folder import lock_folder
from twhin_hf.scratch import scratch_folder
from twhin_hf.serving.exported import load_encoder
from twhin_hf.serving.vector_files import (
    check_same_vectors,
    describe_vectors,
    open_vectors,
    vector_ids,
    vector_shape,
    vectors_made_with,
)
from twhin_hf.serving.vectors_config import PostVectorsConfig
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import TableSource, read_errors

logger = logging.getLogger(__name__)

POSTS_PER_PART = 16_384
"""Posts whose vectors are held at once: 96 MiB of 1,536 dimensions in float32."""


class PostVectorsReport(NamedTuple):
    """What was written.

    Args:
        num_posts: Vectors of the file.
        dimension: Of a vector.
        num_parts: Parts it was made of.
        kept_parts: Those that an earlier run had left.
        num_new: Vectors that were not in the file before.
    """

    num_posts: int
    dimension: int
    num_parts: int
    kept_parts: int
    num_new: int


def embed_posts(
    posts: TableSource,
    output: str | Path,
    config: PostVectorsConfig,
    *,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    memory_limit: str = "1GB",
    posts_per_part: int = POSTS_PER_PART,
    record: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    add: bool = False,
    workers: Workers | None = None,
    progress: bool = True,
) -> PostVectorsReport:
    """Writes the vectors of posts, in the order of the posts.

    To add to a file of 16 GB takes the time of a copy of it, and the model reads what is new alone.

    Args:
        posts: What `read_posts` reads; rows that it leaves out (without id or text, or of an id
            that came before) have no vector.
        output: Parquet file with the columns `post_id`, string, and `embedding`, a list of fixed
            size of float32 or float16. It appears when it is complete; until then its parts are
            in a folder beside it, of its name with `.parts`.
        config: The model, and how.
        columns: What the posts call a column, such as `{"text": "body"}`.
        table_format: How text tables are written.
        memory_limit: Most memory of the engine that reads the posts.
        posts_per_part: Of which the vectors are held in memory, by each process.
        record: What the file is to say of how it was made, beside the options of its vectors.
        overwrite: Replace the output where it is there.
        add: Where the output is there, write the vectors of posts that it does not have behind
            those it has. A post that is in it keeps its vector, whatever its text is now.
        workers: Embed the parts, each with its own model, in place of `config.processes`; they
            must see the folder of the output.
        progress: Shows a progress bar.

    Raises:
        FileExistsError: The output is there, or is a folder.
        FileNotFoundError: The posts are missing.
        InputError: Posts that cannot be read, an unknown pooling, a model that cannot be loaded,
            vectors that are not finite, or too large for float16, another process that makes the
            same file, or one to add to whose vectors are of another model or other options.
    """
    output = Path(output)
    if output.is_dir():
        raise FileExistsError(f"{output} is a folder; give the name of a file.")
    adds = add and output.exists() and not overwrite
    if output.exists() and not (overwrite or add):
        raise FileExistsError(f"{output} is there; remove it, or give another output.")
    check_place(config.model, config.revision)
    if config.pooling is not None:
        pooling_parts(config.pooling)
    folder = output.with_name(f"{output.name}.parts")
    told = describe_vectors(config.model, config.revision, config.of_vectors()) | dict(record or {})
    with lock_folder(folder), scratch_folder(folder) as scratch:
        earlier = vectors_made_with(output) if adds else {}
        if adds:
            check_same_vectors(output, earlier, "the new posts", told)
        read = read_posts(
            posts,
            columns=columns,
            table_format=table_format,
            memory_limit=memory_limit,
            directory=scratch,
        ).dataset
        if adds:
            read = _without(read, output, scratch)
        parts = [
            _Part(start, min(start + posts_per_part, len(read)), folder / name)
            for start, name in _part_names(read, posts_per_part, config)
        ]
        missing = [part for part in parts if not part.path.exists()]
        if len(missing) < len(parts):
            logger.info("%d of %d parts are there already", len(parts) - len(missing), len(parts))
        with Progress(disable=not progress) as bar:
            task = bar.add_task("Embedding", total=sum(part.size for part in missing))
            source = read.cache_files[0]["filename"] if missing else ""
            for part in _embed_parts(missing, source, config, workers):
                bar.advance(task, part.size)
        if parts:
            before = [output] if adds else []
            _join([*before, *(part.path for part in parts)], output, with_earlier(told, earlier))
        num_posts, dimension = vector_shape(output)
    shutil.rmtree(folder)
    return PostVectorsReport(num_posts, dimension, len(parts), len(parts) - len(missing), len(read))


def _without(posts: Dataset, output: Path, scratch: Path) -> Dataset:
    """The posts that a file has no vectors of, in an Arrow file of their own."""
    known = pa.chunked_array(vector_ids(output), pa.string())
    ids = posts.data["post_id"].cast(pa.string())
    is_new = pc.invert(pc.is_in(ids, value_set=known))
    new = posts.select(np.flatnonzero(is_new.to_numpy(zero_copy_only=False)))
    return new.flatten_indices(cache_file_name=str(scratch / "new.arrow"))


class _Part(NamedTuple):
    start: int
    stop: int
    path: Path

    @property
    def size(self) -> int:
        return self.stop - self.start


class _Embedder:
    """A process's model and posts."""

    def __init__(self, config: PostVectorsConfig, posts: str, device: str):
        self.config = config
        self.posts = Dataset.from_file(posts).with_format("arrow")
        self.model = load_encoder(config.model, config.revision, device, config.pooling)

    def write(self, part: _Part) -> _Part:
        block = self.posts[part.start : part.stop]
        vectors = _encode(self.model, block["text"].to_pylist(), self.config)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        table = pa.table({"post_id": block["post_id"], "embedding": column})
        with new_file(part.path) as partial:
            pq.write_table(table, partial, use_dictionary=False)
        return part


def _encode(model: Any, texts: list[str], config: PostVectorsConfig) -> np.ndarray:
    """The vectors of texts, `[num_texts, dimension]`."""
    found = model.encode(
        texts,
        batch_size=config.batch_size,
        max_length=config.max_length,
        # Left out, it is as the model's config says.
        normalize_embeddings=config.normalize or None,
        pooling=config.pooling,
    )
    vectors = np.asarray(found)
    largest = float(np.abs(vectors).max())
    if not np.isfinite(largest):
        raise InputError(
            f"{config.model} gives vectors that are not finite; check its training.",
            faq="not-finite",
        )
    if config.float16:
        if largest > float(np.finfo(np.float16).max):
            raise InputError(
                f"{config.model} gives numbers up to {largest:g}, which float16 cannot "
                "hold; normalize the vectors, or write float32."
            )
        vectors = vectors.astype(np.float16)
    return vectors


@functools.cache
def _cached_encoder(config: PostVectorsConfig) -> Any:
    device = _device(pick_device(config.device), local_rank())
    return load_encoder(config.model, config.revision, device, config.pooling)


def encode_batches(
    batches: Iterable[pa.RecordBatch], config: PostVectorsConfig
) -> Iterator[pa.RecordBatch]:
    """The vectors of batches of posts, for Spark's `mapInArrow` and the like.

    A process loads the model once, whatever the number of batches and partitions.

    Args:
        batches: With a column `text` of strings, none of them null. All other columns, such as
            `post_id`, are passed on.
        config: The model, and how; its `processes` are of no account.

    Yields:
        The other columns and `embedding`, lists of float32 (float16 is for Parquet alone: Spark
        has no such type).

    Raises:
        InputError: `config.float16`, no text in a row, vectors that are not finite, a model that
            cannot be loaded.

    Example:
        Each executor needs this package and the model; `text` is read, `post_id` goes with it::

            config = PostVectorsConfig("model")
            vectors = posts.select("post_id", "text").mapInArrow(
                partial(encode_batches, config=config), "post_id string, embedding array<float>"
            )
            vectors.write.parquet("vectors")
    """
    if config.float16:
        raise InputError("Spark has no float16: leave float16 out, and write float32.")
    for batch in batches:
        texts = batch.column("text")
        if texts.null_count:
            raise InputError(
                f"{texts.null_count:,} of {len(texts):,} posts have no text; leave them out before "
                "(`where text is not null`)."
            )
        others = batch.drop_columns(["text"])
        if len(batch):
            vectors = _encode(_cached_encoder(config), texts.to_pylist(), config)
            offsets = np.arange(len(batch) + 1, dtype=np.int32) * vectors.shape[1]
            column = pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))
        else:
            column = pa.array([], pa.list_(pa.float32()))
        yield pa.RecordBatch.from_arrays(
            [*others.columns, column], [*others.schema.names, "embedding"]
        )


_embedder: _Embedder | None = None
"""That of a worker process."""


def _start_worker(config: PostVectorsConfig, posts: str, devices: Any) -> None:
    global _embedder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // config.processes))
    _embedder = _Embedder(config, posts, devices.get())


def _end_with_parent() -> None:
    """Ends a worker whose parent was killed: it would wait for more work for ever."""
    parent = multiprocessing.parent_process()
    while parent is not None and os.getppid() == parent.pid:
        time.sleep(1)
    os._exit(1)


def _write_part(part: _Part) -> _Part:
    assert _embedder is not None
    return _embedder.write(part)


@functools.cache
def _worker_embedder(config: PostVectorsConfig, posts: str) -> _Embedder:
    """That of a process of a launcher, or of Spark."""
    return _Embedder(config, posts, _device(pick_device(config.device), local_rank()))


def _write_on_worker(config: PostVectorsConfig, posts: str, part: _Part) -> _Part:
    return _worker_embedder(config, posts).write(part)


def _embed_parts(
    parts: list[_Part], posts: str, config: PostVectorsConfig, workers: Workers | None
) -> Iterator[_Part]:
    if not parts:
        return
    if workers is not None:
        yield from workers.map(functools.partial(_write_on_worker, config, posts), parts)
        return
    if config.processes == 1:
        yield from map(_Embedder(config, posts, pick_device(config.device)).write, parts)
        return
    # Not forked: threads of the engine and the accelerator do not survive it.
    context = multiprocessing.get_context("spawn")
    device = pick_device(config.device)
    devices = context.Queue()
    for number in range(config.processes):
        devices.put(_device(device, number))
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(
        config.processes, context, _start_worker, (config, posts, devices)
    ) as pool:
        try:
            # Not by `map`, which cancels what is left: the pool's own thread stumbles over that.
            for written in [pool.submit(_write_part, part) for part in parts]:
                yield written.result()
        except BaseException:
            # A signal does not wait for parts under way: they are written whole, or made again.
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise


def _device(device: str, number: int) -> str:
    """The device of a process: all of a kind are shared out, one that has a number is not."""
    if device != "cuda":
        return device
    return f"cuda:{number % torch.cuda.device_count()}"


def _part_names(
    posts: Dataset, posts_per_part: int, config: PostVectorsConfig
) -> Iterator[tuple[int, str]]:
    """Start and file name of each part."""
    stamp = model_fingerprint(config.model, config.revision)
    made_with = json.dumps([config.of_vectors(), stamp]).encode()
    arrow = posts.select_columns(["post_id", "text"]).with_format("arrow")
    for start in range(0, len(posts), posts_per_part):
        block = arrow[start : start + posts_per_part].combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, block.schema.remove_metadata()) as stream:
            stream.write_table(block.replace_schema_metadata())
        digest = hashlib.blake2b(made_with, digest_size=16)
        digest.update(sink.getvalue())
        yield start, f"{digest.hexdigest()}.parquet"


def _join(parts: list[Path], output: Path, told: Mapping[str, Any]) -> None:
    """Writes files of vectors as one, a row group each, or as many as one has already."""
    made_with = run_metadata(told)
    schema = pq.read_schema(parts[-1]).with_metadata(made_with)
    with (
        new_file(output) as partial,
        pq.ParquetWriter(partial, schema, use_dictionary=False) as writer,
    ):
        for path in parts:
            with open_vectors(path) as file, read_errors(path):
                for number in range(file.num_row_groups):
                    group = file.read_row_group(number, columns=schema.names)
                    writer.write_table(group.cast(schema))
