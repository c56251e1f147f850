"""Kills every long command at random moments, and compares what it makes with a run never killed.

    make soak
    python tests/soak/soak.py --minutes 5 --jobs pretrain run

A command is started again, the same one, until it ends; nobody helps it. Half of the kills come in
the middle of a save: as soon as a temporary file or folder of one is seen. A seventh are SIGTERM
and a seventh SIGINT, which the command answers by saving; the others are SIGKILL.

Then each command is run on disks too small for it, which get room afterwards, and those that start
processes have one of them killed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import Job, contents, jobs, make_data, quantile

SIGNALS = [signal.SIGKILL] * 5 + [signal.SIGTERM, signal.SIGINT]
SAVING = (".saving", ".partial", ".old", ".parts")
"""What names of files and folders hold that are being written."""


@dataclass
class Tally:
    """What became of a job."""

    name: str
    kills: Counter[str] = field(default_factory=Counter)
    in_saves: int = 0
    runs: int = 0
    files: int = 0
    differences: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    extra: list[float] = field(default_factory=list)
    """Seconds that a killed run took, as a multiple of one never killed."""


class Process:
    """A command in a process group of its own, forked from here, where everything is imported."""

    def __init__(self, arguments: list[str], folder: Path):
        self.log = folder / "log.txt"
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                os.setsid()
                for signum in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(signum, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(output, 1)
                os.dup2(output, 2)
                os.chdir(folder)
                from twhin_hf.commands.cli import main

                sys.argv = ["twhin-hf", *arguments]
                code = main(arguments)
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        self.code: int | None = None

    def poll(self) -> int | None:
        """The exit status, or minus the signal that ended it; None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, timeout: float = 300.0) -> int:
        """Waits for the end."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                self.send(signal.SIGKILL)
                raise TimeoutError(f"process {self.pid} hangs")
            time.sleep(0.005)
        assert self.code is not None
        return self.code

    def send(self, signum: int) -> None:
        """Sends a signal to the command; SIGKILL to all of its processes."""
        try:
            if signum == signal.SIGKILL:
                os.killpg(self.pid, signum)
            else:
                os.kill(self.pid, signum)
        except ProcessLookupError:
            pass


def is_saving(product: Path) -> bool:
    """Whether something under a temporary name is there."""
    folder = product if product.suffix == "" else product.parent
    for base, folders, files in os.walk(folder):
        if any(word in name for name in (*folders, *files) for word in SAVING):
            return True
        if base.count(os.sep) - str(folder).count(os.sep) >= 2:
            folders.clear()
    return False


def kill_at_random(process: Process, product: Path, seconds: float, rng: random.Random) -> Any:
    """Kills a command at some moment, unless it ends before.

    Returns:
        The signal's name and whether a save was under way; None where the command ended by itself.
    """
    signum = rng.choice(SIGNALS)
    began = time.monotonic()
    wait_for_save = rng.random() < 0.5
    moment = began + rng.random() * seconds * (0.6 if wait_for_save else 1.0)
    saving = False
    while True:
        if process.poll() is not None:
            return None
        now = time.monotonic()
        if now >= moment:
            saving = is_saving(product)
            if not wait_for_save or saving or now > moment + seconds:
                break
        time.sleep(0.0005 if wait_for_save and now >= moment else 0.005)
    if saving:
        time.sleep(rng.random() * 0.004)
    process.send(signum)
    code = process.wait()
    if signum != signal.SIGKILL and code not in (0, 128 + signum, -signum):
        return signal.Signals(signum).name, saving, code
    return signal.Signals(signum).name, saving, None


def soak(job: Job, folder: Path, kills: int, deadline: float, rng: random.Random) -> Tally:
    """Kills one job until it has been killed often enough, or the time is up."""
    tally = Tally(job.name)
    began = time.monotonic()
    process = Process(job.arguments, folder)
    if code := process.wait():
        raise RuntimeError(f"{job.name} ends with {code}: {process.log.read_text()[-2000:]}")
    tally.seconds = time.monotonic() - began
    expected = contents(folder / job.product)
    if not expected:
        raise RuntimeError(f"{job.name} has made nothing")
    _keep(folder, tally)
    while sum(tally.kills.values()) < kills and (
        time.monotonic() < deadline or not tally.kills.total()
    ):
        shutil.rmtree(folder / "box" / "out", ignore_errors=True)
        began = time.monotonic()
        most = 2 + rng.randrange(6)
        for number in range(most + 1):
            process = Process(job.arguments, folder)
            killed = None
            if number < most:
                killed = kill_at_random(process, folder / job.product, tally.seconds, rng)
            else:
                process.wait()
            if killed is None:
                break
            name, saving, code = killed
            tally.kills[name] += 1
            tally.in_saves += saving
            if code is not None:
                tally.failures.append(f"{name}: ended with {code}, {_end(process.log)}")
        tally.runs += 1
        tally.extra.append((time.monotonic() - began) / tally.seconds)
        if process.code != 0:
            tally.failures.append(f"started again: ended with {process.code}, {_end(process.log)}")
            _keep(folder, tally)
            continue
        found = contents(folder / job.product)
        tally.files += len(expected)
        names = sorted(expected.keys() | found.keys())
        differ = [name for name in names if expected.get(name) != found.get(name)]
        left = [
            path.name for path in (folder / "box" / "out").rglob("*") if _is_left_over(path.name)
        ]
        differ += [f"left over: {name}" for name in left]
        if differ:
            tally.differences += differ
            _keep(folder, tally)
    return tally


def _keep(folder: Path, tally: Tally) -> None:
    """Keeps what went wrong, beside the first run of all, which is kept as it was."""
    shutil.copytree(
        folder, folder.with_name(f"{folder.name}-{tally.runs}"), symlinks=True, dirs_exist_ok=True
    )


def _is_left_over(name: str) -> bool:
    return name == ".saving" or ".partial" in name or name.endswith(".old")


def _end(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " | ".join(lines[-3:])[-400:]


@dataclass
class Injection:
    """What became of a job in a place that fails it."""

    name: str
    tried: int = 0
    told: int = 0
    """Ended with status 2 and a message, not with a traceback."""
    recovered: int = 0
    """The same command then ended as the run never broken."""
    notes: list[str] = field(default_factory=list)


def fill_disks(job: Job, folder: Path, expected: dict[str, str]) -> Injection:
    """Runs a job on disks too small for it, then makes room and runs it again."""
    found = Injection(f"{job.name}: full disk")
    out = folder / "box" / "out"
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    box = out.parent
    for share in (0.2, 0.5, 0.8):
        shutil.rmtree(out, ignore_errors=True)
        kilobytes = max(8, int(size * share / 1024))
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(box)],
            capture_output=True,
        ).returncode:
            found.notes.append("not tried: no disk can be mounted here")
            return found
        try:
            mark = _length(folder)
            process = Process(job.arguments, folder)
            code = process.wait()
            if code == 0:
                found.notes.append(f"{kilobytes} kB were enough")
                continue
            found.tried += 1
            found.told += _is_told(process.log, mark, code, found)
            room = ["mount", "-o", "remount,size=2g", str(box)]
            subprocess.run(room, check=True, capture_output=True)
            found.recovered += _recovers(job, folder, expected, found)
        finally:
            subprocess.run(["umount", "-l", str(box)], check=True, capture_output=True)
    return found


def kill_workers(job: Job, folder: Path, expected: dict[str, str], rng: random.Random) -> Injection:
    """Kills one of the processes that a job has started, then runs it again."""
    found = Injection(f"{job.name}: dead worker")
    for _ in range(5):
        shutil.rmtree(folder / "box" / "out", ignore_errors=True)
        mark = _length(folder)
        process = Process(job.arguments, folder)
        time.sleep(rng.random())
        while process.poll() is None:
            workers = children(process.pid)
            if workers:
                time.sleep(rng.random() * 0.5)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(workers), signal.SIGKILL)
                break
            time.sleep(0.005)
        code = process.wait()
        if code == 0:
            continue
        found.tried += 1
        found.told += _is_told(process.log, mark, code, found)
        found.recovered += _recovers(job, folder, expected, found)
    return found


def children(pid: int) -> list[int]:
    """Processes that a process has started, but for the one that tracks shared memory."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    names = {}
    for child in found:
        with contextlib.suppress(OSError):
            names[child] = Path(f"/proc/{child}/cmdline").read_text()
    return [child for child, name in names.items() if "resource_tracker" not in name]


def _length(folder: Path) -> int:
    return (folder / "log.txt").stat().st_size


def _is_told(log: Path, mark: int, code: int, found: Injection) -> bool:
    text = log.read_bytes()[mark:].decode(errors="replace")
    # Workers that lose their other end may say so before; the command's word is the last.
    last = [line for line in text.strip().splitlines() if not line.startswith("More: ")][-1]
    told = code == 2 and last.startswith("twhin-hf: ")
    if not told:
        found.notes.append(f"ended with {code}: {_end(log)}")
    return told


def _recovers(job: Job, folder: Path, expected: dict[str, str], found: Injection) -> bool:
    process = Process(job.arguments, folder)
    code = process.wait()
    made = contents(folder / job.product)
    if code == 0 and made == expected:
        return True
    names = [name for name in expected.keys() | made.keys() if expected.get(name) != made.get(name)]
    found.notes.append(f"again: ended with {code}, {_end(process.log)}, other: {names}")
    return False


def injections_table(injections: list[Injection]) -> str:
    """The figures as Markdown."""
    lines = ["| what | tried | told in a line | the same command then ended alike |"]
    lines.append("|---|--:|--:|--:|")
    lines += [f"| `{i.name}` | {i.tried} | {i.told} | {i.recovered} |" for i in injections]
    return "\n".join(lines)


def table(tallies: list[Tally]) -> str:
    """The figures as Markdown."""
    lines = [
        "| command | kills | of them SIGTERM, SIGINT | in a save | runs compared | files compared "
        "| that differ | failures | seconds unbroken | median time of a broken run |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for tally in tallies:
        gentle = tally.kills["SIGTERM"] + tally.kills["SIGINT"]
        lines.append(
            f"| `{tally.name}` | {sum(tally.kills.values())} | {gentle} | {tally.in_saves} | "
            f"{tally.runs} | {tally.files} | {len(tally.differences)} | {len(tally.failures)} | "
            f"{tally.seconds:.1f} | {quantile(tally.extra, 0.5):.1f} × |"
        )
    return "\n".join(lines)


def break_places(job: Job, folder: Path, rng: random.Random) -> list[Injection]:
    """A full disk for every job, and a dead worker where there are any."""
    first = folder.with_name(f"{folder.name}-0")
    shutil.rmtree(folder / "box" / "out", ignore_errors=True)
    shutil.copytree(first / "box" / "out", folder / "box" / "out")
    expected = contents(folder / job.product)
    found = [fill_disks(job, folder, expected)]
    if job.workers:
        found.append(kill_workers(job, folder, expected, rng))
    return found


def prepare(folder: Path) -> None:
    """Makes the data, in a process of its own: this one must start no threads before it forks."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            from twhin_hf.commands.cli import main

            make_data(folder, main)
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("the data could not be made")


def import_all() -> None:
    """Imports what the commands do, so that a kill falls into their work."""
    import duckdb  # noqa: F401

    import twhin_hf.commands.pretrain
    import twhin_hf.commands.tpp
    import twhin_hf.evaluation.suite.tasks
    import twhin_hf.network.mining
    import twhin_hf.pipeline
    import twhin_hf.serving.vectors
    import twhin_hf.training.translation_pair  # noqa: F401


def main() -> int:
    """Runs the jobs and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="Time for all jobs together.")
    parser.add_argument("--kills", type=int, default=20, help="Kills of each job.")
    parser.add_argument("--jobs", nargs="+", help="Names (default: all).")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills_only", action="store_true", help="No full disks, no dead workers.")
    parser.add_argument("--folder", help="Where to work; kept (default: a temporary one).")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    import_all()
    with tempfile.TemporaryDirectory(prefix="twhin_hf_soak-") as scratch:
        folder = Path(options.folder or scratch)
        prepare(folder)
        chosen = [job for job in jobs(folder) if not options.jobs or job.name in options.jobs]
        end = time.monotonic() + 60 * options.minutes
        tallies: list[Tally] = []
        injections: list[Injection] = []
        for number, job in enumerate(chosen):
            own = folder / job.name.replace(" ", "-")
            (own / "box").mkdir(parents=True)
            (own / "data").symlink_to(folder / "data")
            share = (end - time.monotonic()) / (len(chosen) - number)
            rng = random.Random(f"{options.seed} {job.name}")
            tallies.append(soak(job, own, options.kills, time.monotonic() + 0.7 * share, rng))
            print(table(tallies[-1:]).splitlines()[-1], flush=True)
            for what in (*tallies[-1].differences, *tallies[-1].failures):
                print(f"  {job.name}: {what}", flush=True)
            if not options.kills_only:
                injections += break_places(job, own, rng)
            for injection in injections:
                for note in injection.notes:
                    print(f"  {injection.name}: {note}", flush=True)
                injection.notes.clear()
        print(f"\n{table(tallies)}\n\n{injections_table(injections)}")
        lost = [t.name for t in tallies if t.differences or t.failures]
        lost += [i.name for i in injections if i.told < i.tried or i.recovered < i.tried]
        print("Nothing was lost." if not lost else f"Lost: {', '.join(lost)}")
    return bool(lost)


if __name__ == "__main__":
    sys.exit(main())
