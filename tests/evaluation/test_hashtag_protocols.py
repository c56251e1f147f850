from collections import Counter

import numpy as np
import pytest
from datasets import Dataset

from twhin_hf.commands.cli import main
from twhin_hf.evaluation.classification import ClassificationConfig
from twhin_hf.evaluation.frozen_features import FeatureConfig, evaluate_features, feature_row
from twhin_hf.evaluation.hashtag import (
    curve_rows,
    few_shot_curve,
    few_shot_subset,
    read_curves,
    write_curves,
)
from twhin_hf.loading.text_encoders import TextEncoder, load_text_encoder
from twhin_hf.plots import plot_few_shot
from twhin_hf.results import read_results

pytestmark = pytest.mark.filterwarnings("ignore")
QUICK = ClassificationConfig(epochs=3, batch_size=8, learning_rate=5e-3, seeds=(0, 1), device="cpu")


# --- few examples a class -------------------------------------------------------------------------


def test_few_shot_subset_draws_of_each_class():
    train = Dataset.from_dict({"text": list("abcdefghij"), "label": list("xxxxxyyyyz")})
    found = few_shot_subset(train, 3, seed=0)
    assert Counter(found["label"]) == {"x": 3, "y": 3, "z": 1}
    assert len(set(found["text"])) == 7
    by_text = dict(zip(train["text"], train["label"], strict=True))
    assert all(by_text[row["text"]] == row["label"] for row in found)
    assert set(few_shot_subset(train, 2, seed=0)["text"]) < set(found["text"])
    draws = {tuple(few_shot_subset(train, 2, seed)["text"]) for seed in range(8)}
    assert len(draws) > 4
    with pytest.raises(ValueError, match="examples_per_class is 0; needed is 1 or more"):
        few_shot_subset(train, 0, seed=0)


def test_curve_is_written_drawn_and_read(checkpoint, splits, tmp_path):
    points = few_shot_curve(checkpoint, splits, (16, 2), QUICK)
    assert [point.examples_per_class for point in points] == [2, 16]
    assert [point.train_texts for point in points] == [(6, 6), (48, 48)]
    assert np.median(points[1].values) > np.median(points[0].values)
    rows = curve_rows("en", points, QUICK.seeds)
    assert [row.metric for row in rows] == ["macro F1 (2 a class)", "macro F1 (16 a class)"]
    assert rows[1].value == np.median(points[1].values)
    assert rows[1].details["train_texts"] == [48, 48]
    path = write_curves({("ours", "en"): points}, QUICK.seeds, tmp_path / "few_shot.csv")
    curves = read_curves(path)
    assert curves == {("ours", "en"): {2: points[0].values, 16: points[1].values}}
    picture = plot_few_shot({"ours": curves["ours", "en"]}, tmp_path / "few.png", "Hashtags, en")
    assert picture.stat().st_size > 5_000


def test_bad_curves(splits, tmp_path):
    with pytest.raises(ValueError, match=r"shots is \[2, 2\]; needed are different numbers from 1"):
        few_shot_curve("no/model", splits, (2, 2))
    with pytest.raises(ValueError, match=r"shots is \[\]; needed are"):
        few_shot_curve("no/model", splits, ())
    with pytest.raises(FileNotFoundError, match=r"There is no .*few_shot.csv; `evaluate hashtag"):
        read_curves(tmp_path / "few_shot.csv")
    (tmp_path / "few_shot.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match=r"has the columns \['a', 'b'\]; needed are \['model'"):
        read_curves(tmp_path / "few_shot.csv")
    with pytest.raises(ValueError, match=r"No macro F1 of \['a'\]"):
        plot_few_shot({"a": {}}, tmp_path / "few.png", "")


# --- frozen features ------------------------------------------------------------------------------


def one_hot(texts):
    """Vectors that tell the script, far from mean 0 and variance 1, one column constant."""
    place = [0 if text[0] < "z" else 1 if text[0] < "あ" else 2 for text in texts]
    return np.hstack([1000 + 1e-3 * np.eye(3)[place], np.ones((len(texts), 1))])


def test_features_are_standardised_and_judged(splits):
    found = evaluate_features(TextEncoder(one_hot, "mean", "Fake"), splits, "macro F1")
    assert (found.value, found.validation) == (1.0, 1.0)
    assert found.inverse_penalty == FeatureConfig().inverse_penalties[0]
    row = feature_row("en", "macro F1", found)
    assert row.metric == "macro F1 (frozen features)"
    assert (row.details["pooling"], row.details["width"], row.details["labels"]) == ("mean", 4, 3)


def test_the_penalty_is_chosen_on_validation(splits):
    labels = np.array(splits["train"]["label"])
    rows = np.concatenate([np.flatnonzero(labels == 0)[:15], np.flatnonzero(labels != 0)[:6]])
    uneven = {**splits, "train": splits["train"].select(rows)}
    # So strong a penalty leaves nothing but the most frequent label.
    strong = FeatureConfig(inverse_penalties=(1e-9,))
    both = FeatureConfig(inverse_penalties=(1e-9, 1.0))
    encoder = TextEncoder(one_hot, "mean", "Fake")
    assert evaluate_features(encoder, uneven, "accuracy", strong).value < 0.5
    found = evaluate_features(encoder, uneven, "accuracy", both)
    assert (found.inverse_penalty, found.validation, found.value) == (1.0, 1.0, 1.0)


def test_bad_features(splits):
    def broken(texts):
        return np.full((len(texts), 2), np.nan)

    with pytest.raises(ValueError, match="60 of 60 vectors of the train split hold NaN"):
        evaluate_features(TextEncoder(broken, "mean", "Fake"), splits, "macro F1")
    with pytest.raises(ValueError, match=r"inverse_penalties=\(\): at least one"):
        FeatureConfig(inverse_penalties=())


# --- any encoder ----------------------------------------------------------------------------------


def test_a_plain_checkpoint_has_our_pooling(checkpoint, texts):
    encoder = load_text_encoder(checkpoint, device="cpu")
    assert (encoder.pooling, encoder.kind) == ("combined", "TwhinBertModel")
    assert encoder.encode(texts[:3]).shape == (3, 64)
    assert load_text_encoder(checkpoint, device="cpu", pooling="cls").encode(texts[:3]).shape == (
        3,
        32,
    )


def test_a_sentence_transformer_keeps_its_pooling(checkpoint, texts, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    modules = sentence_transformers.sentence_transformer.modules
    transformer = modules.Transformer(checkpoint)
    pooling = modules.Pooling(32, "mean")
    model = sentence_transformers.SentenceTransformer(modules=[transformer, pooling], device="cpu")
    model.save(str(tmp_path / "st"))
    encoder = load_text_encoder(str(tmp_path / "st"), device="cpu")
    assert encoder.pooling == "mean (sentence-transformers)"
    np.testing.assert_allclose(encoder.encode(texts[:4]), model.encode(texts[:4]), atol=1e-6)
    # Asked for, another pooling is read by our class.
    ours = load_text_encoder(str(tmp_path / "st"), device="cpu", pooling="combined")
    assert (ours.pooling, ours.encode(texts[:2]).shape) == ("combined", (2, 64))


def test_another_family_is_read_by_sentence_transformers(tokenizer, texts, tmp_path):
    pytest.importorskip("sentence_transformers")
    from transformers import ElectraConfig, ElectraModel

    sizes = {"hidden_size": 32, "embedding_size": 32, "intermediate_size": 48}
    config = ElectraConfig(
        vocab_size=len(tokenizer), num_hidden_layers=1, num_attention_heads=2, **sizes
    )
    ElectraModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = load_text_encoder(str(tmp_path), device="cpu")
    assert encoder.pooling == "mean (sentence-transformers)"
    assert encoder.encode(texts[:2]).shape == (2, 32)
    with pytest.raises(ValueError, match="pooling='cls' is asked of a 'electra' model"):
        load_text_encoder(str(tmp_path), device="cpu", pooling="cls")


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def benchmark(splits, tmp_path):
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        path = tmp_path / "data" / "en" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        names = splits[split].features["label"].names
        rows = [
            f"{split}{i}\t{names[row['label']]}\t{row['text']}"
            for i, row in enumerate(splits[split])
        ]
        path.write_text("\n".join(["id\tlabel\ttext", *rows]) + "\n", encoding="utf-8")
    return str(tmp_path / "data")


def test_command(checkpoint, benchmark, tmp_path, capsys):
    arguments = [
        "evaluate", "hashtag", "--model", checkpoint, "--data-dir", benchmark,
        "--epochs", "3", "--batch-size", "8", "--learning-rate", "5e-3", "--seeds", "0",
        "--device", "cpu",
    ]  # fmt: skip
    everything = ["--protocols", "fine-tuning", "features", "few-shot", "--shots", "2"]
    assert main([*arguments, *everything, "--output", str(tmp_path / "all")]) == 0
    results = read_results(tmp_path / "all")
    by_metric = {row.metric: row for row in results.results}
    assert list(by_metric) == [
        "macro F1",
        "macro F1 (frozen features)",
        "macro F1 (2 a class)",
    ]
    assert by_metric["macro F1"].value > 0.6
    assert by_metric["macro F1 (frozen features)"].details["pooling"] == "combined"
    assert (results.options["epochs"], results.options["batch_size"]) == (3, 8)
    assert (tmp_path / "all" / "few_shot_en.png").stat().st_size > 5_000
    assert "Hashtag prediction" in capsys.readouterr().out

    gone = [*arguments, "--output", str(tmp_path / "out"), "--beside", str(tmp_path / "no.csv")]
    assert main(gone) == 2
    assert "does not exist" in capsys.readouterr().err
    # The second language is missing; nothing was trained on the first.
    assert main([*arguments, "--output", str(tmp_path / "out"), "--languages", "en", "xx"]) == 2
    told = capsys.readouterr()
    assert "has no language 'xx'. It has en." in told.err
    assert "Hashtag prediction" not in told.out
