"""Events a second and peak memory of importing a network's log, or a table.

    python examples/benchmarks/import_speed.py
    python examples/benchmarks/import_speed.py --source mastodon --num-events 200000

Makes a log as the network gives it, with the fields that nobody asks for too, and imports it in a
fresh process with one thread. Bluesky's mix is 55 % likes, 10 % reposts, 20 % posts of which every
second replies, 10 % follows and 5 % deletions; on Mastodon and X (v1.1) every second line is a
boost, which holds another post whole. Tables have a user, a post, a relation and a time in a row,
ids of 12 to 19 characters and times of ISO 8601. Seconds of the processor are told beside those of
the clock; and as a yardstick what Python's own json takes to parse the same lines (the rows of a
table as JSON lines) and do nothing with them.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = "volcano photo morgen gracias hello wörld café お茶 🌋 read this thread about tea"
CID = "bafyreidwaivazkwu67xztlmuobx35hs2lnfh3kolmgfmucldvhd3sgzcqi"
DATE = "2024-09-09T19:46:02.102Z"


def write_text(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS.split(), k=draw.randint(4, 30)))


def bluesky_event(number: int, draw: random.Random, num_events: int) -> dict[str, Any]:
    def did() -> str:
        return f"did:plc:{draw.randrange(num_events // 20 + 1):024x}"

    def post() -> dict[str, str]:
        rkey = f"3k{draw.randrange(num_events):011d}"
        return {"cid": CID, "uri": f"at://{did()}/app.bsky.feed.post/{rkey}"}

    kind = draw.random()
    name = "like" if kind < 0.55 else "repost" if kind < 0.65 else "post"
    collection = "app.bsky.graph.follow" if 0.85 <= kind < 0.95 else f"app.bsky.feed.{name}"
    commit = {"rev": f"3l{number:011d}", "operation": "create", "collection": collection}
    commit["rkey"] = f"3k{number:011d}"
    record: dict[str, Any] = {"$type": collection, "createdAt": DATE}
    if kind < 0.65:
        record["subject"] = post()
    elif kind < 0.85:
        record |= {"langs": ["en"], "text": write_text(draw)}
        if kind < 0.75:
            record["reply"] = {"parent": post(), "root": post()}
    elif kind < 0.95:
        record["subject"] = did()
    else:
        commit |= {"operation": "delete", "collection": "app.bsky.feed.like"}
        commit["rkey"] = f"3k{draw.randrange(number + 1):011d}"
    if commit["operation"] == "create":
        commit |= {"record": record, "cid": CID}
    time_us = 1_725_911_162_329_308 + 1000 * number
    return {"did": did(), "time_us": time_us, "kind": "commit", "commit": commit}


def mastodon_event(number: int, draw: random.Random, num_events: int) -> dict[str, Any]:
    def status(number: int, content: str) -> dict[str, Any]:
        name = f"user{draw.randrange(num_events // 20 + 1)}"
        page = f"https://one.example/@{name}"
        return {
            "id": str(number),
            "created_at": DATE,
            "in_reply_to_id": str(draw.randrange(number + 1)) if draw.random() < 0.3 else None,
            "sensitive": False,
            "visibility": "public",
            "language": "en",
            "uri": f"https://one.example/users/{name}/statuses/{number}",
            "url": f"{page}/{number}",
            "favourites_count": 3,
            "content": content,
            "reblog": None,
            "account": {"id": "1", "acct": name, "url": page, "note": "<p>about me</p>" * 5},
            "media_attachments": [],
            "mentions": [],
            "tags": [{"name": "tea", "url": "https://one.example/tags/tea"}],
        }

    if number % 2:
        return status(number, "") | {
            "reblog": status(draw.randrange(number), f"<p>{write_text(draw)} &amp;</p>")
        }
    return status(number, f'<p>{write_text(draw)} <a href="https://e.org">link</a></p>')


def x_event(number: int, draw: random.Random, num_events: int) -> dict[str, Any]:
    def post(number: int) -> dict[str, Any]:
        user = draw.randrange(num_events // 20 + 1)
        parent = str(draw.randrange(number + 1)) if draw.random() < 0.3 else None
        return {
            "created_at": "Wed Oct 10 20:19:24 +0000 2018",
            "id": number,
            "id_str": str(number),
            "full_text": write_text(draw) + " &amp; https://t.co/abc",
            "source": '<a href="https://e.org" rel="nofollow">client</a>',
            "in_reply_to_status_id_str": parent,
            "user": {
                "id": user,
                "id_str": str(user),
                "screen_name": f"user{user}",
                "description": "about me " * 8,
                "profile_image_url_https": "https://e.org/image.jpg",
                "followers_count": 12,
            },
            "entities": {"hashtags": [], "urls": [{"url": "https://t.co/abc"}]},
            "lang": "en",
        }

    if number % 2:
        return post(number) | {"retweeted_status": post(draw.randrange(number))}
    return post(number)


def table_row(number: int, draw: random.Random, num_events: int) -> dict[str, Any]:
    second = 1_725_911_162 + draw.randrange(1_000_000)
    return {
        "user_id": f"user_{draw.randrange(num_events // 20 + 1):07d}",
        "post_id": f"17{draw.randrange(num_events // 10 + 1):017d}",
        "relation": "like" if draw.random() < 0.8 else "repost",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second)),
    }


EVENTS: dict[str, Callable[[int, random.Random, int], dict[str, Any]]] = {
    "bluesky": bluesky_event,
    "mastodon": mastodon_event,
    "x": x_event,
    **dict.fromkeys(("table.jsonl", "table.csv", "table.parquet"), table_row),
}


def write_log(path: Path, source: str, num_events: int, seed: int = 0) -> None:
    """Writes JSON lines; beside them, under the name of the source, a table of another kind."""
    draw, make = random.Random(seed), EVENTS[source]
    with path.open("w", encoding="utf-8") as file:
        for number in range(num_events):
            line = json.dumps(
                make(number, draw, num_events), ensure_ascii=False, separators=(",", ":")
            )
            file.write(line + "\n")
    if source in ("table.csv", "table.parquet"):
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.json
        import pyarrow.parquet

        # With times as text, as the others have them.
        types = pa.schema([(name, pa.string()) for name in table_row(0, draw, 1)])
        options = pyarrow.json.ParseOptions(explicit_schema=types)
        table = pyarrow.json.read_json(path, parse_options=options)
        write = {"table.csv": pyarrow.csv.write_csv, "table.parquet": pyarrow.parquet.write_table}
        write[source](table, path.with_name(source))


def parse_alone(path: Path) -> float:
    """Lines a second of the processor that `json.loads` parses."""
    with path.open(encoding="utf-8") as file:
        start = time.process_time()
        count = sum(json.loads(line) is not None for line in file)
        return count / (time.process_time() - start)


def measure(source: str, path: Path, output: Path, memory_limit: str) -> dict[str, Any]:
    """Imports the log in this process, after the libraries are loaded."""
    from twhin_hf.network.sources.importing import import_log, open_engine

    with open_engine(memory_limit, 1):
        pass
    lines, network = path, source.partition(".")[0]
    path = path.with_name(source) if path.with_name(source).exists() else path
    start, cpu_start = time.perf_counter(), time.process_time()
    report = import_log(network, path, output, threads=1, memory_limit=memory_limit, progress=False)
    cpu_seconds = time.process_time() - cpu_start
    events = report.lines or report.num_engagements
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "source": source,
        "events": events,
        "megabytes": path.stat().st_size / 1e6,
        "engagements": report.num_engagements,
        "posts": report.num_posts,
        "seconds": time.perf_counter() - start,
        "cpu_seconds": cpu_seconds,
        "events_per_cpu_second": events / cpu_seconds,
        "parsed_per_cpu_second": parse_alone(lines),
        "peak_gigabytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", choices=EVENTS, nargs="+", default=list(EVENTS))
    parser.add_argument("--num-events", type=int, default=500_000)
    parser.add_argument("--memory-limit", default="1GB", help="of the engine")
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.path:
        found = measure(args.source[0], args.path, args.path.parent / "out", args.memory_limit)
        print(json.dumps(found))
        return
    for source in args.source:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "log.jsonl"
            write_log(path, source, args.num_events)
            command = [sys.executable, __file__, "--source", source, "--path", str(path)]
            command += ["--memory-limit", args.memory_limit]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        print(
            f"{source}: {found['events']:,} events ({found['megabytes']:,.0f} MB) in "
            f"{found['seconds']:.1f} s, {found['cpu_seconds']:.1f} s of one core: "
            f"{found['events_per_cpu_second']:,.0f} a second of it "
            f"(json.loads alone: {found['parsed_per_cpu_second']:,.0f}), peak "
            f"{found['peak_gigabytes']:.2f} GB; {found['engagements']:,} engagements, "
            f"{found['posts']:,} posts"
        )


if __name__ == "__main__":
    main()
