import itertools

import numpy as np
import pytest
import torch
from datasets import Dataset, concatenate_datasets

from twhin_hf.evaluation.retrieval import RetrievalResult, bitext_retrieval, evaluate_retrieval
from twhin_hf.evaluation.retrieval_baselines import (
    CharacterEncoder,
    chance_retrieval,
    retrieval_baselines,
)


def pairs(texts_a, texts_b, lang_b="de"):
    count = len(texts_a)
    columns = {"text_a": texts_a, "text_b": texts_b}
    return Dataset.from_dict(columns | {"lang_a": ["en"] * count, "lang_b": [lang_b] * count})


def test_chance_by_hand():
    # Of four candidates the first query has two right ones, the second two others. Their best rank
    # is 1 in 1/2 of all orders, 2 in 1/3, 3 in 1/6: MRR 1/2 + 1/6 + 1/18.
    links = np.array([[0, 0], [0, 1], [1, 2], [1, 3], [1, 3]])
    forward, backward = bitext_retrieval(torch.rand(2, 3), torch.rand(4, 3), links)
    chance = chance_retrieval(forward)
    assert chance.accuracy_at_1 == chance.margin_accuracy_at_1 == pytest.approx(1 / 2)
    assert chance.accuracy_at_10 == pytest.approx(1)
    assert chance.mrr == chance.margin_mrr == pytest.approx(1 / 2 + 1 / 6 + 1 / 18)
    assert (chance.num_queries, chance.num_candidates) == (2, 4)
    # Back, each has one right one of two.
    assert chance_retrieval(backward).mrr == pytest.approx((1 + 1 / 2) / 2)


def test_chance_is_the_mean_of_all_orders():
    links = np.array([[0, 0], [1, 1], [1, 2], [2, 3], [2, 4], [2, 5], [0, 6]])
    judged, _ = bitext_retrieval(torch.rand(3, 2), torch.rand(7, 2), links)
    right = [set(links[links[:, 0] == query, 1].tolist()) for query in range(3)]
    ranks = np.array(
        [
            [1 + min(order.index(one) for one in own) for own in right]
            for order in itertools.permutations(range(7))
        ]
    )
    chance = chance_retrieval(judged)
    assert chance.accuracy_at_1 == pytest.approx((ranks == 1).mean())
    assert chance.mrr == pytest.approx((1 / ranks).mean())


def test_chance_among_many():
    judged, _ = bitext_retrieval(torch.rand(40, 2), torch.rand(40, 2))
    chance = chance_retrieval(judged)
    assert chance.accuracy_at_10 == pytest.approx(10 / 40)
    assert chance.mrr == pytest.approx((1 / np.arange(1, 41)).mean())


def test_names_find_translations_by_their_characters():
    names = ["Barcelona", "Reykjavik", "Kathmandu", "Montevideo", "Johannesburg", "Vladivostok"]
    own = pairs(
        [f"they live in {name}" for name in names], [f"man wohnt in {name}" for name in names]
    )
    judged = evaluate_retrieval(CharacterEncoder([*own["text_a"], *own["text_b"]]), own)
    assert judged["en→de"].accuracy_at_1 == judged["de→en"].accuracy_at_1 == 1
    found = retrieval_baselines(judged, own)
    assert list(found) == ["chance", "characters"]
    assert found["characters"] == judged
    assert found["chance"]["de→en"].accuracy_at_1 == pytest.approx(1 / 6)


def test_characters_are_learnt_of_each_two_languages():
    german = pairs(["in Bonn", "in Ulm", "a cat"], ["zu Bonn", "zu Ulm", "Katze"])
    spanish = pairs(["in Ubeda", "in Lugo"], ["en Ubeda", "en Lugo"], "es")
    both = concatenate_datasets([german, spanish])
    found = retrieval_baselines(evaluate_retrieval(Angles(), both), both)["characters"]
    alone = retrieval_baselines(evaluate_retrieval(Angles(), german), german)["characters"]
    assert list(found) == ["en→de", "de→en", "en→es", "es→en"]
    assert found["de→en"] == alone["de→en"]


@pytest.mark.parametrize("text", ["ef", "aq"])
def test_two_languages_without_directions_leave_chance_for_all(text):
    """The characters of `aq` bring one sequence that stands in two texts: of no direction."""
    german = pairs(["in Bonn", "in Ulm"], ["zu Bonn", "zu Ulm"])
    other = pairs(["ab", "cd"], [text, "gh"], "xx")
    both = concatenate_datasets([german, other])
    assert list(retrieval_baselines(evaluate_retrieval(Angles(), both), both)) == ["chance"]


def test_chance_needs_to_know_how_many_are_right():
    with pytest.raises(ValueError, match="num_right is of 0 texts, the result of 7"):
        chance_retrieval(RetrievalResult(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 7, 8))


def test_texts_without_common_characters_leave_chance():
    own = pairs(["ab", "cd"], ["ef", "gh"])
    judged = evaluate_retrieval(Angles(), own)
    assert list(retrieval_baselines(judged, own)) == ["chance"]
    with pytest.raises(ValueError, match="fewer than two sequences of characters stand in two"):
        CharacterEncoder(["ab", "cd", "ef", "gh"])


class Angles:
    def encode(self, texts):
        return torch.eye(9)[: len(texts)]
