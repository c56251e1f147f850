"""Keys are secret, hashes are keyed, and orders cannot be drawn again."""

import hashlib
import re
import stat

import numpy as np
import pytest

from twhin_hf.privacy import keys
from twhin_hf.privacy.keys import HASH_PATTERN, hash_ids, random_order, read_key, read_or_make_key

KEY = b"0123456789abcdef"


def test_hashes_need_the_key():
    found = hash_ids(["p1", "did:plc:abc"], KEY)
    assert found[0] == hashlib.blake2b(b"p1", digest_size=16, key=KEY).hexdigest()
    assert found[0] != hashlib.blake2b(b"p1", digest_size=16).hexdigest()
    assert hash_ids(["p1"], KEY[::-1]) != found[:1]
    assert all(re.fullmatch(HASH_PATTERN, digits) for digits in found)
    with pytest.raises(ValueError, match="The key has 15 bytes; needed are 16 to 64"):
        hash_ids(["p1"], KEY[:15])


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path):
    path = tmp_path / "new" / "set.key"
    first = read_or_make_key(path)
    assert len(first) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_or_make_key(path) == read_key(path) == first
    assert read_or_make_key(tmp_path / "other.key") != first


def test_files_that_hold_no_key(tmp_path):
    (tmp_path / "short").write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"short is no file of a key\. The key has 3 bytes"):
        read_or_make_key(tmp_path / "short")
    with pytest.raises(FileNotFoundError):
        read_key(tmp_path / "none")


def test_orders_are_those_of_the_system(monkeypatch):
    order = random_order(1000)
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert not np.array_equal(order, random_order(1000))
    drawn = np.array([30, 10, 20], np.uint64).tobytes()
    monkeypatch.setattr(keys.os, "urandom", lambda size: drawn[:size])
    assert random_order(3).tolist() == [1, 2, 0]
