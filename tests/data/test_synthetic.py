import dataclasses
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from twhin_hf.data.synthetic import (
    FIRST_DAY,
    RELATIONS,
    SyntheticConfig,
    generate_network,
    translation_pairs,
)

CONFIG = SyntheticConfig(
    num_users=400, num_posts=1500, num_engagements=12_000, num_facets=4, words_per_facet=24
)


@pytest.fixture(scope="module")
def network():
    return generate_network(CONFIG)


def topic_words(text):
    return re.sub(r"@\S+|#\S+|https://\S+", " ", text).split()


def test_equal_seeds_give_equal_tables_and_other_seeds_do_not(network):
    again = generate_network(CONFIG)
    assert again.posts.equals(network.posts)
    assert again.engagements.equals(network.engagements)
    other = generate_network(dataclasses.replace(CONFIG, seed=1))
    assert not other.posts["text"].equals(network.posts["text"])


def test_tables_agree(network):
    assert network.posts.num_rows == CONFIG.num_posts
    assert 0.5 * CONFIG.num_engagements < network.engagements.num_rows <= CONFIG.num_engagements
    assert set(network.engagements["post_id"].to_pylist()) <= set(
        network.posts["post_id"].to_pylist()
    )
    rows = {tuple(row.values()) for row in network.engagements.to_pylist()}
    assert len(rows) == network.engagements.num_rows
    assert set(network.engagements["relation"].to_pylist()) == set(RELATIONS)
    assert set(network.posts["lang"].to_pylist()) == set(CONFIG.languages)


@pytest.mark.parametrize(
    ("language", "script"),
    [("en", "a-z"), ("ar", "؀-ۿ"), ("hi", "ऀ-ॿ"), ("ja", "ぁ-んー一-鿿"), ("ru", "а-я")],
)
def test_each_language_has_its_script(network, language, script):
    posts = [p["text"] for p in network.posts.to_pylist() if p["lang"] == language]
    letters = "".join(filter(str.isalpha, "".join("".join(topic_words(text)) for text in posts)))
    assert len(letters) > 1000
    assert not re.sub(f"[{script}]", "", letters)


def test_posts_are_decorated(network):
    text = "\n".join(network.posts["text"].to_pylist())
    for pattern in (r"@u\d+ ", r" #\w+", "https://t.co/", "😀"):
        assert len(re.findall(pattern, text)) > 10


def test_degrees_are_skewed(network):
    for column in ("user_id", "post_id"):
        counts = [row["counts"] for row in network.engagements[column].value_counts().to_pylist()]
        assert max(counts) > 5 * np.median(counts)


def test_users_engage_with_the_topics_and_languages_they_like(network):
    users = {row["user_id"]: row for row in network.users.to_pylist()}
    posts = {row["post_id"]: row for row in network.posts.to_pylist()}
    on_topic = [
        posts[row["post_id"]]["topic"] in users[row["user_id"]]["topics"]
        for row in network.engagements.to_pylist()
    ]
    assert np.mean(on_topic) > 0.8
    assert all(
        posts[row["post_id"]]["lang"] in users[row["user_id"]]["languages"]
        for row in network.engagements.to_pylist()
    )


def test_facets_of_a_topic_share_no_word_of_their_own(network):
    config = dataclasses.replace(CONFIG, noise_words=(0, 0))
    words = {}
    for post in generate_network(config).posts.to_pylist():
        if post["lang"] == "en":
            found = [word for word in topic_words(post["text"]) if word.isalpha()]
            words.setdefault((post["topic"], post["facet"]), set()).update(found)
    sets = list(words.values())
    assert len(sets) == CONFIG.num_topics * CONFIG.num_facets
    assert sum(map(len, sets)) == len(set().union(*sets))


def test_translations_have_the_same_meanings_and_the_networks_words(network):
    pairs = translation_pairs(CONFIG, 300, "en", "es").to_pylist()
    meaning = {}
    for pair in pairs:
        first, second = pair["text_a"].split(), pair["text_b"].split()
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert meaning.setdefault(a, b) == b
    assert len(set(meaning.values())) == len(meaning) > 500
    english = {w for p in network.posts.to_pylist() if p["lang"] == "en" for w in p["text"].split()}
    assert len(meaning.keys() & english) > 0.7 * len(meaning)


def test_save(network, tmp_path):
    network.save(tmp_path / "data")
    assert pq.read_table(tmp_path / "data" / "posts.parquet").num_rows == CONFIG.num_posts
    assert pq.read_schema(tmp_path / "data" / "engagements.parquet").names == [
        "user_id",
        "post_id",
        "relation",
        "timestamp",
    ]


def test_posts_come_over_the_days_and_engagements_soon_after(network):
    written = network.posts["timestamp"].to_numpy()
    assert FIRST_DAY <= written.min() < FIRST_DAY + 7_200
    assert FIRST_DAY + 7 * 86_400 - 7_200 < written.max() < FIRST_DAY + 7 * 86_400
    when = dict(zip(network.posts["post_id"].to_pylist(), written, strict=True))
    delays = network.engagements["timestamp"].to_numpy() - np.array(
        [when[post] for post in network.engagements["post_id"].to_pylist()]
    )
    assert delays.min() >= 0
    assert np.median(delays) == pytest.approx(4 * 3600, rel=0.05)
    # How many days there are changes nothing else.
    longer = generate_network(dataclasses.replace(CONFIG, days=30))
    assert longer.posts.drop_columns("timestamp") == network.posts.drop_columns("timestamp")
    assert longer.posts["timestamp"].to_numpy().max() > FIRST_DAY + 29 * 86_400


def test_impossible_configs_are_refused():
    with pytest.raises(ValueError, match=r"languages=\('xx',\): one or more of \['en'"):
        SyntheticConfig(languages=("xx",))
    with pytest.raises(ValueError, match="num_users=0: at least 1"):
        SyntheticConfig(num_users=0)
    with pytest.raises(ValueError, match="'de' is none of the network's"):
        translation_pairs(CONFIG, 1, "en", "de")
