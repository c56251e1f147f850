"""Training with what a network says of the posts: the engagement objective and distillation."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from recording import new_model, record_batches

from twhin_hf.data.tokenization import tokenize_posts
from twhin_hf.modeling import apply_settings
from twhin_hf.modeling.heads import EngagementHead
from twhin_hf.network.engagements import Engagements
from twhin_hf.network.folder import Network
from twhin_hf.training.network_targets import NetworkTargets, content_ids, user_statistics
from twhin_hf.training.record import RECORD_NAME
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer

WEIGHTS = {
    "social_weight": 0.0,
    "mlm_weight": 0.0,
    "engagement_weight": 1.0,
    "distillation_weight": 1.0,
    "network_dimension": 8,
    "engagement_projection_sizes": [16, 8],
    "distillation_hidden_sizes": [16],
}


def network_of(engaged, num_users, post_ids, dimension=8, seed=0):
    """A network of pairs (user, post), with vectors in which users lie near their posts."""
    users, posts = np.array(engaged).T
    random = np.random.default_rng(seed)
    post_vectors = random.standard_normal((len(post_ids), dimension)).astype(np.float32)
    user_vectors = np.zeros((num_users, dimension), np.float32)
    np.add.at(user_vectors, users, post_vectors[posts])
    return Network(
        user_ids=pa.array([f"u{i}" for i in range(num_users)]),
        post_ids=pa.array(post_ids),
        relations=["like"],
        user_vectors=user_vectors,
        post_vectors=post_vectors,
        relation_vectors=np.zeros((1, dimension), np.float32),
        user_degrees=np.bincount(users, minlength=num_users),
        post_degrees=np.bincount(posts, minlength=len(post_ids)),
        engagements=Engagements.from_edges(users, posts, num_users, len(post_ids)),
    )


@pytest.fixture
def network(posts):
    """Thirty users; user i engages with posts of which the number divided by 30 leaves i."""
    random = np.random.default_rng(1)
    engaged = [(post % 30, post) for post in range(240)]
    engaged += [(int(random.integers(30)), post) for post in range(240)]
    # The network numbers its posts in another order.
    order = random.permutation(240)
    place = np.argsort(order)
    ids = [posts["post_id"][int(post)] for post in order]
    return network_of([(user, place[post]) for user, post in engaged], 30, ids)


@pytest.fixture
def arguments(tmp_path):
    def make(**options):
        defaults = {
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 16,
            "max_steps": 4,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "max_length": 64,
            "language_exponent": 1.0,
        }
        return SocialPretrainingConfig(**defaults | options)

    return make


def trainer_of(config, arguments, posts, network, tokenizer, settings=None, **options):
    model = new_model(config, **WEIGHTS | (settings or {}))
    return SocialPretrainingTrainer(
        model, arguments, posts, network=network, processing_class=tokenizer, **options
    )


def test_both_losses_fall(tiny_config, arguments, posts, network, tokenizer):
    options = arguments(max_steps=150, learning_rate=3e-3, logging_steps=15)
    trainer = trainer_of(tiny_config, options, posts, network, tokenizer)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    first, *_, last = [e for e in trainer.state.log_history if "engagement_loss" in e]
    assert last["engagement_loss"] < 0.92 * first["engagement_loss"]
    assert last["distillation_loss"] < 0.95 * first["distillation_loss"]
    assert last["engagement_accuracy"] > 1.5 * first["engagement_accuracy"]
    untouched = [n for n, v in trainer.model.named_parameters() if v.equal(before[n])]
    # There is no MLM: its head stays as it was.
    assert untouched
    assert all(name.startswith("cls.") for name in untouched)


def test_the_record_counts_what_the_network_brought(
    tiny_config, arguments, posts, network, tokenizer
):
    trainer = trainer_of(tiny_config, arguments(max_steps=1), posts, network, tokenizer)
    trainer.train()
    trainer.save_model()
    record = json.loads((Path(trainer.args.output_dir) / RECORD_NAME).read_text())
    engaged = network.engagements.users_of_posts.others
    assert record["data"] == {
        "posts": len(network.post_ids),
        "users": 30,
        "engagements": len(engaged),
    }


def test_the_record_counts_the_posts_of_pairs(tiny_config, arguments, posts, pairs, tokenizer):
    model = new_model(tiny_config, social_weight=1.0, mlm_weight=1.0)
    few = pairs.slice(0, 40)
    trainer = SocialPretrainingTrainer(
        model, arguments(max_steps=1), posts, few, processing_class=tokenizer
    )
    trainer.train()
    trainer.save_model()
    record = json.loads((Path(trainer.args.output_dir) / RECORD_NAME).read_text())
    named = {*few["anchor_id"].to_pylist(), *few["positive_id"].to_pylist()}
    assert record["data"] == {"pairs": 40, "posts": len(named)}
    assert len(named) < len(posts)


def test_a_step_is_a_plain_reference(tiny_config, arguments, posts, network, tokenizer):
    """Both losses written out, user by user and post by post, from the log of engagements."""
    trainer = trainer_of(tiny_config, arguments(max_steps=1), posts, network, tokenizer)
    batches = record_batches(trainer)
    model = trainer.model
    start = {name: value.clone() for name, value in model.state_dict().items()}
    rows = []
    inner = trainer.train_dataset.targets.engaged_users
    trainer.train_dataset.targets.engaged_users = lambda r, d: (rows.append(r), inner(r, d))[1]
    trainer.train()
    model.load_state_dict(start)
    batch, drawn = batches[0], rows[0]
    ids = network.post_ids.to_pylist()
    places = [ids.index(posts["post_id"][int(row)]) for row in drawn]
    by_user = network.engagements.posts_of_users
    posts_of = [set(by_user.of(np.array([user]))[0].tolist()) for user in range(30)]
    vectors = []
    for post in range(16):
        own = batch["input_ids"][batch["segment_ids"] == post + 1][None]
        vectors.append(model.bert(own).last_hidden_state[0, 1:-1].mean(dim=0))
    scaled = [vector / vector.norm() * 32**0.5 for vector in vectors]

    def mlp(layers, x):
        return layers[1](torch.relu(layers[0](x)))

    users = torch.from_numpy(np.array(network.user_vectors))
    standardized = (users - users.mean(0)) / users.std(0, correction=0)
    keys = [mlp(model.engagement_head.layers, x) for x in scaled]
    losses = []
    for user in range(30):
        query = model.engagement_head.user_map(standardized[user])
        scores = [torch.cosine_similarity(query, key, dim=0) / 0.1 for key in keys]
        for i, place in enumerate(places):
            if place in posts_of[user]:
                others = [s for s, p in zip(scores, places, strict=True) if p not in posts_of[user]]
                losses.append(torch.logsumexp(torch.stack([scores[i], *others]), 0) - scores[i])
    expected = torch.stack(losses).mean().item()
    logged = trainer.state.log_history[0]
    assert logged["engagement_loss"] == pytest.approx(expected, abs=1e-5)
    targets = torch.from_numpy(np.array(network.post_vectors))[places]
    outputs = torch.stack([mlp(model.distillation_head.layers, x) for x in scaled])
    distances = 1 - F.cosine_similarity(outputs, targets)
    assert logged["distillation_loss"] == pytest.approx(distances.mean().item(), abs=1e-5)


def test_users_are_standardized_by_the_network(network):
    mean, deviation = user_statistics(network)
    np.testing.assert_allclose(mean, network.user_vectors.mean(0), rtol=1e-5)
    np.testing.assert_allclose(deviation, network.user_vectors.std(0), rtol=1e-5)
    head = EngagementHead(4, [3], 2)
    head.standardize_by(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 0.0]))
    # A component that never changes is not blown up.
    expected = head.user_map(torch.tensor([[1.0, 3.0]]))
    torch.testing.assert_close(head.project_users(torch.tensor([[3.0, 5.0]])), expected)


def arrangements(groups):
    """The same groups, numbered in any order."""
    return [[order[group] for group in groups] for order in itertools.permutations(range(3))]


def test_copies_of_a_post_share_a_number(posts, tokenizer):
    copied = posts.select([3, 7, 3, 9, 7, 3])
    found = content_ids(tokenize_posts(copied, tokenizer))
    assert np.unique(found, return_inverse=True)[1].tolist() in arrangements([0, 1, 0, 2, 1, 0])
    assert (found >= 0).all()


def test_a_user_of_a_copy_is_a_user_of_both(posts, tokenizer):
    """u0 engaged with p0 alone, and p0 is written twice: neither is a negative of hers."""
    texts = ["ab cd", "ef gh", "ab cd"]
    data = posts.select([0, 1, 2]).remove_columns("text").add_column("text", texts)
    network = network_of([(0, 0), (1, 1), (1, 2)], 2, ["p0", "p1", "p2"])
    targets = NetworkTargets(network, tokenize_posts(data, tokenizer))
    found = targets.engaged_users(np.array([0, 1, 2]), np.zeros(3, np.int64))
    copy, other, same = found.content_ids.tolist()
    assert copy == same != other
    pairs = set(zip(found.pair_users.tolist(), found.pair_posts.tolist(), strict=True))
    assert pairs == {(0, 0), (1, 1), (1, 2)}
    assert found.user_posts.tolist() == [copy, other, copy]
    assert found.user_post_counts.tolist() == [1, 2]


def test_held_out_engagements_are_neither_learnt_nor_negatives(posts, tokenizer):
    network = network_of([(0, 0), (1, 0), (1, 1)], 2, ["p0", "p1"])
    network = replace(network, held_out=np.array([[1, 0]]))
    targets = NetworkTargets(network, tokenize_posts(posts.select([0, 1]), tokenizer))
    found = targets.engaged_users(np.array([1, 0]), np.zeros(2, np.int64))
    pairs = set(zip(found.pair_users.tolist(), found.pair_posts.tolist(), strict=True))
    assert pairs == {(0, 1), (1, 0)}  # u0 with p0, u1 with p1
    assert found.user_post_counts.tolist() == [1, 2]  # of u1 both


def test_at_most_so_many_users_of_a_post(posts, tokenizer):
    """Each draw brings others, the same wherever it is drawn, and all in the end."""
    engaged = [(user, 0) for user in range(50)] + [(0, 1), (1, 1)]
    vectors = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    network = replace(network_of(engaged, 50, ["p0", "p1"]), user_vectors=vectors)
    tokenized = tokenize_posts(posts.select([0, 1]), tokenizer)
    targets = NetworkTargets(network, tokenized, max_users_per_post=5)
    rows = np.array([0, 1])
    seen = set()
    for draw in range(80):
        found = targets.engaged_users(rows, np.full(2, draw))
        again = targets.engaged_users(rows[:1], np.array([draw]))
        counts = np.bincount(found.pair_posts)
        assert counts.tolist() == [5, 2]
        first = found.user_vectors[found.pair_users[found.pair_posts == 0]]
        assert np.array_equal(first, again.user_vectors[again.pair_users])
        seen |= {vector.tobytes() for vector in first}
    assert len(seen) == 50


def test_neighbours_are_looked_for_in_a_sample(posts, network, tokenizer):
    tokenized = tokenize_posts(posts, tokenizer)
    targets = NetworkTargets(network, tokenized, num_targets=50, seed=4)
    rows = np.arange(4)
    first = targets.post_vectors(rows, np.arange(4)).all_vectors
    same = targets.post_vectors(rows[1:], np.arange(236, 239)).all_vectors
    other = targets.post_vectors(rows, np.arange(240, 244)).all_vectors
    assert first.shape == (50, 8)
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    whole = NetworkTargets(network, tokenized, num_targets=500).post_vectors(rows, rows)
    assert whole.all_vectors.shape == (240, 8)


def test_posts_without_a_vector_are_left_out(
    tiny_config, arguments, posts, network, tokenizer, caplog
):
    ids = [post_id if i >= 40 else f"else{i}" for i, post_id in enumerate(posts["post_id"])]
    others = posts.remove_columns("post_id").add_column("post_id", ids)
    trainer = trainer_of(tiny_config, arguments(), others, network, tokenizer)
    assert len(trainer.train_dataset) == 200
    assert "40 of 240 posts are not in the network and are left out" in caplog.text
    # With MLM they stay, and bring neither engagements nor vectors.
    settings = {"mlm_weight": 1.0}
    trainer = trainer_of(tiny_config, arguments(), others, network, tokenizer, settings)
    assert len(trainer.train_dataset) == 240
    found = trainer.train_dataset.targets.post_vectors(np.array([0, 50]), np.array([0, 0]))
    assert found.posts.tolist() == [1]
    trainer.train()
    assert trainer.state.log_history[0]["mlm_loss"] > 0


@pytest.mark.parametrize(("loss", "row_length"), [("cosine", 0), ("neighbours", 128)])
def test_all_objectives_in_one_run(
    tiny_config, arguments, posts, pairs, network, tokenizer, loss, row_length
):
    settings = {"mlm_weight": 0.1, "social_weight": 1.0, "distillation_loss": loss}
    trainer = SocialPretrainingTrainer(
        new_model(tiny_config, **WEIGHTS | settings),
        arguments(row_length=row_length, learning_rate=1e-3),
        posts,
        pairs,
        network=network,
        processing_class=tokenizer,
    )
    trainer.train()
    entry = trainer.state.log_history[0]
    weights = {"mlm": 0.1, "social": 1, "engagement": 1, "distillation": 1}
    expected = sum(weight * entry[f"{name}_loss"] for name, weight in weights.items())
    assert entry["loss"] == pytest.approx(expected, abs=2e-4)


def test_cached_gradients_train_the_same(tiny_config, arguments, posts, network, tokenizer):
    ends = []
    for contrastive_batch_size in (None, 16):
        options = arguments(
            learning_rate=1e-3,
            per_device_train_batch_size=4 if contrastive_batch_size else 16,
            contrastive_batch_size=contrastive_batch_size,
        )
        trainer = trainer_of(tiny_config, options, posts, network, tokenizer)
        trainer.train()
        ends.append((trainer.model.state_dict(), trainer.state.log_history[-2]["loss"]))
    assert ends[0][1] == pytest.approx(ends[1][1], abs=1e-5)
    for name, value in ends[0][0].items():
        torch.testing.assert_close(ends[1][0][name], value, atol=1e-5, rtol=1e-4)


def test_heads_alone_first(tiny_config, arguments, posts, network, tokenizer):
    """The encoder stays as it is, the heads get better, and the run begins where they ended."""
    # Batches so large that their losses can be compared.
    large = {"per_device_train_batch_size": 100, "max_steps": 1}
    options = arguments(head_steps=150, **large)
    trainer = trainer_of(tiny_config, options, posts, network, tokenizer)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer._train_heads()
    for name, value in trainer.model.state_dict().items():
        assert value.equal(before[name]) == (
            "_head." not in name or ("user_" in name and "map" not in name)
        ), name
    trained = trainer.model.state_dict()
    trained = {name: value.clone() for name, value in trained.items()}
    trainer = trainer_of(tiny_config, options, posts, network, tokenizer)
    trainer.train()
    with_heads = trainer.state.log_history[0]["distillation_loss"]
    plain = trainer_of(tiny_config, arguments(**large), posts, network, tokenizer)
    plain.train()
    assert with_heads < 0.98 * plain.state.log_history[0]["distillation_loss"]


def test_heads_have_a_rate_of_their_own(tiny_config, arguments, posts, network, tokenizer):
    options = arguments(
        learning_rate=1e-3, head_learning_rate=1e-2, lr_scheduler_type="constant", max_steps=1
    )
    trainer = trainer_of(tiny_config, options, posts, network, tokenizer)
    trainer.train()
    heads = {id(p) for head in trainer.model.heads().values() for p in head.parameters()}
    rates = {
        (id(p) in heads, group["lr"])
        for group in trainer.optimizer.param_groups
        for p in group["params"]
    }
    assert rates == {(True, 1e-2), (False, 1e-3)}
    total = sum(len(group["params"]) for group in trainer.optimizer.param_groups)
    assert total == len(list(trainer.model.parameters()))


def test_bad_input(tiny_config, arguments, posts, network, tokenizer):
    def build(network, settings=None, **options):
        trainer_of(tiny_config, arguments(), posts, network, tokenizer, settings, **options)

    with pytest.raises(ValueError, match=r"engagement_weight is .* and there is no network"):
        build(None)
    off = {"engagement_weight": 0.0, "distillation_weight": 0.0, "mlm_weight": 1.0}
    with pytest.raises(ValueError, match="there is a network, and the model's engagement_weight"):
        build(network, off)
    with pytest.raises(ValueError, match="is 5 and the network's vectors have 8"):
        build(network, {"network_dimension": 5})
    with pytest.raises(ValueError, match="none of the 240 posts is in the network"):
        build(network_of([(0, 0), (1, 1)], 2, ["x", "y"]))
    with pytest.raises(ValueError, match="holds no engagements"):
        build(replace(network, engagements=None))
    with pytest.raises(ValueError, match="the network has 1 user"):
        build(network_of([(0, 0)], 1, ["p0"]))
    with pytest.raises(ValueError, match="holds out"):
        build(network, {"mlm_weight": 1.0}, eval_dataset=posts.select([0]))
    held_out = posts.select([0]).remove_columns("post_id").add_column("post_id", ["new"])
    with pytest.raises(ValueError, match="nothing to evaluate on held-out posts"):
        build(network, eval_dataset=held_out)
    model = new_model(tiny_config, **WEIGHTS | off)
    options = arguments(head_steps=3)
    trainer = SocialPretrainingTrainer(model, options, posts, processing_class=tokenizer)
    with pytest.raises(ValueError, match="head_steps is 3 and there is no network"):
        trainer.train()


def test_settings_without_a_network_are_refused(tiny_config):
    with pytest.raises(ValueError, match="network_dimension is not given"):
        apply_settings(tiny_config, engagement_weight=1.0)
