"""A log of four groups of people who each like posts on a subject of their own."""

import pytest
from four_groups import ENCODER, make_fitted, make_log, make_network

from twhin_hf.recommendation.model import EngagementModel


@pytest.fixture(scope="session")
def log():
    return make_log()


@pytest.fixture(scope="session")
def network(log):
    return make_network(log)


@pytest.fixture(scope="session")
def fitted(log, network):
    return make_fitted(log, network)


@pytest.fixture
def model(fitted, tmp_path):
    """A copy that a test may change."""
    fitted.save_pretrained(tmp_path / "copy")
    return EngagementModel.from_pretrained(tmp_path / "copy", encoder=ENCODER)
