import numpy as np
import pytest

from twhin_hf.training.packing import pack, place, positions_in_posts


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
