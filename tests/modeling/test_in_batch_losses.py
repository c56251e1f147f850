"""In one process; over two they are compared in `test_contrastive_processes.py`."""

import math

import pytest
import torch

from twhin_hf.modeling import score_blocks
from twhin_hf.modeling.in_batch_losses import in_batch_social_loss, in_batch_translation_loss


@pytest.fixture(autouse=True, params=[16, 12, 4])
def scores_at_once(request, monkeypatch):
    """All scores at once, those of three texts and then of one, and of one after the other."""
    monkeypatch.setattr(score_blocks, "MAX_SCORES", request.param)


# Cosines of (1, 0), (0, 1), (0.6, 0.8), (0, 1); the pairs are (0, 2) and (1, 3).
POSTS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.0, 3.0]])


def test_in_batch_social_by_hand():
    e = math.exp
    by_hand = [
        -math.log(e(1.2) / (e(1.2) + e(0) + e(0))),
        -math.log(e(2.0) / (e(2.0) + e(0) + e(1.6))),
        -math.log(e(1.2) / (e(1.2) + e(1.6) + e(1.6))),
        -math.log(e(2.0) / (e(2.0) + e(0) + e(1.6))),
    ]
    loss, accuracy = in_batch_social_loss(POSTS, temperature=0.5)
    assert loss.item() == pytest.approx(sum(by_hand) / 4, abs=1e-6)
    assert accuracy.item() == 0.75


def test_in_batch_social_excludes_known_positives_by_hand():
    # Posts 1 and 2 are positives of each other too: neither is a negative of the other.
    known = torch.tensor([[2, -1], [3, 2], [0, 1], [1, -1]])
    e = math.exp
    by_hand = [
        -math.log(e(1.2) / (e(1.2) + e(0) + e(0))),
        -math.log(e(2.0) / (e(2.0) + e(0))),
        -math.log(e(1.2) / (e(1.2) + e(1.6))),
        -math.log(e(2.0) / (e(2.0) + e(0) + e(1.6))),
    ]
    loss, _ = in_batch_social_loss(POSTS, torch.arange(4), known, temperature=0.5)
    assert loss.item() == pytest.approx(sum(by_hand) / 4, abs=1e-6)


def test_in_batch_translation_by_hand():
    # A text sees the other side alone, here with a margin of 0.1.
    e = math.exp
    by_hand = [
        -math.log(e(1.0) / (e(1.0) + e(0))),
        -math.log(e(1.8) / (e(1.8) + e(1.6))),
        -math.log(e(1.0) / (e(1.0) + e(1.6))),
        -math.log(e(1.8) / (e(1.8) + e(0))),
    ]
    loss, accuracy = in_batch_translation_loss(POSTS, temperature=0.5, margin=0.1)
    assert loss.item() == pytest.approx(sum(by_hand) / 4, abs=1e-6)
    assert accuracy.item() == 0.75
    same_item, _ = in_batch_translation_loss(POSTS, torch.zeros(4, dtype=torch.long))
    assert same_item.item() == 0


def test_what_is_no_batch_of_pairs():
    with pytest.raises(ValueError, match="takes pairs; the batch has 3 posts"):
        in_batch_social_loss(POSTS[:3])
    with pytest.raises(ValueError, match="the social loss needs at least two pairs"):
        in_batch_social_loss(POSTS[:2])
    with pytest.raises(ValueError, match="the contrastive loss needs at least two pairs"):
        in_batch_translation_loss(POSTS[:2])
