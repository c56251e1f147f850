"""Rows a second and peak memory of reading an engagement log.

    python examples/benchmarks/log_reading.py
    python examples/benchmarks/log_reading.py --num-edges 50000000 --threads 2
    python examples/benchmarks/log_reading.py --engine duckdb spark --num-edges 2000000 --repeat 2

Makes a log with string ids, power-law degrees and three relations, and reads it in a fresh process.
The number of users grows with the log, one for 20 rows, and that of posts, one for 50, so that the
tables of ids grow too. Of Spark (`local[THREADS]`) the processor time is that of its Java process
too, start and end included, and the peak that of the larger of both processes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROWS_PER_BLOCK = 1_000_000


def write_log(path: Path, num_edges: int, seed: int = 0) -> None:
    """Writes `num_edges` rows of user_id, post_id and relation."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    random = np.random.default_rng(seed)
    num_users, num_posts = max(1, num_edges // 20), max(1, num_edges // 50)
    schema = pa.schema({name: pa.string() for name in ("user_id", "post_id", "relation")})
    writer = (
        pq.ParquetWriter(path, schema, compression="zstd")
        if path.suffix == ".parquet"
        else pyarrow.csv.CSVWriter(path, schema)
    )
    with writer:
        for start in range(0, num_edges, ROWS_PER_BLOCK):
            count = min(ROWS_PER_BLOCK, num_edges - start)
            users = (num_users * random.random(count) ** 2).astype(np.int64)
            posts = (num_posts * random.random(count) ** 2).astype(np.int64)
            relations = np.array(["favorite", "reply", "retweet"])[random.integers(0, 3, count)]
            columns = [
                np.char.add("user-", users.astype(str)),
                (1_000_000_000_000 + 7919 * posts).astype(str),
                relations,
            ]
            writer.write_table(pa.table([pa.array(c) for c in columns], schema=schema))


def measure(path: Path, memory_limit: str, threads: int, engine: str) -> dict[str, float]:
    """Reads the log in this process."""
    from twhin_hf.engines import EngineConfig
    from twhin_hf.network.log import read_log

    start = time.perf_counter()
    config = EngineConfig(engine, f"local[{threads}]")
    graph = read_log(path, memory_limit=memory_limit, threads=threads, engine=config)
    seconds = time.perf_counter() - start
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "rows": graph.report.rows,
        "edges": graph.num_edges,
        "users": graph.num_users,
        "posts": graph.num_posts,
        "seconds": seconds,
        "cpu_seconds": sum(usage.ru_utime + usage.ru_stime for usage in usages),
        "peak_gigabytes": max(usage.ru_maxrss for usage in usages)
        * (1 if sys.platform == "darwin" else 1024)
        / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-edges", type=int, default=10_000_000)
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--memory-limit", default="600MB", help="of the engine")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3, help="runs, each in a fresh process")
    parser.add_argument("--engine", nargs="+", choices=("duckdb", "spark"), default=["duckdb"])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.memory_limit, args.threads, *args.engine)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"log.{args.format}"
        write_log(path, args.num_edges)
        print(f"{args.num_edges:,} rows, {path.stat().st_size / 1e6:,.0f} MB of {args.format}")
        for engine in args.engine * args.repeat:
            command = [sys.executable, __file__, "--measure", str(path)]
            command += ["--memory-limit", args.memory_limit, "--threads", str(args.threads)]
            command += ["--engine", engine]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            run = json.loads(output.splitlines()[-1])
            print(
                f"{engine}: {run['rows'] / run['seconds']:>12,.0f} rows a second, "
                f"{run['seconds']:.1f} s "
                f"({run['cpu_seconds']:.1f} s of processor), peak {run['peak_gigabytes']:.2f} GB: "
                f"{run['users']:,} users, {run['posts']:,} posts, {run['edges']:,} edges"
            )


if __name__ == "__main__":
    main()
