"""The Dockerfile and the devcontainer do what the Makefile does, from the lock files."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make_lines() -> list[str]:
    config = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    texts = (ROOT / "Dockerfile").read_text(), config["postCreateCommand"]
    return [line for text in texts for line in re.findall(r"make ([a-z-]+[^\n&\\]*)", text)]


def test_both_install_by_make():
    targets = [line.split()[0] for line in make_lines() if line.split()[0] != "\\"]
    known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets.count("install") == 2
    assert set(targets) <= set(known)


def test_what_make_reads_is_not_left_out_of_the_image():
    ignored = (ROOT / ".dockerignore").read_text().split()
    needed = {"setup.cfg", "pyproject.toml", "constraints.txt", "requirements.lock", "README.md"}
    assert not needed & set(ignored)
    rule = re.search(
        r"^\$\(VENV\)/\.installed: (.+)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert set(rule[1].split()) <= {path.name for path in ROOT.iterdir()}


def test_the_build_arguments_are_those_of_make():
    dockerfile, makefile = ((ROOT / name).read_text() for name in ("Dockerfile", "Makefile"))
    default = re.search(r'ARG TORCH="(.+)"', dockerfile)[1]
    assert default == re.search(r"TORCH \?= (.+)", makefile)[1]
