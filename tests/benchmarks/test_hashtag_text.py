import numpy as np
import pyarrow as pa
import pytest

from twhin_hf.benchmarks.hashtag.text import find_hashtags, normalize_hashtag, remove_hashtags


@pytest.mark.parametrize(
    ("text", "hashtags"),
    [
        ("#Cats and #DOGS, ok", ["cats", "dogs"]),
        ("＃ﾈｺ と ＃ネコ。", ["ネコ", "ネコ"]),
        ("＃ｔａｇ!", ["tag"]),
        ("(#سلام) #می‌خواهم، #क्षत्रिय। #서울", ["سلام", "می‌خواهم", "क्षत्रिय", "서울"]),
        ("#été #e\u0301te\u0301", ["été", "été"]),
        ("#col·lecció #h2o #_x1", ["col·lecció", "h2o", "_x1"]),
        ("a#b https://x.org/p#part https://x.org/#top &#x27; #1 #2024 # #️⃣ ##x", []),
        ("\x1e#a\x1e", ["a"]),
        ("", []),
    ],
)
def test_find_in_any_script(text, hashtags):
    found = find_hashtags(pa.array(["#first", text, "#last"])).to_pylist()
    assert found == [["first"], hashtags, ["last"]]


def test_arrays_that_are_slices():
    texts = pa.array(["#a", "#b #c", "", "#d"])
    assert find_hashtags(texts.slice(1, 2)).to_pylist() == [["b", "c"], []]
    assert remove_hashtags(texts.slice(1), pa.array(["x", "c", "x", "D"]).slice(1)).to_pylist() == [
        "#b",
        "",
        "",
    ]
    assert find_hashtags(texts.slice(0, 0)).to_pylist() == []


@pytest.mark.parametrize(
    ("text", "label", "cut"),
    [
        ("love #BTS, #bts!! now", "BTS", "love , !! now"),
        ("#BTSArmy #bts_v x", "bts", "#BTSArmy #bts_v x"),
        ("見て ＃ＢＴＳ　です", "#bts", "見て です"),
        ("tot #ΚΌΣΜΟΣ.", "κόσμος", "tot ."),
        ("Die #STRASSE\nist", "Straße", "Die \nist"),
        ("هذا #سلام، نعم", "سلام", "هذا ، نعم"),
        ("no tag bts", "bts", "no tag bts"),
        ("#bts", "bts", ""),
    ],
)
def test_remove_takes_the_whole_hashtag_alone(text, label, cut):
    assert remove_hashtags(pa.array([text]), pa.array([label])).to_pylist() == [cut]


def test_many_rows_each_with_its_own_label():
    rng = np.random.default_rng(0)
    names = ["a", "bb", "猫", "ق"]
    tags = rng.choice(names, size=(500, 3))
    labels = rng.choice(names, size=500)
    texts = pa.array([" ".join(f"w #{tag}!" for tag in row) for row in tags])
    found = remove_hashtags(texts, pa.array(labels)).to_pylist()
    for cut, row, label in zip(found, tags, labels, strict=True):
        expected = " ".join("w !" if tag == label else f"w #{tag}!" for tag in row)
        assert cut == expected
    assert find_hashtags(texts).to_pylist() == tags.tolist()


def test_normal_form_is_stable():
    for tag in ("#İstanbul", "ﬁn", "①Ａ", "ΐ"):
        assert normalize_hashtag(normalize_hashtag(tag)) == normalize_hashtag(tag)
