"""The decoder's loss by blocks of words and of rows; see also `test_losses.py`."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from twhin_hf.modeling import linear_cross_entropy
from twhin_hf.modeling.linear_cross_entropy import IGNORED, LinearCrossEntropy

VOCABULARY, SIZE = 50, 6


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch):
    """Seven blocks of eight words, the last of two."""
    monkeypatch.setattr(linear_cross_entropy, "WORDS_AT_ONCE", 8)


@pytest.fixture
def leaves():
    torch.manual_seed(0)
    return [torch.randn(9, SIZE), torch.randn(VOCABULARY, SIZE), torch.randn(VOCABULARY)]


LABELS = torch.tensor([4, 49, 4, 0, 13, 48, 7, 8, 31])


def ours(hidden, weight, bias, labels=LABELS, scale=0.5, max_rows=100, spare=None):
    return LinearCrossEntropy.apply(
        hidden, weight, bias, labels, scale, max_rows, weight.dtype, spare
    )


def plain(hidden, weight, bias, labels=LABELS, scale=0.5):
    return scale * F.cross_entropy(F.linear(hidden, weight, bias), labels, reduction="sum")


def loss_and_gradients(loss_of, leaves, learns=(True, True, True), **options):
    own = [
        leaf.clone().requires_grad_(is_leaf) for leaf, is_leaf in zip(leaves, learns, strict=True)
    ]
    loss = loss_of(*own, **options)
    loss.backward()
    return [loss.detach(), *(leaf.grad for leaf in own)]


def assert_equal(found, expected, **tolerances):
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, **tolerances)


@pytest.mark.parametrize("max_rows", [2, 4, 100])
def test_blocks_give_what_all_at_once_gives(leaves, max_rows):
    """A row of the gradient has six numbers: rows are taken six at once, or fewer."""
    found = loss_and_gradients(ours, leaves, max_rows=max_rows)
    assert_equal(found, loss_and_gradients(plain, leaves), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("learns", [(True, False, False), (True, False, True), (True, True, False)])
def test_what_is_frozen_has_no_gradient(leaves, learns):
    found = loss_and_gradients(ours, leaves, learns)
    assert_equal(found, loss_and_gradients(plain, leaves, learns), atol=1e-5, rtol=1e-5)


def test_labels_that_are_ignored_change_nothing(leaves):
    labels = torch.where(torch.arange(9) % 3 == 1, IGNORED, LABELS)
    found = loss_and_gradients(ours, leaves, labels=labels)
    assert_equal(found, loss_and_gradients(plain, leaves, labels=labels), atol=1e-5, rtol=1e-5)


def test_logits_may_be_large_and_words_ruled_out(leaves):
    hidden, weight, bias = leaves
    bias[16:32] = -math.inf  # two whole blocks
    bias[33] = -math.inf
    labels = LABELS.clamp(max=15)
    large = [300 * hidden, weight, bias]
    found = loss_and_gradients(ours, large, labels=labels)
    expected = loss_and_gradients(plain, large, labels=labels)
    assert expected[0] > 1000
    assert_equal(found, expected, atol=1e-3, rtol=1e-4)


def test_a_number_that_is_none_shows(leaves):
    hidden, *others = leaves
    hidden[3, 0] = math.nan
    assert not loss_and_gradients(ours, [hidden, *others])[0].isfinite()


def test_the_gradient_takes_the_memory_that_it_is_given(leaves):
    expected = loss_and_gradients(ours, leaves)
    spare = torch.full((VOCABULARY, SIZE), math.nan)
    found = loss_and_gradients(ours, leaves, spare=spare)
    assert_equal(found, expected)


def test_memory_that_nobody_else_holds_is_not_copied(leaves):
    hidden, weight, bias = (leaf.requires_grad_() for leaf in leaves)
    ours(hidden, weight, bias).backward()
    places = set()
    for _ in range(2):
        spare, weight.grad = weight.grad, None
        places.add(spare.data_ptr())
        loss = ours(hidden, weight, bias, spare=spare)
        del spare
        loss.backward()
        places.add(weight.grad.data_ptr())
    assert len(places) == 1


def test_bfloat16_products_have_a_float32_gradient(leaves):
    expected = loss_and_gradients(plain, leaves)

    def ours16(hidden, weight, bias):
        return LinearCrossEntropy.apply(hidden, weight, bias, LABELS, 0.5, 4, torch.bfloat16, None)

    found = loss_and_gradients(ours16, leaves)
    assert found[2].dtype == torch.float32
    assert found[0].item() == pytest.approx(expected[0].item(), rel=5e-3)
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert (one - other).abs().max() < 0.02 * other.abs().max()


def test_an_accelerator_takes_all_words_at_once():
    """Three products a block of rows and one of the bias, however many words there are."""
    products = (torch.ops.aten.mm, torch.ops.aten.addmm)

    class Count(TorchDispatchMode):
        found = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.found += func.overloadpacket in products
            return func(*args, **(kwargs or {}))

    def count(device):
        leaves = (torch.zeros(9, SIZE), torch.zeros(VOCABULARY, SIZE), torch.zeros(VOCABULARY))
        own = [leaf.to(device).requires_grad_() for leaf in leaves]
        with Count() as counted:
            ours(*own, labels=LABELS.to(device), max_rows=5)
        return counted.found

    assert count("cpu") == 2 * 7 * 4  # blocks of rows, blocks of words
    assert count("meta") == 2 * 4
