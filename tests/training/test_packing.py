import numpy as np
import pytest

from twhin_hf.training.packing import (
    end_to_end,
    pack,
    place,
    positions_in_posts,
    rounded_up,
    segment_boundaries,
)


def random_lengths(count, seed):
    rng = np.random.default_rng(seed)
    return np.clip(rng.gamma(3, 9, count).astype(int) + 2, 3, 128)


@pytest.mark.parametrize("count", [1, 2, 16, 64, 500])
@pytest.mark.parametrize("seed", range(5))
def test_every_post_lies_once_and_whole(count, seed):
    lengths = random_lengths(count, seed)
    layout = pack(lengths, 128)
    tokens = np.arange(lengths.sum())
    rows = place(tokens, lengths, layout, -1)
    assert rows.shape == (layout.num_rows, layout.width)
    assert sorted(rows[rows >= 0]) == tokens.tolist()
    starts = np.cumsum(lengths) - lengths
    for post in range(count):
        row, column = layout.rows[post], layout.columns[post]
        expected = starts[post] + np.arange(lengths[post])
        assert rows[row, column : column + lengths[post]].tolist() == expected.tolist()


def test_by_hand():
    # 8 + 8 tokens: 5 with 3, 4 with 4.
    layout = pack(np.array([4, 3, 5, 4]), 8)
    assert (layout.num_rows, layout.width) == (2, 8)
    assert layout.rows[2] == layout.rows[1]
    assert layout.rows[0] == layout.rows[3]


def test_padding_is_a_few_per_cent_of_a_batch():
    for seed in range(20):
        lengths = random_lengths(64, seed)
        layout = pack(lengths, 128)
        assert 1 - lengths.sum() / (layout.num_rows * layout.width) < 0.05


def test_one_long_post_sets_the_width():
    layout = pack(np.array([100, 2, 2, 2]), 50)
    assert layout.width == 100


def test_positions_restart():
    assert positions_in_posts(np.array([3, 1, 2])).tolist() == [0, 1, 2, 0, 0, 1]


@pytest.mark.parametrize("lengths", [[], [3, 0]])
def test_posts_without_tokens(lengths):
    with pytest.raises(ValueError, match="at least one token each"):
        pack(np.array(lengths), 8)


def test_rounding_up_costs_little_and_leaves_few_numbers():
    counts = range(1, 20_000)
    rounded = [rounded_up(count) for count in counts]
    assert all(0 <= more - count <= count / 63 for count, more in zip(counts, rounded, strict=True))
    assert len({value for value in rounded if 8192 <= value <= 16_384}) == 65


def test_end_to_end_by_hand():
    lengths = np.array([90, 100, 80])
    layout = end_to_end(lengths)
    assert layout.width == 272  # 270 in steps of 4
    placed = place(np.repeat([1, 2, 3], lengths), lengths, layout, 0)[0]
    assert placed.tolist() == [1] * 90 + [2] * 100 + [3] * 80 + [0] * 2
    boundaries, longest = segment_boundaries(lengths, layout.width)
    assert boundaries.tolist() == [0, 90, 190, 270, 272]
    assert boundaries.dtype == np.int32
    assert longest == 128


def test_padding_is_cut_into_segments_no_longer_than_posts():
    lengths = np.full(1000, 5)
    width = rounded_up(5000)
    boundaries, longest = segment_boundaries(lengths, width)
    assert (width, longest) == (5056, 8)
    assert np.diff(boundaries)[:1000].tolist() == [5] * 1000
    filling = np.diff(boundaries)[1000:]
    assert filling.tolist() == [8] * 7 + [0]
    # As many where there is nothing to fill.
    other, _ = segment_boundaries(np.full(1000, 8), 8000)
    assert len(segment_boundaries(np.full(1000, 5), 5000)[0]) == len(boundaries)
    assert np.diff(other)[1000:].tolist() == [0] * 8
