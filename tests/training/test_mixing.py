import numpy as np
import pytest

from twhin_hf.training.batches import LanguageSampler
from twhin_hf.training.mixing import (
    BatchSource,
    MixedBatches,
    MixedSampler,
    batch_schedule,
    batches_in_order,
)


class Recorded(list):
    """A source that gives back what it was asked for."""

    def __getitems__(self, keys):
        return self[0], list(keys)


def sources(*sizes_and_shares):
    made = []
    for number, (size, share) in enumerate(sizes_and_shares):
        sampler = LanguageSampler(np.zeros(size, int), 1.0, seed=3)
        made.append(BatchSource("rows", Recorded([number] * size), sampler, share))
    return made


def mixed(made):
    return MixedBatches([source.batches for source in made])


def drawn(sampler, data, size, epoch):
    sampler.set_epoch(epoch)
    keys = list(sampler)
    assert len(keys) == len(sampler)
    return [data.__getitems__(keys[start : start + size]) for start in range(0, len(keys), size)]


def test_schedule_keeps_the_proportions_everywhere():
    schedule = batch_schedule([0.6, 0.3, 0.1], 600)
    assert np.bincount(schedule).tolist() == [600, 300, 100]
    for source, share in enumerate((0.6, 0.3, 0.1)):
        reached = np.cumsum(schedule == source)
        assert np.abs(reached - share * np.arange(1, 1001)).max() < 2
    # Even a small share takes part in a short epoch.
    assert batch_schedule([0.99, 0.01], 3).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("shares", [[0.5, 0.6], [1.0, 0.0], [1.5, -0.5]])
def test_proportions_that_are_none(shares):
    with pytest.raises(ValueError, match="must be above 0 and sum to 1"):
        batch_schedule(shares, 10)


def test_batches_are_of_one_source_and_sources_go_on():
    # 10 batches of source 0 an epoch, 5 of source 1, which has 3 in an epoch of its own.
    made = sources((43, 2 / 3), (13, 1 / 3))
    data, sampler = mixed(made), MixedSampler(made, 4)
    epochs = [drawn(sampler, data, 4, epoch) for epoch in range(3)]
    for number, source in enumerate(made):
        batches = [batch for epoch in epochs for who, batch in epoch if who == number]
        keys = [key for batch in batches for key in batch]
        assert len(keys) == (120 if number == 0 else 60)
        expected, epoch = [], 0
        while len(expected) < len(keys):
            source.sampler.set_epoch(epoch)
            whole = list(source.sampler)
            expected += whole[: len(whole) // 4 * 4]
            epoch += 1
        assert keys == expected[: len(keys)]


def test_an_epoch_is_the_same_whether_or_not_others_came_before():
    made = sources((43, 0.5), (13, 0.5))
    data = mixed(made)
    sampler = MixedSampler(made, 4)
    first, second = (drawn(sampler, data, 4, epoch) for epoch in (0, 1))
    fresh = MixedSampler(sources((43, 0.5), (13, 0.5)), 4)
    assert drawn(fresh, data, 4, 1) == second != first


def test_a_batch_of_two_sources_is_refused():
    with pytest.raises(ValueError, match="a batch mixes sources"):
        mixed(sources((8, 0.5), (8, 0.5))).__getitems__([0, 1])


def test_in_order_every_row_comes_once_and_batches_are_of_one_source():
    data = mixed(sources((7, 0.5), (2, 0.5)))
    batches = [data.__getitems__(keys) for keys in batches_in_order(data, 4)]
    assert batches == [(0, [0, 1, 2, 3]), (0, [4, 5, 6]), (1, [0, 1])]
