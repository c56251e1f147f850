import ast
import inspect
import math

import pytest
import torch
import torch.nn.functional as F

from twhin_hf.modeling import losses
from twhin_hf.modeling.losses import masked_lm_loss, nt_xent_loss, social_exclusions


def itself(count):
    return torch.eye(count, dtype=torch.bool)


def test_nt_xent_of_two_pairs_by_hand():
    # Cosines of (1, 0), (0, 1), (0.6, 0.8), (0, 1); pairs are (0, 2) and (1, 3); temperature 0.5.
    posts = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.0, 3.0]])
    partners = torch.tensor([2, 3, 0, 1])
    loss, accuracy = nt_xent_loss(posts, posts, partners, itself(4), temperature=0.5)
    e = math.exp
    by_hand = [
        -math.log(e(1.2) / (e(1.2) + e(0) + e(0))),
        -math.log(e(2.0) / (e(2.0) + e(0) + e(1.6))),
        -math.log(e(1.2) / (e(1.2) + e(1.6) + e(1.6))),
        -math.log(e(2.0) / (e(2.0) + e(0) + e(1.6))),
    ]
    assert loss.item() == pytest.approx(sum(by_hand) / 4, abs=1e-6)
    assert accuracy.item() == 0.75


def test_nt_xent_of_equal_posts_is_the_log_of_the_number_of_candidates():
    posts = torch.ones(8, 3)
    loss, _ = nt_xent_loss(posts, posts, (torch.arange(8) + 4) % 8, itself(8))
    assert loss.item() == pytest.approx(math.log(7), abs=1e-6)


def test_nt_xent_gradient():
    torch.manual_seed(0)
    posts = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    partners = (torch.arange(6) + 3) % 6

    def plain(x):
        z = F.normalize(x, dim=1)
        scores = (z @ z.T / 0.3).masked_fill(itself(6), -math.inf)
        return F.cross_entropy(scores, partners)

    (expected,) = torch.autograd.grad(plain(posts), posts)
    (found,) = torch.autograd.grad(nt_xent_loss(posts, posts, partners, itself(6), 0.3)[0], posts)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_a_post_that_is_twice_in_a_batch_is_no_negative_of_itself():
    # Post 5 is the anchor of both pairs, so (5, 6) and (5, 7) leave it no negative but none at all:
    # 6 and 7 are its positives, the other 5 is itself.
    ids = torch.tensor([5, 5, 6, 7])
    positives = torch.tensor([[6, 7], [6, 7], [5, -1], [5, -1]])
    excluded = social_exclusions(ids, positives, ids)
    assert excluded.tolist() == [
        [True, True, True, True],
        [True, True, True, True],
        [True, True, True, False],
        [True, True, False, True],
    ]
    loss, _ = nt_xent_loss(torch.eye(4), torch.eye(4), torch.tensor([2, 3, 0, 1]), excluded, 1.0)
    # Both anchors have their positive alone (loss 0); 6 and 7 are negatives of each other (log 2).
    assert loss.item() == pytest.approx(math.log(2) / 2, abs=1e-6)


def test_filling_of_positive_ids_excludes_nothing():
    ids = torch.tensor([0, 1, 2, 3])
    assert social_exclusions(ids, torch.full((4, 3), -1), ids).equal(itself(4))


@pytest.fixture(params=["torch", "own"])
def implementation(request, monkeypatch):
    monkeypatch.setattr(losses, "OWN_BLOCKS", ("cpu",) if request.param == "own" else ())
    if request.param == "torch" and not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        pytest.skip("this torch has no linear_cross_entropy")
    return request.param


def test_masked_lm_loss_by_hand(implementation):
    # Logits of the two positions: (1, 0, 0.5) and (0, 2, 0.5).
    hidden = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    bias = torch.tensor([0.0, 0.0, 0.5])
    loss = masked_lm_loss(hidden, weight, bias, torch.tensor([0, 2]))
    e = math.exp
    first = math.log(e(1) + e(0) + e(0.5)) - 1
    second = math.log(e(0) + e(2) + e(0.5)) - 0.5
    assert loss.item() == pytest.approx((first + second) / 2, abs=1e-6)


@pytest.mark.parametrize("count", [1, 7, 40])
def test_masked_lm_loss_equals_the_plain_loss(implementation, count, monkeypatch):
    monkeypatch.setattr(losses, "MAX_LOGITS", 7 * 500)  # blocks of seven rows
    torch.manual_seed(0)
    leaves = [torch.randn(count, 16), torch.randn(500, 16) * 0.3, torch.randn(500)]
    labels = torch.randint(0, 500, (count,))

    def gradients(loss_of):
        own = [leaf.clone().requires_grad_() for leaf in leaves]
        loss = loss_of(*own)
        (3 * loss).backward()  # a factor, as a weight of the loss puts on it
        return [loss.detach()] + [leaf.grad for leaf in own]

    ours = gradients(lambda hidden, weight, bias: masked_lm_loss(hidden, weight, bias, labels))
    plain = gradients(lambda h, w, b: F.cross_entropy(F.linear(h, w, b), labels))
    for found, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_masked_lm_loss_leaves_out_what_fills_a_batch_up(implementation, monkeypatch):
    monkeypatch.setattr(losses, "MAX_LOGITS", 3 * 20)  # blocks of three rows
    torch.manual_seed(0)
    labels = torch.tensor([4, -100, 7, -100, -100, -100, 0])
    leaves = [torch.randn(7, 8), torch.randn(20, 8), torch.randn(20)]
    found = [leaf.clone().requires_grad_() for leaf in leaves]
    expected = [leaf.clone().requires_grad_() for leaf in leaves]
    loss = masked_lm_loss(*found, labels)
    plain = F.cross_entropy(F.linear(*expected), labels)  # torch leaves out -100 by default
    (2 * loss).backward()
    (2 * plain).backward()
    torch.testing.assert_close(loss, plain)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(masked_lm_loss(*leaves, labels), plain)
    nothing = [leaf.clone().requires_grad_() for leaf in leaves]
    loss = masked_lm_loss(*nothing, torch.full_like(labels, -100))
    loss.backward()
    assert loss.item() == 0
    assert not any(leaf.grad.any() for leaf in nothing)


def test_masked_lm_loss_in_bfloat16_is_near(implementation):
    torch.manual_seed(0)
    hidden, weight = torch.randn(20, 32), torch.randn(300, 32) * 0.2
    labels = torch.randint(0, 300, (20,))
    plain = F.cross_entropy(F.linear(hidden, weight), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert masked_lm_loss(hidden, weight, None, labels).item() == pytest.approx(
            plain.item(), rel=1e-2
        )


def test_masked_lm_loss_with_nothing_masked_is_zero_and_has_gradients():
    hidden = torch.randn(0, 4, requires_grad=True)
    weight = torch.randn(9, 4, requires_grad=True)
    loss = masked_lm_loss(hidden, weight, None, torch.empty(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert weight.grad.abs().sum() == 0


def test_num_items_replaces_the_number_of_labels():
    hidden, weight, labels = torch.randn(4, 8), torch.randn(9, 8), torch.tensor([0, 1, 2, 3])
    mean = masked_lm_loss(hidden, weight, None, labels)
    halved = masked_lm_loss(hidden, weight, None, labels, num_items=8)
    assert halved.item() == pytest.approx(mean.item() / 2, rel=1e-6)


def test_without_gradients_masked_lm_loss_is_the_same(implementation, monkeypatch):
    monkeypatch.setattr(losses, "MAX_LOGITS", 3 * 9)  # blocks of three rows
    hidden, weight, labels = torch.randn(4, 8), torch.randn(9, 8), torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        found = masked_lm_loss(hidden, weight, None, labels)
    torch.testing.assert_close(found, masked_lm_loss(hidden, weight, None, labels))


def test_gradients_are_handed_over_once():
    weight = torch.randn(9, 8, requires_grad=True)
    loss = masked_lm_loss(torch.randn(4, 8), weight, None, torch.tensor([0, 1, 2, 3]))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="made once"):
        loss.backward()


def test_every_loss_has_a_test_by_hand():
    tree = ast.parse(inspect.getsource(losses))
    names = [
        n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.endswith("_loss")
    ]
    assert names
    tests = [name for name in globals() if name.startswith("test_") and name.endswith("by_hand")]
    for name in names:
        assert any(name.removesuffix("_loss") in test for test in tests), name


def test_masked_lm_loss_of_a_frozen_decoder_has_the_same_gradients():
    torch.manual_seed(0)
    hidden, weight = torch.randn(5, 4, requires_grad=True), torch.randn(7, 4)
    labels = torch.tensor([0, 6, 3, 3, 1])
    (2 * masked_lm_loss(hidden, weight, None, labels)).backward()
    found, hidden.grad = hidden.grad, None
    (2 * F.cross_entropy(F.linear(hidden, weight), labels)).backward()
    torch.testing.assert_close(found, hidden.grad)
    assert weight.grad is None
