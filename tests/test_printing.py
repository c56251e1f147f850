"""What a person reads: sentences, and counts in plain words."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from twhin_hf.printing import counts_sentence, in_words, report


@pytest.fixture
def printed():
    """Prints on a narrow screen and returns the lines."""

    def show(*arguments):
        stream = io.StringIO()
        report(*arguments, console=Console(file=stream, width=40, highlight=False))
        return stream.getvalue().splitlines()

    return show


def test_counts_are_a_table_with_thousands_separators(printed):
    lines = printed("Pairs", {"num_pairs": 1234567, "dropped": {"blank_texts": 2}, "probes": None})
    assert lines[0] == "Pairs"
    rows = [line.strip("│ ").split("│") for line in lines[2:-1]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["pairs", "1,234,567"],
        ["dropped: blank texts", "2"],
    ]


def test_a_long_path_is_not_broken(printed):
    path = "/a/folder/" + 6 * "of-a-long-name/"
    assert printed(f"Saved in {path}") == [f"Saved in {path}"]
    assert printed(f"Saved in {path}", {"rows": 1})[0] == f"Saved in {path}"


def test_counts_as_a_sentence():
    counts = {"rows": 1200, "blank_texts": 0, "num_posts": 1199}
    assert counts_sentence(counts) == "1,200 rows, 1,199 posts"
    assert in_words("num_pairs") == "pairs"
