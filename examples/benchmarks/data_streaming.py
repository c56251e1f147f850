"""Ways to draw shuffled batches from more posts than memory holds, side by side.

    python examples/benchmarks/data_streaming.py
    python examples/benchmarks/data_streaming.py --num-posts 2000000 --ways "token shards" datasets

Each way reads the same tokenized posts in a fresh process, by one worker, through masking and
packing, with a buffer of 65,536 posts. Told are real tokens by the second of processor time,
anonymous memory beyond the imports (`data_memory.py` says how it is taken), and what a resume does:
a second loader takes up the state that the first has after a third of the batches. Posts that come
twice, posts that never come, and the processor time until the first batch are counted.

`mosaicml-streaming` is measured where it is installed; its requirements (numpy below 2.2,
transformers below 5) do not go with ours.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from data_memory import Memory
from packing import SpecialTokens, tokenized_posts

from twhin_hf.training.batches import PostBatch, PostBatches
from twhin_hf.training.collators import PackingCollator
from twhin_hf.training.streaming import StreamSampler

BATCH, BUFFER, SHARDS = 256, 65_536, 16

Batches = Iterator[tuple[np.ndarray, PostBatch]]
"""Numbers of posts, and the batch."""
Loader = Callable[[Any], tuple[Batches, Callable[[], Any]]]
"""From a state (none at first) to what is left of the pass, and to what tells the state."""


def post_batch(tokens: np.ndarray, lengths: np.ndarray, numbers: np.ndarray) -> PostBatch:
    return PostBatch(tokens, lengths, numbers, numbers)


def token_shards(folder: Path) -> Loader:
    """This package's: rows of memory-mapped Arrow, drawn by `StreamSampler`."""
    from datasets import Dataset
    from torch.utils.data import BatchSampler, DataLoader

    posts = PostBatches(Dataset.from_file(str(folder / "posts.arrow")))
    languages = np.zeros(len(posts), np.int16)

    def load(state: Any) -> tuple[Batches, Callable[[], Any]]:
        done = state or 0
        sampler = BatchSampler(StreamSampler(languages, 1.0, 0), BATCH, drop_last=False)
        left = list(islice(sampler, done, None)) if done else sampler
        loader = DataLoader(posts, batch_sampler=left, collate_fn=lambda batch: batch)

        def batches() -> Batches:
            nonlocal done
            for batch in loader:
                done += 1
                yield batch.post_ids, batch

        return batches(), lambda: done

    return load


def iterable(folder: Path, *, arrow: bool) -> Loader:
    """`datasets`' iterable data set of Parquet shards, with its shuffle buffer."""
    from datasets import load_dataset
    from torchdata.stateful_dataloader import StatefulDataLoader

    files = sorted(str(path) for path in (folder / "parquet").iterdir())

    def collate(rows: Any) -> tuple[np.ndarray, PostBatch]:
        if arrow:
            table = pa.concat_tables(rows) if isinstance(rows, list) else rows
            lists = table["input_ids"].combine_chunks()
            if pa.types.is_list(lists.type.value_type):  # a batch is a row of lists
                lists, names = lists.flatten(), table["post_id"].combine_chunks().flatten()
            else:
                names = table["post_id"]
            lengths = np.diff(lists.offsets.to_numpy())
            numbers = np.array(names.cast(pa.int64()))
            return numbers, post_batch(lists.flatten().to_numpy(), lengths, numbers)
        numbers = np.array([int(row["post_id"]) for row in rows])
        lengths = np.array([len(row["input_ids"]) for row in rows])
        tokens = np.concatenate([np.array(row["input_ids"], np.int32) for row in rows])
        return numbers, post_batch(tokens, lengths, numbers)

    def load(state: Any) -> tuple[Batches, Callable[[], Any]]:
        data = load_dataset("parquet", data_files=files, split="train", streaming=True)
        if arrow:
            data = data.with_format("arrow").shuffle(seed=0, buffer_size=BUFFER).batch(BATCH)
            loader = StatefulDataLoader(data, batch_size=None, collate_fn=collate)
        else:
            data = data.shuffle(seed=0, buffer_size=BUFFER)
            loader = StatefulDataLoader(data, batch_size=BATCH, collate_fn=collate)
        if state is not None:
            loader.load_state_dict(state)
        return iter(loader), loader.state_dict

    return load


def mosaic(folder: Path) -> Loader:
    """mosaicml-streaming, from its own shards."""
    from streaming import StreamingDataLoader, StreamingDataset

    def collate(rows: list[dict[str, Any]]) -> tuple[np.ndarray, PostBatch]:
        numbers = np.array([int(row["post_id"]) for row in rows])
        lengths = np.array([len(row["input_ids"]) for row in rows])
        tokens = np.concatenate([row["input_ids"] for row in rows])
        return numbers, post_batch(tokens, lengths, numbers)

    def load(state: Any) -> tuple[Batches, Callable[[], Any]]:
        data = StreamingDataset(
            local=str(folder / "mds"), shuffle=True, batch_size=BATCH, shuffle_block_size=BUFFER
        )
        loader = StreamingDataLoader(data, batch_size=BATCH, collate_fn=collate)
        if state is not None:
            loader.load_state_dict(state)
        return iter(loader), loader.state_dict

    return load


WAYS: dict[str, Callable[[Path], Loader]] = {
    "token shards": token_shards,
    "datasets, iterable": lambda folder: iterable(folder, arrow=False),
    "datasets, iterable, Arrow": lambda folder: iterable(folder, arrow=True),
    "mosaicml-streaming": mosaic,
}


def write_shards(folder: Path, num_posts: int, ways: list[str]) -> None:
    """The posts in each format."""
    posts = tokenized_posts(num_posts, folder).with_format("arrow")
    (folder / "parquet").mkdir()
    size = -(-num_posts // SHARDS)
    for number in range(SHARDS):
        table = posts[number * size : (number + 1) * size]
        pq.write_table(table, folder / "parquet" / f"{number:02}.parquet", row_group_size=4096)
    if "mosaicml-streaming" in ways:
        from streaming import MDSWriter

        columns = {"post_id": "str", "input_ids": "ndarray:int32"}
        with MDSWriter(out=str(folder / "mds"), columns=columns) as writer:
            for start in range(0, num_posts, 10_000):
                block = posts[start : start + 10_000]
                rows = zip(block["post_id"].to_pylist(), block["input_ids"], strict=True)
                for name, ids in rows:
                    writer.write({"post_id": name, "input_ids": np.array(ids.values)})


def measure(way: str, folder: Path, num_posts: int) -> dict[str, float]:
    """One pass, and one that is interrupted."""
    load = WAYS[way](folder)
    collate = PackingCollator(SpecialTokens())  # type: ignore[arg-type]
    memory, tokens = Memory(), 0
    for _ in memory.stage("pass"):
        for _, batch in load(None)[0]:
            collate(batch)
            tokens += len(batch.tokens)
    counts = np.zeros(num_posts, int)
    batches, state = load(None)
    for numbers, _ in islice(batches, num_posts // BATCH // 3):
        counts += np.bincount(numbers, minlength=num_posts)
    saved = json.loads(json.dumps(state(), default=str)) if way == "token shards" else state()
    began = time.process_time()
    batches, _ = load(saved)
    seconds = 0.0
    for numbers, _ in batches:
        seconds = seconds or time.process_time() - began
        counts += np.bincount(numbers, minlength=num_posts)
    return {
        "tokens_per_second": tokens / memory.stages["pass"]["cpu_seconds"],
        "peak": memory.stages["pass"]["peak"],
        "twice": int((counts > 1).sum()),
        "never": int((counts == 0).sum()),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-posts", type=int, default=300_000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS)[:3])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.folder, args.num_posts)))
        return
    print("| way | tokens a second | memory | resumed: twice | never | first batch after |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder), args.num_posts, args.ways)
        for way in args.ways:
            command = [sys.executable, __file__, "--measure", way, "--folder", folder]
            command += ["--num-posts", str(args.num_posts)]
            run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(run.stdout.splitlines()[-1])
            print(
                f"| {way} | {found['tokens_per_second'] / 1e6:.2f} M "
                f"| {found['peak'] / 1e6:,.0f} MB | {found['twice']:,} | {found['never']:,} "
                f"| {found['seconds']:.2f} s |",
                flush=True,
            )


if __name__ == "__main__":
    main()
