import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from twhin_hf.benchmarks.engagement.benchmark import EngagementBenchmark
from twhin_hf.errors import InputError
from twhin_hf.evaluation import engagement as engagement_module
from twhin_hf.evaluation.engagement import (
    choose_features,
    engagement_rows,
    evaluate_engagement,
    predict_engagement,
)
from twhin_hf.evaluation.engagement_results import chance
from twhin_hf.loading.text_encoders import TextEncoder, length_normalized, side_by_side
from twhin_hf.recommendation import ranking
from twhin_hf.recommendation.engagement_config import EngagementConfig
from twhin_hf.recommendation.predictor import EngagementPredictor, engagement_loss, prevalence
from twhin_hf.recommendation.ranking import CandidateSets, Ranks, hits_and_mrr, ranks
from twhin_hf.recommendation.records import Records

QUICK = EngagementConfig(seeds=(0, 1), max_epochs=12, patience=12, learning_rate=1e-2)


def rows(*values):
    return np.array(values, dtype=np.int64)


# --- the loss -----------------------------------------------------------------------------------


def test_loss_by_hand():
    ln3 = math.log(3)  # σ(ln 3) = 3/4, σ(−ln 3) = 1/4, σ(0) = 1/2
    positive = torch.tensor([0.0, ln3])
    negative = torch.tensor([[0.0, 0.0], [ln3, -ln3]])
    first = -(math.log(1 / 2) + math.log(1 / 2))
    second = -(math.log(3 / 4) + (math.log(1 / 4) + math.log(3 / 4)) / 2)
    assert engagement_loss(positive, negative).item() == pytest.approx((first + second) / 2)


def test_loss_gradients_pull_engaged_and_push_drawn_posts():
    positive = torch.zeros(2, requires_grad=True)
    negative = torch.zeros(2, 4, requires_grad=True)
    engagement_loss(positive, negative).backward()
    # d/ds of −log σ(s) at 0 is −1/2, over 2 records; negatives share theirs among 4.
    torch.testing.assert_close(positive.grad, torch.full((2,), -1 / 4))
    torch.testing.assert_close(negative.grad, torch.full((2, 4), 1 / 16))


def test_predictor_scores_are_products_of_two_projections():
    model = EngagementPredictor(3, 5, 2, torch.Generator().manual_seed(0))
    users, engaged, drawn = torch.randn(4, 3), torch.randn(4, 5), torch.randn(6, 5)
    h_user, h_post = users @ model.user.weight.T, engaged @ model.post.weight.T
    positive = torch.einsum("bd,bd->b", h_user, h_post)
    negative = torch.einsum("bd,nd->bn", h_user, drawn @ model.post.weight.T)
    expected = engagement_loss(positive, negative)
    torch.testing.assert_close(model.loss(users, engaged, drawn), expected)


def test_prevalence_by_hand():
    posts, weights = prevalence(rows(7, 2, 7, 7, 7, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2), 0.75)
    frequency = np.array([14, 4]) ** 0.75
    assert posts.tolist() == [2, 7]
    np.testing.assert_allclose(weights, frequency / frequency.sum())
    np.testing.assert_allclose(prevalence(rows(1, 3, 3, 3), 0.0)[1], [0.5, 0.5])


# --- ranks --------------------------------------------------------------------------------------


def test_ranks_by_hand():
    scores = np.array([[0.1, 0.9, 0.5, 0.3], [0.1, 0.9, 0.5, 0.3], [0.2, 0.2, 0.2, 0.2]])
    positive = np.array([0.5, 0.1, 0.2])
    candidate = np.array([[1, 1, 0, 1], [0, 1, 1, 1], [0, 1, 1, 0]], dtype=bool)
    # first: 0.9 is above; second: 0.9 and two more are above; third: two ties, of which half count.
    found = ranks(positive, scores, candidate)
    assert found.better.tolist() == [1, 3, 0]
    assert found.tied.tolist() == [0, 0, 2]
    assert found.expected().tolist() == [2, 4, 2]


def test_nan_counts_against_the_model():
    scores = np.array([[np.nan, 0.0], [0.5, np.nan]])
    candidate = np.array([[True, True], [True, True]])
    found = ranks(np.array([0.1, np.nan]), scores, candidate)
    assert found.expected().tolist() == [2, 3]
    assert found.tied.tolist() == [0, 0]


def test_hits_and_mrr_by_hand():
    found = Ranks(np.array([0, 9, 10, 1]), np.zeros(4, int))
    hits, mrr = hits_and_mrr(found, 10)
    assert hits == 3 / 4
    assert mrr == pytest.approx((1 + 1 / 10 + 1 / 11 + 1 / 2) / 4)


def test_hits_and_mrr_of_ties_by_hand():
    # One better and three tied: ranks 2, 3, 4 or 5, each with probability 1/4.
    found = Ranks(np.array([1]), np.array([3]))
    assert [float(found.hits(k)[0]) for k in (1, 2, 3, 4, 5, 6)] == [0, 1 / 4, 1 / 2, 3 / 4, 1, 1]
    assert found.reciprocal()[0] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 4)
    # A constant score among 1,000 is chance: 10 / 1,000, and (1 + 1/2 + … + 1/1000) / 1,000.
    constant = ranks(np.zeros(1), np.zeros((1, 1000)), np.arange(1000)[None] > 0)
    hits, mrr = hits_and_mrr(constant, 10)
    assert hits == pytest.approx(0.01)
    assert mrr == pytest.approx(0.00748547, abs=1e-8)


# --- candidates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scores_per_block", [2**22, 150])
def test_candidates_leave_out_every_post_the_user_engaged_with(monkeypatch, scores_per_block):
    monkeypatch.setattr(ranking, "SCORES_PER_BLOCK", scores_per_block)
    rng = np.random.default_rng(0)
    pool = np.sort(rng.permutation(200)[:50])
    known = Records(rng.integers(12, size=300), rng.integers(200, size=300))
    records = known.restrict_to(pool)
    for num_candidates in (11, 1000):
        sets = CandidateSets(records, pool, known, num_candidates, seed=0)
        mask = np.concatenate([sets.mask(number) for number in range(len(sets.blocks()))])
        assert mask.shape == (len(records), 50)
        for row, (user, post) in enumerate(zip(records.users, records.posts, strict=True)):
            engaged = set(known.posts[known.users == user].tolist())
            drawn = set(pool[mask[row]].tolist())
            assert post not in drawn
            assert not drawn & engaged
            allowed = set(pool.tolist()) - engaged
            assert len(drawn) == min(num_candidates - 1, len(allowed))
        assert sets.sizes.tolist() == (1 + mask.sum(axis=1)).tolist()


def test_candidates_are_uniform_and_seeded():
    pool = np.arange(40)
    records = Records(np.arange(4000), np.zeros(4000, dtype=np.int64))
    sets = CandidateSets(records, pool, records, 10, seed=3)
    mask = np.concatenate([sets.mask(number) for number in range(len(sets.blocks()))])
    # 9 of 39 posts each time: 923 of 4,000 draws, with a deviation of 27.
    assert not mask[:, 0].any()
    assert np.abs(mask[:, 1:].sum(axis=0) - 4000 * 9 / 39).max() < 5 * 27
    again = CandidateSets(records, pool, records, 10, seed=3)
    assert (again.mask(0) == sets.mask(0)).all()
    assert (CandidateSets(records, pool, records, 10, seed=4).mask(0) != sets.mask(0)).any()


# --- the whole protocol -------------------------------------------------------------------------


def communities(num_users=600, num_posts=1200, num_groups=20, seed=0):
    """Users engage with posts of their group; vectors and features hold the group, noisily."""
    rng = np.random.default_rng(seed)
    user_group, post_group = (rng.integers(num_groups, size=n) for n in (num_users, num_posts))
    users = rng.standard_normal((num_groups, 16))[user_group]
    posts = rng.standard_normal((num_groups, 32))[post_group]
    users = (users + 0.1 * rng.standard_normal(users.shape)).astype(np.float32)
    posts = (posts + 0.1 * rng.standard_normal(posts.shape)).astype(np.float32)
    splits = np.array(["train", "train", "train", "validation", "test"])[np.arange(num_posts) % 5]
    pairs = [
        (user, post)
        for user in range(num_users)
        for post in rng.choice(np.flatnonzero(post_group == user_group[user]), 8, replace=False)
    ]
    known = Records(*np.array(pairs).T)
    records = {s: known.where(splits[known.posts] == s) for s in ("train", "validation", "test")}
    return users, posts, records


@pytest.fixture(scope="module")
def community_result():
    return predict_engagement(*communities(), QUICK)


def test_features_that_reveal_communities_are_learned(community_result):
    # 12 posts a group and split, so a perfect predictor has it in the first 12.
    assert min(community_result.hits) > 0.6
    assert community_result.num_records["train"] > 2000
    assert community_result.num_candidates == pytest.approx(232.6, abs=0.1)
    assert len(community_result.mrr) == len(community_result.best_epochs) == 2


def test_runs_are_seeded(community_result):
    assert predict_engagement(*communities(), QUICK) == community_result


def test_random_features_are_at_chance():
    users, posts, records = communities()
    noise = np.random.default_rng(1).standard_normal(posts.shape)
    result = predict_engagement(users, noise, records, QUICK)
    chance = 10 / 233
    assert np.mean(result.hits) == pytest.approx(chance, abs=0.03)


def test_constant_features_are_chance():
    users, posts, records = communities()
    result = predict_engagement(users, np.ones_like(posts), records, QUICK)
    expected = (10 / result.candidates).mean()
    assert result.hits == pytest.approx((expected, expected))
    assert chance({"en": result}, QUICK)["en"].hits == pytest.approx((expected,))


def test_standardisation_makes_the_scale_of_a_feature_irrelevant(community_result):
    users, posts, records = communities()
    scaled = posts * np.where(np.arange(posts.shape[1]) == 3, 1024.0, 1.0) + 5.0
    result = predict_engagement(users, scaled, records, QUICK)
    np.testing.assert_allclose(result.hits, community_result.hits, atol=0.02)


def test_training_stops_without_patience():
    users, posts, records = communities()
    noise = np.random.default_rng(1).standard_normal(posts.shape)
    config = EngagementConfig(seeds=(0,), max_epochs=1000, patience=2)
    assert predict_engagement(users, noise, records, config).best_epochs[0] < 100


def test_too_few_candidates():
    users, posts, records = communities(num_posts=400, num_groups=8)
    few = np.unique(records["test"].posts)[:19]
    small = {**records, "test": records["test"].restrict_to(few)}
    with pytest.raises(ValueError, match="test split has 19 posts; at least 20 are needed"):
        predict_engagement(users, posts, small, QUICK)


def test_fewer_candidates_than_the_paper_are_said(caplog):
    engagement_module._warn_of_few.cache_clear()  # said once in a process
    with caplog.at_level(logging.WARNING):
        predict_engagement(*communities(), EngagementConfig(seeds=(0,), max_epochs=1))
    assert "The test split has 234 posts" in caplog.text
    assert "not among 1,000" in caplog.text


@pytest.mark.parametrize("which", ["user vectors", "post features"])
def test_nan_is_refused(which):
    users, posts, records = communities()
    (users if which == "user vectors" else posts)[5, 1] = np.nan
    with pytest.raises(ValueError, match=rf"1 of [\d,]+ rows of the {which} hold NaN"):
        predict_engagement(users, posts, records, QUICK)


def test_posts_in_two_splits_and_empty_splits_are_refused():
    users, posts, records = communities()
    both = {**records, "validation": records["test"]}
    with pytest.raises(ValueError, match="234 posts are both in validation and in test"):
        predict_engagement(users, posts, both, QUICK)
    empty = {**records, "validation": Records(rows(), rows())}
    with pytest.raises(ValueError, match="The validation split has no engagement record"):
        predict_engagement(users, posts, empty, QUICK)


def test_records_outside_their_pool_are_refused():
    users, posts, records = communities()
    pools = {split: np.unique(part.posts) for split, part in records.items()}
    pools["test"] = pools["test"][1:]
    with pytest.raises(ValueError, match="1 posts of the test records are not among the posts"):
        predict_engagement(users, posts, records, QUICK, pools=pools)


def test_config_is_checked():
    with pytest.raises(ValueError, match="seeds is empty"):
        EngagementConfig(seeds=())
    with pytest.raises(ValueError, match="normalize is 'some'; choose from auto, always, never"):
        EngagementConfig(normalize="some")
    with pytest.raises(ValueError, match="every rank would be a hit"):
        EngagementConfig(num_candidates=10)
    for name, value in {"max_epochs": -1, "num_negatives": 0, "learning_rate": -1e-3}.items():
        with pytest.raises(ValueError, match=f"{name} is {value}; it must be"):
            EngagementConfig(**{name: value})
    with pytest.raises(ValueError, match="seeds has -1; a seed is a whole number"):
        EngagementConfig(seeds=(-1,))


class FakeModel:
    """Gives each text the features that a table holds for it."""

    def __init__(self, features):
        self.features = features
        self.calls = []

    def encode(self, texts, **options):
        self.calls.append((len(texts), options))
        return torch.tensor(np.stack([self.features[text] for text in texts]))


@pytest.fixture(scope="module")
def benchmark():
    users, posts, records = communities()
    splits = np.array(["train", "train", "train", "validation", "test"])[np.arange(1200) % 5]
    everything = Records.concatenate(list(records.values()))
    texts = [f"text {row}" for row in range(1200)]
    features = dict(zip(texts, posts, strict=True))
    return features, EngagementBenchmark(
        post_ids=[str(row) for row in range(1200)],
        texts=texts,
        languages=np.where(np.arange(1200) < 600, "en", "hi"),
        splits=splits,
        user_vectors=users,
        records=everything,
        known=everything,
    )


def test_evaluation_encodes_once_and_judges_each_language(benchmark):
    features, data = benchmark
    model = FakeModel(features)
    results = evaluate_engagement(model, data, QUICK, batch_size=7)
    assert model.calls == [(1200, {"pooling": "combined", "batch_size": 7})]
    assert list(results) == ["en", "hi"]
    assert results["en"].num_candidates == pytest.approx(119, abs=3)
    table = engagement_rows(results, QUICK)
    assert [(row.language, row.metric) for row in table] == [
        (language, metric) for metric in ("HITS@10", "MRR") for language in ("en", "hi", "average")
    ]
    english, hindi, average = table[:3]
    assert english.value == np.median(results["en"].hits) > 0.6
    assert average.value == pytest.approx((english.value + hindi.value) / 2)
    assert english.seeds == [0, 1]
    assert english.details["candidates"] == results["en"].num_candidates
    assert english.details["note"] == "ranked among fewer than 1,000 posts"
    assert average.details["languages"] == ["en", "hi"]
    for row in table:
        assert row.interval[0] < row.value < row.interval[1]


def test_a_language_of_a_few_posts_stops_no_comparison(benchmark, caplog):
    features, data = benchmark
    some = np.where(np.isin(np.arange(1200), (0, 5, 3)), "und", data.languages)
    engagement_module._warn_of_left_out.cache_clear()  # said once in a process
    with caplog.at_level(logging.WARNING):
        results = evaluate_engagement(FakeModel(features), replace(data, languages=some), QUICK)
    assert list(results) == ["en", "hi"]
    said = [text for text in caplog.messages if "left out" in text]
    assert len(said) == 1
    assert said[0].startswith("Language und (3 posts) is too small to judge and left out of")
    few = np.where(np.arange(1200) < 40, "a", "b")
    few_posts = replace(data, languages=few).known.restrict_to(np.arange(80))
    tiny = replace(data, languages=few, records=few_posts, known=few_posts)
    tiny = replace(tiny, splits=np.where(np.arange(1200) < 80, data.splits, "train"))
    with pytest.raises(InputError, match=r"Language a: The test split has \d+ posts.* Language b:"):
        evaluate_engagement(FakeModel(features), tiny, QUICK)


def test_a_loaded_encoder_is_judged_with_its_own_options(benchmark):
    features, data = benchmark
    encoder = TextEncoder(FakeModel(features).encode, "mean", "Fake")
    by_model = evaluate_engagement(FakeModel(features), data, QUICK)
    assert evaluate_engagement(encoder, data, QUICK) == by_model
    with pytest.raises(ValueError, match="batch_size: this encoder has its options already"):
        evaluate_engagement(encoder, data, QUICK, batch_size=7)


def test_a_model_that_gives_too_few_rows_is_refused(benchmark):
    _, data = benchmark

    class Short:
        def encode(self, texts, **options):
            return torch.zeros(3, 4)

    with pytest.raises(ValueError, match=r"shape \[3, 4\] for 1,200 posts"):
        evaluate_engagement(Short(), data, QUICK)


# --- what validation chooses --------------------------------------------------------------------


def scaled_by_noise(posts):
    """Rows whose lengths differ by orders of magnitude and tell nothing."""
    lengths = np.exp(np.random.default_rng(2).normal(scale=2.0, size=(len(posts), 1)))
    return (posts * lengths).astype(np.float32)


def test_normalised_rows_are_chosen_where_lengths_are_noise():
    users, posts, records = communities()
    noisy = scaled_by_noise(posts)
    chosen, never, always = (
        predict_engagement(users, noisy, records, replace(QUICK, normalize=mode))
        for mode in ("auto", "never", "always")
    )
    assert (chosen.rows, never.rows, always.rows) == ("normalized", "raw", "normalized")
    assert chosen.validation == {**never.validation, **always.validation}
    assert chosen.hits == always.hits
    assert min(chosen.hits) > max(never.hits) + 0.1
    row, _ = engagement_rows({"en": chosen}, QUICK)
    assert row.details["rows"] == "normalized"
    assert set(row.details["validation"]) == {"raw", "normalized"}


def test_raw_rows_are_chosen_where_lengths_tell():
    users, posts, records = communities()
    # All posts have one direction; the length tells the group, by the vector of a reader.
    everything = Records.concatenate(list(records.values()))
    reader = dict(zip(everything.posts.tolist(), everything.users.tolist(), strict=True))
    group = np.array([users[reader.get(post, 0)][0] for post in range(len(posts))])
    features = np.exp(group)[:, None] * np.ones((1, 4), np.float32)
    result = predict_engagement(users, features.astype(np.float32), records, QUICK)
    assert result.rows == "raw"
    assert result.validation["raw"] > result.validation["normalized"]


def test_rows_of_one_length_are_tried_once():
    users, posts, records = communities()
    result = predict_engagement(users, length_normalized(posts), records, QUICK)
    assert set(result.validation) == {"normalized"}


def test_all_validation_engagements_choose():
    users, posts, records = communities()
    everything = Records.concatenate(list(records.values()))
    few = {**records, "validation": records["validation"].where(np.arange(100))}
    result = predict_engagement(users, posts, few, QUICK, known=everything)
    assert result.num_records["validation"] == 100
    assert result.num_records["choice"] == len(
        everything.restrict_to(np.unique(few["validation"].posts))
    )
    assert result.num_records["choice"] > 100


def test_parts_stand_side_by_side_with_length_one():
    found = side_by_side(np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[5.0], [-2.0]]))
    np.testing.assert_allclose(found, [[0.6, 0.8, 1.0], [0.0, 0.0, -1.0]], rtol=1e-6)
    assert found.dtype == np.float32


def test_features_are_chosen_on_validation_and_never_on_test(benchmark, monkeypatch):
    features, data = benchmark
    good = np.stack([features[text] for text in data.texts])
    # It is right on test and noise before: on test it would win.
    noise = np.random.default_rng(3).standard_normal(good.shape).astype(np.float32)
    sets = {"noise": noise, "good": good, "worse": good + noise}
    ranked = []
    rank = engagement_module.EngagementPredictor.rank

    def spy(self, users, posts, candidates):
        ranked.append((candidates.pool[0], posts.shape))
        return rank(self, users, posts, candidates)

    monkeypatch.setattr(engagement_module.EngagementPredictor, "rank", spy)
    choice = choose_features(sets, data, QUICK)
    assert choice.chosen == "good"
    assert choice.validation["good"] > choice.validation["worse"] > choice.validation["noise"]
    alone = choose_features({"good": good}, data, QUICK)
    assert choice.results == alone.results
    # The test posts are ranked once a seed and language, for the chosen set alone.
    test_pools = {data.pools_of(language)["test"][0] for language in ("en", "hi")}
    assert sum(first in test_pools for first, _ in ranked) == 2 * 2 * len(QUICK.seeds)
    spoilt = good.copy()
    spoilt[data.splits == "test"] = noise[data.splits == "test"]
    assert choose_features({**sets, "good": spoilt}, data, QUICK).validation == choice.validation
    with pytest.raises(ValueError, match="No feature set was given"):
        choose_features({}, data, QUICK)
