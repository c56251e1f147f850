"""Compares what is installed with lock files: every line that holds here, and nothing beside."""

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

UNLOCKED = {"torch", "twhin-hf"}
"""torch is a build for the machine; the package is installed from its own folder."""


def locked(paths: list[str]) -> dict[str, str]:
    """Versions by name, of the lines whose markers hold on this machine."""
    found = {}
    for path in paths:
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            if re.match(r"[A-Za-z0-9]", line):
                one = Requirement(line.removesuffix("\\"))
                if one.marker is None or one.marker.evaluate():
                    found[canonicalize_name(one.name)] = str(one.specifier).removeprefix("==")
    return found


def main() -> None:
    """Compares with the files that are named."""
    wanted = locked(sys.argv[1:])
    here = {canonicalize_name(one.name): one.version for one in metadata.distributions()}
    problems = [
        f"{name}: {here.get(name, 'not installed')}, locked is {version}"
        for name, version in wanted.items()
        if here.get(name) != version
    ]
    problems += [f"{name}: not locked" for name in sorted(here.keys() - wanted.keys() - UNLOCKED)]
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(wanted)} packages are installed as they are locked.")


if __name__ == "__main__":
    main()
