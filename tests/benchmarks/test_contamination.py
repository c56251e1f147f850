import numpy as np
import pyarrow as pa
import pytest

from twhin_hf.benchmarks.contamination import check_contamination, find_contamination

LONG = "".join(chr(97 + i * i % 23) + chr(97 + i * 7 % 19) for i in range(30))  # 60 characters


def test_share_of_ngrams_by_hand():
    # LONG has 11 50-grams. Characters 4 to 57 hold five of them.
    texts = pa.array([LONG, LONG[::-1], LONG[:49], "x" * 50, "Short one"])
    seen = [
        pa.array([f"before {LONG[4:58].upper()} after", "ｓｈｏｒｔ\u3000ONE"]),
        pa.array(["short one more"]),
    ]
    found = find_contamination(texts, seen)
    assert found.overlap.tolist() == [5 / 11, 0, 0, 0, 1]
    assert found.contaminated.tolist() == [True, False, False, False, True]
    assert found.short.tolist() == [False, False, True, False, True]
    assert (found.share, found.num_texts) == (0.4, 3)


def test_ngrams_do_not_cross_texts():
    found = find_contamination(pa.array([LONG]), [pa.array([LONG[:40], LONG[40:]])])
    assert found.overlap.tolist() == [0]


@pytest.mark.parametrize("ngram", [1, 3, 4])
def test_against_plain_python(ngram):
    rng = np.random.default_rng(ngram)
    draw = lambda: "".join(rng.choice(list("abc猫é"), rng.integers(1, 40)))  # noqa: E731
    texts, seen = [draw() for _ in range(200)], [draw() for _ in range(20)]

    def grams(text):
        return [text[i : i + ngram] for i in range(len(text) - ngram + 1)] or [(text,)]

    known = {gram for text in seen for gram in grams(text)}
    expected = [np.mean([gram in known for gram in grams(text)]) for text in texts]
    found = find_contamination(pa.array(texts), [pa.array(seen[:7]), pa.array(seen[7:])], ngram)
    np.testing.assert_allclose(found.overlap, expected)
    assert found.share > 0


def test_files_and_what_is_missing(tmp_path):
    (tmp_path / "seen.csv").write_text(f"post_id,body\n1,{LONG}\n2,\n")
    (tmp_path / "own.csv").write_text(f"id,text\na,{LONG}!\nb,other\nc,\n")
    found, posts = check_contamination(
        tmp_path / "own.csv", tmp_path / "seen.csv", columns={"text": "body"}
    )
    assert posts.select(["id", "overlap"]).to_pydict() == {
        "id": ["a", "b"],
        "overlap": [11 / 12, 0],
    }
    assert found.num_texts == 1
    with pytest.raises(ValueError, match="no column 'text'"):
        check_contamination(tmp_path / "own.csv", tmp_path / "seen.csv")
    with pytest.raises(ValueError, match="ngram is 0"):
        find_contamination(pa.array(["a"]), [pa.array(["a"])], 0)
    with pytest.raises(ValueError, match="no pretraining text"):
        find_contamination(pa.array(["a"]), [])
    with pytest.raises(ValueError, match="benchmark has no text"):
        find_contamination(pa.array([], pa.string()), [])
