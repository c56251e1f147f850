"""A small engagement model, and a service of it."""

import pytest
from four_groups import ENCODER, make_fitted

from twhin_hf.recommendation.model import EngagementModel


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A model that was saved without its encoder."""
    folder = tmp_path_factory.mktemp("recommender") / "model"
    make_fitted().save_pretrained(folder)
    return folder


@pytest.fixture
def model(model_folder):
    return EngagementModel.from_pretrained(model_folder, encoder=ENCODER)
