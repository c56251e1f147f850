"""Cards: what they tell, what stays, and those that stand in model_cards/."""

import json
import re
from pathlib import Path

import pytest
from huggingface_hub import CardData, DatasetCard, ModelCard, RepoCard

from twhin_hf.hub.cards import CardFacts, model_card, read_facts
from twhin_hf.hub.sections import merge_cards, read_card
from twhin_hf.results import Result, Results

CARDS = Path(__file__).parents[2] / "model_cards"
MODELS = ("twhin-bert-base", "twhin-bert-base-mlm", "twhin-bert-large", "mbert-tpp")
DATA_SETS = ("engagement-prediction", "hashtag-prediction")
PARTS = {"summary", "use", "model", "training", "results", "citation"}


def part(text, name):
    found = re.search(
        rf"<!-- twhin_hf:begin {name} -->\n(.*?)<!-- twhin_hf:end {name} -->", text, re.DOTALL
    )
    return found and found[1]


def split_card(text):
    card = read_card(text)
    return card.data.to_dict(), card.text


def join_card(metadata, body):
    card = RepoCard("---\n---\n" + body)
    card.data = CardData(**metadata)
    return str(card)


def test_every_card_is_here():
    names = {path.stem for path in CARDS.glob("*.md")} - {"README"}
    assert names == {*MODELS, *DATA_SETS}
    assert (CARDS / "templates" / "model.md.jinja").is_file()


@pytest.mark.parametrize("name", MODELS)
def test_a_released_models_card_is_filled_and_keeps_its_own_words(name, trained):
    own = (CARDS / f"{name}.md").read_text()
    text = model_card(read_facts(trained), f"me/{name}", own)
    for name_of_part in PARTS:
        assert part(own, name_of_part) == ""
        assert part(text, name_of_part).strip()
    metadata, body = split_card(own)
    filled, _ = split_card(text)
    assert filled["license"] == metadata["license"]
    assert set(metadata["tags"]) < set(filled["tags"])
    assert filled["model-index"]
    for line in body.splitlines():
        assert line in text, line
    assert ModelCard(text).data.to_dict()["base_model"] == "Twitter/twhin-bert-base"


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_data_sets_card_reads_back(name):
    card = DatasetCard((CARDS / f"{name}.md").read_text())
    assert card.data.language == "multilingual"
    assert "## Limits, and what it must not be used for" in card.content


def test_a_card_of_a_config_alone(saved_models):
    config = json.loads((saved_models["xlm-roberta"] / "config.json").read_text())
    config |= {"social_weight": 0.0, "tpp_weight": 0.0}
    text = model_card(CardFacts(config), "me/plain")
    assert part(text, "summary").strip() == (
        "An encoder of short posts (xlm-roberta), trained with masked language modelling. Made "
        "with `twhin_hf`."
    )
    assert "There is no record of the training" in part(text, "training")
    assert "Not evaluated yet" in part(text, "results")
    assert "model-index" not in split_card(text)[0]
    assert "base_model" not in split_card(text)[0]
    assert "from twhin_hf import TwhinXLMRobertaModel" in text
    assert 'SentenceTransformer("me/plain")' in text
    config["pooling"] = "combined"
    text = model_card(CardFacts(config), "me/plain")
    assert 'SentenceTransformer("me/plain", trust_remote_code=True)' in text
    assert "# [2, 64]" in text
    config |= {"social_weight": 1.0, "social_pooling": "mean", "sentence_embedding": "social"}
    text = model_card(CardFacts(config), "me/plain")
    assert 'SentenceTransformer("me/plain")' in text
    assert "output of the social head, of length 1" in text


def test_results_beside_baselines(saved_models):
    config = json.loads((saved_models["xlm-roberta"] / "config.json").read_text())
    rows = [
        Result("en", "MRR", 0.2, [0, 1], [0.1, 0.3], {"rows": "raw"}, [0.15, 0.25]),
        Result("tl", "MRR", 0.3, [0, 1], [0.2, 0.4], {"rows": "raw", "note": "few posts"}),
    ]
    baselines = {"chance": [Result("en", "MRR", 0.01), Result("tl", "MRR", 0.02)]}
    results = Results("engagement", "me/plain", rows, baselines=baselines)
    text = model_card(CardFacts(config, results=[results]), "me/plain")
    assert part(text, "results").strip().splitlines() == [
        "**engagement** (median of 2 runs, 95 % interval over users)",
        "",
        "| encoder | language | MRR | rows |",
        "| --- | --- | ---: | ---: |",
        "| chance | en | 0.0100 |  |",
        "| chance | tl | 0.0200 |  |",
        "| **this model** | en | 0.2000 (0.150–0.250) | raw |",
        "| **this model** | tl * | 0.3000 | raw |",
        "",
        "\\* tl: few posts",
    ]
    figures = split_card(text)[0]["model-index"][0]["results"]
    assert [result["metrics"][0]["value"] for result in figures] == [0.2, 0.3]


def test_a_part_whose_marks_are_gone_is_left_alone():
    new = join_card({"tags": ["a"], "base_model": "b"}, _marked("x", "new") + _marked("y", "new"))
    old = "---\ntags: [z]\nlicense: mit\nbase_model: old\n---\nMy words.\n" + _marked("x", "old")
    metadata, body = split_card(merge_cards(old, new))
    assert metadata == {"tags": ["z", "a"], "base_model": "b", "license": "mit"}
    assert body.strip() == ("My words.\n" + _marked("x", "new")).strip()


def test_a_card_made_wholly_by_hand_stays():
    new = join_card({"tags": ["a"]}, _marked("x", "new"))
    assert split_card(merge_cards("# Mine\n", new))[1].strip() == "# Mine"


@pytest.mark.parametrize(
    ("header", "message"),
    [("a: [1", "metadata are no YAML"), ("- 1\n- 2", "must be `key: value` lines")],
)
def test_broken_metadata(header, message):
    with pytest.raises(ValueError, match=message):
        merge_cards(f"---\n{header}\n---\n# Card\n", join_card({"tags": ["a"]}, "# Card\n"))


def _marked(name, text):
    return f"<!-- twhin_hf:begin {name} -->\n{text}\n<!-- twhin_hf:end {name} -->\n"
