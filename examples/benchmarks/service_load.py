"""Milliseconds that `twhin-hf serve` takes for one new post, from one client to several.

    python examples/benchmarks/service_load.py --model recommender --texts posts.parquet
    python examples/benchmarks/service_load.py --model recommender --texts posts.parquet \\
        --encoder encoder-openvino --rounds 5

The service runs in a process of its own on this machine, as do the clients, which take a part of
the processors too. Each request brings a text that was never sent before: of words drawn from those
of --texts, as many as its posts have. In a closed loop each client sends its next request when the
last one is answered; in an open one requests come at a fixed rate, whatever became of those before,
and the time counts from when a request was due. Rounds repeat all of it; the table has of each row
the round of the lowest median, and the medians of all rounds beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

CLIENTS = (1, 2, 4, 8)
LIBRARIES = ("torch", "numpy", "fastapi", "uvicorn", "openvino", "onnxruntime")


class Load(NamedTuple):
    """Times of one kind of load, milliseconds.

    Args:
        times: Of each request that was answered.
        seconds: That all of them took.
        refused: Requests that the service refused as too many (503).
    """

    times: list[float]
    seconds: float
    refused: int = 0

    def percentile(self, share: float) -> float:
        """The time that this share of the requests stays below."""
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Client:
    """A connection that stays open: HTTP by hand, for a client's own work counts too."""

    def __init__(self, port: int):
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str, content: dict) -> bool:
        """Sends a request and reads the answer; False where the service has too many."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        body = json.dumps(content).encode()
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
        answer = await reader.readexactly(length)
        if not head.startswith(("HTTP/1.1 200", "HTTP/1.1 503")):
            raise RuntimeError(f"{head.splitlines()[0]}: {answer.decode()[:300]}")
        return head.startswith("HTTP/1.1 200")

    def close(self) -> None:
        """Ends the connection."""
        if self.streams is not None:
            self.streams[1].close()


async def closed_loop(port: int, clients: int, requests: int, make: Callable) -> Load:
    """Each client sends its next request when the last one is answered."""
    times: list[float] = []

    async def work() -> None:
        client = Client(port)
        for _ in range(requests // clients):
            path, content = make()
            began = time.perf_counter()
            await client.ask(path, content)
            times.append(1e3 * (time.perf_counter() - began))
        client.close()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    return Load(times, time.perf_counter() - began)


async def open_loop(port: int, rate: float, requests: int, make: Callable) -> Load:
    """Requests come at a rate, by chance as those of many people do."""
    times: list[float] = []
    idle: list[Client] = []

    async def one(due: float) -> None:
        path, content = make()
        client = idle.pop() if idle else Client(port)
        is_answered = await client.ask(path, content)
        times.append(1e3 * (time.perf_counter() - due) if is_answered else math.inf)
        idle.append(client)

    began = due = time.perf_counter()
    tasks = []
    for _ in range(requests):
        due += random.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    seconds = time.perf_counter() - began
    for client in idle:
        client.close()
    answered = [one for one in times if one < math.inf]
    return Load(answered, seconds, len(times) - len(answered))


def questions(texts: list[str], users: list[str]) -> dict[str, Callable[[], tuple[str, dict]]]:
    """What is asked: each text is a new one."""
    words = [word for text in texts for word in text.split()]
    lengths = [len(text.split()) for text in texts]
    numbers = iter(range(10**9))

    def text() -> str:
        return " ".join(random.choices(words, k=random.choice(lengths)))

    def embed() -> tuple[str, dict]:
        return "/embed", {"texts": [text()]}

    def recommend() -> tuple[str, dict]:
        post = {"post_id": f"new-{next(numbers)}", "text": text()}
        return "/recommend", {"users": [random.choice(users)], "posts": [post], "k": 1}

    return {"embed": embed, "recommend": recommend}


@contextmanager
def running(model: str, encoder: str | None) -> Iterator[int]:
    """The port of a service, which ends with the block."""
    command = [sys.executable, "-m", "twhin_hf.commands.cli", "serve", "--model", model]
    command += ["--port", "0"] + (["--encoder", encoder] if encoder else [])
    environment = os.environ | {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = next((line for line in process.stdout if "Serving on" in line), None)
            if line is None:
                raise SystemExit("the service did not start")
            yield int(line.split("://")[1].split()[0].rpartition(":")[2])
        finally:
            process.terminate()


def machine() -> str:
    """Processor, cores and versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = [f"{name} {version(name)}" for name in LIBRARIES if find_spec(name)]
    name = names[0] if names else platform.processor()
    python = f"Python {platform.python_version()}"
    return ", ".join([name, f"{os.cpu_count()} cores", python, *versions])


def texts_of(path: str, most: int = 5_000) -> list[str]:
    """Texts of a Parquet file of posts, evenly from all of it."""
    import pyarrow.parquet as pq

    found = [text for text in pq.read_table(path)["text"].to_pylist() if text and text.strip()]
    return found[:: max(1, len(found) // most)]


def fit_small(folder: Path, encoder: str) -> tuple[str, str]:
    """A model of a generated network, and its posts."""
    from twhin_hf.commands.cli import main as run

    data = ["--engagements", f"{folder}/log/engagements.parquet"]
    posts = ["--posts", f"{folder}/log/posts.parquet"]
    network, model = f"{folder}/network", f"{folder}/model"
    for command in (
        ["synthesize", "--output", f"{folder}/log"],
        ["network", "embed", *data, *posts, "--output", network, "--no_progress"],
        ["recommender", *data, *posts, "--network", network, "--encoder", encoder, "-o", model],
    ):
        if run(command):
            raise SystemExit(2)
    return model, f"{folder}/log/posts.parquet"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="folder of twhin-hf recommender fit; else one is fitted")
    parser.add_argument("--fit_encoder", help="encoder of a model that is fitted here")
    parser.add_argument("--encoder", help="encoder in place of the model's, such as its export")
    parser.add_argument("--texts", help="Parquet file of posts whose words are sent")
    parser.add_argument("--requests", type=int, default=400, help="requests of each row")
    parser.add_argument("--rates", type=float, nargs="*", default=[20.0, 50.0], help="per second")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if not given.model and not given.fit_encoder:
        parser.error("give --model, or --fit_encoder to fit one on generated data")
    with tempfile.TemporaryDirectory() as scratch:
        model, texts = given.model, given.texts
        if not model:
            model, made = fit_small(Path(scratch), given.fit_encoder)
            texts = texts or made
        if not texts:
            parser.error("give --texts, posts whose words are sent")
        measure(model, texts, given)


def measure(model: str, texts: str, given: argparse.Namespace) -> None:
    """Prints the table."""
    import pyarrow.parquet as pq

    users = pq.read_table(Path(model) / "users.parquet")["user_id"].to_pylist()
    found: dict[tuple[str, str], list[Load]] = {}
    loads = []
    random.seed(0)
    with running(model, given.encoder) as port:
        for _ in range(given.rounds):
            loads.append(os.getloadavg()[0])
            for name, make in questions(texts_of(texts), users).items():
                asyncio.run(closed_loop(port, 1, 100, make))
                for clients in CLIENTS:
                    load = asyncio.run(closed_loop(port, clients, given.requests, make))
                    found.setdefault((name, f"{clients} clients"), []).append(load)
                for rate in given.rates:
                    load = asyncio.run(open_loop(port, rate, given.requests, make))
                    found.setdefault((name, f"{rate:g} a second"), []).append(load)
    shown = ", ".join(f"{load:.1f}" for load in loads)
    print(f"\n{machine()}; load average before each round: {shown}\n")
    print("| question | load | p50 ms | p95 ms | p99 ms | requests/s | p50 of all rounds |")
    print("| --- | --- | --: | --: | --: | --: | --- |")
    for (name, kind), rounds in found.items():
        best = min(rounds, key=lambda load: load.percentile(0.5))
        figures = " | ".join(f"{best.percentile(share):.1f}" for share in (0.5, 0.95, 0.99))
        every = ", ".join(f"{load.percentile(0.5):.1f}" for load in rounds)
        kind += f" ({best.refused} refused)" if best.refused else ""
        rate = len(best.times) / best.seconds
        print(f"| {name} | {kind} | {figures} | {rate:.0f} | {every} |")


if __name__ == "__main__":
    main()
