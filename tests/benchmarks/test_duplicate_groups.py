import numpy as np
import pyarrow as pa

from twhin_hf.benchmarks.duplicate_groups import group_near_duplicates


def test_copies_are_one_group_and_others_are_not():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 6)) for _ in range(2000)]
    texts = [" ".join(rng.choice(words, rng.integers(6, 18))) for _ in range(2000)]
    copies = [
        texts[0],
        f"RT @someone: {texts[1].upper()} https://t.co/a",
        f"{texts[2]} so",
        f"{texts[2]} so so",
    ]
    groups = group_near_duplicates(pa.array([*texts, *copies]))
    assert groups[2000:].tolist() == [0, 1, 2, 2]
    assert groups[:2000].tolist() == list(range(2000))


def test_short_texts_in_any_script():
    texts = ["猫", "犬", "猫", "", "नमस्ते", " ", "Ok", "ok"]
    assert group_near_duplicates(pa.array(texts)).tolist() == [0, 1, 0, 3, 4, 3, 6, 6]
    assert group_near_duplicates(pa.array([], pa.string())).tolist() == []


def test_similarity_is_a_bound():
    texts = pa.array(["the quick brown fox jumps over the dog", "the quick brown fox sleeps alone"])
    assert group_near_duplicates(texts, 0.8).tolist() == [0, 1]
    assert group_near_duplicates(texts, 0.2).tolist() == [0, 0]
