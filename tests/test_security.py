"""Every promise of SECURITY.md names tests, and these are there."""

import ast
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twhin_hf.network.log import read_log

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
    assert len(NAMED) == len(set(re.findall(r"`(tests/[^`]+::[^`]+)`", TEXT.split(HEADER, 1)[1])))


HOSTILE = (
    "'; DROP TABLE edges; --",
    "\"; COPY (SELECT 1) TO 'it_ran'; --",
    "${jndi:ldap://example.org/a}",
    "=HYPERLINK(1)",
    "../../keep",
    "a\x00b",
    "<script>",
)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_ids_and_names_of_a_log_are_no_commands(tmp_path, monkeypatch, kind):
    folder = tmp_path / "it's; DROP TABLE log; --"
    folder.mkdir()
    monkeypatch.chdir(folder)
    log = pa.table({"user_id": [*HOSTILE] * 2, "post_id": [*HOSTILE, *reversed(HOSTILE)]})
    path = folder / f"log 'x'.{kind}"
    if kind == "parquet":
        pq.write_table(log, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in log.to_pylist()))
    graph = read_log(path)
    assert sorted(graph.user_ids.to_pylist()) == sorted(HOSTILE)
    assert sorted(graph.post_ids.to_pylist()) == sorted(HOSTILE)
    assert [found.name for found in folder.iterdir()] == [path.name]
