import pytest
import torch

from twhin_hf.modeling.pooling import _frames, pool, segment_ids_of_rows

# Two rows: post 2 and post 1 share the first, post 3 has two special tokens and nothing else.
SEGMENTS = torch.tensor([[2, 2, 2, 1, 1, 1, 1], [3, 3, 0, 0, 0, 0, 0]])
HIDDEN = torch.arange(14.0).view(2, 7, 1)


def test_boundaries():
    # Places in the flat rows of 7, by the number of the post.
    first, last = _frames(SEGMENTS, 3)
    assert first[1:].tolist() == [3, 0, 7]
    assert last[1:].tolist() == [6, 2, 8]


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("cls", [[3.0], [0.0], [7.0]]),
        ("mean", [[4.5], [1.0], [0.0]]),  # the third post has special tokens alone
        ("mean_all", [[4.5], [1.0], [7.5]]),
        ("combined", [[3.0, 4.5], [0.0, 1.0], [7.0, 0.0]]),
    ],
)
def test_pooling_by_hand(pooling, expected):
    assert pool(HIDDEN, SEGMENTS, pooling, 3).tolist() == expected


def test_mean_of_all_tokens_is_not_that_of_the_content():
    hidden = torch.tensor([[[9.0], [1.0], [2.0], [0.0], [5.0], [3.0]]])
    segments = torch.tensor([[1, 1, 1, 0, 2, 2]])
    assert pool(hidden, segments, "mean_all", 2).tolist() == [[4.0], [4.0]]
    assert pool(hidden, segments, "mean", 2).tolist() == [[1.0], [0.0]]


def test_special_tokens_that_a_person_typed_are_left_out_of_the_mean():
    # [CLS] a [SEP] b [SEP], and [CLS] [CLS] c [SEP] in the same row.
    ids = torch.tensor([[2, 7, 3, 9, 3, 2, 2, 8, 3, 0]])
    segments = torch.tensor([[1, 1, 1, 1, 1, 2, 2, 2, 2, 0]])
    hidden = torch.tensor([[[1.0], [2.0], [4.0], [8.0], [16.0], [1.0], [1.0], [5.0], [1.0], [9.0]]])
    assert pool(hidden, segments, "mean", 2, ids).tolist() == [[5.0], [5.0]]
    assert pool(hidden, segments, "combined", 2, ids).tolist() == [[1.0, 5.0], [1.0, 5.0]]
    assert pool(hidden, segments, "mean_all", 2, ids).flatten().tolist() == pytest.approx(
        [6.2, 2.0]
    )


def test_padding_on_the_left_is_no_part_of_a_post():
    segments = segment_ids_of_rows(torch.tensor([[0, 0, 1, 1, 1]]))
    hidden = torch.tensor([[[9.0], [9.0], [1.0], [2.0], [3.0]]])
    assert pool(hidden, segments, "combined", 1).tolist() == [[1.0, 2.0]]


def test_padding_gets_no_gradient():
    hidden = HIDDEN.clone().requires_grad_()
    pool(hidden, SEGMENTS, "combined", 3).sum().backward()
    assert hidden.grad[1, 2:].abs().sum() == 0
    assert hidden.grad[0, 1].item() == 1


def test_unknown_pooling():
    with pytest.raises(ValueError, match="choose 'cls', 'mean', 'mean_all' or 'combined'"):
        pool(HIDDEN, SEGMENTS, "max", 3)
