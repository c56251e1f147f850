"""Mining against bare FAISS: recall, speed and overhead.

    python examples/benchmarks/mining.py
    python examples/benchmarks/mining.py --num-posts 1000000 --index Flat OPQ64,IVF1024,PQ64

Makes clustered vectors and random texts. Each index is built and searched for the neighbours of
all posts by FAISS alone (recall@10 measured on 1,000 posts), then the same index is mined with,
from vectors in memory to a Parquet file of pairs. The overhead is all that mining does beyond
building and searching: checking, normalising, filtering, writing. Reading and sketching the texts,
which FAISS has no counterpart for, is shown apart. Exact search is timed on `--exact-queries`
posts, because all of them take time with the square of their number.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

QUERIES_PER_BLOCK = 4096


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


def time_faiss(index, vectors: np.ndarray, k: int) -> float:
    """Seconds of FAISS alone, from vectors of length 1 in memory to arrays of neighbours."""
    seconds = 0.0
    for start in range(0, len(vectors), QUERIES_PER_BLOCK):
        queries = vectors[start : start + QUERIES_PER_BLOCK]
        begin = time.perf_counter()
        index.search(queries, k + 1)
        seconds += time.perf_counter() - begin
    return seconds


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

    from twhin_hf.network.mining import MiningConfig, mine_pairs
    from twhin_hf.network.neighbours import build_index, default_index, faiss_threads, unit_vectors

    network = make_network(args.num_posts, args.dimension, args.per_cluster)
    posts = make_posts(args.num_posts)
    units = unit_vectors(network.post_vectors)
    indexes = args.index or ["Flat", default_index(args.num_posts, args.dimension, 0)]
    print(f"{args.num_posts:,} posts, {args.dimension} dimensions, {args.threads} threads")
    print("| index | probes | recall@10 | queries a second | build | overhead | texts |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in indexes:
        with faiss_threads(args.threads):
            start = time.perf_counter()
            built = build_index(network.post_vectors, name)
            build_seconds = time.perf_counter() - start
            queries = units[: args.exact_queries] if name == "Flat" else units
            faiss_seconds = time_faiss(built.index, queries, args.k)
        overhead, texts = "-", "-"
        if len(queries) == len(units):
            config = MiningConfig(k=args.k, index=name, threads=args.threads)
            with tempfile.TemporaryDirectory() as folder:
                report = mine_pairs(network, posts, Path(folder) / "p.parquet", config, False)
            own = report.seconds - report.text_seconds - report.build_seconds
            overhead, texts = f"{own / faiss_seconds - 1:+.1%}", f"{report.text_seconds:.1f} s"
        print(
            f"| {name} | {built.probes or '-'} | {built.recall:.3f} "
            f"| {len(queries) / faiss_seconds:,.0f} | {build_seconds:.0f} s "
            f"| {overhead} | {texts} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
