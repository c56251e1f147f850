"""Every promise of SECURITY.md names tests, and these are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", TEXT)))
HEADER = "| who | can try to | what stops it | tests |"


@pytest.mark.parametrize(("path", "name"), NAMED, ids="::".join)
def test_a_named_test_is_there(path, name):
    found = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    for part in name.split("::"):
        owner = next((item for item in found if getattr(item, "name", None) == part), None)
        assert owner is not None, f"{path} has no {name}"
        found = getattr(owner, "body", [])
    assert owner.name.startswith(("test_", "Test"))


def test_every_line_of_the_table_names_one():
    lines = TEXT.split(HEADER, 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    assert len(lines) >= 8
    for line in lines:
        *_, tests, end = line.split("|")
        assert end == ""
        assert re.search(r"`tests/[\w/]+\.py::\w+", tests), line
    assert len(NAMED) == len(set(re.findall(r"`(tests/[^`]+)`", TEXT.split(HEADER, 1)[1])))
