"""Losses that learn from a network, by hand-computed numbers."""

from math import exp, log

import pytest
import torch
import torch.nn.functional as F

from twhin_hf.modeling import score_blocks
from twhin_hf.modeling.heads import ProjectionHead
from twhin_hf.modeling.in_batch_losses import in_batch_engagement_loss
from twhin_hf.modeling.network_losses import (
    cosine_distillation_loss,
    engaged_posts,
    engagement_loss,
    nearest_vector_accuracy,
    neighbour_distillation_loss,
)

POSTS = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
USERS = torch.tensor([[5.0, 0.0], [0.0, 1.0]])


def by_hand(positive, *negatives):
    return -log(exp(positive) / (exp(positive) + sum(map(exp, negatives))))


@pytest.fixture(autouse=True, params=[100, 6, 2])
def scores_at_once(request, monkeypatch):
    """All scores at once, those of some queries, and of one after the other."""
    monkeypatch.setattr(score_blocks, "MAX_SCORES", request.param)


def test_in_batch_engagement_loss_by_hand():
    """The users of `test_engagement_loss_of_two_users`, whose order in the batch says nothing."""
    arguments = {
        "content_ids": torch.arange(3),
        "pair_users": torch.tensor([1, 0, 0]),
        "pair_posts": torch.tensor([1, 0, 1]),
        "user_posts": torch.tensor([0, 1, 1]),
        "user_post_counts": torch.tensor([2, 1]),
        "temperature": 0.5,
    }
    loss, accuracy = in_batch_engagement_loss(USERS, POSTS, **arguments)
    parts = [by_hand(2, -2), by_hand(0, -2), by_hand(2, 0, 0)]
    assert loss.item() == pytest.approx(sum(parts) / 3, abs=1e-6)
    assert accuracy.item() == 1
    # Posts that lie the other way round: only the other post of user 0 is found.
    loss, accuracy = in_batch_engagement_loss(
        -USERS, POSTS, **arguments, num_items=torch.tensor(6.0), project_users=lambda rows: 2 * rows
    )
    parts = [by_hand(-2, 2), by_hand(0, 2), by_hand(-2, 0, 0)]
    assert loss.item() == pytest.approx(sum(parts) / 6, abs=1e-6)
    assert accuracy.item() == 0


def test_engagement_loss_of_two_users():
    """User 0 engaged with posts 0 and 1, user 1 with post 1; cosines are 1, 0, -1 and 0, 1, 0."""
    engaged = torch.tensor([[True, True, False], [False, True, False]])
    users, posts = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    loss, accuracy = engagement_loss(USERS, POSTS, users, posts, engaged, temperature=0.5)
    parts = [by_hand(2, -2), by_hand(0, -2), by_hand(2, 0, 0)]
    assert loss.item() == pytest.approx(sum(parts) / 3, abs=1e-6)
    assert accuracy.item() == 1
    # Were the other post of user 0 a negative, post 1 would not be found.
    own_alone = torch.tensor([[False, False, False], [False, True, False]])
    loss, accuracy = engagement_loss(USERS, POSTS, users[1:2], posts[1:2], own_alone, 0.5)
    assert loss.item() == pytest.approx(log((1 + exp(2) + exp(-2) + 1) / 1), abs=1e-6)
    assert accuracy.item() == 0


def test_sampling_correction():
    """A post that is drawn e times as often counts e times less as a negative."""
    engaged = torch.tensor([[True, False, False]])
    first = torch.tensor([0])
    frequencies = torch.tensor([0.0, 1.0, 2.0])
    loss, _ = engagement_loss(USERS[:1], POSTS, first, first, engaged, 1.0, frequencies)
    assert loss.item() == pytest.approx(by_hand(1, 0 - 1, -1 - 2), abs=1e-6)


def test_loss_is_divided_by_the_items_of_all_processes():
    engaged = torch.tensor([[True, False, False]])
    first = torch.tensor([0])
    whole, _ = engagement_loss(USERS[:1], POSTS, first, first, engaged)
    half, _ = engagement_loss(USERS[:1], POSTS, first, first, engaged, num_items=2)
    assert half.item() == pytest.approx(whole.item() / 2)


def test_a_user_who_engaged_with_all_teaches_nothing():
    posts = POSTS.clone().requires_grad_()
    all_engaged = torch.ones(1, 3, dtype=torch.bool)
    loss, _ = engagement_loss(
        USERS[:1], posts, torch.tensor([0]), torch.tensor([0]), all_engaged, 0.1
    )
    loss.backward()
    assert loss.item() == 0
    assert posts.grad.equal(torch.zeros(3, 2))


def test_no_engagement_is_a_loss_of_zero():
    posts = POSTS.clone().requires_grad_()
    nobody = torch.empty(0, dtype=torch.long)
    loss, accuracy = engagement_loss(
        USERS[:0], posts, nobody, nobody, torch.empty(0, 3, dtype=torch.bool)
    )
    loss.backward()
    assert loss.item() == accuracy.item() == 0
    assert posts.grad.equal(torch.zeros(3, 2))


def test_copies_of_an_engaged_post_are_no_negatives():
    """Posts 0 and 2 are copies (id 4): who engaged with one engaged with both."""
    ids = torch.tensor([4, 9, 4])
    mask = engaged_posts(torch.tensor([4, 6, 9]), torch.tensor([1, 2]), ids)
    assert mask.tolist() == [[True, False, True], [False, True, False]]
    arguments = {
        "content_ids": ids,
        "pair_users": torch.tensor([0]),
        "pair_posts": torch.tensor([0]),
        "user_posts": torch.tensor([4]),
        "user_post_counts": torch.tensor([1]),
        "temperature": 1.0,
    }
    loss, _ = in_batch_engagement_loss(USERS[:1], POSTS, **arguments)
    assert loss.item() == pytest.approx(by_hand(1, 0), abs=1e-6)
    with pytest.raises(ValueError, match="at least two"):
        in_batch_engagement_loss(
            USERS[:1], POSTS[:1], **arguments | {"content_ids": torch.tensor([4])}
        )


def test_cosine_distillation():
    outputs = torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    vectors = torch.tensor([[0.0, 2.0], [4.0, 0.0]])
    expected = (1 + 1 - 0.5**0.5) / 2
    assert cosine_distillation_loss(outputs, vectors).item() == pytest.approx(expected, abs=1e-6)
    assert cosine_distillation_loss(outputs[:0], vectors[:0]).item() == 0
    # The second output is as near to one as to the other.
    assert nearest_vector_accuracy(outputs, vectors).item() == 0.5
    assert nearest_vector_accuracy(outputs, torch.tensor([[5.0, 0.0], [0.0, 1.0]])).item() == 1


def test_copies_do_not_count_against_the_nearest_vector():
    outputs = torch.tensor([[1.0, 0.1], [1.0, 0.2]])
    assert nearest_vector_accuracy(outputs, torch.tensor([[1.0, 0.0], [2.0, 0.0]])).item() == 1


def test_neighbour_distillation():
    """Against torch's cross entropy of the same two distributions, written out."""
    torch.manual_seed(0)
    outputs, vectors, others = torch.randn(3, 4), torch.randn(3, 4), torch.randn(6, 4)
    units = F.normalize(others, dim=1)
    target = (F.normalize(vectors, dim=1) @ units.T / 0.3).exp()
    target = target / target.sum(1, keepdim=True)
    logits = F.normalize(outputs, dim=1) @ units.T / 0.2
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    found = neighbour_distillation_loss(outputs, vectors, others, 0.2, 0.3)
    torch.testing.assert_close(found, expected)


def test_a_normalizing_head_reads_vectors_of_one_length():
    """(3, 4) becomes (3, 4) / 5 · √2."""
    head = ProjectionHead(2, [2], normalize=True)
    expected = head.layers[0](torch.tensor([[0.6, 0.8]]) * 2**0.5)
    torch.testing.assert_close(head(torch.tensor([[3.0, 4.0]])), expected)
    torch.testing.assert_close(head(torch.tensor([[30.0, 40.0]])), expected)
