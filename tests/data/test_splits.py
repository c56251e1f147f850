import hashlib

import numpy as np
import pyarrow as pa
import pytest

from twhin_hf.data.splits import check_no_leak, split_posts


def test_split_is_the_hash_of_id_and_seed():
    digest = hashlib.blake2b("pöst".encode(), digest_size=8, key=b"7").digest()
    share = int.from_bytes(digest, "little") / 2**64
    expected = "train" if share < 0.8 else "validation" if share < 0.9 else "test"
    assert split_posts(["pöst"], seed=7).tolist() == [expected]
    # Pinned: a change here moves every user's held-out posts.
    pinned = "vtttevtttttv"
    names = {"t": "train", "v": "validation", "e": "test"}
    assert split_posts([f"p{i}" for i in range(12)]).tolist() == [names[c] for c in pinned]


def test_split_does_not_depend_on_order_or_company():
    ids = [f"post-{i}" for i in range(500)]
    splits = dict(zip(ids, split_posts(ids), strict=True))
    shuffled = np.random.default_rng(0).permutation(ids)[:200].tolist()
    assert split_posts(pa.array(shuffled)).tolist() == [splits[post] for post in shuffled]
    chunked = pa.chunked_array([ids[:300], ids[300:]])
    assert split_posts(chunked).tolist() == list(splits.values())


def test_fractions_and_seeds():
    ids = [str(i) for i in range(20_000)]
    splits = split_posts(ids)
    shares = [np.mean(splits == name) for name in ("train", "validation", "test")]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.01)
    other = split_posts(ids, seed=1)
    assert np.mean((splits == "test") & (other == "test")) == pytest.approx(0.01, abs=0.004)
    assert set(split_posts(ids, fractions=(1.0, 0.0, 0.0))) == {"train"}


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1), (0.9, 0.1)])
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(ValueError, match="that add up to 1"):
        split_posts(["a"], fractions=fractions)


def test_null_ids_are_refused():
    with pytest.raises(ValueError, match="The id of post 1 is null"):
        split_posts(pa.array(["a", None]))


def test_no_posts():
    assert split_posts([]).tolist() == []


def test_leak_is_refused_with_an_example():
    check_no_leak(["a", "b"], ["c"], what="The network")
    check_no_leak([], ["c"], what="The network")
    pairs = pa.chunked_array([["a", "c"], ["d"]])
    with pytest.raises(ValueError, match=r"set of pairs holds 2 posts that .* out, 'c' for one"):
        check_no_leak(pairs, pa.array(["d", "c"]), what="The set of pairs")


def test_column_of_a_data_set():
    from datasets import Dataset

    data = Dataset.from_dict({"post_id": ["a", "b", "c"]})
    assert split_posts(data["post_id"]).tolist() == split_posts(["a", "b", "c"]).tolist()
