"""Builds the package and tries the wheel where the environment of the tests plays no part.

The source archive is built from the checkout, and the wheel from the source archive. The wheel is
then installed on the oldest Python that is supported and on the newest one found here, with the
libraries of the extra `data` in their locked versions (but torch, whose builds are for few versions
of Python), and a network is generated, imported and split there.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

OLDEST = (3, 10)
BUILD = "from setuptools import build_meta as b; b.build_{kind}({folder!r})"
TRY = """
import twhin_hf, sys
from twhin_hf.commands.cli import main
assert "site-packages" in twhin_hf.__file__, twhin_hf.__file__
log = "data/engagements.parquet"
small = ["--num_users", "50", "--num_posts", "200", "--num_engagements", "1000"]
for line in (
    ["synthesize", "--output", "data", *small],
    ["network", "import", "--source", "table", "--input", log, "--output", "log"],
    ["split", "--posts", "data/posts.parquet", "--output", "split"],
    ["plan", "--posts", "1e6", "--engagements", "1e8"],
):
    assert main(line) == 0, line
"""


def main() -> None:
    """Builds, then installs and tries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder for all that is made")
    parser.add_argument("--lock", type=Path, default=Path("requirements.lock"))
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    work = args.work.resolve()
    archive = build("sdist", Path.cwd(), work)
    with tarfile.open(archive) as packed:
        packed.extractall(work, filter="data")
    wheel = build("wheel", work / archive.name.removesuffix(".tar.gz"), work)
    print(f"built {archive.name} and {wheel.name}")
    check_contents(wheel)
    for python in pythons():
        try_on(python, wheel, needed_by(wheel, "data"), versions_of(args.lock, work), work)


def build(kind: str, source: Path, work: Path) -> Path:
    """The one file that setuptools makes of a checkout or an unpacked archive."""
    before = set(work.iterdir())
    run([sys.executable, "-c", BUILD.format(kind=kind, folder=str(work))], source)
    (made,) = (path for path in set(work.iterdir()) - before if path.is_file())
    return made


def check_contents(wheel: Path) -> None:
    """All of the package's files are in it, and no other folder."""
    with ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
    tracked = run(["git", "ls-files", "twhin_hf"], Path.cwd()).split()
    if names != set(tracked):
        sys.exit(f"wheel and checkout differ in {sorted(names ^ set(tracked))}")


def pythons() -> list[str]:
    """Interpreters of the oldest version that is supported and of the newest one here."""
    found = {}
    for minor in range(OLDEST[1], 30):
        name = f"python3.{minor}"
        for folder in [*os.environ["PATH"].split(os.pathsep), *sibling_folders()]:
            path = Path(folder) / name
            if path.exists() and works(path):
                found[minor] = str(path)
                break
    chosen = {version: found[version] for version in (OLDEST[1], max(found)) if version in found}
    print(f"tried on Python 3.{' and 3.'.join(map(str, chosen))}")
    return list(chosen.values())


def sibling_folders() -> list[str]:
    """Where a manager of versions keeps the others, beside the one that runs."""
    return [str(path) for path in sorted(Path(sys.base_prefix).parent.glob("3.*/bin"))]


def works(path: Path) -> bool:
    """Whether it runs: a file of that name may stand for a version that is not chosen."""
    return subprocess.run([path, "-c", "import venv"], capture_output=True).returncode == 0


def needed_by(wheel: Path, extra: str) -> list[str]:
    """What the core and an extra need, but torch."""
    from packaging.requirements import Requirement

    with ZipFile(wheel) as packed:
        name = next(name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        lines = message_from_bytes(packed.read(name)).get_all("Requires-Dist") or []
    ours = [one for one in map(Requirement, lines) if one.name != "torch"]
    return [
        str(one).partition(";")[0].strip()
        for one in ours
        if one.marker is None or one.marker.evaluate({"extra": extra})
    ]


def versions_of(lock: Path, work: Path) -> Path:
    """The versions of a lock file, as constraints."""
    lines = (line.rstrip("\\ ") for line in lock.read_text(encoding="utf-8").splitlines())
    path = work / "constraints.txt"
    path.write_text("".join(f"{line}\n" for line in lines if "==" in line and line[0] != " "))
    return path


def try_on(python: str, wheel: Path, needed: list[str], versions: Path, work: Path) -> None:
    """Installs the wheel for an interpreter and runs some commands there."""
    venv = work / Path(python).name
    run([python, "-m", "venv", str(venv)], work)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    run([*pip, "-c", str(versions), *needed], work)
    run([*pip, "--no-deps", str(wheel)], work)
    with tempfile.TemporaryDirectory(dir=work) as empty:
        run([str(venv / "bin" / "python"), "-c", TRY], Path(empty))
        shown = run([str(venv / "bin" / "twhin-hf"), "--version"], Path(empty))
    print(f"{Path(python).name}: {shown.strip()} generates, imports, splits and plans")


def run(command: list[str], folder: Path) -> str:
    """What a command prints; ends the script where it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} … failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
