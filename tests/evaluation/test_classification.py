import pytest
from datasets import ClassLabel, Dataset
from transformers import BertModel

from twhin_hf.evaluation.classification import (
    RECIPES,
    ClassificationConfig,
    ClassificationRun,
    check_splits,
    classification_row,
    evaluate_classification,
    recipe_config,
    with_label_names,
)
from twhin_hf.evaluation.classification_metrics import METRICS, metric_named
from twhin_hf.evaluation.fine_tuning import load_classifier

pytestmark = pytest.mark.filterwarnings("ignore")
QUICK = ClassificationConfig(epochs=4, batch_size=8, learning_rate=5e-3, seeds=(0, 1), device="cpu")


# --- metrics, by hand -----------------------------------------------------------------------------

GOLD = ["against", "against", "favor", "none", "none"]
FOUND = ["against", "favor", "favor", "none", "against"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # against: precision 1/2, recall 1/2; favor: 1/2, 1; none: 1, 1/2.
        ("macro F1", (1 / 2 + 2 / 3 + 2 / 3) / 3),
        ("average recall", (1 / 2 + 1 + 1 / 2) / 3),
        ("accuracy", 3 / 5),
        ("F1 of against and favor", (1 / 2 + 2 / 3) / 2),
    ],
)
def test_metrics_by_hand(name, value):
    assert metric_named(name)(GOLD, FOUND) == pytest.approx(value)


def test_irony_is_judged_by_its_own_f1():
    gold, found = ["irony", "irony", "non_irony"], ["irony", "non_irony", "irony"]
    assert metric_named("F1 of irony")(gold, found) == pytest.approx(1 / 2)


def test_average_recall_leaves_out_labels_that_are_not_in_gold():
    # macro F1 counts a label that is predicted without need as 0, average recall does not.
    assert metric_named("average recall")(["a", "b"], ["a", "c"]) == pytest.approx(1 / 2)
    assert metric_named("macro F1")(["a", "b"], ["a", "c"]) == pytest.approx(1 / 3)


def test_every_metric_has_a_number_here():
    assert set(METRICS) == {
        "macro F1",
        "average recall",
        "accuracy",
        "F1 of against and favor",
        "F1 of irony",
    }
    with pytest.raises(ValueError, match=r"metric is 'F1'; choose one of \['macro F1'"):
        metric_named("F1")


# --- fine-tuning ----------------------------------------------------------------------------------


def test_it_learns_and_tests_the_best_epoch(checkpoint, splits):
    runs = evaluate_classification(checkpoint, splits, "macro F1", QUICK)
    assert len(runs) == 2
    assert min(run.value for run in runs) > 0.6
    assert all(1 <= run.best_epoch <= run.epochs == 4 for run in runs)
    setup = runs[0].setup
    assert setup["class"] == "BertForSequenceClassification"
    assert setup["classifier_reads"] == "cls"
    assert "bert.pooler.dense.weight" in setup["new_weights"]
    assert (setup["labels"], setup["max_length"]) == (3, 40)
    assert setup["texts"] == {"train": 60, "validation": 30, "test": 30}
    again = evaluate_classification(
        checkpoint, splits, "macro F1", ClassificationConfig(**{**vars(QUICK), "seeds": (1,)})
    )
    assert again[0].value == runs[1].value


def test_the_epoch_is_chosen_on_validation(checkpoint, splits):
    # A validation set whose labels are wrong: the best epoch there is a bad one on test.
    wrong = splits["validation"].map(lambda row: {"label": (row["label"] + 1) % 3})
    config = ClassificationConfig(**{**vars(QUICK), "seeds": (0,)})
    (run,) = evaluate_classification(
        checkpoint, {**splits, "validation": wrong}, "accuracy", config
    )
    (right,) = evaluate_classification(checkpoint, splits, "accuracy", config)
    assert run.value < right.value
    assert run.best_epoch < right.best_epoch


def test_patience_stops(checkpoint, splits):
    frozen = ClassificationConfig(
        epochs=6, batch_size=32, learning_rate=0.0, patience=2, seeds=(0,), device="cpu"
    )
    (run,) = evaluate_classification(checkpoint, splits, "macro F1", frozen)
    assert (run.best_epoch, run.epochs) == (1, 3)


def test_row_is_the_median():
    runs = [ClassificationRun(value, 0.5, 1, 2, {"labels": 2}) for value in (0.1, 0.7, 0.3)]
    row = classification_row("en", "macro F1", runs, (0, 1, 2), benchmark="umsab")
    assert (row.value, row.values, row.seeds) == (0.3, [0.1, 0.7, 0.3], [0, 1, 2])
    assert row.details["best_epochs"] == [1, 1, 1]
    assert row.details["benchmark"] == "umsab"


def test_label_names_of_numbers_and_of_strings():
    text = ["x", "y"]
    named = Dataset.from_dict({"text": text, "label": [1, 0]}).cast_column(
        "label", ClassLabel(names=["no", "yes"])
    )
    assert with_label_names(named)["label"][:] == ["yes", "no"]
    plain = Dataset.from_dict({"text": text, "label": [7, 8], "id": ["1", "2"]})
    assert with_label_names(plain)["label"][:] == ["7", "8"]


def test_an_encoder_without_layers_has_no_first_token_to_read(tiny_config, tokenizer, tmp_path):
    tiny_config.num_hidden_layers = 0
    BertModel(tiny_config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has no layers.*--protocols features"):
        load_classifier(str(tmp_path), ["a", "b"], is_sequence=True, seed=0)
    load_classifier(str(tmp_path), ["a", "b"], is_sequence=False, seed=0)


def test_recipes_are_those_of_table_9(checkpoint, tmp_path):
    assert recipe_config("hashtag", checkpoint).learning_rate == 4e-5
    assert recipe_config("semeval2018-es", checkpoint).learning_rate == 1e-5
    assert recipe_config("tweeteval-emoji", checkpoint).learning_rate == 1e-5
    assert recipe_config("umsab-english", checkpoint).learning_rate == 4e-5
    from transformers import BertConfig

    BertConfig(hidden_size=1024).save_pretrained(tmp_path)
    large = recipe_config("semeval2020-hi", str(tmp_path))
    assert (large.learning_rate, large.weight_decay, large.batch_size) == (1e-5, 5e-4, 128)
    assert {name: recipe.base_learning_rate for name, recipe in RECIPES.items()} == {
        "hashtag": 4e-5,
        "semeval2017": 4e-5,
        "semeval2018": 1e-5,
        "asad": 1e-5,
        "covid-ja": 2e-5,
        "semeval2020": 2e-5,
    }


# --- what is refused, before the model is loaded --------------------------------------------------


def data(labels):
    return Dataset.from_dict({"text": ["x"] * len(labels), "label": labels})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test": None}, "there is no test split; found are"),
        ({"train": data(["a", "a"])}, r"the training set has the labels \['a'\]; at least two"),
        ({"test": data(["a", "c"])}, "the test split has 1 labels that training has not seen: c"),
        ({"validation": data([])}, "the validation split has 0 rows"),
        (
            {"test": Dataset.from_dict({"tweet": ["x"]})},
            r"the test split has 1 rows of \['tweet'\]; needed are text and label",
        ),
    ],
)
def test_what_is_refused(changed, message):
    given = {"train": data(["a", "b"]), "validation": data(["a"]), "test": data(["b"])} | changed
    given = {name: dataset for name, dataset in given.items() if dataset is not None}
    with pytest.raises(ValueError, match=message):
        evaluate_classification("no/model", given, "accuracy")
    with pytest.raises(ValueError, match=message):
        check_splits(given)


def test_config_is_checked():
    with pytest.raises(ValueError, match="seeds is empty"):
        ClassificationConfig(seeds=())
    with pytest.raises(ValueError, match=r"epochs=0, patience=None: each must be 1 or more"):
        ClassificationConfig(epochs=0)
    with pytest.raises(ValueError, match="max_length is 0; it must be 1 or more"):
        ClassificationConfig(max_length=0)
