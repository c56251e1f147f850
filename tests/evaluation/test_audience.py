"""How often neighbours share an audience: numbers by hand, and a plain reference."""

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from twhin_hf.errors import InputError
from twhin_hf.evaluation import audience
from twhin_hf.evaluation.audience import SAME_LANGUAGE, audience_agreement

# By angle: 0 and 1 are neighbours of each other, 2 and 3 too.
VECTORS = np.array([[5.0, 0], [1, 0.1], [0, 1], [0.1, 2]])
AUDIENCES = csr_array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 0]])


def test_by_hand():
    found = audience_agreement({"after": VECTORS}, AUDIENCES, k=1)
    # In common: 0-1 one (of 3), 0-3 one (of 2), 1-2 one (of 3); 2-3 none.
    assert found.num_posts == 4
    assert found.share.values["after"].value == pytest.approx((1 + 1 + 0 + 0) / 4)
    assert found.share.chance.value == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 / 3) / 4)
    assert found.share.lifts["after"].value == pytest.approx(1.0)
    assert found.overlap.values["after"].value == pytest.approx((1 / 3 + 1 / 3) / 4)
    by_post = ((1 / 3 + 1 / 2) / 3, (1 / 3 + 1 / 3) / 3, 1 / 3 / 3, 1 / 2 / 3)
    assert found.overlap.chance.value == pytest.approx(sum(by_post) / 4)


def test_copies_and_posts_without_audience_are_no_neighbours():
    # A copy of post 0 nearer than post 1, and a post that nobody engaged with, nearer still.
    vectors = np.vstack([VECTORS, [[5.0, 0], [1, 0.05]]])
    audiences = csr_array(np.vstack([AUDIENCES.toarray(), [[1, 1, 0, 0], [0, 0, 0, 0]]]))
    found = audience_agreement({"a": vectors}, audiences, np.array([0, 1, 2, 3, 0, 4]), k=1)
    assert found.num_posts == 5
    assert found.share.values["a"].value == pytest.approx((1 + 1 + 0 + 0 + 1) / 5)
    # Post 0 and its copy: 1 and 3 of the three others; post 1: 0, its copy and 2 of four.
    assert found.share.chance.value == pytest.approx((2 / 3 + 3 / 4 + 1 / 4 + 2 / 4 + 2 / 3) / 5)


def test_chance_within_a_language_by_hand():
    languages = ["en", "en", "ja", None]
    found = audience_agreement({"after": VECTORS}, AUDIENCES, languages=languages, k=1)
    # Of one language: 0-1 share somebody. The only post of a language has all others: 1 of 3 each.
    assert found.share.values[SAME_LANGUAGE].value == pytest.approx((1 + 1 + 1 / 3 + 1 / 3) / 4)
    assert found.overlap.values[SAME_LANGUAGE].value == pytest.approx(
        (1 / 3 + 1 / 3 + 1 / 3 / 3 + 1 / 2 / 3) / 4
    )
    assert list(found.share.gains) == [SAME_LANGUAGE, "chance"]
    alone = audience_agreement({"after": VECTORS}, AUDIENCES, languages=["en"] * 4, k=1)
    assert alone == audience_agreement({"after": VECTORS}, AUDIENCES, k=1)
    with pytest.raises(InputError, match="languages"):
        audience_agreement({"after": VECTORS}, AUDIENCES, languages=["en"], k=1)


def test_the_first_is_compared_with_the_others_pairwise():
    worse = VECTORS[[0, 2, 1, 3]]  # neighbours are now 0-2 and 1-3, which share nobody
    found = audience_agreement({"after": VECTORS, "before": worse}, AUDIENCES, k=1)
    assert found.share.values["before"].value == 0
    assert found.share.gains.keys() == {"before", "chance"}
    assert found.share.gains["before"].value == pytest.approx(0.5)
    low, high = found.share.gains["before"].interval
    assert 0 <= low < 0.5 < high <= 1
    same = audience_agreement({"after": VECTORS, "before": 3 * VECTORS}, AUDIENCES, k=2)
    assert same.share.gains["before"].interval == [0, 0]
    assert same == audience_agreement({"after": VECTORS, "before": 3 * VECTORS}, AUDIENCES, k=2)


@pytest.mark.parametrize("values_per_block", [1, 2**22])
def test_blocks_equal_a_plain_loop(values_per_block, monkeypatch):
    monkeypatch.setattr(audience, "_VALUES_PER_BLOCK", values_per_block)
    random = np.random.default_rng(0)
    vectors = random.normal(size=(40, 5))
    matrix = random_array((40, 15), density=0.15, rng=random, format="csr")
    copies = random.integers(30, size=40)
    found = audience_agreement({"a": vectors}, matrix, copies, k=4)

    people = [set(row) for row in np.split(matrix.indices, matrix.indptr[1:-1])]
    rows = [i for i in range(40) if people[i]]
    shares, overlaps, chances = [], [], []
    for i in rows:
        others = [j for j in rows if copies[j] != copies[i]]
        cosine = {j: vectors[i] @ vectors[j] / np.linalg.norm(vectors[j]) for j in others}
        nearest = sorted(others, key=lambda j: -cosine[j])[:4]
        shares.append(np.mean([bool(people[i] & people[j]) for j in nearest]))
        overlaps.append(np.mean([len(people[i] & people[j]) / len(people[i] | people[j])
                                 for j in nearest]))  # fmt: skip
        chances.append(np.mean([bool(people[i] & people[j]) for j in others]))
    assert found.num_posts == len(rows)
    assert found.share.values["a"].value == pytest.approx(np.mean(shares))
    assert found.overlap.values["a"].value == pytest.approx(np.mean(overlaps))
    assert found.share.chance.value == pytest.approx(np.mean(chances))


def test_of_as_many_neighbours_as_there_are_posts_it_is_chance():
    found = audience_agreement({"a": VECTORS}, AUDIENCES, k=50)
    assert found.k == 3
    assert found.share.values["a"].value == pytest.approx(found.share.chance.value)
    assert found.overlap.lifts["a"].value == pytest.approx(1)


def test_vectors_that_tell_nothing_have_the_figure_of_chance():
    random = np.random.default_rng(0)
    users = csr_array(random.random((600, 30)) < 0.05)
    found = audience_agreement({"a": random.normal(size=(600, 8))}, users)
    low, high = found.share.lifts["a"].interval
    assert low < 1 < high
    assert high - low < 0.2


def test_what_cannot_be_judged_is_told():
    with pytest.raises(InputError, match="1 posts have an audience"):
        audience_agreement({"a": np.eye(2)}, csr_array([[1], [0]]))
    with pytest.raises(InputError, match="1 of them of different texts"):
        audience_agreement({"a": np.eye(2)}, csr_array([[1], [1]]), np.zeros(2))
    with pytest.raises(InputError, match="in common"):
        audience_agreement({"a": np.eye(2)}, csr_array(np.eye(2)))
    with pytest.raises(InputError, match="same posts"):
        audience_agreement({"a": np.eye(3)}, csr_array(np.eye(2)))
    with pytest.raises(InputError, match="k is 0"):
        audience_agreement({"a": np.eye(2)}, csr_array(np.eye(2)), k=0)
