import ast
import inspect
import math

import pytest
import torch
import torch.nn.functional as F

from twhin_hf.modeling import translation_losses
from twhin_hf.modeling.losses import nt_xent_loss
from twhin_hf.modeling.translation_losses import (
    translation_bce_loss,
    translation_contrastive_loss,
    translation_cosine_loss,
    translation_exclusions,
    translation_scores,
)

e = math.exp

# Three pairs. Dot products 6, -1 and 1; cosines 0.6, -1 and 1 / sqrt(2).
PAIRS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 4.0], [0.0, -1.0], [1.0, 0.0]])


def exclusions_of(items):
    items = torch.tensor(items)
    sides = torch.arange(len(items)) * 2 // len(items)
    return translation_exclusions(items, sides, items, sides)


def partners_of(count):
    return (torch.arange(count) + count // 2) % count


def test_scores_by_hand():
    assert translation_scores(PAIRS, "bce").tolist() == [6, -1, 1]
    cosines = translation_scores(PAIRS, "contrastive")
    torch.testing.assert_close(cosines, torch.tensor([0.6, -1, 0.5**0.5]))


def test_translation_bce_by_hand():
    loss, accuracy = translation_bce_loss(PAIRS, torch.tensor([1, 0, 0]))
    by_hand = [math.log(1 + e(-6)), math.log(1 + e(-1)), math.log(1 + e(1))]
    assert loss.item() == pytest.approx(sum(by_hand) / 3, abs=1e-6)
    assert accuracy.item() == pytest.approx(2 / 3)  # the third is scored above 0


@pytest.mark.parametrize(
    ("margin", "by_hand", "right"),
    [
        # 1 − 0.6; max(0, −1 − m); max(0, 0.7071 − m); a translation from (1 + m) / 2 on.
        (0.0, [0.4, 0, 0.5**0.5], [1, 1, 0]),
        (0.5, [0.4, 0, 0.5**0.5 - 0.5], [0, 1, 1]),
        (-0.5, [0.4, 0, 0.5**0.5 + 0.5], [1, 1, 0]),
        (-1.0, [0.4, 0, 0.5**0.5 + 1], [1, 1, 0]),
    ],
)
def test_translation_cosine_by_hand(margin, by_hand, right):
    labels = torch.tensor([1, 0, 0])
    loss, accuracy = translation_cosine_loss(PAIRS, labels, margin)
    assert loss.item() == pytest.approx(sum(by_hand) / 3, abs=1e-6)
    assert accuracy.item() == pytest.approx(sum(right) / 3)
    torchs = F.cosine_embedding_loss(PAIRS[:3], PAIRS[3:], 2 * labels - 1, margin=margin)
    assert loss.item() == pytest.approx(torchs.item(), abs=1e-6)


@pytest.mark.parametrize(("margin", "temperature"), [(0.0, 0.5), (0.3, 0.5), (-0.2, 0.1)])
def test_translation_contrastive_by_hand(margin, temperature):
    # Cosines of the sides: a0·b0 0.6, a0·b1 1, a1·b0 0.8, a1·b1 0.
    texts = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.6, 0.8], [1.0, 0.0]])
    loss, accuracy = translation_contrastive_loss(
        texts, texts, partners_of(4), exclusions_of([0, 1, 0, 1]), temperature, margin
    )

    def of(positive, negative):
        positive = e((positive - margin) / temperature)
        return -math.log(positive / (positive + e(negative / temperature)))

    a_to_b = (of(0.6, 1) + of(0, 0.8)) / 2
    b_to_a = (of(0.6, 0.8) + of(0, 1)) / 2
    assert loss.item() == pytest.approx((a_to_b + b_to_a) / 2, rel=1e-5)
    assert accuracy.item() == 0


def test_the_margin_is_no_part_of_the_accuracy():
    # Cosines: 0.8 with the own translation, 0.6 with the other.
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]])
    loss, accuracy = translation_contrastive_loss(
        texts, texts, partners_of(4), exclusions_of([0, 1, 0, 1]), 1.0, margin=0.5
    )
    assert accuracy.item() == 1
    assert loss.item() == pytest.approx(math.log(1 + e(0.3)), abs=1e-6)


def test_texts_of_one_item_are_no_negatives():
    # Pairs 0 and 1 are of one item: each text of theirs has one negative, the other side of pair 2.
    excluded = exclusions_of([5, 5, 6, 5, 5, 6])
    assert excluded.tolist() == [
        [True, True, True, True, True, False],
        [True, True, True, True, True, False],
        [True, True, True, False, False, True],
        [True, True, False, True, True, True],
        [True, True, False, True, True, True],
        [False, False, True, True, True, True],
    ]
    loss, _ = translation_contrastive_loss(
        torch.ones(6, 2), torch.ones(6, 2), partners_of(6), excluded, 1.0
    )
    assert loss.item() == pytest.approx((4 * math.log(2) + 2 * math.log(3)) / 6, abs=1e-6)


def test_margin_in_nt_xent_by_hand():
    posts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    loss, _ = nt_xent_loss(posts, posts, partners_of(4), torch.eye(4, dtype=torch.bool), 0.5, 0.25)
    assert loss.item() == pytest.approx(math.log(1 + 2 * e(-1.5)), abs=1e-6)


@pytest.mark.parametrize("name", ["bce", "cosine", "contrastive"])
def test_gradients_are_those_of_the_plain_loss(name):
    torch.manual_seed(0)
    texts = torch.randn(8, 5, requires_grad=True)
    labels = torch.tensor([1, 0, 0, 1])

    def plain(x):
        a, b = x[:4], x[4:]
        if name == "bce":
            return F.binary_cross_entropy((a * b).sum(1).sigmoid(), labels.float())
        if name == "cosine":
            return F.cosine_embedding_loss(a, b, 2 * labels - 1, margin=0.1)
        scores = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T - 0.1 * torch.eye(4)
        own = torch.arange(4)
        return (F.cross_entropy(scores / 0.2, own) + F.cross_entropy(scores.T / 0.2, own)) / 2

    ours = {
        "bce": lambda x: translation_bce_loss(x, labels)[0],
        "cosine": lambda x: translation_cosine_loss(x, labels, 0.1)[0],
        "contrastive": lambda x: translation_contrastive_loss(
            x, x, partners_of(8), exclusions_of([0, 1, 2, 3, 0, 1, 2, 3]), 0.2, 0.1
        )[0],
    }[name]
    torch.testing.assert_close(ours(texts), plain(texts), atol=1e-6, rtol=1e-5)
    (found,) = torch.autograd.grad(ours(texts), texts)
    (expected,) = torch.autograd.grad(plain(texts), texts)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_half_precision_is_summed_in_float32():
    pairs = torch.full((2, 512), 0.1, dtype=torch.bfloat16)
    assert translation_scores(pairs, "bce").dtype == torch.float32


def test_every_loss_has_a_test_by_hand():
    tree = ast.parse(inspect.getsource(translation_losses))
    names = [
        n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.endswith("_loss")
    ]
    assert len(names) == 3
    tests = [name for name in globals() if name.startswith("test_") and name.endswith("by_hand")]
    for name in names:
        assert any(name.removesuffix("_loss") in test for test in tests), name
