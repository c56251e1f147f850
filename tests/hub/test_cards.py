"""Cards: what they tell, what stays, and those that stand in model_cards/."""

import json
import re
from pathlib import Path

import pytest
from huggingface_hub import CardData, DatasetCard, ModelCard, RepoCard

from twhin_hf.hub.card_metadata import CardMetadata
from twhin_hf.hub.cards import CardFacts, model_card, read_facts
from twhin_hf.hub.sections import merge_cards, read_card
from twhin_hf.loading import families
from twhin_hf.results import Result, Results

RECORD = {
    "trainer": "T",
    "data": {"posts": 8},
    "steps": 4,
    "epochs": 1.0,
    "hardware": "2 CPU cores",
    "processes": 1,
    "versions": {"torch": "2"},
}
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
    # The weights of a config say what could be trained, not what was.
    first, code = part(text, "summary").strip().split("\n\n", 1)
    assert first == "An encoder of short posts (xlm-roberta). Made with `twhin_hf`."
    assert code.splitlines()[1:-1] == [
        "from sentence_transformers import SentenceTransformer",
        "",
        'model = SentenceTransformer("me/plain", revision="COMMIT")',
        'vectors = model.encode(["a post", "another post"])',
    ]
    assert part(text, "training").strip() == "No training is recorded."
    assert "## Results" not in text
    assert "masked-lm" not in text
    assert "license" not in split_card(text)[0]
    assert "model-index" not in split_card(text)[0]
    assert "base_model" not in split_card(text)[0]
    assert "from twhin_hf import TwhinXLMRobertaModel" in text
    assert "trust_remote_code" not in part(text, "summary")
    assert "other vectors than those of `SentenceTransformer`" not in text
    config["pooling"] = "combined"
    text = model_card(CardFacts(config), "me/plain")
    assert "trust_remote_code=True" in part(text, "summary")
    assert "# [2, 64]" in text
    config |= {"social_weight": 1.0, "social_pooling": "mean", "sentence_embedding": "social"}
    text = model_card(CardFacts(config), "me/plain")
    assert 'SentenceTransformer("me/plain", revision="COMMIT")' in text
    assert "output of the social head, of length 1" in text
    width = config["social_projection_sizes"][-1]
    assert f'"another post"])  # [2, {width}], from the social head\n```' in part(text, "summary")
    assert "the `combined` pooling of the encoder, before the\nsocial head" in part(text, "use")


def test_a_card_of_an_encoder_from_scratch_names_no_folder_of_the_run(saved_models):
    config = json.loads((saved_models["bert"] / "config.json").read_text())
    record = RECORD | {"objectives": ["mlm"], "base_model": ["stage1", "untrained"]}
    text = model_card(CardFacts(config | {"num_hidden_layers": 0}, record=record), "me/new")
    assert "trained from scratch with masked language modelling." in part(text, "summary")
    assert "It goes on from `stage1`." in part(text, "summary")
    assert "bert, token embeddings × 32, no layers, " in part(text, "model")


@pytest.mark.parametrize("family", sorted(families.MODELS))
def test_the_card_of_each_family_tells_its_size(family, saved_models):
    text = model_card(read_facts(saved_models[family]), "me/model")
    assert f"{family}, 2 layers × 32" in text
    assert f"from twhin_hf import {families.MODELS[family].__name__}" in text


def test_a_card_tells_what_was_done_and_in_which_order(saved_models):
    config = json.loads((saved_models["bert"] / "config.json").read_text())
    record = RECORD | {
        "objectives": ["engagement", "distillation"],
        "earlier_objectives": [["mlm"]],
        "base_model": ["stage1", "me/base"],
        "license": "apache-2.0",
        "languages": {"en": 0.7, "ja": 0.2, "und": 0.09, "pt": 0.001},
    }
    config |= {"social_weight": 1.0, "engagement_weight": 1.0, "distillation_weight": 1.0}
    config |= {"engagement_temperature": 0.1, "engagement_projection_sizes": [8]}
    config |= {
        "engagement_pooling": "mean",
        "distillation_hidden_sizes": [],
        "network_dimension": 4,
    }
    config |= {"distillation_loss": "cosine", "distillation_pooling": "mean"}
    text = model_card(CardFacts(config, record=record), "me/new")
    assert part(text, "summary").startswith(
        "An encoder of short posts (bert), trained with an engagement objective (users find the "
        "posts that they engaged with) and network distillation (a text tells its post's place in "
        "the network), after masked language modelling. Made with `twhin_hf`."
    )
    assert "Social loss" not in text
    assert "masked language modelling, classification" in part(text, "use")
    metadata = split_card(text)[0]
    assert metadata["base_model"] == "me/base"
    assert metadata["license"] == "apache-2.0"
    assert metadata["language"] == ["en", "ja"]
    assert "social-loss" not in metadata["tags"]
    given = CardMetadata("mit", ["me/posts"], ["de"])
    metadata = split_card(model_card(CardFacts(config, record=record), "me/new", None, given))[0]
    assert [metadata[key] for key in ("license", "datasets", "language")] == [
        "mit",
        ["me/posts"],
        ["de"],
    ]


def test_a_converted_model_was_not_trained(saved_models):
    config = json.loads((saved_models["bert"] / "config.json").read_text())
    facts = CardFacts(config, conversion={"converted_from": "me/stock", "license": "mit"})
    text = model_card(facts, "me/new")
    assert "converted from `me/stock` without training" in part(text, "summary")
    # Whether the checkpoint came with a head for that, and a trained one, is not known.
    assert "and so on for classification" in part(text, "use")
    assert split_card(text)[0]["base_model"] == "me/stock"
    assert split_card(text)[0]["license"] == "mit"


def test_what_an_interval_of_translations_is_over(saved_models):
    config = json.loads((saved_models["bert"] / "config.json").read_text())
    rows = [Result("average", "accuracy@1", 0.2, interval=[0.15, 0.25])]
    facts = CardFacts(config, results=[Results("retrieval", "me/plain", rows)])
    text = part(model_card(facts, "me/plain"), "results")
    assert "**retrieval** (95 % interval over pairs)" in text


def test_results_beside_baselines(saved_models):
    config = json.loads((saved_models["xlm-roberta"] / "config.json").read_text())
    features = {"rows": "raw", "features": ["mean"]}
    rows = [
        Result("en", "MRR", 0.2, [0, 1], [0.1, 0.3], features, [0.15, 0.25]),
        Result("tl", "MRR", 0.3, [0, 1], [0.2, 0.4], {"rows": "raw", "note": "few posts"}),
    ]
    baselines = {"chance": [Result("en", "MRR", 0.01), Result("tl", "MRR", 0.02)]}
    results = Results("engagement", "me/plain", rows, baselines=baselines)
    text = model_card(CardFacts(config, results=[results]), "me/plain")
    told, question, *table = part(text, "results").strip().split("\n\n")
    seen = "median of 2 runs, 95 % interval over users, judged by its vectors mean"
    assert told == f"**engagement** ({seen})"
    assert question.startswith(
        "Which post, of those that no training has seen, did a person engage"
    )
    assert "\n\n".join(table).splitlines() == [
        "| encoder | language | MRR | rows |",
        "| --- | --- | ---: | ---: |",
        "| chance | en | 0.0100 |  |",
        "| chance | tl | 0.0200 |  |",
        "| **this model** | en | 0.2000 (0.150–0.250) | raw |",
        "| **this model** | tl \\* | 0.3000 | raw |",
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
