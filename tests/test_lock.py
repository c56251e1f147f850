"""The lock files: every package by version and hash, all that setup.cfg asks for, and no host."""

import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements-build.lock", "requirements.lock")


def entries(name):
    """The requirements of a lock file, with their hashes."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    for block in re.split(r"\n(?=\S)", text.strip()):
        first, *rest = [line.rstrip(" \\").strip() for line in block.splitlines()]
        yield Requirement(first), rest


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_has_a_version_and_hashes(name):
    found = list(entries(name))
    assert len(found) >= 3
    for one, hashes in found:
        assert re.fullmatch(r"==[\w.]+", str(one.specifier)), one
        assert one.url is None
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes), one
    assert not re.search(r"://|index|find-links", (ROOT / name).read_text(encoding="utf-8"))


def asked_for():
    """What setup.cfg asks for, the extra `dev` and those in it."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = [config["options"]["install_requires"], config["options.extras_require"]["dev"]]
    return [Requirement(line) for block in lines for line in block.splitlines() if line.strip()]


def test_all_that_is_asked_for_is_locked():
    locked = {}
    for one, _ in entries("requirements.lock"):
        locked.setdefault(canonicalize_name(one.name), []).append(one)
    assert len(asked_for()) > 30
    for wanted in asked_for():
        if wanted.name == "torch":  # a build for the machine
            continue
        for one in locked[canonicalize_name(wanted.name)]:
            assert wanted.specifier.contains(str(one.specifier).removeprefix("==")), wanted
    assert "torch" not in locked


def test_the_lock_keeps_to_the_constraints():
    pinned = [
        Requirement(line)
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    here = {"python_version": "3.11", "python_full_version": "3.11.7", "sys_platform": "linux"}
    locked = {
        canonicalize_name(one.name): one.specifier
        for one, _ in entries("requirements.lock")
        if one.marker is None or one.marker.evaluate(here)
    }
    for wanted in pinned:
        name = canonicalize_name(wanted.name)
        assert name == "torch" or locked[name] == wanted.specifier, wanted
