import numpy as np
import pytest
import torch

from twhin_hf.training import pair_metrics as module
from twhin_hf.training.pair_metrics import pair_metrics

# Side a and side b of four pairs: 0 and 1 in English and Spanish, 2 and 3 in English and Arabic.
SIDES = torch.tensor(
    [
        [[1.0, 0.0], [2.0, 0.0]],  # cosine 1
        [[0.0, 1.0], [1.0, 0.2]],  # b is nearer to the a of pair 0
        [[1.0, 0.0], [0.0, 3.0]],
        [[0.0, 1.0], [1.0, 0.0]],  # pairs 2 and 3 are each other's
    ]
)
LANGUAGES = np.array([[0, 0, 0, 0], [1, 1, 2, 2]])
ITEMS = np.arange(4)


def metrics(items=ITEMS, negatives=((0, 0), (5, 7)), loss="bce"):
    return pair_metrics(SIDES, items, LANGUAGES, np.array(negatives), loss)


def test_by_hand():
    # Dot products: translations 2, 0.2, 0 and 0; negatives a0 · b1 = 1 and a0 · b3 = 1.
    # Of 8 pairs of one each the translation leads in 2.
    found = metrics()
    assert found["tpp_auc"] == pytest.approx(2 / 8)
    # a0 finds b0; a1 finds b1 (0.196 against 0); a2 and a3 find each other's: 2 of 4.
    assert found["retrieval_a_to_b"] == pytest.approx(2 / 4)
    # b0 finds a0; b1 finds a0; b2 finds a3; b3 finds a2: 1 of 4.
    assert found["retrieval_b_to_a"] == pytest.approx(1 / 4)


def test_auc_goes_by_the_scores_of_the_loss():
    # Cosines: 1, 0.196, 0, 0; negatives 1 / √1.04 = 0.981 and 1: leads in 1 and ties in 1.
    assert metrics(loss="cosine")["tpp_auc"] == pytest.approx(1.5 / 8)


def test_any_translation_of_the_same_text_is_right():
    found = metrics(items=np.array([0, 1, 2, 2]))
    assert (found["retrieval_a_to_b"], found["retrieval_b_to_a"]) == (1.0, 3 / 4)


def test_blocks_change_nothing(monkeypatch):
    whole = metrics()
    monkeypatch.setattr(module, "BLOCK", 1)
    assert metrics() == whole
