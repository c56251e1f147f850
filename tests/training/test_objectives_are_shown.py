"""Whatever can be trained is in the log, on the screen, in the plots and on the card."""

import pytest
from huggingface_hub import ModelCard
from transformers import BertConfig

from twhin_hf.hub.cards import CardFacts, architecture, model_card, summary
from twhin_hf.modeling import apply_settings
from twhin_hf.modeling.settings import OBJECTIVES
from twhin_hf.plots import PANELS
from twhin_hf.training.pretraining import LOGGED_NAMES
from twhin_hf.training.progress import SHORT_NAMES

RECORD = {
    "data": {"posts": 8},
    "steps": 4,
    "epochs": 1.0,
    "hardware": "2 CPU cores",
    "processes": 1,
    "versions": {},
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_is_shown(objective):
    assert f"{objective}_loss" in {*LOGGED_NAMES} & SHORT_NAMES.keys() & PANELS.keys()
    weights = {f"{name}_weight": float(name in ("mlm", objective)) for name in OBJECTIVES}
    settings = apply_settings(BertConfig(), network_dimension=4, **weights).to_dict()
    facts = CardFacts(settings, record=RECORD | {"objectives": [objective]})
    assert summary(facts).startswith("An encoder of short posts (bert), trained with ")
    assert architecture(settings, {objective}).keys() > architecture(settings, set()).keys()
    card = ModelCard(model_card(facts, "me/model"))
    assert len(card.data.tags) == 3  # two of the package, and one of the objective


def test_what_is_drawn_is_logged():
    assert PANELS.keys() == {"loss", *LOGGED_NAMES}
