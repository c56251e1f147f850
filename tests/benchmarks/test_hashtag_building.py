from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from twhin_hf.benchmarks.hashtag.building import build_hashtag_benchmark
from twhin_hf.benchmarks.hashtag.recipe import HashtagRecipe
from twhin_hf.benchmarks.hashtag.text import find_hashtags
from twhin_hf.data.posts import read_posts
from twhin_hf.data.time_splits import Split, split_by_time
from twhin_hf.privacy.keys import hash_ids

TAGS = ("Cats", "ＤＯＧＳ", "猫", "سلام", "हिन्दी")
NAMES = ["cats", "dogs", "سلام", "हिन्दी", "猫"]


def make_posts():
    """1,000 posts in en and hi; 20 with two popular hashtags, 60 copies, one bare hashtag."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), 6)) for _ in range(3000)]
    rows = []
    for i in range(1000):
        tag = TAGS[i % 5]
        tag = f"{'＃' if i % 2 else '#'}{tag.lower() if i % 3 else tag.upper()}!"
        more = " #cats #dogs" if i % 50 == 7 else " #rare" if i % 200 == 3 else ""
        rows.append(
            (f"p{i}", f"{' '.join(rng.choice(words, 10))} {tag}{more}", "en" if i < 700 else "hi")
        )
    rows += [(f"c{i}", f"RT @a: {rows[i][1]} https://t.co/{i}", "en") for i in range(100, 160)]
    rows.append(("bare", "#cats", "en"))
    rows.append(("lone", "nothing at all", "fr"))
    return pa.table(
        dict(zip(("post_id", "text", "lang"), map(list, zip(*rows, strict=True)), strict=True))
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("posts") / "posts.parquet"
    pq.write_table(make_posts(), path)
    return path


@pytest.fixture(scope="module")
def built(source):
    return build_hashtag_benchmark(source, HashtagRecipe(num_hashtags=5))


def test_posts_with_exactly_one_popular_hashtag_without_it(built):
    assert list(built.languages) == ["en", "hi"]
    original = {row["post_id"]: row["text"] for row in make_posts().to_pylist()}
    for language in built.languages.values():
        for own in language.values():
            assert own.features["label"].names == NAMES
            for row in own:
                name = NAMES[row["label"]]
                found = find_hashtags(pa.array([original[row["id"]], row["text"]])).to_pylist()
                assert found[0].count(name) == 1
                assert not set(found[1]) & set(NAMES)
                assert row["text"].endswith(("!", "#rare")) or "https" in row["text"]


def test_counts(built):
    counts = built.counts["en"]
    # Of 700 posts 14 hold several, and so do 2 of the copies; one is nothing but its hashtag.
    assert counts["posts_with_a_hashtag"] == 761
    assert counts["posts_with_one_popular"] == 761 - 14 - 2
    assert counts["nothing_but_hashtag"] == 1
    assert counts["near_duplicates"] == 58
    assert (counts["classes"], counts["rare_classes"], counts["posts"]) == (5, 0, 744)
    assert sum(len(own) for own in built.languages["en"].values()) == 744


def test_splits_are_stratified_and_copies_stand_together(built):
    language = built.languages["hi"]
    sizes = {name: Counter(own["label"][:]) for name, own in language.items()}
    for label in range(5):
        each = [sizes[name][label] for name in ("train", "validation", "test")]
        np.testing.assert_allclose(np.array(each) / sum(each), [0.8, 0.1, 0.1], atol=0.02)
    split_of = {key: name for name, own in built.languages["en"].items() for key in own["id"][:]}
    pairs = [(f"p{i}", f"c{i}") for i in range(100, 160) if f"p{i}" in split_of]
    assert len(pairs) == 58
    assert all(split_of[first] == split_of[second] for first, second in pairs)
    assert {split_of[first] for first, _ in pairs} == {"train", "validation", "test"}


def test_by_time(source):
    """Post i was written in second i, its copy long after it; validation begins at 400."""
    posts = read_posts(source).dataset
    names = posts["post_id"][:]
    seconds = [{"p": 0, "c": 550, "b": 0, "l": 0}[name[0]] for name in names]
    times = [
        base + int(name[1:]) if name[1:].isdigit() else None
        for base, name in zip(seconds, names, strict=True)
    ]
    written = dict(zip(names, times, strict=True))
    split = Split(split_by_time(pa.array(times), 400, 500), 400, 500)
    built = build_hashtag_benchmark(posts, HashtagRecipe(num_hashtags=5), split=split)
    assert list(built.languages) == ["en"]  # of hi there are posts of test alone
    ends = {"train": (0, 400), "validation": (400, 500), "test": (500, 1000)}
    for name, own in built.languages["en"].items():
        found = [written[key] for key in own["id"][:]]
        assert min(found) >= ends[name][0]
        assert max(found) < ends[name][1]
        assert {NAMES[label] for label in own["label"][:]} == set(NAMES)
    # The copies of posts of train, 58 with one popular hashtag, would all stand in test.
    counts = built.counts["en"]
    assert (counts["later_copies"], counts["near_duplicates"]) == (58, 0)
    assert counts["posts"] == 700 - 14
    assert built.counts["hi"]["rare_classes"] == 5
    with pytest.raises(ValueError, match="The split is of 3 posts, and there are 1,062"):
        build_hashtag_benchmark(posts, split=Split(np.array(["train"] * 3)))


def test_fewer_hashtags_posts_and_a_floor(source):
    # The most popular come first: cats and dogs have the additional posts.
    few = build_hashtag_benchmark(source, HashtagRecipe(num_hashtags=2, max_posts=150))
    assert few.languages["en"]["train"].features["label"].names == ["cats", "dogs"]
    assert sum(len(own) for own in few.languages["en"].values()) <= 150
    assert few.counts["en"]["above_maximum"] > 0
    again = build_hashtag_benchmark(source, HashtagRecipe(num_hashtags=2, max_posts=150))
    assert again.languages["en"]["test"][:] == few.languages["en"]["test"][:]
    # #rare has 4 posts in en that hold another popular hashtag too, so it is a class of none.
    floor = build_hashtag_benchmark(source, HashtagRecipe(num_hashtags=6, min_examples=100))
    assert list(floor.languages) == ["en"]
    assert floor.counts["hi"]["classes"] == 0
    with pytest.raises(ValueError, match="No language has two hashtags with 900 different posts"):
        build_hashtag_benchmark(source, HashtagRecipe(min_examples=900))


def test_ids_are_keyed_hashes_in_the_order_of_the_hashes(source, built):
    key = b"sixteen bytes or more"
    hashed = build_hashtag_benchmark(source, HashtagRecipe(num_hashtags=5), key=key)
    for language, parts in built.languages.items():
        for split, own in parts.items():
            expected = dict(zip(hash_ids(own["id"][:], key), own["text"][:], strict=True))
            found = hashed.languages[language][split]
            assert found["id"][:] == sorted(expected)
            assert found["text"][:] == [expected[digits] for digits in found["id"][:]]
    with pytest.raises(ValueError, match="The key has 3 bytes"):
        build_hashtag_benchmark(source, key=b"abc")


def test_recipe():
    assert (HashtagRecipe().num_hashtags, HashtagRecipe().max_posts) == (500, 20_000)
    with pytest.raises(ValueError, match="num_hashtags is 1"):
        HashtagRecipe(num_hashtags=1)
    with pytest.raises(ValueError, match="three shares above 0"):
        HashtagRecipe(fractions=(0.9, 0.1, 0.0))


def test_a_language_that_is_a_path_is_refused():
    posts = make_posts()
    languages = pa.array(["../../keep" if i % 2 else "en" for i in range(len(posts))])
    posts = Dataset(posts.set_column(2, "lang", languages))
    with pytest.raises(ValueError, match=r"'\.\./\.\./keep' is no language code"):
        build_hashtag_benchmark(posts, HashtagRecipe(num_hashtags=4, min_examples=10))
