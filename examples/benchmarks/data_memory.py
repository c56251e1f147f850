"""Memory of the way from posts and pairs to batches, by the number of posts.

    python examples/benchmarks/data_memory.py
    python examples/benchmarks/data_memory.py --num-posts 1000000 4000000 16000000
    python examples/benchmarks/data_memory.py --streaming

Each number of posts is a fresh process, which reads posts and as many pairs from Parquet files that
are generated here, tokenizes and draws batches; with `--streaming` from shards of tokens. Posts
have some five words, to keep the files small: ids, languages and pairs are what memory would be
spent on.

Counted is anonymous memory (`RssAnon` of /proc/self/status, sampled every 20 ms), less what the
process had after its imports: pages of memory-mapped files, which the system drops where it needs
room, are no part of it. The engine takes up to `--memory-limit` while it reads, whatever the number
of posts, and gives it back; so the memory by the post is told where it is held, at the end, and the
peak apart. Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 64
BATCHES = 200
ROWS_PER_BLOCK = 500_000
LANGUAGES = ["en", "ja", "es", "ar", "hi"]


def write_data(folder: Path, num_posts: int, seed: int = 0) -> None:
    """Writes `posts.parquet` and as many pairs, `pairs.parquet`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(seed)
    words = np.array(["".join(letters) for letters in random.choice(list("abcdefgh"), (500, 4))])

    def ids(rows: np.ndarray) -> pa.Array:
        return pa.array(1_000_000_000_000 + 7919 * rows).cast(pa.string())

    def write(name: str, block_of: Any) -> None:
        writer = None
        for start in range(0, num_posts, ROWS_PER_BLOCK):
            rows = np.arange(start, min(start + ROWS_PER_BLOCK, num_posts))
            table = block_of(rows)
            writer = writer or pq.ParquetWriter(folder / name, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()

    def posts(rows: np.ndarray) -> pa.Table:
        chosen = random.choice(words, (5, len(rows)))
        text = chosen[0]
        for more in chosen[1:]:
            text = np.char.add(np.char.add(text, " "), more)
        languages = random.choice(LANGUAGES, len(rows), p=[0.5, 0.2, 0.2, 0.07, 0.03])
        return pa.table({"post_id": ids(rows), "text": text, "lang": languages})

    def pairs(rows: np.ndarray) -> pa.Table:
        others = random.integers(0, num_posts, len(rows))
        return pa.table({"anchor_id": ids(rows), "positive_id": ids(others)})

    write("posts.parquet", posts)
    write("pairs.parquet", pairs)


def tokenizer_of(folder: Path) -> Any:
    """A tokenizer of whole words, which takes no time."""
    import pyarrow.parquet as pq
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    block = next(pq.ParquetFile(folder / "posts.parquet").iter_batches(10_000, columns=["text"]))
    words = sorted({word for text in block["text"].to_pylist() for word in text.split()})
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    numbers = {word: number for number, word in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", mask_token="<mask>", **names
    )


def anonymous_bytes() -> int:
    """Memory of this process that is no file's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status says nothing of RssAnon")


class Memory:
    """The stages of the way, with their anonymous memory above that of the start."""

    def __init__(self) -> None:
        self.base, self.peak = anonymous_bytes(), 0
        self.stages: dict[str, dict[str, float]] = {}
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while True:
            self.peak = max(self.peak, anonymous_bytes())
            time.sleep(0.02)

    def stage(self, name: str) -> Iterator[None]:
        """Measures what happens until it is asked again."""
        self.peak = anonymous_bytes()
        began = time.process_time()
        yield
        held = anonymous_bytes()
        self.stages[name] = {
            "held": held - self.base,
            "peak": max(self.peak, held) - self.base,
            "cpu_seconds": time.process_time() - began,
        }


def measure(folder: Path, memory_limit: str, streaming: bool) -> dict[str, dict[str, float]]:
    """From files to batches, in this process."""
    import datasets
    import torch  # noqa: F401

    from twhin_hf.data.posts import read_posts
    from twhin_hf.data.tokenization import language_codes, tokenize_posts
    from twhin_hf.network.pairs import read_pairs
    from twhin_hf.training.batches import LanguageSampler, PairBatches, PostBatches, pair_rows
    from twhin_hf.training.streaming import (
        StreamedPairs,
        StreamSampler,
        open_stream,
        write_stream,
    )

    datasets.disable_progress_bars()
    tokenizer = tokenizer_of(folder)
    memory = Memory()
    if streaming and (folder / "stream").exists():
        for _ in memory.stage(f"open them, {BATCHES} batches of {BATCH} pairs"):
            stream = open_stream(folder / "stream")
            assert stream.pairs is not None
            streamed = StreamedPairs(PostBatches(stream.posts), stream.pairs)
            draw(streamed, StreamSampler(language_codes(stream.pairs), 0.7, 0), tokenizer)
        return memory.stages
    for _ in memory.stage("read posts"):
        posts, _ = read_posts(folder / "posts.parquet", memory_limit=memory_limit, directory=folder)
    if streaming:
        for _ in memory.stage("write shards of tokens"):
            pairs = read_pairs(folder / "pairs.parquet", memory_limit=memory_limit)
            limit = {"memory_limit": memory_limit, "directory": folder}
            write_stream(folder / "stream", posts, pairs, tokenizer, **limit)
        return memory.stages
    for _ in memory.stage("tokenize"):
        tokenized = tokenize_posts(posts, tokenizer)
    for _ in memory.stage("read pairs, find their rows"):
        rows, _ = pair_rows(tokenized, read_pairs(folder / "pairs.parquet"))
    for _ in memory.stage("known positives, languages"):
        batches = PairBatches(PostBatches(tokenized), rows)
        sampler = LanguageSampler(language_codes(tokenized)[rows[:, 0]], 0.7, 0)
    for _ in memory.stage(f"{BATCHES} batches of {BATCH} pairs"):
        draw(batches, sampler, tokenizer)
    return memory.stages


def draw(batches: Any, sampler: Any, tokenizer: Any) -> None:
    """Some batches."""
    from twhin_hf.training.collators import PackingCollator

    collate = PackingCollator(tokenizer)
    keys = iter(sampler)
    for _ in range(BATCHES):
        collate(batches.__getitems__([next(keys) for _ in range(BATCH)]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-posts", type=int, nargs="+", default=[1_000_000, 4_000_000])
    parser.add_argument("--memory-limit", default="500MB", help="of the engine")
    parser.add_argument("--streaming", action="store_true", help="from shards of tokens")
    parser.add_argument("--folder", type=Path, help="of the files (default: a temporary one)")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure is not None:
        print(json.dumps(measure(args.measure, args.memory_limit, args.streaming)))
        return
    found: dict[int, dict[str, dict[str, float]]] = {}
    for count in args.num_posts:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            write_data(Path(folder), count)
            command = [sys.executable, __file__, "--measure", folder]
            command += ["--memory-limit", args.memory_limit]
            command += ["--streaming"] * args.streaming
            found[count] = {}
            for _ in range(1 + args.streaming):  # shards are read by another process
                run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found[count] |= json.loads(run.stdout.splitlines()[-1])
    print("| stage | " + " | ".join(f"{count:,} posts" for count in found) + " | bytes a post |")
    print("| --- " * (len(found) + 2) + "|")
    first, last = min(found), max(found)
    for name in found[first]:
        cells = [
            f"{one[name]['held'] / 1e6:,.0f} (peak {one[name]['peak'] / 1e6:,.0f}) MB, "
            f"{one[name]['cpu_seconds']:.0f} s"
            for one in found.values()
        ]
        slope = ""
        if last > first:
            slope = (
                f"{(found[last][name]['held'] - found[first][name]['held']) / (last - first):.1f}"
            )
        print(f"| {name} | {' | '.join(cells)} | {slope} |")


if __name__ == "__main__":
    main()
