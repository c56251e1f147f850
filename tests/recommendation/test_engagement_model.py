"""The model as a whole: fitted on a small log, saved, asked, and kept up to date."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from four_groups import ENCODER, QUICK, graph_of, texts_of

from twhin_hf.errors import InputError
from twhin_hf.forgetting.forget import forget
from twhin_hf.forgetting.forgotten import Forgotten
from twhin_hf.loading.text_encoders import TextEncoder
from twhin_hf.network.update_config import NetworkUpdateConfig
from twhin_hf.network.updating import update_network
from twhin_hf.recommendation.model import EngagementModel
from twhin_hf.recommendation.top_k import best


def groups_of(ids):
    return np.array([int(name[1:]) % 4 for name in ids])


def liked(log, user):
    pairs = zip(*log.engagements.to_pydict().values(), strict=True)
    return {post for name, post in pairs if name == user}


def test_an_asked_pooling_is_that_of_every_text_to_come(log, network, tmp_path, monkeypatch):
    asked = []

    def load(name, pooling=None):
        asked.append((name, pooling))
        return ENCODER

    monkeypatch.setattr("twhin_hf.recommendation.model.load_text_encoder", load)
    config = replace(QUICK, pooling="cls+mean")
    fitted = EngagementModel.fit(
        graph_of(log.engagements), log.posts, "me/encoder", network, config
    )
    fitted.save_pretrained(tmp_path / "m")
    EngagementModel.from_pretrained(tmp_path / "m")
    assert asked == [("me/encoder", "cls+mean")] * 2


# --- scores -------------------------------------------------------------------------------------


def test_a_score_is_what_text_and_network_say_weighed(model):
    """Against the formula, for a post of the network, one that it has not seen and a new one."""
    parameters = model.parameters
    new = pa.table({"post_id": ["n"], "text": ["cat dog cat"]})
    row = model.users.rows(["u5"])[0]
    user, liked_content = model.users["vectors"][row], model.users["content"][row]
    liked_content = liked_content / np.linalg.norm(liked_content)
    for post in ("p3", "p105", "n"):
        if post == "n":
            read = model.encode_texts(["cat dog cat"])
            columns, count = (
                {
                    "text": read.text[0],
                    "network": read.predicted[0],
                    "content": read.content[0],
                },
                0,
            )
            found = model.score(["u5"], new)[0, 0]
        else:
            row = model.posts.rows([post])[0]
            columns = {name: model.posts[name][row] for name in ("text", "network", "content")}
            count = int(model.posts["learnt"][row])
            found = model.score(["u5"], [post])[0, 0]
        a, c, d, b = (weights[0] for weights in parameters.mixing.of(np.array([count])))
        text = (parameters.user_map @ user + parameters.user_bias) @ columns["text"]
        network = (user + parameters.relation) @ columns["network"]
        content = liked_content @ columns["content"]
        assert np.linalg.norm(columns["content"]) == pytest.approx(1)
        assert found == pytest.approx(a * text + c * network + d * content + b, rel=1e-4)
    assert (model.users_of_posts.of(model.posts.rows(["p105", "p3"]))[1] > 0).tolist() == [
        False,
        True,
    ]


def test_new_posts_find_the_people_who_like_their_subject(model):
    rng = np.random.default_rng(5)
    posts = pa.table({"post_id": [f"n{n}" for n in range(40)], "text": texts_of(range(40), rng)})
    users = [f"u{number}" for number in range(40)]
    ranking = model.recommend(users, posts, k=5)
    same = np.array(
        [groups_of(ids) == int(name[1:]) % 4 for name, ids in zip(users, ranking.ids, strict=True)]
    )
    assert same.mean() > 0.9  # by chance .25
    audience = model.likely_users(posts, k=10)
    same = np.array([groups_of(ids) == n % 4 for n, ids in enumerate(audience.ids)])
    assert same.mean() > 0.9


def test_known_posts_too(model, log):
    ranking = model.recommend([f"u{number}" for number in range(40)], k=5)
    same = np.array([groups_of(ids) == n % 4 for n, ids in enumerate(ranking.ids)])
    assert same.mean() > 0.9
    assert not any(
        set(ids) & liked(log, f"u{n}") & {f"p{p}" for p in range(100)}
        for n, ids in enumerate(ranking.ids)
    )


def test_what_was_seen_can_stay(model, log):
    [ids] = model.recommend(["u0"], k=110, exclude_seen=False).ids
    assert len(ids) == 110
    [left] = model.recommend(["u0"], k=500).ids
    seen = liked(log, "u0") & {f"p{number}" for number in range(100)}
    assert set(ids) - set(left) == seen
    some = [*sorted(seen)[:2], "p109"]
    assert model.recommend(["u0"], some, k=5).ids == [["p109"]]


def test_rankings_are_those_of_the_scores(model):
    posts = [f"p{number}" for number in range(110)]
    scores = model.score(["u1", "u2"], posts)
    found = model.recommend(["u1", "u2"], posts, k=7, exclude_seen=False)
    for row, ids, own in zip(scores, found.ids, found.scores, strict=True):
        assert ids == [posts[place] for place in np.argsort(-row, kind="stable")[:7]]
        np.testing.assert_allclose(own, np.sort(row)[::-1][:7], rtol=1e-6)
    np.testing.assert_array_equal(found.probabilities[0], model.probability(found.scores[0]))


def test_blocks_change_nothing(model, monkeypatch):
    whole = model.recommend([f"u{number}" for number in range(9)], k=4)
    monkeypatch.setattr("twhin_hf.recommendation.top_k._SCORES_PER_BLOCK", 220)
    assert model.recommend([f"u{number}" for number in range(9)], k=4).ids == whole.ids


def test_the_best_of_ties_come_in_their_order():
    scores = np.array([[1.0, 3.0, 3.0, -np.inf, 3.0]], np.float32)
    [(places, values)] = best(scores, 5)
    assert places.tolist() == [1, 2, 4, 0]
    assert values.tolist() == [3.0, 3.0, 3.0, 1.0]


def test_similar_posts(model):
    found = model.similar_posts(["p8", "p9"], k=6)
    assert all("p8" not in ids and "p9" not in ids[:0] for ids in found.ids)
    assert (groups_of(found.ids[0]) == 0).all()
    assert (groups_of(found.ids[1]) == 1).all()
    [again] = model.similar_posts(pa.table({"post_id": ["x"], "text": ["goal team win"]}), k=3).ids
    assert (groups_of(again) == 1).all()


def test_an_index_gives_the_same(model):
    class Index:
        def search(self, queries, k, exclude=None):
            scores = queries @ model.post_vectors().T
            for row, names in zip(scores, exclude or [], strict=True):
                row[model.posts.rows(names)] = -np.inf
            found = best(scores, k)
            ids = [[model.posts.ids[place] for place in places] for places, _ in found]
            return SimpleNamespace(post_ids=ids, scores=[values for _, values in found])

    expected = model.recommend(["u0", "u9"], k=5)
    found = model.recommend(["u0", "u9"], Index(), k=5)
    assert found.ids == expected.ids
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


# --- probabilities ------------------------------------------------------------------------------


def test_probabilities_are_about_as_often_right_as_they_say(model, log):
    posts = [f"p{number}" for number in range(80, 100)]  # not in the network
    users = [f"u{number}" for number in range(70)]
    seen = np.array([[post in liked(log, user) for post in posts] for user in users])
    predicted = model.probability(model.score(users, posts))
    assert predicted.mean() == pytest.approx(seen.mean(), rel=0.4)
    high = predicted >= np.quantile(predicted, 0.8)
    assert seen[high].mean() > 3 * seen[~high].mean()


def test_figures_of_the_fit(fitted):
    figures = fitted.settings["figures"]
    assert figures["chosen_by"] == "posts that the network has not seen"
    assert figures["validation_mrr"] > 0.2
    assert 0 <= figures["calibration_error"] < 0.1
    shares = fitted.settings["reliability"]["share"]
    assert sum(shares) == pytest.approx(1)


# --- users and posts of today -------------------------------------------------------------------


def test_users_who_came_today(model, log):
    """Half of what they liked tells the other half."""
    groups = []
    for number in range(70, 80):
        history = sorted(liked(log, f"u{number}") & {f"p{post}" for post in range(80)})[:6]
        vectors = model.fold_in([history])
        [ids] = model.recommend(vectors=vectors, k=10).ids
        groups.append((groups_of(ids) == number % 4).mean())
    assert np.mean(groups) > 0.8


def test_an_empty_history_is_anybody(model):
    anybody = model.fold_in([[], []])
    assert anybody.shape == (2, 8 + model.parameters.content_size)
    assert not anybody[:, 8:].any()
    assert np.isfinite(model.score(None, ["p1"], vectors=anybody)).all()


def test_engagements_add_users(model):
    before = model.num_users
    assert model.add_engagements(["new", "new", "new"], ["p0", "p4", "p4"]) == (2, 1)
    assert model.num_users == before + 1
    assert model.add_engagements(["new"], ["p0"]) == (0, 0)
    [ids] = model.recommend(["new"], k=5).ids
    assert (groups_of(ids) == 0).mean() > 0.5
    assert not {"p0", "p4"} & set(ids)
    # As the same history would be, but for what the two engagements told of the posts.
    row = model.users.rows(["new"])
    network, content = np.split(model.fold_in([["p0", "p4"]]), [8], axis=1)
    np.testing.assert_allclose(model.users["vectors"][row], network, atol=0.3)
    np.testing.assert_allclose(model.users["content"][row], content, rtol=1e-5)


def test_engagements_move_a_known_user_towards_the_post(model):
    posts = [f"p{number}" for number in range(1, 80, 4)]  # of group 1
    before = model.score(["u0"], posts).mean()
    seen = model.posts_of_users.of(model.users.rows(["u0"]))[0]
    fresh = [post for post in posts if model.posts.rows([post])[0] not in seen]
    model.add_engagements(["u0"] * len(fresh), fresh)
    assert model.score(["u0"], posts).mean() > before


def test_other_users_stay_as_they_are(model):
    before = model.users["vectors"].copy()
    model.add_engagements(["u0"], ["p108"])
    changed = (model.users["vectors"] != before).any(axis=1)
    assert changed.tolist() == [name == "u0" for name in model.users.ids]


def test_posts_of_a_minute_ago(model):
    new = pa.table({"post_id": ["n1", "p3", "n1"], "text": ["rain storm", "other", "later"]})
    assert model.add_posts(new) == 1
    assert model.add_posts(new) == 0
    assert model.num_posts == 111
    before = model.score(["u2"], ["n1"])
    fans = [f"u{number}" for number in range(2, 66, 4)]
    model.add_engagements(fans, ["n1"] * len(fans))
    row = model.posts.rows(["n1"])
    assert model.users_of_posts.of(row)[1].tolist() == [16]
    others = [f"u{number}" for number in range(70) if number % 4 != 2]
    assert model.score(fans, ["n1"]).mean() > model.score(others, ["n1"]).mean()
    assert model.score(["u2"], ["n1"]) != before


def test_one_by_one_is_nearly_all_at_once(log, fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    users = ["x", "x", "u1", "u2", "x", "y"]
    posts = ["p100", "p1", "p100", "p100", "p2", "p5"]
    once, each = (EngagementModel.from_pretrained(tmp_path, encoder=ENCODER) for _ in range(2))
    once.add_engagements(users, posts)
    for user, post in zip(users, posts, strict=True):
        each.add_engagements([user], [post])
    a, b = (found.score(["x", "u1"], log.posts.slice(0, 110)) for found in (once, each))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.98


def test_an_updated_network_is_taken_over(model, log, network):
    """Engagements that the network has learnt since: a new user, a new post, a new link."""
    model.add_posts(pa.table({"post_id": ["n"], "text": ["cat vet"]}))
    day = pa.table(
        {
            "user_id": ["new", "u4", "u8", "u0", "new"],
            "post_id": ["n", "n", "n", "p119", "p4"],
        }
    )
    learnt = update_network(network, graph_of(day), NetworkUpdateConfig(threads=1), progress=False)
    model.update(learnt)
    of_network = learnt.user_ids.to_pylist().index("new")
    [row] = model.users.rows(["new"])
    np.testing.assert_array_equal(model.users["vectors"][row], learnt.user_vectors[of_network])
    assert model.users_of_posts.of(model.posts.rows(["n", "p119"]))[1].tolist() == [3, 1]
    assert model.posts.rows(["p119"])[0] == model.num_posts - 1  # known by the network alone
    assert not model.posts["has_text"][-1]
    assert "n" not in model.recommend(["new"], k=200).ids[0]
    # As a model that is loaded with the same tables says.
    users = ["new", "u1", "u69"]
    scores = model.score(users, model.posts.ids)
    parameters = model.parameters
    a, c, d, b = parameters.mixing.of(model.posts["learnt"])
    assert model.posts["learnt"][model.posts.rows(["n", "p119"])].tolist() == [0, 0]
    vectors = model.users["vectors"][model.users.rows(users)]
    text = parameters.project_users(vectors) @ model.posts["text"].T
    by_network = (vectors + parameters.relation) @ model.posts["network"].T
    liked = model.users["content"][model.users.rows(users)]
    # What new users have engaged with counts for the content too.
    assert liked[0] == pytest.approx(
        model.posts["content"][model.posts.rows(["n", "p4"])].sum(axis=0), rel=1e-5, abs=1e-6
    )
    content = liked / np.linalg.norm(liked, axis=1, keepdims=True) @ model.posts["content"].T
    expected = a * text + c * by_network + d * content + b
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4)
    before = scores.copy()
    model.update(learnt)
    np.testing.assert_array_equal(model.score(users, model.posts.ids), before)


def test_an_update_keeps_what_was_told_and_is_not_in_it(model, network):
    """The very network of the fit changes nothing: the log's other engagements stay folded in."""
    users = [f"u{number}" for number in range(70)]
    before = model.score(users, model.posts.ids)
    model.update(network)
    np.testing.assert_allclose(model.score(users, model.posts.ids), before, rtol=1e-3, atol=1e-3)
    model.add_engagements(["told"], ["p7"])
    model.update(network)
    assert "p7" not in model.recommend(["told"], k=200).ids[0]
    assert (groups_of(model.recommend(["told"], k=5).ids[0]) == 3).mean() > 0.5


def test_an_update_with_a_post_that_the_model_does_not_know(model, network):
    day = pa.table({"user_id": ["u4", "u8"], "post_id": ["late", "late"]})
    learnt = update_network(network, graph_of(day), NetworkUpdateConfig(threads=1), progress=False)
    model.update(learnt)  # straight after loading: no room is made ahead
    assert np.isfinite(model.score(["u4"], ["late"])).all()
    assert not model.posts["content"][model.posts.rows(["late"])].any()
    before = model.users["content"][model.users.rows(["u4"])].copy()
    # Its text comes later, and counts for those who engaged with it.
    assert model.add_posts(pa.table({"post_id": ["late"], "text": ["cat dog"]})) == 0
    [row] = model.posts.rows(["late"])
    assert model.posts["has_text"][row]
    gained = model.users["content"][model.users.rows(["u4"])] - before
    np.testing.assert_allclose(gained[0], model.posts["content"][row], atol=1e-5)
    assert (groups_of(model.similar_posts(["late"], k=3).ids[0]) == 0).all()


def test_a_network_that_was_embedded_anew(model, network):
    turned = replace(
        network,
        user_vectors=network.user_vectors[:, ::-1],
        post_vectors=network.post_vectors[:, ::-1],
        relation_vectors=network.relation_vectors[:, ::-1],
    )
    with pytest.raises(InputError, match=r"no update .* Fit a model"):
        model.update(turned)


def test_a_network_of_another_dimension(model, network):
    other = replace(
        network,
        **{
            f"{side}_vectors": getattr(network, f"{side}_vectors")[:, :4]
            for side in ("user", "post", "relation")
        },
    )
    with pytest.raises(InputError, match=r"4 dimensions .* fitted by 8"):
        model.update(other)


# --- folders ------------------------------------------------------------------------------------


def test_saved_and_loaded_it_says_the_same(fitted, model, log):
    users = [f"u{number}" for number in range(70)]
    np.testing.assert_array_equal(fitted.score(users, log.posts), model.score(users, log.posts))
    assert model.recommend(users, k=3).ids == fitted.recommend(users, k=3).ids


def test_what_was_added_is_saved(model, tmp_path):
    model.add_posts(pa.table({"post_id": ["n"], "text": ["cat vet"]}))
    model.add_engagements(["new", "u1"], ["n", "n"])
    model.save_pretrained(tmp_path / "again")
    again = EngagementModel.from_pretrained(tmp_path / "again", encoder=ENCODER)
    np.testing.assert_array_equal(
        again.score(["new"], ["n", "p1"]), model.score(["new"], ["n", "p1"])
    )
    assert again.add_engagements(["new"], ["n"]) == (0, 0)


def test_who_is_forgotten_leaves_the_folder(model, tmp_path):
    """A user and a post; what others read of the post goes from what they are compared by."""
    folder = tmp_path / "m"
    model.save_pretrained(folder)
    (folder / "README.md").write_text("A card.")
    gone = Forgotten(users=pa.array(["u3"]), posts=pa.array(["p8"]))
    assert forget([folder], gone, dry_run=True).removed == {folder: 2}
    assert forget([folder], gone).removed == {folder: 2}
    left = EngagementModel.from_pretrained(folder, encoder=ENCODER)
    assert (left.num_users, left.num_posts) == (69, 109)
    assert left.users.rows(["u3"]) == left.posts.rows(["p8"]) == [-1]
    fan = next(user for user in ("u0", "u4", "u8") if "p8" in seen_by(model, user))
    assert seen_by(left, fan) == seen_by(model, fan) - {"p8"}
    others = model.posts["content"][model.posts.rows(sorted(seen_by(left, fan)))].sum(axis=0)
    np.testing.assert_allclose(left.users["content"][left.users.rows([fan])][0], others, atol=1e-4)
    assert seen_by(left, "u69") == seen_by(model, "u69") - {"p8"}
    assert (folder / "README.md").read_text() == "A card."
    assert forget([folder], gone).removed == {}


def seen_by(model, user):
    posts, _ = model.posts_of_users.of(model.users.rows([user]))
    return {model.posts.ids[row] for row in posts}


def test_with_a_key_nobody_is_in_the_folder(model, tmp_path):
    model.save_pretrained(tmp_path / "public", key=bytes(range(32)))
    written = b"".join(path.read_bytes() for path in (tmp_path / "public").iterdir())
    assert b"u12" not in written
    assert b"p12" not in written
    public = EngagementModel.from_pretrained(tmp_path / "public", encoder=ENCODER)
    assert public.num_users == model.num_users
    assert not len(public.posts_of_users.all()[0])
    from twhin_hf.privacy.keys import hash_ids

    users, posts = (hash_ids(ids, bytes(range(32))) for ids in (["u3", "u4"], ["p109", "p108"]))
    # The sum of what was engaged with would tell it: it is left out.
    assert not public.users["content"].any()
    model.users["content"][:] = 0
    with pytest.raises(InputError, match="was published"):
        public.add_engagements(users[:1], posts[:1])
    # They have no engagement in the log, so that their counts are the same in both.
    np.testing.assert_allclose(
        public.score(users, posts), model.score(["u3", "u4"], ["p109", "p108"]), rtol=1e-6
    )


def test_an_encoder_of_another_width(model, tmp_path):
    model.save_pretrained(tmp_path / "m")
    narrow = TextEncoder(lambda texts: np.ones((len(texts), 3)), "mean", "Ones")
    other = EngagementModel.from_pretrained(tmp_path / "m", encoder=narrow)
    with pytest.raises(InputError, match=r"gives 11 features .* fitted with 25"):
        other.add_posts(pa.table({"post_id": ["n"], "text": ["cat"]}))


def test_a_folder_without_encoder_says_so(fitted, tmp_path):
    fitted.save_pretrained(tmp_path / "m")
    with pytest.raises(InputError, match="saved without its encoder; give encoder="):
        EngagementModel.from_pretrained(tmp_path / "m")


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "users.safetensors",
        "posts.parquet",
        "engagements.safetensors",
        "words.json",
    ],
)
def test_damaged_files_are_named(fitted, tmp_path, name):
    fitted.save_pretrained(tmp_path)
    whole = (tmp_path / name).read_bytes()
    for damage in (whole[: len(whole) // 2], b"", whole[:-2]):
        (tmp_path / name).write_bytes(damage)
        with pytest.raises(InputError, match=name):
            EngagementModel.from_pretrained(tmp_path, encoder=ENCODER)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        EngagementModel.from_pretrained(tmp_path, encoder=ENCODER)


def test_another_kind_of_folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="type 'bert', no engagement model"):
        EngagementModel.from_pretrained(tmp_path)


# --- ids and posts of many kinds ---


def test_candidates_count_once(model, log):
    seen = min(liked(log, "u0") & {f"p{number}" for number in range(100)})
    assert model.recommend(["u0"], [seen, seen, "p109", "p109"], k=5).ids == [["p109"]]
    twice = pa.table({"post_id": ["n", "n", "m"], "text": ["cat", "dog", "goal"]})
    assert sorted(model.recommend(["u0"], twice, k=5).ids[0]) == ["m", "n"]


def test_histories_are_not_recommended_back(model):
    history = ["p1", "p5", "p9"]
    [ids] = model.recommend(histories=[history], k=200).ids
    assert set(model.posts.ids) - set(ids) == set(history)
    kept = model.recommend(histories=[history], k=200, exclude_seen=False).ids[0]
    assert set(kept) == set(model.posts.ids)
    [some] = model.recommend(histories=[history], posts=["p5", "p2"], k=9).ids
    assert some == ["p2"]


def test_posts_and_ids_of_other_libraries(model):
    table = pa.table({"post_id": ["n", "m"], "text": ["cat dog", "goal win"]})
    expected = model.recommend(["u0"], table).ids
    assert model.recommend(np.array(["u0"]), Dataset(table)).ids == expected
    assert model.recommend(pa.array(["u0"]), table.to_pandas()).ids == expected
    assert model.add_posts(Dataset(table)) == 2
    assert model.recommend(["u0"], np.array(["n", "m"])).ids == expected
    assert model.likely_users(Dataset(table), k=3).ids == model.likely_users(["n", "m"], k=3).ids
    assert model.add_engagements([1, "1"], ["n", "n"]) == (1, 1)
    with pytest.raises(InputError, match="users is 'u0'; give a list"):
        model.recommend("u0")
    with pytest.raises(InputError, match=r"users hold 0.5"):
        model.recommend([0.5])


# --- what cannot be asked -----------------------------------------------------------------------


def test_unknown_ids_are_named(model):
    with pytest.raises(InputError, match=r"1 of 2 users are unknown \('nobody'"):
        model.recommend(["u1", "nobody"])
    with pytest.raises(InputError, match=r"1 of 1 posts are unknown \('nothing'"):
        model.score(["u1"], ["nothing"])
    with pytest.raises(InputError, match="add_posts"):
        model.add_engagements(["u1"], ["nothing"])
    with pytest.raises(InputError, match="'nothing'"):
        model.fold_in([["p1"], ["nothing"]])


def test_posts_without_text(model):
    with pytest.raises(InputError, match="'n' has no id or no text"):
        model.recommend(["u1"], pa.table({"post_id": ["n"], "text": ["  "]}))
    with pytest.raises(InputError, match="needed"):
        model.add_posts(pa.table({"post_id": ["n"]}))


def test_nobody_to_recommend_to(model):
    with pytest.raises(InputError, match="users, vectors or histories, one of them"):
        model.recommend()
    with pytest.raises(InputError, match="one of them"):
        model.recommend(["u1"], histories=[["p1"]])


@pytest.mark.parametrize("ask", ["recommend", "similar_posts", "likely_users"])
def test_k_below_one(model, ask):
    with pytest.raises(InputError, match="k is 0"):
        getattr(model, ask)(["u1"] if ask == "recommend" else ["p1"], k=0)


def test_a_post_that_only_the_network_knows(log, network):
    posts = log.posts.slice(1, 109)  # p0 has no text
    graph = graph_of(log.engagements)
    model = EngagementModel.fit(graph, posts, ENCODER, network, QUICK)
    assert model.posts.ids[-1] == "p0"
    a, _, _, _ = model.parameters.mixing.of(np.array([1]))
    assert a[0]
    assert np.isfinite(model.score(["u1"], ["p0"])).all()
    with pytest.raises(InputError, match="'p0' has no text to compare"):
        model.similar_posts(["p0"])
    assert "p0" not in model.similar_posts(["p4"], k=200).ids[0]
    # Users and posts of the log that the network lacks are there too, with what they did.
    assert model.num_users == 80
    assert set(model.recommend(["u79"], k=500).ids[0]).isdisjoint(liked(log, "u79"))


def test_nothing_unseen_to_choose_by(log, network):
    graph = graph_of(log.engagements, log.posts.slice(0, 80))
    known = replace(network, held_out=None)
    users = [f"u{n}" for n in range(70)]
    kept = pa.array([user in users for user in log.engagements["user_id"].to_pylist()])
    graph = graph_of(log.engagements.filter(kept), log.posts.slice(0, 80))
    with pytest.raises(InputError, match=r"has seen every engagement .* --holdout"):
        EngagementModel.fit(graph, log.posts.slice(0, 80), ENCODER, known, QUICK)


def test_posts_of_another_network(log, network):
    with pytest.raises(InputError, match="none of the network's 80 posts"):
        EngagementModel.fit(
            graph_of(log.engagements), log.posts.slice(80, 40), ENCODER, network, QUICK
        )


def test_parameters_moved_and_one_seed_gives_one_model(log, network, fitted):
    posts = np.array([int(post[1:]) for post in log.engagements["post_id"].to_pylist()])
    users = np.array([int(user[1:]) for user in log.engagements["user_id"].to_pylist()])
    graph = graph_of(log.engagements.filter(pa.array((posts < 100) & (users < 70))))
    again = EngagementModel.fit(graph, log.posts.slice(0, 110), ENCODER, network, QUICK)
    np.testing.assert_array_equal(again.parameters.user_map, fitted.parameters.user_map)
    one = replace(QUICK.predictor, max_epochs=1, learning_rate=1e-12)
    still = EngagementModel.fit(
        graph, log.posts.slice(0, 110), ENCODER, network, replace(QUICK, predictor=one)
    )
    moved = np.abs(still.parameters.user_map - fitted.parameters.user_map).max()
    assert moved > 0.01
