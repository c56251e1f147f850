import numpy as np
import pytest

from twhin_hf.evaluation.engagement_results import (
    EngagementResult,
    averaged_languages,
    baseline_rows,
    chance,
    combine_training_seeds,
    compare_engagement,
    difference_sentence,
    engagement_rows,
    pool_training_seeds,
)
from twhin_hf.recommendation.engagement_config import EngagementConfig
from twhin_hf.recommendation.records import Records

CONFIG = EngagementConfig(num_candidates=100, hits_at=10)


def result(hits, users=None, candidates=100, seeds=None, rows="raw", first_post=0):
    """Of hits [seeds][records]; the reciprocal ranks are half of them."""
    hits = np.array(hits, dtype=np.float32)
    number = hits.shape[1]
    seeds = tuple(range(len(hits))) if seeds is None else seeds
    users = np.arange(number) if users is None else np.array(users)
    return EngagementResult(
        hits=tuple(hits.mean(axis=1).tolist()),
        mrr=tuple((hits / 2).mean(axis=1).tolist()),
        seeds=seeds,
        best_epochs=(1,) * len(hits),
        num_candidates=float(candidates),
        num_records={"test": number},
        rows=rows,
        validation={rows: 0.5},
        records=Records(users, first_post + np.arange(number)),
        candidates=np.full(number, candidates),
        hits_by_record=hits,
        reciprocal_ranks=hits / 2,
    )


def test_chance_by_hand():
    few = result([[1, 1]], candidates=20)
    row, mrr = engagement_rows(chance({"en": few}, CONFIG), CONFIG)
    assert row.value == 10 / 20
    assert mrr.value == pytest.approx(sum(1 / rank for rank in range(1, 21)) / 20)
    assert (row.seeds, row.values, row.interval) == ([], [], [])
    assert "rows" not in row.details


def test_intervals_are_over_users():
    # Two users, one hit and one missed: a quarter of the resamples has one of them only.
    row, mrr = engagement_rows({"en": result([[1, 1, 0, 0]], users=[0, 0, 1, 1])}, CONFIG)
    assert (row.value, row.interval) == (0.5, [0.0, 1.0])
    assert (mrr.value, mrr.interval) == (0.25, [0.0, 0.5])


def test_languages_with_few_candidates_are_left_out_and_said():
    results = {
        "en": result([[1, 1]]),
        "hi": result([[0, 1]], candidates=91, rows="normalized"),
        "tl": result([[0, 0]], candidates=60),
    }
    english, hindi, tagalog, average = engagement_rows(results, CONFIG)[:4]
    assert average.value == pytest.approx((1 + 1 / 2) / 2)
    assert average.values == [pytest.approx(0.75)]
    assert average.details["languages"] == ["en", "hi"]
    assert average.details["left_out"] == ["tl"]
    assert average.details["note"] == "of en, hi"
    assert average.details["rows"] == "normalized, raw"
    assert tagalog.details["note"] == "ranked among fewer than 100 posts, not in the average"
    assert "note" not in english.details | hindi.details
    assert averaged_languages({"en": 10.0, "tl": 20.0}, CONFIG) == ["en", "tl"]


def test_comparison_by_hand():
    # The first hits user 0, who has one record of two; the second nobody.
    (hits, mrr) = compare_engagement(
        {"en": result([[1, 0], [1, 0]])}, {"en": result([[0, 0]])}, CONFIG
    )
    assert (hits.metric, hits.value, hits.interval) == ("HITS@10", 0.5, [0.0, 1.0])
    assert (mrr.value, mrr.interval) == (0.25, [0.0, 0.5])
    # A quarter of the resamples is without user 0 and has no difference.
    assert hits.details["p"] == pytest.approx(0.5, abs=0.08)
    many = 200
    always, never = result([[1] * many]), result([[0] * many])
    better, _ = compare_engagement({"en": always}, {"en": never}, CONFIG)
    assert (better.value, better.interval) == (1.0, [1.0, 1.0])
    assert better.details["p"] == pytest.approx(2 / 1001)
    same, _ = compare_engagement({"en": always}, {"en": always}, CONFIG)
    assert (same.value, same.interval, same.details["p"]) == (0.0, [0.0, 0.0], 1.0)


def test_pairing_is_narrower_than_two_intervals():
    rng = np.random.default_rng(0)
    easy = rng.random(500) < 0.4
    first, second = easy.copy(), easy.copy()
    second[np.flatnonzero(easy)[:20]] = False
    results = [{"en": result([hits])} for hits in (first, second)]
    compared, _ = compare_engagement(*results, CONFIG)
    alone = engagement_rows(results[0], CONFIG)[0].interval
    assert compared.value == pytest.approx(20 / 500)
    assert compared.interval[1] - compared.interval[0] < 0.5 * (alone[1] - alone[0])
    assert compared.details["p"] < 0.01
    flipped, _ = compare_engagement(*results[::-1], CONFIG)
    assert flipped.value == pytest.approx(-20 / 500)


def test_other_records_are_not_compared():
    with pytest.raises(ValueError, match="results of en are on other test records"):
        compare_engagement({"en": result([[1, 0]])}, {"en": result([[1, 0]], first_post=1)})
    with pytest.raises(ValueError, match="or candidates; judge both on the same benchmark"):
        compare_engagement({"en": result([[1, 0]])}, {"en": result([[1, 0]], candidates=90)})
    with pytest.raises(ValueError, match="One result is of en, the other of hi"):
        compare_engagement({"en": result([[1, 0]])}, {"hi": result([[1, 0]])})


def test_training_seeds_together():
    runs = {
        3: {"en": result([[1, 1, 0, 0], [1, 1, 1, 0]])},
        5: {"en": result([[1, 0, 0, 0], [0, 0, 0, 0]], rows="normalized")},
        9: {"en": result([[1, 1, 1, 1], [1, 1, 1, 1]])},
    }
    row, mrr = combine_training_seeds(runs, CONFIG)
    assert (row.seeds, row.values, row.value) == ([3, 5, 9], [0.625, 0.125, 1.0], 0.625)
    assert row.details["spread"] == [0.125, 1.0]
    assert row.details["rows"] == "normalized, raw"
    assert mrr.value == 0.3125
    pooled = pool_training_seeds(runs)["en"]
    assert pooled.hits_by_record.shape == (6, 4)
    assert pooled.validation == {"raw": 0.5, "normalized": 0.5}
    # Hits of each record over all six runs: 5/6, 4/6, 3/6, 2/6.
    assert row.interval[0] >= 2 / 6
    assert row.interval[1] <= 5 / 6 + 1e-7
    (against, _) = compare_engagement(pool_training_seeds(runs), {"en": result([[0] * 4])}, CONFIG)
    assert against.value == pytest.approx(14 / 24)


def test_baselines_tell_the_difference():
    judged = {"en": result([[1, 1]])}
    rows = baseline_rows(judged, {"blind": chance(judged, CONFIG)}, CONFIG)["blind"]
    assert rows[0].details["difference"]["value"] == pytest.approx(0.9)
    assert difference_sentence("blind", rows).startswith(
        "Over blind: HITS@10 +0.900 (+0.900 to +0.900; p = 0.002), MRR +"
    )
