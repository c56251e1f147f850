"""The short form of `make soak`: long commands are killed, and end as if they had not been."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "soak" / "soak.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are forked")
def test_killed_commands_end_as_if_they_had_not_been(tmp_path):
    jobs = ["network embed", "tokenizer", "pretrain", "tpp"]
    command = [sys.executable, str(SCRIPT), "--kills", "3", "--minutes", "3", "--seed", "1"]
    command.append("--kills_only")  # what full disks leave has tests of its own
    done = subprocess.run(
        [*command, "--folder", str(tmp_path), "--jobs", *jobs], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Nothing was lost." in done.stdout
    table = done.stdout.rsplit("| command", 1)[1].split("| what")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    assert {row[1].strip(" `") for row in rows} == set(jobs)
    assert all(int(row[2]) >= 1 for row in rows)
