"""The example that shows a random pooler."""

import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "fix_random_pooler.py"


def test_only_the_pooler_moves(capsys):
    found = runpy.run_path(str(EXAMPLE))["main"]([])
    pooler, first, ours = found.values()
    assert abs(pooler) < 0.5
    assert min(first, ours) > 0.99999
    # The page shows what the script prints; the pooler's figure may differ with the machine.
    printed = [line for line in capsys.readouterr().out.splitlines() if "pooler" not in line]
    page = EXAMPLE.with_suffix(".md").read_text()
    assert len(printed) == 3
    for line in printed:
        assert line in page, line
