import numpy as np
import pytest
from safetensors.numpy import load_file

from twhin_hf.network import tensor_files as module
from twhin_hf.network.tensor_files import (
    Blocks,
    map_tensors,
    reserve_tensor,
    row_blocks,
    write_rows,
    write_tensors,
)


def test_written_in_blocks_as_the_library_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_BYTES", 24)  # two rows of three
    numbers = {
        "offsets": np.arange(7),
        "vectors": np.arange(15, dtype=np.float32).reshape(5, 3),
        "others": np.zeros(0, np.int32),
    }
    assert [(b.start, b.stop) for b in row_blocks(numbers["vectors"])] == [(0, 2), (2, 4), (4, 5)]
    path = tmp_path / "a.safetensors"
    write_tensors(path, {name: Blocks.of(values) for name, values in numbers.items()})
    for found in (load_file(path), map_tensors(path)):
        assert sorted(found) == sorted(numbers)
        for name, values in numbers.items():
            assert found[name].dtype == values.dtype
            np.testing.assert_array_equal(found[name], values)


def test_rows_come_in_any_order(tmp_path):
    path = tmp_path / "a.safetensors"
    reserve_tensor(path, "vectors", np.float32, (4, 2))
    whole = np.arange(8, dtype=np.float32).reshape(4, 2)
    write_rows(path, 3, whole[3:])
    np.testing.assert_array_equal(load_file(path)["vectors"][:3], np.zeros((3, 2)))
    write_rows(path, 0, whole[:3])
    np.testing.assert_array_equal(load_file(path)["vectors"], whole)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="does not hold what it should"):
        map_tensors(path)
