"""Mining against bare FAISS: recall, speed and overhead.

    python examples/benchmarks/mining.py
    python examples/benchmarks/mining.py --num-posts 1000000 --index Flat OPQ64,IVF1024,PQ64

Makes clustered vectors and random texts and mines pairs, from vectors in memory to a Parquet file.
FAISS is timed inside that run, so that both have the same machine at the same moment. The overhead
is all that mining does beyond building and searching, in terms of the search alone: checking,
filtering, comparing texts, writing. Reading and sketching the texts, which FAISS has no counterpart
for, is shown apart. Exact search is timed on `--exact-queries` posts where there are more, because
all of them take time with the square of their number.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np


def make_network(num_posts: int, dimension: int, per_cluster: int, seed: int = 0):
    """A network of posts alone, their vectors in clusters with noise."""
    import pyarrow as pa

    from twhin_hf.network.folder import Network

    random = np.random.default_rng(seed)
    centres = random.standard_normal((max(1, num_posts // per_cluster), dimension), np.float32)
    vectors = 0.7 * random.standard_normal((num_posts, dimension), np.float32)
    vectors += centres[random.integers(0, len(centres), num_posts)]
    return Network(
        user_ids=pa.array([], pa.string()),
        post_ids=pa.array(np.arange(num_posts).astype(str)),
        relations=["engage"],
        user_vectors=np.zeros((0, dimension), np.float32),
        post_vectors=vectors,
        relation_vectors=np.zeros((1, dimension), np.float32),
        user_degrees=np.zeros(0, np.int64),
        post_degrees=np.ones(num_posts, np.int64),
    )


def make_posts(num_posts: int, num_words: int = 12, seed: int = 0):
    """Posts of random words as a data set."""
    import datasets
    import pyarrow as pa

    words = np.char.add("word", np.arange(20_000).astype(str))
    chosen = words[np.random.default_rng(seed).integers(0, len(words), (num_posts, num_words))]
    texts = chosen[:, 0]
    for column in chosen.T[1:]:
        texts = np.char.add(np.char.add(texts, " "), column)
    ids = pa.array(np.arange(num_posts).astype(str))
    return datasets.Dataset(pa.table({"post_id": ids, "text": pa.array(texts)}))


class TimedIndex:
    """A FAISS index that adds up the time that its searches take."""

    def __init__(self, index: Any) -> None:
        self.index = index
        self.seconds = 0.0

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        start = time.perf_counter()
        found = self.index.search(queries, k)
        self.seconds += time.perf_counter() - start
        return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-posts", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--per-cluster", type=int, default=50)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--index", nargs="+", help="factory strings (default: exact and ours)")
    parser.add_argument("--exact-queries", type=int, default=20_000, help="timed on Flat")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    from twhin_hf.network import mining, searching
    from twhin_hf.network.neighbours import build_index, default_index, faiss_threads

    timed: list[TimedIndex] = []

    def build_timed_index(*arguments: Any, **options: Any) -> Any:
        built = build_index(*arguments, **options)
        timed.append(TimedIndex(built.index))
        return replace(built, index=timed[-1])

    searching.build_index = build_timed_index
    network = make_network(args.num_posts, args.dimension, args.per_cluster)
    posts = make_posts(args.num_posts)
    print(f"{args.num_posts:,} posts, {args.dimension} dimensions, {args.threads} threads")
    print("| index | probes | recall@10 | queries a second | build | overhead | texts |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in args.index or ["Flat", default_index(args.num_posts, args.dimension, 0)]:
        if name == "Flat" and args.num_posts > args.exact_queries:
            with faiss_threads(args.threads):
                index = TimedIndex(build_index(network.post_vectors, name).index)
                for start in range(0, args.exact_queries, 4096):
                    index.search(network.post_vectors[start : start + 4096], args.k + 1)
            rate = -(-args.exact_queries // 4096) * 4096 / index.seconds
            print(f"| {name} | - | 1 | {rate:,.0f} | - | - | - |", flush=True)
            continue
        config = mining.MiningConfig(k=args.k, index=name, threads=args.threads)
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "pairs.parquet"
            report = mining.mine_pairs(network, posts, output, config, progress=False)
        search = timed[-1].seconds
        own = report.seconds - report.text_seconds - report.build_seconds - search
        print(
            f"| {name} | {report.probes or '-'} | {report.recall_at_10:.3f} "
            f"| {args.num_posts / search:,.0f} | {report.build_seconds:.0f} s "
            f"| {own / search:.1%} | {report.text_seconds:.1f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
