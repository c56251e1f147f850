import numpy as np
import pyarrow as pa
import pytest

from twhin_hf.data.tokenization import language_codes, tokenize_posts
from twhin_hf.errors import InputError
from twhin_hf.training.batches import (
    LanguageSampler,
    PairBatches,
    PostBatches,
    known_pairs,
    pair_rows,
)
from twhin_hf.training.collators import PackingCollator
from twhin_hf.training.packing import rounded_up


@pytest.fixture(scope="module")
def tokenized(posts, tokenizer):
    return tokenize_posts(posts, tokenizer, max_length=64)


def split(batch):
    return np.split(batch.tokens, np.cumsum(batch.lengths)[:-1])


def test_posts_come_as_they_were_tokenized(tokenized):
    posts = PostBatches(tokenized)
    batch = posts.__getitems__([7, 3, 7 + 5 * len(posts)])
    assert batch.post_ids.tolist() == [7, 3, 7]
    assert batch.draws.tolist() == [0, 0, 5]
    for row, tokens in zip((7, 3, 7), split(batch), strict=True):
        assert tokens.tolist() == tokenized[row]["input_ids"]


def test_posts_of_a_filtered_data_set_come_in_its_order(posts, tokenizer):
    chosen = posts.select([30, 5, 9])
    batch = PostBatches(tokenize_posts(chosen, tokenizer)).__getitems__([2, 0])
    expected = tokenizer([posts[9]["text"], posts[30]["text"]])["input_ids"]
    assert [tokens.tolist() for tokens in split(batch)] == expected


def test_pairs_bring_all_known_positives_in_both_directions(tokenized):
    pairs = PairBatches(PostBatches(tokenized), np.array([[0, 1], [2, 0], [0, 1], [4, 5]]))
    batch = pairs.__getitems__([0, 3])
    assert batch.post_ids.tolist() == [0, 4, 1, 5]
    assert batch.positive_ids.tolist() == [[1, 2], [5, -1], [0, -1], [4, -1]]


def test_anchor_and_positive_are_other_draws(tokenized):
    pairs = PairBatches(PostBatches(tokenized), np.array([[0, 1], [2, 3]]))
    batch = pairs.__getitems__([0, 1 + 2 * 3])
    assert len(set(batch.draws.tolist())) == 4


def test_pair_rows(posts):
    table = pa.table({"anchor_id": ["p3", "p9", "gone"], "positive_id": ["p0", "p1", "p2"]})
    rows, left_out = pair_rows(posts, table, max_missing=0.5)
    assert rows.tolist() == [[3, 0], [9, 1]]
    assert left_out == 1
    with pytest.raises(ValueError, match=r"1 of 3 pairs name a post .* 'gone'"):
        pair_rows(posts, table)
    with pytest.raises(ValueError, match=r"\['positive_id'\] are needed"):
        pair_rows(posts, table.select(["anchor_id"]))
    with pytest.raises(ValueError, match="no pairs"):
        pair_rows(posts, table.slice(0, 0))


def test_sampler_draws_each_row_once_without_resampling():
    sampler = LanguageSampler(np.zeros(50, int), 1.0, seed=0)
    first = list(sampler)
    assert sorted(key % 50 for key in first) == list(range(50))
    assert [key // 50 for key in first] == list(range(50))
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert [key % 50 for key in second] != [key % 50 for key in first]
    assert [key // 50 for key in second] == list(range(50, 100))


def test_collator_frames_posts(tokenized, tokenizer):
    batch = PostBatches(tokenized).__getitems__(list(range(10)))
    out = PackingCollator(tokenizer, row_length=128)(batch)
    assert out["num_posts"] == 10
    segments, ids, labels = out["segment_ids"], out["input_ids"], out["labels"]
    assert ((segments == 0) == (ids == tokenizer.pad_token_id)).all()
    assert (labels[segments == 0] == -100).all()
    restored = ids.where(labels == -100, labels)
    for post in range(10):
        own = segments == post + 1
        assert restored[own].tolist() == tokenized[post]["input_ids"]
        assert out["position_ids"][own].tolist() == list(range(int(own.sum())))


def test_collator_without_masking(tokenized, tokenizer):
    out = PackingCollator(tokenizer, mlm_probability=0.0)(
        PostBatches(tokenized).__getitems__([0, 1])
    )
    assert "labels" not in out


def test_collator_checks_the_tokenizer(tokenizer):
    import copy

    other = copy.deepcopy(tokenizer)
    other.mask_token = None
    with pytest.raises(ValueError, match="has no mask_token"):
        PackingCollator(other)
    with pytest.raises(ValueError, match=r"mlm_probability is 1\.5"):
        PackingCollator(tokenizer, mlm_probability=1.5)


def test_language_codes(tokenized):
    codes = language_codes(tokenized)
    assert codes[:8].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert language_codes(tokenized.select([3, 1, 3])).tolist() == [0, 1, 0]


def test_waste_on_real_posts_is_below_five_per_cent(tokenizer):
    from pathlib import Path

    folder = Path(__file__).parents[3] / "shared" / "data" / "umsab"
    if not folder.is_dir():
        pytest.skip(f"the real posts are not there: {folder}")
    from twhin_hf.data.tokenization import train_unigram_tokenizer

    texts = [
        text
        for file in sorted(folder.glob("*/train_text.txt"))
        for text in file.read_text(errors="replace").splitlines()
    ]
    real = train_unigram_tokenizer(texts, 8000, progress=False)
    from twhin_hf.training.packing import pack

    lengths = np.array([len(ids) for ids in real(texts, truncation=True)["input_ids"]])
    order = np.random.default_rng(0).permutation(len(lengths))
    wasted = []
    for start in range(0, len(order) - 64, 64):
        batch = lengths[order[start : start + 64]]
        layout = pack(batch, 128)
        wasted.append(1 - batch.sum() / (layout.num_rows * layout.width))
    assert np.mean(wasted) < 0.05
    assert max(wasted) < 0.1


def test_a_flat_row_says_what_its_tensors_hold(posts, tokenizer):
    data = PostBatches(tokenize_posts(posts, tokenizer, max_length=64))
    batch = data.__getitems__(list(range(200)))
    rows = PackingCollator(tokenizer)(batch)
    flat = PackingCollator(tokenizer, is_flat=True)(batch)
    assert rows["masked_positions"].equal((rows["labels"].flatten() != -100).nonzero()[:, 0])
    assert "boundaries" not in rows
    num_tokens = int(batch.lengths.sum())
    assert flat["input_ids"].shape == (1, rounded_up(num_tokens))
    assert flat["segment_ids"][0, :num_tokens].diff().ge(0).all()
    assert (flat["segment_ids"][0, num_tokens:] == 0).all()
    assert flat["boundaries"][:201].tolist() == [0, *batch.lengths.cumsum()]
    assert int(flat["boundaries"].diff().max()) <= flat["longest"] == 64
    assert int(flat["boundaries"][-1]) == flat["input_ids"].numel()
    # The same tokens are masked, and the fill has nothing to predict.
    labels = flat["labels"].flatten()
    count = int((labels != -100).sum())
    assert count == len(rows["masked_positions"])
    assert len(flat["masked_positions"]) == rounded_up(count)
    predicted = labels[flat["masked_positions"]]
    assert predicted[:count].equal(labels[labels != -100])
    assert (predicted[count:] == -100).all()


def test_labels_of_pairs_are_counted_and_looked_at(posts, tokenizer):
    batch = PostBatches(tokenize_posts(posts, tokenizer, max_length=64)).__getitems__([0, 1, 2, 3])
    batch.pair_labels, batch.item_ids = np.array([1, 0]), np.arange(4)
    assert PackingCollator(tokenizer)(batch)["num_translations"] == 1
    batch.pair_labels = np.array([1, -1])
    with pytest.raises(InputError, match=r"labels of pairs are \[-1, 1\]; a label is 1"):
        PackingCollator(tokenizer)(batch)


def test_known_pairs_over_several_blocks_are_those_of_sets(monkeypatch):
    monkeypatch.setattr(LanguageSampler, "BLOCK", 7)
    pairs = np.random.default_rng(0).integers(0, 20, (60, 2))
    offsets, positives = known_pairs(pairs, 25)
    expected = [set() for _ in range(25)]
    for one, other in pairs.tolist():
        expected[one].add(other)
        expected[other].add(one)
    found = [positives[offsets[i] : offsets[i + 1]].tolist() for i in range(25)]
    assert found == [sorted(others) for others in expected]
