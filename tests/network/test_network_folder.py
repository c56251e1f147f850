"""Writing and reading the network folder."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from twhin_hf.network import folder
from twhin_hf.network.folder import Network, load_network, save_network


@pytest.fixture
def network():
    random = np.random.default_rng(0)
    return Network(
        user_ids=pa.array(["u", "v", "ü"]),
        post_ids=pa.array(["p", "q"]),
        relations=["like", "reply"],
        user_vectors=random.standard_normal((3, 5), np.float32),
        post_vectors=random.standard_normal((2, 5), np.float32),
        relation_vectors=random.standard_normal((2, 5), np.float32),
        user_degrees=np.array([1, 2, 3]),
        post_degrees=np.array([4, 2]),
        metadata={"seed": 7, "metrics": {"mrr": 0.5}},
    )


def test_round_trip(network, tmp_path):
    save_network(network, tmp_path / "a" / "network")
    loaded = load_network(tmp_path / "a" / "network")
    assert loaded.user_ids.equals(network.user_ids)
    assert loaded.post_ids.equals(network.post_ids)
    assert loaded.relations == network.relations
    assert loaded.metadata["seed"] == 7
    assert (loaded.num_users, loaded.num_posts, loaded.dimension) == (3, 2, 5)
    for side in ("user", "post", "relation"):
        vectors = getattr(loaded, f"{side}_vectors")
        assert isinstance(vectors, np.memmap)
        np.testing.assert_array_equal(vectors, getattr(network, f"{side}_vectors"))
    np.testing.assert_array_equal(loaded.user_degrees, [1, 2, 3])
    np.testing.assert_array_equal(loaded.post_degrees, [4, 2])


def test_files_are_those_of_the_contract(network, tmp_path):
    save_network(network, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "network.json",
        "users.safetensors",
        "posts.safetensors",
        "relations.safetensors",
        "users.parquet",
        "posts.parquet",
    }
    np.testing.assert_array_equal(
        load_file(tmp_path / "posts.safetensors")["vectors"], network.post_vectors
    )
    assert pq.read_table(tmp_path / "users.parquet").to_pydict() == {
        "user_id": ["u", "v", "ü"],
        "degree": [1, 2, 3],
    }
    metadata = json.loads((tmp_path / "network.json").read_text())
    assert metadata["relations"] == ["like", "reply"]
    assert (metadata["num_users"], metadata["num_posts"], metadata["dimension"]) == (3, 2, 5)


def test_a_network_without_users_loads(network, tmp_path):
    save_network(
        replace(
            network,
            user_ids=pa.array([], pa.string()),
            user_vectors=np.zeros((0, 5), np.float32),
            user_degrees=np.zeros(0, np.int64),
        ),
        tmp_path,
    )
    assert load_network(tmp_path).user_vectors.shape == (0, 5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite(network, tmp_path, bad):
    network.post_vectors[1, 3] = bad
    with pytest.raises(ValueError, match=r"1 of 2 post .* NaN or infinity \(.* 'q'\)"):
        save_network(network, tmp_path)
    assert not list(tmp_path.iterdir())
    network.post_vectors[1, 3] = 0
    save_network(network, tmp_path)
    network.post_vectors[1, 3] = bad
    save_file({"vectors": network.post_vectors}, tmp_path / "posts.safetensors")
    with pytest.raises(ValueError, match="NaN or infinity"):
        load_network(tmp_path)


def test_a_network_is_replaced_as_a_whole(network, tmp_path, monkeypatch):
    save_network(network, tmp_path)
    loaded = load_network(tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*args, **options):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", fail)
        with pytest.raises(OSError, match="disk is full"):
            save_network(replace(network, post_vectors=network.post_vectors + 1), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    # Its vectors are mapped from the files that it replaces.
    save_network(loaded, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_missing_files(network, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere is no complete network folder"):
        load_network(tmp_path / "nowhere")
    save_network(network, tmp_path)
    (tmp_path / "users.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"users\.parquet missing"):
        load_network(tmp_path)


def test_rows_and_ids_must_agree(network, tmp_path):
    with pytest.raises(ValueError, match="2 post ids, 2 post vectors and 1 degrees"):
        save_network(replace(network, post_degrees=np.array([1])), tmp_path)
    with pytest.raises(ValueError, match="relation vectors have 4 dimensions, post vectors 5"):
        save_network(replace(network, relation_vectors=np.zeros((2, 4), np.float32)), tmp_path)
    with pytest.raises(ValueError, match="user vectors are float64"):
        save_network(replace(network, user_vectors=np.zeros((3, 5))), tmp_path)


def test_damaged_vectors(network, tmp_path):
    save_network(network, tmp_path)
    path = tmp_path / "posts.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[:-4], whole[:5], b"\xff" * 20):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"posts\.safetensors does not hold what it should"):
            load_network(tmp_path)
    save_file({"other": network.post_vectors}, path)
    with pytest.raises(ValueError, match=r"posts\.safetensors does not hold what it should"):
        load_network(tmp_path)


@pytest.mark.parametrize("name", ["users", "relations", "engagements", "held_out"])
def test_mapped_files_are_checked_before_tables_are_read(name, network, tmp_path, monkeypatch):
    save_network(network, tmp_path)
    (tmp_path / f"{name}.safetensors").write_bytes(b"\xff" * 20)
    monkeypatch.setattr(folder, "read_parquet", lambda *_: pytest.fail("a table is read"))
    with pytest.raises(ValueError, match=rf"{name}\.safetensors does not hold"):
        load_network(tmp_path)


def test_held_out_engagements(network, tmp_path):
    save_network(replace(network, held_out=np.array([[2, 0], [0, 1]])), tmp_path)
    np.testing.assert_array_equal(load_network(tmp_path).held_out, [[2, 0], [0, 1]])
    with pytest.raises(ValueError, match="do not fit 3 users and 2 posts"):
        save_network(replace(network, held_out=np.array([[0, 2]])), tmp_path)
    save_network(network, tmp_path)
    assert load_network(tmp_path).held_out is None
