import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from twhin_hf.benchmarks.engagement.benchmark import EngagementBenchmark
from twhin_hf.evaluation.baselines import (
    CHANCE,
    TFIDF,
    evaluate_baselines,
    find_stock_encoder,
    tfidf_features,
    tfidf_svd,
)
from twhin_hf.evaluation.engagement import evaluate_post_features
from twhin_hf.loading.text_encoders import TextEncoder
from twhin_hf.recommendation.engagement_config import EngagementConfig
from twhin_hf.recommendation.records import Records
from twhin_hf.recommendation.words import words_of

CONFIG = EngagementConfig(seeds=(0,), max_epochs=20, learning_rate=1e-2)


def test_words_of_many_scripts():
    assert words_of("The cat's 2 HATS_on, naïve!") == ["the", "cat", "hats_on", "naïve"]
    assert words_of("नमस्ते दुनिया") == ["नमस्ते", "दुनिया"]  # vowel signs inside
    assert words_of("مرحبا، أهلاً") == ["مرحبا", "أهلاً"]
    assert words_of("東京abc へ") == ["東京", "abc", "へ"]
    assert words_of("สวัสดี")[:2] == ["สว", "วั"]
    assert words_of("! 1 a") == []


def test_tfidf_by_hand():
    texts = ["red red bus", "red car", "car car", "bus seen-later"]
    features = tfidf_svd(texts, np.array([True, True, True, False]), 256)
    # Of the training posts red and car are in two, bus in one: two dimensions. "red" and "car" have
    # the same idf, "bus" of post 3 is unknown.
    assert features.shape == (4, 2)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), [1, 1, 1, 0], atol=1e-6)
    assert features[0] @ features[2] == pytest.approx(0, abs=1e-6)
    assert features[1] @ features[2] == pytest.approx(0.5**0.5)


def test_frequencies_are_sublinear():
    texts = ["aa aa aa bb", "aa", "bb", "aa aa aa bb"]
    features = tfidf_svd(texts, np.array([True, True, True, False]))
    damped = 1 + np.log(3)
    assert features[3] @ features[1] == pytest.approx(damped / np.hypot(damped, 1))


def test_no_vocabulary():
    with pytest.raises(ValueError, match="no word stands in two of 2 training posts"):
        tfidf_svd(["one two", "three four"], np.array([True, True]))
    with pytest.raises(ValueError, match="no word stands in two of 0 training posts"):
        tfidf_svd(["one two"], np.array([False]))


@pytest.fixture(scope="module")
def benchmark():
    """Ten groups of users and posts; every post holds a word of its group, in two languages."""
    posts = np.arange(1000)
    group, users = posts % 10, np.arange(100)
    english = ["red", "bus", "car", "fog", "sun", "sea", "ice", "oak", "owl", "bee"]
    japanese = "東京大阪奈良福岡山川"
    languages = np.where(posts < 500, "en", "ja")
    texts = [
        f"{english[g]} number {row}" if row < 500 else japanese[g] * 2
        for row, g in zip(posts.tolist(), group.tolist(), strict=True)
    ]
    rng = np.random.default_rng(0)
    pairs = np.array([(u, p) for u in users for p in rng.permutation(100)[:40] * 10 + u % 10])
    records = Records(pairs[:, 0], pairs[:, 1])
    return EngagementBenchmark(
        post_ids=[str(row) for row in posts],
        texts=texts,
        languages=languages,
        splits=np.array(["train", "train", "train", "validation", "test"])[posts // 10 % 5],
        user_vectors=np.eye(10, dtype=np.float32)[users % 10],
        records=records,
        known=records,
    )


def test_words_predict_engagement(benchmark):
    features = tfidf_features(benchmark)
    assert features.shape == (1000, 256)
    judged = evaluate_post_features(np.ones((1000, 4), np.float32), benchmark, CONFIG)
    stock = {"theirs": TextEncoder(lambda texts: features, "mean", "Fake")}
    found = evaluate_baselines(judged, benchmark, CONFIG, stock)
    assert list(found) == [CHANCE, TFIDF, "theirs"]
    for language in ("en", "ja"):
        # Ten posts of 100 are of a user's group.
        assert found[TFIDF][language].hits[0] > 0.8
        assert found["theirs"][language] == found[TFIDF][language]
        assert found[CHANCE][language].hits == pytest.approx(judged[language].hits)


def test_held_out_posts_teach_nothing(benchmark):
    others = [
        "zebra quagga" if split != "train" else text
        for text, split in zip(benchmark.texts, benchmark.splits, strict=True)
    ]
    changed = tfidf_features(replace(benchmark, texts=others))
    is_train = benchmark.splits == "train"
    assert (changed[is_train] == tfidf_features(benchmark)[is_train]).all()
    assert not changed[~is_train].any()


def test_languages_without_words(benchmark, caplog):
    silent = ["" if row >= 500 else text for row, text in enumerate(benchmark.texts)]
    assert not tfidf_features(replace(benchmark, texts=silent))[500:].any()
    assert "TF-IDF + SVD has no features in ja: no word stands in two of 300" in caplog.text
    nothing = replace(benchmark, texts=["?"] * 1000)
    with pytest.raises(ValueError, match=r"en: no word .* ja: no word"):
        tfidf_features(nothing)
    judged = evaluate_post_features(np.ones((1000, 4), np.float32), nothing, CONFIG)
    with caplog.at_level(logging.WARNING):
        assert list(evaluate_baselines(judged, nothing, CONFIG)) == [CHANCE]
    assert "TF-IDF + SVD is left out: en: no word" in caplog.text


def record(folder, name, **content):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def test_stock_encoder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained = tmp_path / "stage2"
    assert find_stock_encoder("some/model") == (
        None,
        "some/model has no record of what its training began from; --base_model PATH compares it.",
    )
    record(trained, "config.json")
    record(trained, "training_record.json", base_model=[])
    found, told = find_stock_encoder(str(trained))
    assert (found, "was trained from scratch" in told) == (None, True)
    record(trained, "training_record.json", base_model=["stage1", "them/stock"])
    found, told = find_stock_encoder(str(trained))
    assert found is None
    assert "began from them/stock, which is no folder here" in told
    (tmp_path / "them").mkdir()
    record(tmp_path / "them" / "stock", "config.json")
    assert find_stock_encoder(str(trained))[0] == str(tmp_path / "them" / "stock")
    # A model that has the name of what it began from is not its own baseline.
    record(trained, "training_record.json", base_model=["stage2"])
    assert find_stock_encoder(str(trained))[0] is None


def test_stock_encoder_of_an_adapter(tmp_path):
    adapter, base = tmp_path / "adapter", tmp_path / "base"
    record(base, "config.json")
    record(adapter, "adapter_config.json", base_model_name_or_path=str(base))
    assert find_stock_encoder(str(adapter))[0] == str(base)
    # Its record goes back further than what is on this machine.
    record(adapter, "training_record.json", base_model=["base", "them/stock"])
    assert find_stock_encoder(str(adapter))[0] == str(base)
