"""Processes get about as many tokens each, of the same batch."""

from pathlib import Path

import numpy as np
import pytest
from recording import new_model

from twhin_hf.data.tokenization import tokenize_posts
from twhin_hf.training.balancing import BalancedSampler, deal
from twhin_hf.training.batches import LanguageSampler, PairBatches, PostBatches, pair_rows
from twhin_hf.training.mixing import BatchSource, MixedBatches, MixedSampler
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer
from twhin_hf.training.translation_pair import TPPConfig, translation_source

UMSAB = Path(__file__).parents[3] / "shared" / "data" / "umsab"


def imbalance(weights, shares):
    sums = weights[shares].sum(axis=1)
    return sums.max() / sums.mean() - 1


def test_dealing_by_hand():
    """There and back 9 + 4 + 2 and 7 + 5 + 0; by 9 for 7 these are 13 and 14."""
    shares = deal(np.array([7, 9, 5, 0, 2, 4]), 2)
    assert shares.tolist() == [[0, 4, 5], [1, 2, 3]]
    assert deal(np.array([3, 1, 2]), 1).tolist() == [[0, 1, 2]]
    assert deal(np.array([3, 1, 2]), 3).tolist() == [[0], [2], [1]]


@pytest.mark.parametrize(("batch_size", "num_processes"), [(128, 2), (32, 8), (24, 7), (256, 16)])
def test_all_is_dealt_in_equal_numbers(batch_size, num_processes):
    random = np.random.default_rng(0)
    before = []
    for _ in range(20):
        lengths = random.lognormal(3, 0.6, batch_size * num_processes).astype(np.int64) + 3
        shares = deal(lengths, num_processes)
        assert shares.shape == (num_processes, batch_size)
        assert sorted(shares.reshape(-1)) == list(range(len(lengths)))
        assert (np.diff(shares, axis=1) > 0).all()
        assert imbalance(lengths, shares) < 0.02
        before.append(imbalance(lengths, np.arange(len(lengths)).reshape(shares.shape)))
    assert max(before) > 0.03


def test_tweets_are_dealt_evenly(tokenizer):
    """Pairs of real tweets, of four languages, in batches of 32 pairs on each of 8 processes."""
    if not UMSAB.is_dir():
        pytest.skip(f"{UMSAB}, real tweets to measure, is not there")
    from datasets import Dataset

    texts = [
        line
        for path in sorted(UMSAB.glob("*/train_text.txt"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    posts = Dataset.from_dict({"post_id": list(map(str, range(len(texts)))), "text": texts})
    posts = PostBatches(tokenize_posts(posts, tokenizer, max_length=128))
    random = np.random.default_rng(0)
    pairs = PairBatches(posts, random.permutation(len(texts) // 2 * 2).reshape(-1, 2))
    plain = LanguageSampler(np.zeros(len(pairs), np.int32), 1.0, seed=0)
    balanced = BalancedSampler(plain, pairs, 32, 8)
    before, after = (np.fromiter(sampler, np.int64) for sampler in (plain, balanced))
    assert len(before) == len(after) == len(balanced) == len(pairs)
    found = []
    for start in range(0, len(pairs) - 255, 256):
        batches = [keys[start : start + 256] for keys in (before, after)]
        assert sorted(batches[0]) == sorted(batches[1])
        shares = np.arange(256).reshape(8, 32)
        found.append([imbalance(pairs.num_tokens(batch), shares) for batch in batches])
    assert len(found) > 10
    assert max(even for _, even in found) < 0.03
    assert np.mean([uneven for uneven, _ in found]) > 0.05
    # What is left over is dropped by the loader, or comes as it was.
    assert after[-(len(pairs) % 256) :].tolist() == before[-(len(pairs) % 256) :].tolist()


def test_tokens_of_keys_are_those_of_their_batch(posts, pairs, translation_pairs, tokenizer):
    posts = PostBatches(tokenize_posts(posts, tokenizer, max_length=64))
    args = TPPConfig(output_dir="x", use_cpu=True, max_length=64, report_to=[])
    mined = PairBatches(posts, pair_rows(posts.tokenized, pairs)[0])
    sources = [
        BatchSource("posts", posts, LanguageSampler(np.zeros(240, np.int32), 1.0, 0), 0.4),
        BatchSource("pairs", mined, LanguageSampler(np.zeros(120, np.int32), 1.0, 0), 0.3),
        translation_source(translation_pairs, tokenizer, args, "bce", 0.3),
    ]
    mixed = MixedBatches([source.batches for source in sources])
    sampler = MixedSampler(sources, 16)
    sampler.set_epoch(1)
    keys = np.fromiter(sampler, np.int64).reshape(-1, 16)
    kinds = set()
    for batch in keys:
        lengths = mixed.__getitems__(batch.tolist()).lengths
        kinds.add(int(batch[0] % 3))
        sides = 1 if batch[0] % 3 == 0 else 2
        expected = lengths.reshape(sides, 16).sum(axis=0)
        assert mixed.num_tokens(batch).tolist() == expected.tolist()
    assert kinds == {0, 1, 2}
    # A batch stays of one kind, and another epoch has other batches.
    balanced = BalancedSampler(sampler, mixed, 4, 4)
    assert balanced.epoch == 1
    dealt = np.fromiter(balanced, np.int64).reshape(-1, 16)
    assert (np.sort(dealt) == np.sort(keys)).all()
    assert not (dealt == keys).all()
    balanced.set_epoch(2)
    assert not (np.sort(np.fromiter(balanced, np.int64).reshape(-1, 16)) == np.sort(keys)).all()


def test_a_process_alone_keeps_its_order(tiny_config, posts, pairs, tokenizer, tmp_path):
    args = SocialPretrainingConfig(
        output_dir=str(tmp_path), use_cpu=True, max_length=64, report_to=[]
    )
    trainer = SocialPretrainingTrainer(
        new_model(tiny_config), args, posts, pairs, processing_class=tokenizer
    )
    assert isinstance(trainer._get_train_sampler(), LanguageSampler)
