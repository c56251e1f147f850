"""Tables that grow, and links between their rows."""

import numpy as np
import pytest

from twhin_hf.recommendation import links as links_module
from twhin_hf.recommendation.growing_table import GrowingTable
from twhin_hf.recommendation.links import Links


def test_rows_are_added_and_found():
    table = GrowingTable(["a", "b"], values=np.array([[1.0], [2.0]]))
    table.add(["c"], values=np.array([[3.0]]))
    assert len(table) == 3
    assert table.rows(["c", "x", "a"]).tolist() == [2, -1, 0]
    assert table["values"].tolist() == [[1.0], [2.0], [3.0]]
    table["values"][0] = 9.0
    assert table["values"][0] == 9.0


def test_room_is_made_ahead():
    table = GrowingTable(["a"], values=np.zeros(1))
    table.add(["b"], values=np.ones(1))
    column = table["values"].base
    table.add([f"x{number}" for number in range(900)], values=np.arange(900.0))
    assert table["values"].base is column
    assert table["values"][:3].tolist() == [0.0, 1.0, 0.0]


def test_a_read_only_column_is_copied_before_it_grows():
    values = np.zeros(4)
    values.flags.writeable = False
    table = GrowingTable(["a"], values=values)
    table.add(["b"], values=np.ones(1))
    assert table["values"].tolist() == [0.0, 1.0]


@pytest.fixture(params=[1, 4096], ids=["sorted in", "beside"])
def links(request, monkeypatch):
    monkeypatch.setattr(links_module, "_REBUILD", request.param)
    found = Links(np.array([0, 0, 2, 0]), np.array([3, 1, 1, 3]), 3)
    found.add(np.array([2, 4]), np.array([0, 2]))
    return found


def test_links_of_rows(links):
    others, counts = links.of(np.array([2, 1, 0, 4, 7]))
    assert sorted(others[:2].tolist()) == [0, 1]
    assert others[2:].tolist() == [1, 3, 2]
    assert counts.tolist() == [2, 0, 2, 1, 0]


def test_every_link(links):
    rows, others = links.all()
    assert sorted(zip(rows.tolist(), others.tolist(), strict=True)) == [
        (0, 1),
        (0, 3),
        (2, 0),
        (2, 1),
        (4, 2),
    ]


def test_sums_of_linked_vectors(links):
    vectors = np.array([[1.0], [10.0], [100.0], [1000.0]], np.float32)
    sums, counts = links.sums(np.array([0, 2, 5]), vectors)
    assert sums.tolist() == [[1010.0], [11.0], [0.0]]
    assert counts.tolist() == [2, 2, 0]


def test_missing_links_are_distinct(links):
    rows, others = links.missing(np.array([2, 2, 0, 9, 2]), np.array([0, 3, 3, 1, 3]))
    assert list(zip(rows.tolist(), others.tolist(), strict=True)) == [(2, 3), (9, 1)]
