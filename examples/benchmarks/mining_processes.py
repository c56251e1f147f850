"""Mining by one process and by several, with an index in one piece and in shards.

    python examples/benchmarks/mining_processes.py
    python examples/benchmarks/mining_processes.py --num-posts 1000000 --processes 1 2 4

Makes a network of clustered vectors and posts of random words on disk, and runs `twhin-hf network
mine` under torchrun, one thread a process. The pairs must be the same whatever the
number of processes. The processor time is that of all of them, start included; the peak memory that
of the largest one, with the part of the network's vectors that it has mapped.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mining import make_network, make_posts


def mine(folder: Path, processes: int, shard_size: int, k: int) -> None:
    """Mines in fresh processes, and prints what it took as JSON."""
    output = folder / f"pairs-{processes}-{shard_size}.parquet"
    options = f"--network {folder}/network --posts {folder}/posts.parquet --threads 1 -k {k}"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), "-m", "twhin_hf", "network", "mine"]
    command += options.split()
    command += ["--index_shard_size", str(shard_size), "--no_progress", "--output", str(output)]
    start = time.perf_counter()
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True)
    if done.returncode:
        sys.exit(done.stderr.decode())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = used.ru_utime + used.ru_stime
    seconds = time.perf_counter() - start
    print(json.dumps({"wall": seconds, "cpu": cpu_seconds, "peak": used.ru_maxrss * 1024 / 1e9}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-posts", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--per-cluster", type=int, default=50)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        mine(Path(args.measure[0]), *map(int, args.measure[1:]))
        return

    import pyarrow.parquet as pq

    from twhin_hf.network.folder import save_network

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_network(
            make_network(args.num_posts, args.dimension, args.per_cluster), folder / "network"
        )
        make_posts(args.num_posts).to_parquet(folder / "posts.parquet")
        print(f"{args.num_posts:,} posts, {args.dimension} dimensions")
        print("| shards | processes | wall | processor | peak memory | pairs |")
        print("| --- | --- | --- | --- | --- | --- |")
        for shards in args.shards:
            size = -(-args.num_posts // shards)
            first = None
            for processes in args.processes:
                work = [str(folder), str(processes), str(size), str(args.k)]
                command = [sys.executable, __file__, "--measure", *work]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                run = json.loads(output.splitlines()[-1])
                pairs = pq.read_table(folder / f"pairs-{processes}-{size}.parquet")
                first = pairs if first is None else first
                if pairs != first:
                    sys.exit(f"{processes} processes give other pairs than {args.processes[0]}")
                print(
                    f"| {shards} | {processes} | {run['wall']:.0f} s | {run['cpu']:.0f} s "
                    f"| {run['peak']:.2f} GB | {len(pairs):,} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
