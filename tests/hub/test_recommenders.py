"""An engagement model on the Hub: what goes out of it, and what comes back."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from four_groups import ENCODER, make_fitted

from twhin_hf.commands.cli import main
from twhin_hf.errors import InputError
from twhin_hf.privacy.keys import hash_ids
from twhin_hf.recommendation.model import EngagementModel

KEY = bytes(range(32))


@pytest.fixture(scope="module")
def model():
    """With one user of few engagements."""
    model = make_fitted()
    model.add_posts(pa.table({"post_id": ["rare"], "text": ["cat dog"]}))
    model.add_engagements(["few"] * 4 + ["u0"], ["p0", "p1", "p2", "p3", "rare"])
    return model


@pytest.fixture
def published(hub, model):
    push = model.push_to_hub("me/posts-for-users", key=KEY)
    return push, hub.repos["me/posts-for-users"].commits[-1], hub


def test_ids_are_hashes_and_nobodys_engagements_go_out(published, model, tmp_path):
    push, files, hub = published
    assert files.keys() == push.files.keys() == {
        "README.md", "config.json", "engagements.safetensors", "model.safetensors", "posts.parquet",
        "posts.safetensors", "reliability.png", "users.parquet", "users.safetensors", "words.json",
        "words.safetensors",
    }  # fmt: skip
    found = {}
    for name, column in (("users", "user_id"), ("posts", "post_id")):
        content = hub.large.get(f"{name}.parquet", files[f"{name}.parquet"])
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(content)
        found[name] = pq.read_table(path)[column].to_pylist()
    assert sorted(found["posts"]) == sorted(hash_ids(model.posts.ids, KEY))
    known = [name for name in model.users.ids if name != "few"]
    assert sorted(found["users"]) == sorted(hash_ids(known, KEY))
    assert json.loads(files["config.json"])["num_users"] == len(known)


def test_what_comes_back_scores_alike_but_for_what_users_engaged_with(published, model):
    loaded = EngagementModel.from_pretrained("me/posts-for-users", encoder=ENCODER)
    users, posts = ["u5", "u8"], ["p3", "p40", "p105"]
    found = loaded.score(hash_ids(users, KEY), hash_ids(posts, KEY))
    # All but the content of what a user engaged with, which would tell it.
    asked, width = model.user_vectors(users), model.parameters.content_size
    asked[:, -1 - width : -1] = 0
    expected = asked @ model.post_vectors(posts).T
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert len(loaded.posts_of_users.all()[0]) == 0
    # Of a post that few engaged with nothing is there but what its text tells.
    row = loaded.posts.rows(hash_ids(["rare"], KEY))
    assert np.array_equal(loaded.posts["network"][row], loaded.posts["predicted"][row])
    with pytest.raises(InputError, match="it was published already"):
        loaded.push_to_hub("me/again", key=KEY)


def test_the_card_tells_how_good_it_is(published, model):
    _, files, hub = published
    card = files["README.md"].decode()
    assert "1 users of fewer than 5 engagements are left out" in card
    assert "![Predicted probabilities against what happened](reliability.png)" in card
    assert "| validation mrr |" in card
    assert f'revision="{hub.repos["me/posts-for-users"].sha(-2)}"' in card
    for name in (*model.users.ids, *model.posts.ids):
        assert f"'{name}'" not in card


def test_an_id_that_is_no_hash_never_goes_out(hub, model, monkeypatch):
    monkeypatch.setattr("twhin_hf.recommendation.folder.hash_ids", lambda ids, key: list(ids))
    with pytest.raises(InputError, match=r"users\.parquet holds an id that is no hash"):
        model.push_to_hub("me/plain", key=KEY)
    assert "me/plain" not in hub.repos


def test_the_command(hub, model, tmp_path, capsys):
    model.save_pretrained(tmp_path / "model")
    command = ["push", "--model", str(tmp_path / "model"), "--repo", "me/commanded"]
    assert main([*command, "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert "Would be pushed to me/commanded" in shown
    assert "users.parquet" in shown
    assert (tmp_path / "model.key").stat().st_mode & 0o077 == 0
    assert not hub.repos
    assert main([*command, "--license", "mit"]) == 0
    key = (tmp_path / "model.key").read_bytes()
    loaded = EngagementModel.from_pretrained("me/commanded", encoder=ENCODER)
    assert hash_ids(["u5"], key)[0] in loaded.users.ids
