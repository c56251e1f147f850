import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from recording import assert_equal_batches, new_model, record_batches
from transformers import TrainerCallback

from twhin_hf.data.language_sampling import resample_languages
from twhin_hf.data.tokenization import language_codes, tokenize_posts
from twhin_hf.training.batches import PairBatches, PostBatches, pair_rows, posts_of_keys
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer
from twhin_hf.training.streaming import (
    StreamedPairs,
    StreamSampler,
    TokenStream,
    open_stream,
    write_stream,
)

LANGUAGES = np.random.default_rng(1).permutation(np.repeat([1, 0, 2], [900, 90, 10]))


def rows_of(sampler, epoch):
    sampler.set_epoch(epoch)
    draws, rows = np.divmod(np.array(list(sampler)), len(sampler))
    assert (draws == epoch * len(sampler) + np.arange(len(sampler))).all()
    return rows


def test_each_row_comes_once_in_each_epoch_in_another_order():
    sampler = StreamSampler(LANGUAGES, 1.0, 0, block_size=64, buffer_blocks=3)
    first, again, second = (rows_of(sampler, epoch) for epoch in (0, 0, 1))
    assert sorted(first) == sorted(second) == list(range(1000))
    assert (first == again).all()
    assert (first != second).any()
    other = StreamSampler(LANGUAGES, 1.0, 1, block_size=64, buffer_blocks=3)
    assert (rows_of(other, 0) != first).any()


def test_a_buffer_is_of_few_blocks():
    sampler = StreamSampler(LANGUAGES[:960], 1.0, 0, block_size=32, buffer_blocks=3)
    buffers = rows_of(sampler, 0).reshape(10, 96)
    for buffer in buffers:
        assert len(set(buffer // 32)) == 3
        assert (np.diff(buffer) < 0).any()


@pytest.mark.parametrize("exponent", [0.7, 0.0])
def test_languages_have_their_quotas_and_all_rows_their_turn(exponent):
    wanted = resample_languages(LANGUAGES, exponent, np.random.default_rng(0))
    sampler = StreamSampler(LANGUAGES, exponent, 0, block_size=64, buffer_blocks=3)
    total = np.zeros(1000, int)
    for epoch in range(7):
        rows = rows_of(sampler, epoch)
        total += np.bincount(rows, minlength=1000)
        # With 0.7, as computed by hand for `resample_languages`: 161, 805 and 34.
        assert (np.bincount(LANGUAGES[rows]) == np.bincount(LANGUAGES[wanted])).all()
        for language in range(3):
            assert np.ptp(total[language == LANGUAGES]) <= 1


def test_rows_of_a_rare_choice_lie_all_over_the_shards():
    languages = np.zeros(4000, np.int16)
    languages[::2] = 1
    languages[3200:] = 1
    sampler = StreamSampler(languages, 0.5, 0, block_size=100)
    rows = rows_of(sampler, 0)
    drawn = np.bincount(rows[languages[rows] == 1] // 800, minlength=5)
    expected = np.bincount(np.flatnonzero(languages) // 800) * (drawn.sum() / languages.sum())
    np.testing.assert_allclose(drawn, expected, atol=2)


def test_what_a_sampler_refuses():
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        StreamSampler(LANGUAGES, 1.5, 0)


@pytest.fixture(scope="module")
def stream(posts, pairs, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    more = pa.table({"anchor_id": ["p0", "p0", "p9"], "positive_id": ["p1", "p2", "gone"]})
    joined = pa.concat_tables([pairs.select(["anchor_id", "positive_id"]), more])
    write_stream(
        folder, posts, joined, tokenizer, max_length=64, max_missing_pairs=0.1, directory=folder
    )
    assert sorted(path.name for path in folder.iterdir()) == ["pairs.arrow", "posts.arrow"]
    return open_stream(folder)


def test_posts_are_all_there_in_another_order(stream, posts, tokenizer):
    expected = tokenize_posts(posts, tokenizer, max_length=64)
    ids = stream.posts["post_id"][:]
    assert ids != expected["post_id"][:]
    assert sorted(ids) == sorted(expected["post_id"][:])
    tokens = dict(zip(expected["post_id"], expected["input_ids"], strict=True))
    languages = dict(zip(expected["post_id"], expected["lang"], strict=True))
    for post in stream.posts:
        assert post["input_ids"] == tokens[post["post_id"]]
        assert post["lang"] == languages[post["post_id"]]


def test_batches_of_pairs_are_those_of_rows(stream, pairs):
    posts = PostBatches(stream.posts)
    streamed = StreamedPairs(posts, stream.pairs)
    assert len(streamed) == 122
    names = np.array(stream.posts["post_id"][:])
    found = {tuple(pair) for pair in names[streamed.pairs].tolist()}
    wanted = zip(pairs["anchor_id"].to_pylist(), pairs["positive_id"].to_pylist(), strict=True)
    assert found == {*wanted, ("p0", "p1"), ("p0", "p2")}
    reference = PairBatches(posts, streamed.pairs)
    keys = [3, 121 + 122 * 5, 0, *range(40, 60), 3]
    one, other = streamed.__getitems__(keys), reference.__getitems__(keys)
    for name in ("tokens", "lengths", "draws", "post_ids", "positive_ids"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist(), name
    anchors = stream.pairs["anchor"][:]
    languages = np.array(stream.posts["lang"][:])[anchors]
    assert stream.pairs["lang"][:] == languages.tolist()


def test_a_stream_of_posts_alone(posts, tokenizer, tmp_path):
    write_stream(tmp_path / "stream", posts, None, tokenizer)
    assert open_stream(tmp_path / "stream").pairs is None
    with pytest.raises(FileNotFoundError, match="holds no token shards"):
        open_stream(tmp_path)


def test_a_missing_post_is_an_error(posts, pairs, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="1 of 120 pairs name a post"):
        write_stream(tmp_path, posts.select(range(239)), pairs, tokenizer)


@pytest.fixture
def arguments(tmp_path):
    def make(**options):
        defaults = {
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 8,
            "num_train_epochs": 2,
            "logging_steps": 5,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "max_length": 64,
            "language_exponent": 1.0,
            "dataloader_num_workers": 2,
        }
        return SocialPretrainingConfig(**defaults | options)

    return make


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_save = control.should_training_stop = state.global_step == self.step


@pytest.mark.parametrize("stop", [1, 14, 15, 28])
def test_an_interrupted_epoch_goes_on_without_replay_or_loss(
    stream, tiny_config, arguments, tokenizer, tmp_path, stop
):
    """15 batches of 8 of 122 pairs an epoch, stopped in the middle of one, with two workers."""

    def trainer(**options):
        return SocialPretrainingTrainer(
            new_model(tiny_config), arguments(**options), stream, processing_class=tokenizer
        )

    whole = trainer()
    uninterrupted = record_batches(whole)
    whole.train()
    first = trainer()
    seen = record_batches(first)
    first.add_callback(StopAt(stop))
    first.train()
    assert len(seen) == stop
    second = trainer(dataloader_num_workers=1)
    resumed = record_batches(second)
    second.train(resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{stop}"))
    assert_equal_batches(seen + resumed, uninterrupted)
    for epoch in (uninterrupted[:15], uninterrupted[15:]):
        drawn = [pair for batch in epoch for pair in batch["post_ids"].reshape(2, -1).T.tolist()]
        pairs = StreamedPairs(PostBatches(stream.posts), stream.pairs).pairs
        assert len(set(map(tuple, drawn))) == len(drawn) == 120
        assert set(map(tuple, drawn)) <= set(map(tuple, pairs.tolist()))


def test_pairs_of_a_stream_are_not_mixed_with_others(
    stream, pairs, tiny_config, arguments, tokenizer
):
    with pytest.raises(ValueError, match="bring their own pairs"):
        SocialPretrainingTrainer(
            new_model(tiny_config), arguments(), stream, pairs, processing_class=tokenizer
        )
    with pytest.raises(ValueError, match="there are no pairs"):
        SocialPretrainingTrainer(
            new_model(tiny_config),
            arguments(),
            TokenStream(stream.posts),
            processing_class=tokenizer,
        )


def test_a_stream_of_posts_trains(stream, tiny_config, arguments, tokenizer):
    model = new_model(tiny_config, social_weight=0, mlm_weight=1)
    trainer = SocialPretrainingTrainer(
        model,
        arguments(max_steps=2, language_exponent=0.7),
        TokenStream(stream.posts),
        processing_class=tokenizer,
    )
    trainer.train()
    assert trainer.state.log_history[-1]["train_loss"] > 0
    assert language_codes(stream.posts).max() == 3
    assert isinstance(stream.posts, Dataset)


def test_rows_are_found_again(stream, pairs):
    rows, _ = pair_rows(stream.posts, pairs)
    names = np.array(stream.posts["post_id"][:])
    assert names[rows[:, 0]].tolist() == pairs["anchor_id"].to_pylist()


def test_posts_of_a_step_are_told_by_their_ids(stream):
    pairs = StreamedPairs(PostBatches(stream.posts), stream.pairs)
    names = stream.posts["post_id"][:]
    anchor, positive = pairs.pairs[5]
    assert posts_of_keys(pairs, [5 + 122 * 3]) == [names[anchor], names[positive]]
