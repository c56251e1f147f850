"""Network embedding against its peers: time, memory and quality, side by side.

    python examples/benchmarks/network_embedding.py
    python examples/benchmarks/network_embedding.py --scale 0.2 --epochs 10
    python examples/benchmarks/network_embedding.py --dimension 128 --threads 1 \\
        --trainers twhin_hf ALS BPR --engagements runs/citeulike/data/engagements.parquet
    python examples/benchmarks/network_embedding.py --scale 4 --edge-share 0.1 --dimension 64 \\
        --threads 1 --trainers twhin_hf "twhin_hf, partitions" "twhin_hf, torchrec"

Every trainer gets the same log, the same dimension and cores, and runs in a process of its own. The
log is a file of engagements, or generated (bipartite, power-law degrees, communities, three
relations; at scale 1: 100,000 users, 50,000 posts, about 5 M edges). One evaluator ranks the post
of each held-out edge among 1,000 sampled posts for all of them, less those that the user is known
to have engaged with. Peers that are not installed are skipped:

    pip install 'setuptools<81' torchbiggraph torch_geometric implicit

`twhin_hf`, ALS and BPR run as they are recommended: ours with its defaults, implicit's ALS with
alpha 20 and 15 iterations, its BPR with 100. The paper's objective and its peers share the options
on epochs, learning rate and negatives. PyTorch-BigGraph is timed by its own clock, which leaves out
its loading, swapping and saving; ours is the whole of `embed_network`. PyTorch Geometric draws one
negative an edge. On a busy machine trust the CPU seconds; they leave out imports.

Not among the default trainers are those whose tables are larger than memory: in `--partitions`
parts on one machine, or sharded over `--processes` by TorchRec, timed from outside, imports too. Of
memory there are two columns: the proportional set size of all processes, in which is what is mapped
from files and can be given back, and the anonymous memory of the largest process.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

INSTALL_PEERS = "pip install 'setuptools<81' torchbiggraph torch_geometric implicit"
PEERS = {
    "PyTorch-BigGraph": "torchbiggraph",
    "PyTorch Geometric": "torch_geometric",
    "ALS": "implicit",
    "BPR": "implicit",
    "twhin_hf, torchrec": "torchrec",
}
CANDIDATES = 1000
Vectors = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # users, posts, relations


class Clock:
    """Seconds on the wall and of processors, children included, of what runs inside."""

    def __enter__(self) -> Clock:
        self.start = time.perf_counter(), sum(os.times()[:4])
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.start[0]
        self.cpu = sum(os.times()[:4]) - self.start[1]


def generate_edges(scale: float, seed: int, share: float = 1.0) -> dict[str, np.ndarray]:
    """Distinct edges in random order: activity and popularity by power laws, four tastes a user.

    Nine engagements in ten stay in one of the user's four communities, the rest go anywhere; in
    both cases a post is drawn in proportion to its popularity.
    """
    rng = np.random.default_rng(seed)
    num_users, num_posts = int(100_000 * scale), int(50_000 * scale)
    draws, num_communities = int(8_300_000 * scale * share), max(20, int(500 * scale))

    activity = np.cumsum(rng.pareto(1.8, num_users) + 0.6)
    tastes = rng.integers(0, num_communities, (num_users, 4))
    popularity = rng.pareto(1.0, num_posts) + 0.05
    popularity = np.minimum(popularity, np.quantile(popularity, 0.9998))
    community = np.sort(rng.integers(0, num_communities, num_posts))
    mass = np.concatenate([[0], np.cumsum(popularity)])
    bounds = np.searchsorted(community, np.arange(num_communities + 1))
    relation_shares = np.cumsum(rng.dirichlet([6, 2, 2], num_communities), axis=1)

    users = np.searchsorted(activity, rng.random(draws) * activity[-1])
    slot = np.searchsorted([0.55, 0.80, 0.95], rng.random(draws))
    taste = tastes[users, slot]
    anywhere = rng.random(draws) < 0.1
    low = np.where(anywhere, 0, mass[bounds[taste]])
    high = np.where(anywhere, mass[-1], mass[bounds[taste + 1]])
    posts = np.searchsorted(mass[1:], low + (high - low) * rng.random(draws))
    posts = posts.clip(max=num_posts - 1)
    relation = (rng.random(draws)[:, None] > relation_shares[community[posts]]).sum(1).clip(max=2)

    key = rng.permutation(np.unique((relation * num_users + users) * num_posts + posts))
    pair, posts = np.divmod(key, num_posts)
    relation, users = np.divmod(pair, num_users)
    names = rng.permutation(num_posts)  # so that neighbours in a community are not neighbours in id
    return {
        "lhs": users.astype(np.int32),
        "rhs": names[posts].astype(np.int32),
        "relation": relation.astype(np.int16),
        "size": np.array([num_users, num_posts]),
    }


def read_edges(path: str, seed: int) -> dict[str, np.ndarray]:
    """The distinct edges of an engagement log in random order."""
    from twhin_hf.network.log import read_log

    graph = read_log(path)
    order = np.random.default_rng(seed).permutation(graph.num_edges)
    edges = {name: getattr(graph, name)[order] for name in ("lhs", "rhs", "relation")}
    return {**edges, "size": np.array([graph.num_users, graph.num_posts])}


def load(folder: Path, name: str) -> np.ndarray:
    return np.load(folder / f"{name}.npy")


def load_graph(folder: Path) -> Any:
    """The training edges, mapped as `read_log` maps them."""
    import pyarrow as pa

    from twhin_hf.network.log import EngagementGraph, LogReport

    num_users, num_posts = load(folder, "size").tolist()
    lhs, rhs, relation = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("lhs", "rhs", "relation")
    )
    return EngagementGraph(
        lhs=lhs,
        rhs=rhs,
        relation=relation,
        user_ids=pa.array(map(str, range(num_users))),
        post_ids=pa.array(map(str, range(num_posts))),
        relations=[f"relation {k}" for k in range(load(folder, "relation").max() + 1)],
        report=LogReport(),
    )


def train_ours(folder: Path, options: argparse.Namespace, **config: Any) -> tuple[Vectors, Clock]:
    """`embed_network` with its defaults, but for the options in `config`."""
    import sklearn.utils.extmath  # noqa: F401  # which embed_network would import on the clock

    from twhin_hf.network.embedding import embed_network
    from twhin_hf.network.embedding_config import NetworkEmbeddingConfig

    graph = load_graph(folder)
    shared = {"dimension": options.dimension, "threads": options.threads, "holdout": 0.0}
    with Clock() as clock:
        network = embed_network(
            graph,
            NetworkEmbeddingConfig(**shared, **config),
            output=folder / "network" if "partitions" in config else None,
            progress=False,
        )
    return (network.user_vectors, network.post_vectors, network.relation_vectors), clock


def train_paper(folder: Path, options: argparse.Namespace) -> tuple[Vectors, Clock]:
    return train_ours(
        folder,
        options,
        method="twhin",
        epochs=options.epochs,
        num_batch_negs=options.num_batch_negs,
        num_uniform_negs=options.num_uniform_negs,
        learning_rate=options.learning_rate,
    )


def train_partitions(folder: Path, options: argparse.Namespace) -> tuple[Vectors, Clock]:
    return train_ours(folder, options, partitions=options.partitions)


def train_torchrec(folder: Path, options: argparse.Namespace) -> tuple[Vectors, Clock]:
    """The same tables sharded over processes, which this script is in turn."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={options.processes}", __file__, *sys.argv[1:], "--sharded"]
    with Clock() as clock:
        subprocess.run(command, check=True)
    return tuple(load(folder, f"sharded_{side}") for side in ("users", "posts", "relations")), clock


def run_sharded(folder: Path, options: argparse.Namespace) -> None:
    """What each of the processes does."""
    from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
    from twhin_hf.network.processes import processes_of_torchrun
    from twhin_hf.network.sharded import embed_sharded

    config = NetworkEmbeddingConfig(
        dimension=options.dimension, threads=options.threads, holdout=0.0, device="cpu"
    )
    with processes_of_torchrun() as processes:
        graph = load_graph(folder) if processes.rank == 0 else None
        shared = {"processes": processes, "output": folder / "network", "progress": False}
        network = embed_sharded(graph, config, **shared)
    if network is not None:
        for side in ("users", "posts", "relations"):
            np.save(folder / f"sharded_{side}.npy", getattr(network, f"{side[:-1]}_vectors"))


def train_implicit(model: Any, folder: Path) -> tuple[Vectors, Clock]:
    import scipy.sparse

    places = load(folder, "lhs"), load(folder, "rhs")
    with Clock() as clock:
        values = np.ones(len(places[0]), np.float32)
        matrix = scipy.sparse.csr_matrix((values, places), shape=load(folder, "size"))
        model.fit(matrix, show_progress=False)
    return (model.user_factors, model.item_factors, None), clock


def train_als(folder: Path, options: argparse.Namespace) -> tuple[Vectors, Clock]:
    from implicit.cpu.als import AlternatingLeastSquares

    own = {"alpha": 20, "iterations": 15, "random_state": 0, "num_threads": options.threads}
    return train_implicit(AlternatingLeastSquares(factors=options.dimension, **own), folder)


def train_bpr(folder: Path, options: argparse.Namespace) -> tuple[Vectors, Clock]:
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    own = {"iterations": 100, "random_state": 0, "num_threads": options.threads}
    # One more column holds the bias of a post.
    return train_implicit(BayesianPersonalizedRanking(factors=options.dimension - 1, **own), folder)


def train_pytorch_biggraph(folder: Path, options: argparse.Namespace) -> tuple[Vectors, Clock]:
    """The same model in PyTorch-BigGraph, whose operator acts on rhs: posts are lhs."""
    import logging
    import re

    import h5py
    from torchbiggraph.config import ConfigSchema
    from torchbiggraph.train import train
    from torchbiggraph.util import SubprocessInitializer, setup_logging

    work = folder / "pbg"
    (work / "edges").mkdir(parents=True)
    num_users, num_posts = load(folder, "size").tolist()
    (work / "entity_count_user_0.txt").write_text(str(num_users))
    (work / "entity_count_post_0.txt").write_text(str(num_posts))
    with h5py.File(work / "edges" / "edges_0_0.h5", "w") as file:
        file.attrs["format_version"] = 1
        for name, source in {"lhs": "rhs", "rhs": "lhs", "rel": "relation"}.items():
            file[name] = load(folder, source).astype(np.int64)
    relation = {"lhs": "post", "rhs": "user", "operator": "translation"}
    num_relations = load(folder, "relation").max() + 1
    config = ConfigSchema.from_dict(
        {
            "entity_path": str(work),
            "edge_paths": [str(work / "edges")],
            "checkpoint_path": str(work / "model"),
            "entities": {"user": {"num_partitions": 1}, "post": {"num_partitions": 1}},
            "relations": [{"name": f"r{k}", **relation} for k in range(num_relations)],
            "dimension": options.dimension,
            "comparator": "dot",
            "loss_fn": "logistic",
            "global_emb": False,
            "num_epochs": options.epochs,
            "lr": options.learning_rate,
            "num_batch_negs": options.num_batch_negs,
            "num_uniform_negs": options.num_uniform_negs,
            "eval_fraction": 0.0,
            "workers": options.threads,
        }
    )
    seconds: list[float] = []

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if found := re.search(r"Processed \d+ edges in ([\d.]+) s", record.getMessage()):
                seconds.append(float(found[1]))

    setup_logging()
    logging.getLogger("torchbiggraph").addHandler(Reader())
    initializer = SubprocessInitializer()
    initializer.register(setup_logging, 0)
    with Clock() as clock:
        train(config, subprocess_init=initializer)
    clock.seconds = sum(seconds)
    version = (work / "model" / "checkpoint_version.txt").read_text().strip()
    vectors = {}
    for side in ("user", "post"):
        with h5py.File(work / "model" / f"embeddings_{side}_0.v{version}.h5") as file:
            vectors[side] = file["embeddings"][:]
    with h5py.File(work / "model" / f"model.v{version}.h5") as file:
        names = [f"model/relations/{k}/operator/rhs/translation" for k in range(num_relations)]
        relations = [file[name][:] for name in names]
    return (vectors["user"], vectors["post"], np.stack(relations)), clock


def train_pytorch_geometric(folder: Path, options: argparse.Namespace) -> tuple[Vectors, Clock]:
    """DistMult with sparse gradients and Adagrad."""
    import torch
    from torch_geometric.nn import DistMult

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    num_users, num_posts = load(folder, "size").tolist()
    lhs, rhs, relation = (
        torch.from_numpy(load(folder, name)).long() for name in ("lhs", "rhs", "relation")
    )
    num_relations = int(relation.max()) + 1
    model = DistMult(num_users + num_posts, num_relations, options.dimension, sparse=True)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=options.learning_rate)
    with Clock() as clock:
        for _ in range(options.epochs):
            for batch in torch.randperm(len(lhs)).split(10_000):
                optimizer.zero_grad()
                model.loss(lhs[batch], relation[batch], num_users + rhs[batch]).backward()
                optimizer.step()
    nodes = model.node_emb.weight.detach().numpy()
    relations = model.rel_emb.weight.detach().numpy()
    return (nodes[:num_users], nodes[num_users:], relations), clock


TRAINERS: dict[str, Callable[[Path, argparse.Namespace], tuple[Vectors, Clock]]] = {
    "twhin_hf": train_ours,
    "ALS": train_als,
    "BPR": train_bpr,
    "twhin_hf, paper": train_paper,
    "PyTorch-BigGraph": train_pytorch_biggraph,
    "PyTorch Geometric": train_pytorch_geometric,
    "twhin_hf, partitions": train_partitions,
    "twhin_hf, torchrec": train_torchrec,
}
LARGER_THAN_MEMORY = ("twhin_hf, partitions", "twhin_hf, torchrec")


def run_trainer(name: str, folder: Path, options: argparse.Namespace) -> None:
    """What the trainer's own process does: train, then write what the evaluator needs."""
    (users, posts, relations), clock = TRAINERS[name](folder, options)
    query = users[load(folder, "held_lhs")]
    if relations is not None:
        relation = relations[load(folder, "held_relation")]
        query = query * relation if name == "PyTorch Geometric" else query + relation
    np.save(folder / "queries.npy", query)
    np.save(folder / "post_vectors.npy", posts)
    (folder / "seconds.json").write_text(json.dumps([clock.seconds, clock.cpu]))


def tree_memory(pid: int) -> tuple[int, int]:
    """Memory of a process and its descendants, in bytes (0 where not Linux).

    Returns:
        Proportional set size of all of them, and the largest anonymous memory of one.
    """
    total, largest, pending = 0, 0, [pid]
    while pending:
        process = Path(f"/proc/{pending.pop()}")
        try:
            rollup = (process / "smaps_rollup").read_text()
            total += 1024 * int(rollup.split("\nPss:")[1].split()[0])
            largest = max(largest, 1024 * int(rollup.split("\nAnonymous:")[1].split()[0]))
            for task in (process / "task").iterdir():
                pending += map(int, (task / "children").read_text().split())
        except (OSError, IndexError):  # it has ended
            continue
    return total, largest


def run_child(name: str, folder: Path, options: argparse.Namespace) -> tuple[float, ...]:
    """Seconds and CPU seconds of training, and peaks of `tree_memory`, of one trainer."""
    command = [sys.executable, __file__, *sys.argv[1:], "--child", name, "--folder", str(folder)]
    # Numerical libraries read these when they are loaded; implicit's threads call BLAS themselves.
    threads = "1" if name in ("ALS", "BPR") else str(options.threads)
    limits = {f"{library}_NUM_THREADS": threads for library in ("OPENBLAS", "OMP", "MKL")}
    with (folder / "log.txt").open("w") as log:
        child = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | limits
        )
        done, peaks = threading.Event(), (0, 0)

        def watch() -> None:
            nonlocal peaks
            while not done.wait(0.1):
                peaks = tuple(map(max, peaks, tree_memory(child.pid)))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = child.wait()
        done.set()
        watcher.join()
    if code:
        raise RuntimeError(f"{name} failed:\n{(folder / 'log.txt').read_text()[-2000:]}")
    seconds, cpu = json.loads((folder / "seconds.json").read_text())
    return seconds, cpu, *peaks


def rank_metrics(scores_of: np.ndarray, posts: np.ndarray | None, folder: Path) -> tuple:
    """MRR and HITS@10 of held-out edges; ties count half, posts that the user knows do not.

    Args:
        scores_of: Query vectors `[num_held, dimension]`, or a score of each post `[num_posts]`.
        posts: Post vectors `[num_posts, dimension]`, or None where scores are given.
        folder: Where the held-out edges and their candidates are.
    """
    held, candidates = load(folder, "held_rhs"), load(folder, "candidates")
    ranks = []
    for block in np.array_split(np.arange(len(held)), max(1, len(held) // 500)):
        rows = np.concatenate([held[block, None], candidates[block]], axis=1)
        if posts is None:
            scores = scores_of[rows].astype(float)
        else:
            scores = np.einsum("nd,ncd->nc", scores_of[block], posts[rows])
        scores[:, 1:][load(folder, "known")[block]] = -np.inf
        above = (scores > scores[:, :1]).sum(1)
        ties = (scores == scores[:, :1]).sum(1) - 1
        ranks.append(1 + above + ties / 2)
    rank = np.concatenate(ranks)
    return (1 / rank).mean(), (rank <= 10).mean()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of users, posts and edges")
    parser.add_argument("--edge-share", type=float, default=1.0, help="share of the edges alone")
    parser.add_argument("--engagements", help="an engagement log instead of a generated one")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--num-batch-negs", type=int, default=50)
    parser.add_argument("--num-uniform-negs", type=int, default=50)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="or processes")
    usual = [name for name in TRAINERS if name not in LARGER_THAN_MEMORY]
    parser.add_argument("--trainers", nargs="+", default=usual, choices=list(TRAINERS))
    parser.add_argument("--partitions", type=int, default=4, help="of users, and of posts")
    parser.add_argument("--processes", type=int, default=2, help="that TorchRec shards over")
    parser.add_argument("--repeats", type=int, default=1, help="rounds; the table has the medians")
    parser.add_argument("--held-edges", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--sharded", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sharded:
        return run_sharded(options.folder, options)
    if options.child:
        return run_trainer(options.child, options.folder, options)

    missing = [
        name
        for name, package in PEERS.items()
        if name in options.trainers and importlib.util.find_spec(package) is None
    ]
    print(f"The peers are installed with: {INSTALL_PEERS}")
    for name in missing:
        print(f"Skipped: {name} is not installed.")

    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        if options.engagements:
            edges = read_edges(options.engagements, options.seed)
        else:
            edges = generate_edges(options.scale, options.seed, options.edge_share)
        num_posts = int(edges["size"][1])
        held = np.arange(len(edges["lhs"])) < options.held_edges
        for name in ("lhs", "rhs"):  # every user and post keeps an edge to learn from
            held &= (
                np.bincount(edges[name][~held], minlength=edges[name].max() + 1)[edges[name]] > 0
            )
        pairs = edges["lhs"].astype(np.int64) * num_posts + edges["rhs"]
        rng = np.random.default_rng(options.seed)
        edges["candidates"] = rng.integers(0, num_posts, (held.sum(), CANDIDATES - 1))
        of_candidates = edges["lhs"][held, None].astype(np.int64) * num_posts + edges["candidates"]
        edges["known"] = np.isin(of_candidates, pairs)
        for name in ("lhs", "rhs", "relation"):
            edges[f"held_{name}"] = edges[name][held]
            edges[name] = edges[name][~held]
        for name, values in edges.items():
            np.save(folder / f"{name}.npy", values)
        num_edges = len(edges["lhs"])
        print(f"{edges['size'][0]:,} users, {num_posts:,} posts, {num_edges:,} training edges")

        trainers = [name for name in options.trainers if name not in missing]
        runs: dict[str, list[tuple[float, ...]]] = {name: [] for name in trainers}
        for _ in range(options.repeats):  # in turns, so that a busy machine slows all alike
            for name in trainers:
                print(f"Training: {name} …", flush=True)
                with tempfile.TemporaryDirectory(dir=directory) as own:
                    for path in folder.glob("*.npy"):
                        (Path(own) / path.name).symlink_to(path)
                    seconds, cpu, *peaks = run_child(name, Path(own), options)
                    quality = rank_metrics(
                        load(Path(own), "queries"), load(Path(own), "post_vectors"), folder
                    )
                runs[name].append((seconds, cpu, *(peak / 2**20 for peak in peaks), *quality))

        head = f"{'seconds':>10}{'CPU s':>8}{'ratio':>7}{'MiB':>7}{'largest':>9}"
        head += f"{'MRR':>8}{'HITS@10':>9}"
        print(f"\n{'trainer':20}{head}")
        rows = {name: np.median(values, axis=0) for name, values in runs.items()}
        first = next(iter(rows.values()), np.ones(6))[1]
        for name, (seconds, cpu, peak, largest, mrr, hits) in rows.items():
            cost = f"{seconds:10,.1f}{cpu:8,.1f}{cpu / first:7.2f}{peak:7,.0f}{largest:9,.0f}"
            print(f"{name:20}{cost}{mrr:8.4f}{hits:9.4f}")
        degrees = np.bincount(edges["rhs"], minlength=num_posts)
        for name, scores in {"popularity": degrees, "random": rng.random(num_posts)}.items():
            mrr, hits = rank_metrics(scores, None, folder)
            print(f"{name:20}{'':41}{mrr:8.4f}{hits:9.4f}")


if __name__ == "__main__":
    main()
