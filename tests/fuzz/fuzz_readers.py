"""Coverage-guided fuzzing of every reader: `make fuzz`, or `python tests/fuzz/fuzz_readers.py`.

Each reader of `readers.py` runs in a process of its own, so that one that dies is told and the
others go on. Inputs that bring anything but errors of ours are saved in `tests/fuzz/crashes/READER`
(one for each place in the code), and the last line counts them; those that take seconds are saved
there as `slow-unit-...`. Needs atheris, which is in the extra `fuzz`.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CRASHES = HERE / "crashes"
MOST_MEMORY = 2048
"""MiB of a process, after which another goes on."""
WIDTHS = (12, 10, 14, 16, 8, 10, 10)
NOISE = ("INFO: ", "nanobind: ", " - ")
COLUMNS = ("reader", "inputs", "inputs/s", "edges", "errors of ours", "others", "longest", "memory")


def main() -> int:
    """Fuzzes the readers named, one after another, and shows a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2_000, help="inputs of each reader")
    parser.add_argument("--minutes", type=float, default=60, help="at most, of each reader")
    parser.add_argument("--reader", nargs="+", help="names; all where none is given")
    parser.add_argument("--max_bytes", type=int, default=4096, help="of an input")
    parser.add_argument("--corpus", help="folder that keeps the inputs that reached new code")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        fuzz(options.one, Path(options.corpus))
    sys.path.insert(0, str(HERE))
    from readers import READERS

    names = [reader.name for reader in READERS]
    if unknown := sorted(set(options.reader or ()) - set(names)):
        parser.error(f"no reader {', '.join(unknown)}; known are {', '.join(names)}")
    found = [run(name, options) for name in options.reader or names]
    print("\n" + table(found))
    return int(any(row["others"] or row["exit"] for row in found))


def run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Fuzzes a reader in processes of its own, one after another; what they counted."""
    end = time.monotonic() + options.minutes * 60
    row = {"reader": name, "exit": 0, **dict.fromkeys(COLUMNS[1:], 0)}
    edges: list[str] = []
    seconds = 0.0
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="twhin_hf-"))
        memory = stack.enter_context(memory_folder())
        corpus = Path(options.corpus or scratch) / name
        corpus.mkdir(parents=True, exist_ok=True)
        while not row["exit"] and row["inputs"] < options.inputs and time.monotonic() < end:
            flags = {
                "runs": options.inputs - row["inputs"],
                "max_len": options.max_bytes,
                "max_total_time": max(1, int(end - time.monotonic())),
                "rss_limit_mb": 2 * MOST_MEMORY,
                "timeout": 120,
                "report_slow_units": 2,
                "artifact_prefix": f"{CRASHES / name}/",
            }
            process = subprocess.run(
                [sys.executable, __file__, "--one", name, "--corpus", str(corpus)],
                env=os.environ | {"TWHIN_HF_FUZZ": json.dumps(flags), "TMPDIR": memory},
                capture_output=True,
                text=True,
                errors="replace",
            )
            told = re.findall(r"^STATS (.*)$", process.stdout, re.MULTILINE)
            found = json.loads(told[-1]) if told else {}
            for key in ("inputs", "errors of ours", "others"):
                row[key] += found.get(key, 0)
            for key in ("longest", "memory"):
                row[key] = max(row[key], found.get(key, 0))
            seconds += found.get("seconds", 0)
            edges += re.findall(r"\scov: (\d+) ", process.stderr)
            show(name, process)
            row["exit"] = process.returncode or int(not told)
    row["inputs/s"] = round(row["inputs"] / max(seconds, 1e-3))
    row["edges"] = f"{edges[0]} → {max(map(int, edges))}" if edges else ""
    row["longest"], row["memory"] = f"{row['longest']:.2f} s", f"{row['memory']:,} MiB"
    print(table([row]).splitlines()[-1], flush=True)
    return row


def show(name: str, process: subprocess.CompletedProcess[str]) -> None:
    """Shows what a process tells of errors that are not ours, and how it ended."""
    told = [line for line in process.stdout.splitlines() if not line.startswith("STATS")]
    if process.returncode:
        last = [line for line in process.stderr.splitlines() if not line.startswith(NOISE)][-15:]
        told += [f"{name} ended with {process.returncode}:", *last]
    print(*told, sep="\n", end="\n" * bool(told))


def fuzz(name: str, corpus: Path) -> None:
    """Fuzzes one reader in this process, which ends with it."""
    flags = json.loads(os.environ["TWHIN_HF_FUZZ"])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"
    # What libraries print goes nowhere.
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    import atheris

    sys.path.insert(0, str(HERE))
    with atheris.instrument_imports(include=["twhin_hf"]):
        from readers import READERS, is_ours
        from sharing import clear_engine, count_names_anew, reopen_broken, share_what_is_slow

        share_what_is_slow()
        reader = next(reader for reader in READERS if reader.name == name)
        path, seeds = reader.open(Path(tempfile.mkdtemp()))
        flags["max_len"] = max(flags["max_len"], 2 * max(map(len, seeds)))
        for number, seed in enumerate(seeds):
            # Whatever is imported late is imported, and measured, here.
            path.write_bytes(seed)
            count_names_anew()
            try:
                reader.read(path)
            except Exception as error:
                if not is_ours(error):
                    raise
            (corpus / f"seed{number}").write_bytes(seed)
    counts = {"inputs": 0, "errors of ours": 0, "others": 0}
    places: set[tuple[Any, ...]] = set()
    longest = shown = 0.0
    start = time.monotonic()
    gc.freeze()

    def target(data: bytes) -> None:
        nonlocal longest, shown
        before = time.perf_counter()
        path.write_bytes(data)
        count_names_anew()
        try:
            reader.read(path)
        except Exception as error:
            if is_ours(error):
                counts["errors of ours"] += 1
            else:
                counts["others"] += 1
                report(name, error, data, places)
            reopen_broken(error)
        now = time.perf_counter()
        longest = max(longest, now - before)
        counts["inputs"] += 1
        if now - shown > 1 or counts["inputs"] == flags["runs"]:
            shown = now
            # Tracebacks are cycles: what they hold is no leak of the reader's. What stays is
            # shared, or kept by what is instrumented, and need not be looked at each time.
            gc.collect()
            gc.freeze()
            told = counts | {
                "seconds": time.monotonic() - start,
                "longest": longest,
                "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            }
            print("STATS", json.dumps(told), flush=True)
            try:
                clear_engine()
            except Exception as error:
                reopen_broken(error)
            if told["memory"] > MOST_MEMORY:
                # What is instrumented keeps memory; the next process goes on from the corpus.
                os._exit(0)

    (CRASHES / name).mkdir(parents=True, exist_ok=True)
    given = [f"-{key}={value}" for key, value in flags.items()]
    atheris.Setup([sys.argv[0], str(corpus), *given], target)
    atheris.Fuzz()


def report(name: str, error: Exception, data: bytes, places: set[tuple[Any, ...]]) -> None:
    """Saves the input and shows the error, once for each place in the code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "twhin_hf" in frame.filename]
    place = (type(error), *((own or frames)[-1])[:2])
    if place in places:
        return
    places.add(place)
    saved = CRASHES / name / f"{type(error).__name__}-{len(places)}"
    saved.write_bytes(data)
    print(f"\n{name}: {type(error).__name__}, {saved}")
    print("".join(traceback.format_exception(error)[-6:])[-3000:], flush=True)


def memory_folder() -> tempfile.TemporaryDirectory[str]:
    """For inputs and what readers unpack and spill: in memory, where the system has such a place.

    It goes with the process that starts the others, of which one may be stopped anywhere.
    """
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="twhin_hf-", dir=place)


def table(rows: list[dict[str, Any]]) -> str:
    """Rows under their names."""
    cells = [[shown(row[name]) for name in COLUMNS] for row in rows]
    return "\n".join(
        f"{name:<26}" + "".join(map("{:>{}}".format, others, WIDTHS))
        for name, *others in [COLUMNS, *cells]
    )


def shown(value: int | str) -> str:
    """A cell."""
    return f"{value:,}" if isinstance(value, int) else value


if __name__ == "__main__":
    sys.exit(main())
