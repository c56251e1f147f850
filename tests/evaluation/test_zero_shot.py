import io
import logging

import pytest
import torch
from datasets import Dataset
from rich.console import Console
from transformers import (
    BertForMaskedLM,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
)

from twhin_hf.evaluation.fine_tuning import options_of
from twhin_hf.evaluation.sentiment import encode_texts, macro_f1
from twhin_hf.evaluation.zero_shot import (
    ZeroShotConfig,
    evaluate_zero_shot,
    zero_shot_rows,
    zero_shot_table,
)
from twhin_hf.results import Result, Results

pytestmark = pytest.mark.filterwarnings("ignore")
QUICK = ZeroShotConfig(epochs=8, learning_rate=5e-3, warmup_steps=2, seeds=(0, 1), device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    """A tiny checkpoint of masked language modelling, which holds no pooler."""
    from transformers import BertConfig

    folder = tmp_path_factory.mktemp("bert")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=40,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    torch.manual_seed(6)
    BertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def words(texts, tokenizer):
    """Sentences of words of the first alphabet, whose first sub-token shows their first letter."""
    sentences = [texts[i].split() for i in range(0, 240, 4)]
    return [
        [word for word in words if len(tokenizer.tokenize(word)[0]) > 1][:6] or ["ab"]
        for words in sentences
    ]


def tagged(sentences, tag):
    return Dataset.from_dict(
        {"tokens": sentences, "tags": [[tag(word) for word in words] for words in sentences]}
    )


def test_parts_of_speech_are_learnt_and_reported(folder, words):
    data = tagged(words, lambda word: "NOUN" if word[0] in "abcde" else "VERB")
    other = tagged([["ab"] * 50, ["zz"]], lambda word: "NOUN")
    report = evaluate_zero_shot(
        "pos",
        folder,
        data.select(range(40)),
        {"xx": other},
        data.select(range(40, 60)),
        QUICK,
    )
    assert list(report.results) == ["xx", "validation"]
    assert min(report.results["validation"].values) > 0.8
    unread = report.results["xx"].details
    assert unread["words"] == 51
    assert 10 < unread["words_not_read"] < 50
    # A word that is not read is wrong, though every word is a noun.
    assert max(report.results["xx"].values) <= (51 - unread["words_not_read"]) / 51
    assert report.setup["class"] == "BertForTokenClassification"
    assert report.setup["new_weights"] == ["classifier.bias", "classifier.weight"]
    assert report.setup["max_length"] == 40
    assert report.setup["steps"] == 24
    rows = zero_shot_rows("pos", report, QUICK)
    assert [(row.language, row.metric) for row in rows] == [
        ("xx", "accuracy"),
        ("validation", "accuracy"),
    ]
    assert rows[1].seeds == [0, 1]
    assert rows[1].value == sum(rows[1].values) / 2
    again = evaluate_zero_shot("pos", folder, data.select(range(40)), {"xx": other}, None, QUICK)
    assert again.results["xx"] == report.results["xx"]


def test_entities_are_learnt(folder, words):
    data = tagged(words, lambda word: "B-PER" if word[0] in "abcde" else "O")
    report = evaluate_zero_shot("ner", folder, data.select(range(40)), {"xx": data}, None, QUICK)
    assert report.setup["labels"] == ["O", "B-PER", "I-PER"]
    assert min(report.results["xx"].values) > 0.7


def model_of(family, tokenizer, folder):
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 42,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if family == "roberta":
        RobertaModel(RobertaConfig(**sizes)).save_pretrained(folder)
    else:
        special = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0)
        config = ModernBertConfig(**sizes, **special, classifier_pooling="mean")
        ModernBertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def sentiments(words):
    texts = [" ".join(sentence) for sentence in words]
    labels = ["positive" if text[0] in "abcde" else "negative" for text in texts]
    return Dataset.from_dict({"text": texts, "label": labels})


def test_sentiment_says_what_is_read(folder, sentiments, tokenizer, tmp_path):
    report = evaluate_zero_shot("sentiment", folder, sentiments, {"en": sentiments}, None, QUICK)
    assert min(report.results["en"].values) > 0.7
    assert report.results["en"].details == {"texts": 60, "texts_cut": 0, "unseen_labels": {}}
    assert report.setup["classifier_reads"] == "cls"
    # The checkpoint holds no pooler: it is new in every run, and trained with the rest.
    assert "bert.pooler.dense.weight" in report.setup["new_weights"]
    options = options_of(QUICK) | report.setup
    assert (options["epochs"], options["seeds"], options["steps"]) == (8, [0, 1], 32)


@pytest.mark.parametrize(
    ("family", "longest", "reads"), [("roberta", None, "cls"), ("modernbert", 42, "mean")]
)
@pytest.mark.parametrize("task", ["sentiment", "ner"])
def test_other_families(family, longest, reads, task, sentiments, words, tokenizer, tmp_path):
    data = sentiments if task == "sentiment" else tagged(words, lambda word: "B-X")
    quick = ZeroShotConfig(epochs=1, seeds=(0,), warmup_steps=0, device="cpu")
    model = model_of(family, tokenizer, tmp_path)
    report = evaluate_zero_shot(task, model, data, {"en": data}, None, quick)
    if task == "sentiment":
        assert report.setup["classifier_reads"] == reads
    assert report.setup["max_length"] == (longest or 42 - tokenizer.pad_token_id - 1)


def test_texts_are_cut(tokenizer, texts):
    dataset = Dataset.from_dict({"text": texts[:2], "label": ["a", "b"]})
    lengths = [len(ids) for ids in tokenizer(texts[:2])["input_ids"]]
    row = encode_texts(dataset, tokenizer, {"a": 1}, min(lengths))
    assert row["cut"][:] == [length > min(lengths) for length in lengths]
    assert row["labels"][:] == [1, 0]
    assert [len(ids) for ids in row["input_ids"]] == [min(lengths)] * 2


def test_macro_f1_by_hand():
    # a: precision 1, recall 1/2, F1 2/3; b: 1/3, 1, 1/2; c, which is never found: 0.
    assert macro_f1(["a", "a", "b", "c"], ["a", "b", "b", "b"]) == pytest.approx(7 / 18)


# --- what is refused, before the model is loaded --------------------------------------------------

TAGGED = Dataset.from_dict({"tokens": [["a", "b"]], "tags": [["O", "B-PER"]]})


def refused(message, task="ner", train=TAGGED, tests=None, validation=None, config=QUICK):
    tests = {"hi": TAGGED} if tests is None else tests
    with pytest.raises(ValueError, match=message):
        evaluate_zero_shot(task, "no/model", train, tests, validation, config)


def test_what_is_refused():
    unknown = Dataset.from_dict({"tokens": [["a", "b"]], "tags": [["B-LOC", "B-LOC"]]})
    refused(r"task is 'nerd'; choose one of \['ner', 'sentiment', 'pos'\]", task="nerd")
    refused("no test set is given", tests={})
    refused(r"the train set has 1 rows of \['tokens', 'tags'\]; sentiment needs", task="sentiment")
    refused("the hi set has 0 rows", tests={"hi": TAGGED.select([])})
    refused(
        r"the hi set has labels that training has not seen: B-LOC \(2\). Training has O, B-PER, "
        r"I-PER. Bring both",
        tests={"hi": unknown},
    )
    refused("the validation set has labels that training has not seen", validation=unknown)
    refused("a test set is called 'validation'", tests={"validation": TAGGED}, validation=TAGGED)
    one = Dataset.from_dict({"tokens": [["a"]], "tags": [["X"]]})
    refused(r"the training set has the labels \['X'\]; at least two", task="pos", train=one)
    with pytest.raises(ValueError, match="seeds is empty"):
        ZeroShotConfig(seeds=())


def test_unseen_labels_count_as_wrong_where_allowed(folder, words):
    train = tagged(words, lambda word: "NOUN" if word[0] in "abcde" else "VERB")
    test = tagged(words[:5], lambda word: "ADJ")
    config = ZeroShotConfig(
        epochs=1, warmup_steps=0, seeds=(0,), device="cpu", allow_unseen_labels=True
    )
    result = evaluate_zero_shot("pos", folder, train, {"hi": test}, None, config).results["hi"]
    assert result.values == (0.0,)
    assert result.details["unseen_labels"] == {"ADJ": sum(map(len, words[:5]))}


def test_lengths_and_warm_up(folder, words, caplog):
    data = tagged(words[:20], lambda word: "NOUN" if word[0] in "abcde" else "VERB")
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(ValueError, match="max_length is 41; this model reads 40 at most"),
    ):
        evaluate_zero_shot("pos", folder, data, {"x": data}, None, ZeroShotConfig(max_length=41))
    assert "Training takes about 6 steps, and the learning rate rises for 500" in caplog.text


def test_a_tokenizer_of_another_model(folder, words, tmp_path, tokenizer):
    from transformers import BertConfig

    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    BertForMaskedLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    data = tagged(words, lambda word: "NOUN" if word[0] in "abcde" else "VERB")
    with pytest.raises(ValueError, match="tokens and the model embeds 20"):
        evaluate_zero_shot("pos", str(tmp_path), data, {"x": data}, None, QUICK)


# --- the table ------------------------------------------------------------------------------------


def results_of(model, task="ner", **values):
    rows = [Result(language, "micro F1", value) for language, value in values.items()]
    return Results(task, model, rows)


def test_table():
    before = results_of("mBERT", hi=0.211, ja=0.165, xx=0.0)
    after = {"+TPP BP": results_of("b", hi=0.243, ja=0.299, xx=0.1), "ALL": results_of("c", ja=0.1)}
    screen = io.StringIO()
    Console(file=screen, width=100).print(zero_shot_table(before, after))
    lines = [line.replace("│", " ").split() for line in screen.getvalue().splitlines()]
    assert ["mBERT", "21.1", "16.5", "0.0"] in lines
    # 24.3 / 21.1 = 1.1517 and 29.9 / 16.5 = 1.8121; nothing is a share of 0.
    assert ["+TPP", "BP", "24.3", "+15.2", "29.9", "+81.2", "10.0"] in lines
    assert ["ALL", "10.0", "-39.4"] in lines
    headers = [column.header for column in zero_shot_table(before, after).columns]
    assert headers == ["model", "hi", "hi Δ%", "ja", "ja Δ%", "xx", "xx Δ%"]
    with pytest.raises(ValueError, match=r"results of \['ner', 'pos'\] stand side by side"):
        zero_shot_table(before, {"x": results_of("x", task="pos", hi=0.1)})


def test_a_table_of_many_languages_has_a_row_for_each_figure():
    languages = [f"l{number}" for number in range(9)]
    before = results_of("mBERT", **dict.fromkeys(languages, 0.2))
    after = results_of("b", **dict.fromkeys(languages, 0.3))
    table = zero_shot_table(before, {"b": after})
    assert [column.header for column in table.columns] == ["language", "model", "%", "Δ%"]
    screen = io.StringIO()
    Console(file=screen, width=80).print(table)
    lines = [line.replace("│", " ").split() for line in screen.getvalue().splitlines()]
    assert ["l3", "mBERT", "20.0"] in lines
    assert ["l3", "b", "30.0", "+50.0"] in lines
