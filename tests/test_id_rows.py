import numpy as np
import pyarrow as pa
import pytest

from twhin_hf import id_rows
from twhin_hf.id_rows import rows_of_ids
from twhin_hf.mapped import mapped_array, mapped_table, open_mapped_table


@pytest.fixture(params=["in memory", "by the engine"])
def way(request, monkeypatch):
    """Both ways to look ids up."""
    if request.param == "by the engine":
        monkeypatch.setattr(id_rows, "_HASHED", -1)


@pytest.mark.usefixtures("way")
def test_rows_are_those_of_a_dictionary():
    rng = np.random.default_rng(0)
    others = [f"p{number}" for number in rng.permutation(3000)]
    ids = [f"p{number}" for number in rng.integers(0, 4000, 5000)]
    expected = {name: row for row, name in enumerate(others)}
    found = rows_of_ids(
        pa.chunked_array([ids[:1], ids[1:4000], ids[4000:]]),
        pa.chunked_array([others[:2500], [], others[2500:]]),
    )
    assert found.dtype == np.int32
    assert found.tolist() == [expected.get(name, -1) for name in ids]


@pytest.mark.usefixtures("way")
def test_the_first_of_equal_ids_is_taken_and_null_is_no_id():
    ids = pa.array(["b", None, "a"])
    assert rows_of_ids(ids, pa.array(["a", "b", "a", None, "b"])).tolist() == [1, -1, 0]
    assert rows_of_ids(ids, pa.array([], pa.string())).tolist() == [-1, -1, -1]
    assert rows_of_ids(ids.slice(0, 0), ids).tolist() == []


def test_mapped_arrays_and_tables_lie_in_files():
    array = mapped_array((2, 3), np.int16)
    array[1] = [1, 2, 3]
    assert isinstance(array, np.memmap)
    assert array.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert mapped_array((0, 2), np.int32).shape == (0, 2)
    table = pa.table({"id": ["a", "b", "c"]})
    before = pa.total_allocated_bytes()
    mapped = open_mapped_table(mapped_table([table.slice(0, 2), table.slice(2)], table.schema))
    assert mapped.equals(table)
    assert mapped["id"].num_chunks == 2
    assert pa.total_allocated_bytes() == before
