import numpy as np
import pytest

from twhin_hf.training.masking import mask_tokens, random_numbers

MASK, VOCABULARY = 4, 1000


def masked(tokens, draws, positions, seed=0, probability=0.15):
    return mask_tokens(
        tokens,
        draws,
        positions,
        special_ids=np.array([0, 1, 2, MASK]),
        mask_token_id=MASK,
        vocab_size=VOCABULARY,
        probability=probability,
        seed=seed,
    )


@pytest.fixture
def many():
    tokens = np.random.default_rng(0).integers(5, VOCABULARY, 200_000)
    return tokens, np.arange(200_000) // 20, np.arange(200_000) % 20


def test_shares_of_the_fates(many):
    tokens = many[0]
    shown, labels = masked(*many)
    chosen = labels != -100
    # Five standard deviations: of 0.15 over 200,000, and of 0.8 and 0.1 over the 30,000 chosen.
    assert chosen.mean() == pytest.approx(0.15, abs=0.004)
    assert (labels[chosen] == tokens[chosen]).all()
    assert (shown[~chosen] == tokens[~chosen]).all()
    assert (shown[chosen] == MASK).mean() == pytest.approx(0.8, abs=0.012)
    assert (shown[chosen] == tokens[chosen]).mean() == pytest.approx(0.1, abs=0.009)
    random = shown[chosen & (shown != MASK) & (shown != tokens)]
    assert random.min() < 20
    assert random.max() > VOCABULARY - 20


def test_special_tokens_are_left_alone():
    tokens = np.tile([0, 1, 2, MASK], 500)
    shown, labels = masked(tokens, np.arange(2000), np.zeros(2000, int), probability=0.9)
    assert (shown == tokens).all()
    assert (labels == -100).all()


def test_a_draw_is_masked_alike_wherever_it_happens(many):
    tokens, draws, positions = many
    shown, labels = masked(tokens, draws, positions)
    some = np.random.default_rng(1).permutation(len(tokens))[:1000]
    again = masked(tokens[some], draws[some], positions[some])
    assert (again[0] == shown[some]).all()
    assert (again[1] == labels[some]).all()


def test_other_draws_and_seeds_are_masked_otherwise(many):
    tokens, draws, positions = many
    labels = masked(tokens, draws, positions)[1] != -100
    for other in (
        masked(tokens, draws + len(tokens), positions)[1] != -100,
        masked(tokens, draws, positions, seed=1)[1] != -100,
    ):
        both = (labels & other).mean()
        assert both == pytest.approx(0.15**2, abs=0.002)


def test_random_numbers_are_uniform_and_independent():
    draws = np.arange(100_000)
    numbers = [random_numbers(0, draws, np.zeros(100_000, int), stream) for stream in (0, 1)]
    for values in numbers:
        assert values.min() >= 0
        assert values.max() < 1
        counts = np.histogram(values, bins=20, range=(0, 1))[0]
        assert np.abs(counts - 5000).max() < 5 * np.sqrt(5000)
    assert abs(np.corrcoef(*numbers)[0, 1]) < 0.02
    assert abs(np.corrcoef(numbers[0][1:], numbers[0][:-1])[0, 1]) < 0.02
