import math

import numpy as np
import pytest
import torch
from datasets import Dataset

from twhin_hf.evaluation import retrieval
from twhin_hf.evaluation.retrieval import (
    RetrievalResult,
    bitext_retrieval,
    evaluate_retrieval,
    retrieval_rows,
    texts_by_languages,
)


def unit(*degrees):
    """Vectors of the plane by their angle: cosines are cosines of the differences."""
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_ranks_by_hand():
    # Cosines fall with the angle, so ranks are read from the angles. From a: 0 finds 10 first;
    # 50 finds 45, then its own 40; 91 finds 45 first. From b: 10 finds 0 and 40 finds 50 first;
    # for 45 the texts at 50 (5 away) and 0 (45) stand before its own at 91 (46).
    side_a, side_b = 3 * unit(0, 50, 91), unit(10, 40, 45)
    forward, backward = bitext_retrieval(side_a, side_b)
    assert forward.accuracy_at_1 == pytest.approx(2 / 3)
    assert forward.accuracy_at_10 == 1
    assert forward.mrr == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert backward.accuracy_at_1 == pytest.approx(2 / 3)
    assert backward.mrr == pytest.approx((1 + 1 + 1 / 3) / 3)
    assert (forward.num_queries, forward.num_candidates) == (3, 3)


def test_margin_by_hand():
    # Candidate b0 at 30 degrees is near to both queries, at 0 (its own) and at 40.
    # Cosines: a0-b0 .8660, a0-b1 .3420 (70); a1-b0 .9848 (10), a1-b1 .8660 (30).
    # With k = 1 the nearest are a0 .8660, a1 .9848, b0 .9848, b1 .8660, so the margins of a1 are
    # .9848 / ((.9848 + .9848) / 2) = 1 for b0 and .8660 / ((.9848 + .8660) / 2) = .9358 for b1;
    # of a0: .8660 / ((.8660 + .9848) / 2) = .9358 for b0 and .3949 for b1.
    side_a, side_b = unit(0, 40), unit(30, 70)
    forward, _ = bitext_retrieval(side_a, side_b, neighbours=1)
    assert (forward.accuracy_at_1, forward.margin_accuracy_at_1) == (0.5, 0.5)
    # With k = 2: near a0 = (.8660 + .3420) / 2 = .6040, a1 .9254, b0 .9254, b1 .6040: now
    # a1-b0 = .9848 / .9254 = 1.0642 and a1-b1 = .8660 / ((.9254 + .6040) / 2) = 1.1325.
    forward, _ = bitext_retrieval(side_a, side_b, neighbours=4)
    assert (forward.accuracy_at_1, forward.margin_accuracy_at_1) == (0.5, 1.0)
    near_a = retrieval._mean_of_nearest(side_a, side_b, 2)
    near_b = retrieval._mean_of_nearest(side_b, side_a, 2)
    ratio = side_a @ side_b.T / ((near_a[:, None] + near_b[None]) / 2)
    assert ratio[1].tolist() == pytest.approx([1.0642, 1.1325], abs=1e-4)


def test_any_translation_is_right_and_none_stands_before_another():
    # a0 has the translations b0 (60 degrees away) and b1 (20); b2 at 40 is wrong.
    links = np.array([[0, 0], [0, 1], [1, 2]])
    forward, backward = bitext_retrieval(unit(0, 170), unit(60, 20, 40), links)
    assert forward.accuracy_at_1 == 0.5  # a1 finds b0 (110) before b2 (130)
    assert forward.mrr == pytest.approx((1 + 1 / 2) / 2)
    # Without the link to b1, b0 comes behind b1 and b2.
    forward, _ = bitext_retrieval(
        unit(0, 170), unit(60, 20, 40), np.array([[0, 0], [1, 1], [1, 2]])
    )
    assert forward.mrr == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert (backward.num_queries, backward.num_candidates) == (3, 2)


@pytest.mark.parametrize("value", [0.0, 1.0, float("nan")])
def test_one_embedding_for_all_finds_nothing(value):
    forward, backward = bitext_retrieval(torch.full((20, 4), value), torch.full((20, 4), value))
    for result in (forward, backward):
        assert result.accuracy_at_10 == result.margin_accuracy_at_10 == 0
        assert result.mrr == result.margin_mrr == pytest.approx(1 / 20)


def test_blocks_do_not_change_the_figures(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    side_a = torch.randn(57, 8, generator=generator)
    side_b = side_a + 1.5 * torch.randn(57, 8, generator=generator)
    whole = bitext_retrieval(side_a, side_b)
    assert 0.05 < whole[0].accuracy_at_1 < 0.9
    monkeypatch.setattr(retrieval, "SCORES_PER_BLOCK", 57 * 5)
    for result, expected in zip(bitext_retrieval(side_a, side_b), whole, strict=True):
        assert result == expected
        assert np.array_equal(result.ranks, expected.ranks)


class Encoder:
    """Places the texts of the test on a circle; notes what it was asked."""

    def __init__(self):
        self.asked = []

    def encode(self, texts, **options):
        self.asked.append((texts, options))
        return unit(*(float(text.split()[-1]) for text in texts))


PAIRS = Dataset.from_dict(
    {
        # "en 0" has two translations; a pair may stand the other way round, or twice.
        "text_a": ["en 0", "en 0", "ar 95", "en 0", "en 90"],
        "text_b": ["ar 50", "ar 5", "en 90", "hi 1", "hi 80"],
        "lang_a": ["en", "en", "ar", "en", "en"],
        "lang_b": ["ar", "ar", "en", "hi", "hi"],
    }
)


def test_evaluate():
    model = Encoder()
    found = evaluate_retrieval(model, PAIRS, pooling="mean")
    assert list(found) == ["en→ar", "ar→en", "en→hi", "hi→en"]
    assert model.asked[:2] == [
        (["en 0", "en 90"], {"pooling": "mean"}),
        (["ar 5", "ar 50", "ar 95"], {"pooling": "mean"}),
    ]
    assert found["en→ar"].accuracy_at_1 == 1
    # "ar 50" is nearer to "en 90" (40 degrees) than to "en 0".
    assert found["ar→en"].accuracy_at_1 == pytest.approx(2 / 3)
    rows = {(row.language, row.metric): row for row in retrieval_rows(found)}
    assert rows["ar→en", "accuracy@1"].details == {"queries": 3, "candidates": 2}
    assert rows["average", "accuracy@1"].value == pytest.approx((1 + 2 / 3 + 1 + 1) / 4)
    low, high = rows["average", "accuracy@1"].interval
    assert low < rows["average", "accuracy@1"].value < high == 1
    assert not rows["ar→en", "accuracy@1"].interval
    assert len(rows) == 5 * 6


def test_rows_hold_every_metric():
    result = RetrievalResult(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 7, 8)
    rows = [row for row in retrieval_rows({"a→b": result}) if row.language == "a→b"]
    assert [row.value for row in rows] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def test_the_interval_is_over_pairs():
    """Of two pairs, drawn twice: the first twice, both, or the second twice; a quarter, a half …"""

    def found(ranks, pairs):
        return RetrievalResult(*[0.5] * 6, 2, 2, np.array([ranks, ranks]), np.array(pairs))

    def bounds(*results):
        rows = retrieval_rows(dict(enumerate(results)))
        return next(row.interval for row in rows if row.language == "average")

    # The first is found both ways, the second neither: means of 1, .5 and 0.
    assert bounds(found([1, 2], [0, 1]), found([1, 2], [0, 1])) == [0, 1]
    # Each is found one way, wherever it stands: .5 whatever is drawn.
    assert bounds(found([1, 2], [0, 1]), found([2, 1], [0, 1])) == [0.5, 0.5]
    assert bounds(found([1, 2], [0, 1]), found([1, 2], [1, 0])) == [0.5, 0.5]
    # Pairs of other languages are drawn by themselves.
    one, other = found([1, 2], [0, 1]), found([2, 1], [0, 1])
    assert bounds(one, one, other, other) == [0, 1]


def pairs_of(**columns):
    return PAIRS.select([0]).to_dict() | columns


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"lang_b": ["en"]}, r"1 pairs are of one language only \('en' for one\)"),
        ({}, "the pairs of en and ar have 1 and 1 distinct texts"),
        (
            {"text_a": [], "text_b": [], "lang_a": [], "lang_b": []},
            "there is no translation pair",
        ),
    ],
)
def test_odd_pairs(columns, message):
    with pytest.raises(ValueError, match=f"(?i){message}"):
        evaluate_retrieval(Encoder(), Dataset.from_dict(pairs_of(**columns)))


@pytest.mark.parametrize(
    ("shape_a", "shape_b", "links", "message"),
    [
        ((3, 4), (3, 5), None, r"\[\[?3, 4\], \[3, 5\]\)?; both sides need"),
        ((1, 4), (1, 4), None, "at least two texts per side are needed"),
        ((2, 4), (3, 4), None, "2 and 3 embeddings: give links"),
        ((2, 4), (2, 4), [[0, 0], [1, 2]], "links name row 2 of side b, of 2 rows"),
        ((2, 4), (2, 4), [[0, 0], [0, 1]], "a text of side a has no link"),
    ],
)
def test_odd_embeddings(shape_a, shape_b, links, message):
    links = None if links is None else np.array(links)
    with pytest.raises(ValueError, match=message):
        bitext_retrieval(torch.rand(shape_a), torch.rand(shape_b), links)


def test_texts_by_languages():
    found = texts_by_languages(PAIRS)
    assert list(found) == [("en", "ar"), ("en", "hi")]
    assert [side.tolist() for side in found["en", "ar"]] == [
        ["en 0", "en 0", "en 90"],
        ["ar 50", "ar 5", "ar 95"],
    ]


def test_languages_that_nobody_told():
    columns = {"text_a": ["x"], "text_b": ["y"], "lang_a": ["und"], "lang_b": ["und"]}
    assert list(texts_by_languages(Dataset.from_dict(columns))) == [("a", "b")]
