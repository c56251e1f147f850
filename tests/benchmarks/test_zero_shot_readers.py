import json
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from twhin_hf.benchmarks.zero_shot.readers import (
    read_entities,
    read_pos,
    read_sentiment,
    read_zero_shot,
    to_bio,
)
from twhin_hf.table_format import TableFormat

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data are not in {DATA}")

SSF = """<Story id="1">
<Sentence id="1">
0\t((\tSSF
1\t((\tNP\t<ne=NEP>
1.1\t((\tNP\t<ne=NETP>
1.1.1\tसम्राट
\t))
1.2\tअकबर
\t))
2\t((\tNP\t<ne=NEL>
2.1\tआगरा
\t))
3\t((\tNP
3.1\tमें\tPSP
\t))
4\t((\tNP\t<fs af='x' ne='neti/NEN'>
4.1\t१५६५
\t))
\t))
</Sentence>

<Sentence id="2">
0\t((\tSSF
1\tहाँ
\t))
</Sentence>
</Story>
"""


def written(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(dataset):
    return [(row["tokens"], row["tags"]) for row in dataset.to_list()]


def test_two_columns(tmp_path):
    text = "5\tO\nNew York\tB-location\n\t\nis\tO\r\n\n\nbig\tI-person"
    assert rows(read_entities(written(tmp_path, "a.conll", text))) == [
        (["5", "New York"], ["O", "B-location"]),
        (["is"], ["O"]),
        (["big"], ["B-person"]),
    ]


def test_indexed_and_mapped(tmp_path):
    text = "0\tAda\tB-person\n1\tL.\tI-person\n2\tiOS\tB-product\n3\t7\tI-product\n4\tLyon\tB-LOC\n"
    path = written(tmp_path, "a.conllu", text)
    found = read_entities(path, {"person": "PER", "product": "O", "never": "X"})
    assert rows(found) == [
        (["Ada", "L.", "iOS", "7", "Lyon"], ["B-PER", "I-PER", "O", "O", "B-LOC"])
    ]


@pytest.mark.parametrize("key", ["ner_tags", "tags", "labels"])
def test_json_lines(tmp_path, key):
    lines = [
        json.dumps({"tokens": ["Ada", "と"], key: ["S-PER", "O"]}),
        "",
        '{"tokens":[],"tags":[]}',
    ]
    found = read_entities(written(tmp_path, "a.jsonl", "\n".join(lines)))
    assert rows(found) == [(["Ada", "と"], ["B-PER", "O"])]


def test_shakti_takes_the_outermost_entity(tmp_path):
    assert rows(read_entities(written(tmp_path, "hindi.utf8", SSF))) == [
        (
            ["सम्राट", "अकबर", "आगरा", "में", "१५६५"],
            ["B-NEP", "I-NEP", "B-NEL", "O", "B-NETI"],
        ),
        (["हाँ"], ["O"]),
    ]


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    written(tmp_path, "2.conll", "b\tO\n")
    written(tmp_path, "1.conll", "a\tO\n")
    written(tmp_path, ".hidden", "no tags")
    assert rows(read_entities(tmp_path)) == [(["a"], ["O"]), (["b"], ["O"])]


def test_adjacent_entities_of_one_type():
    assert to_bio(["B-PER", "B-PER", "I-PER"]) == ["B-PER", "B-PER", "I-PER"]
    assert to_bio(["U-PER", "I-PER", "L-PER", "I-PER"]) == ["B-PER", "B-PER", "I-PER", "B-PER"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.conll", "a\tO\nb\tO\tO\n", r"a.conll, line 2 is 'b\\tO\\tO'; needed is token, tag"),
        ("a.conll", "a\tO\n\nb\n", "line 3 is 'b'; needed is token, tag"),
        ("a.conll", "a b c d\n", "line 1 is 'a b c d'; needed is two columns"),
        ("a.conll", "a\tO\nb\tPER\n", r"line 2 .*'PER' is no tag; needed is 'O', or a prefix"),
        ("a.conll", "0\ta\tO\nx\tb\tO\n", "line 2 is .*; needed is number, token, tag"),
        ("a.conll", "\n\n", "holds no sentence"),
        ("a.jsonl", '{"tokens": ["a"]}', r"line 1 holds \['tokens'\]; needed are 'tokens' and"),
        ("a.jsonl", "\n{", "line 2 is not JSON"),
        ("a.jsonl", '{"tokens": ["a"], "tags": []}', "line 1 has 1 tokens and 0 tags"),
        ("a.jsonl", '{"tokens": ["a"], "tags": [3]}', "names of the tags, not their numbers"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["X"]}', r"line 1 .*'X' is no tag"),
        ("a", SSF.replace("\t))\n</Sentence>\n</Story>", "</Sentence>"), "comes while 1 chunks"),
        ("a", SSF.replace("1.2\tअकबर", "अकबर"), "line 8 is 'अकबर'; needed are an address"),
        ("a", SSF.replace("2.1\tआगरा", "\t))"), r"line 19: '\)\)' closes a chunk that nothing"),
        ("a", "0\t((\tSSF\n1\ta\n", "ends while 1 chunks are open"),
    ],
)
def test_odd_entity_lines(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        read_entities(written(tmp_path, name, text))


def test_missing_files_and_encodings(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no .*gone.conll"):
        read_entities(tmp_path / "gone.conll")
    with pytest.raises(FileNotFoundError, match="holds no file"):
        read_pos(tmp_path)
    (tmp_path / "latin.conll").write_bytes("a\tO\ncafé\tO\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.conll is not UTF-8"):
        read_entities(tmp_path / "latin.conll")


def conllu(*words):
    return "".join(f"{i}\t{w}\t_\t{t}\t_\t_\t_\t_\t_\t_\n" for i, w, t in words)


def test_conllu_leaves_out_multi_word_tokens_and_empty_nodes(tmp_path):
    text = "# text = don't go\n" + conllu(
        ("1-2", "don't", "_"),
        (1, "do", "AUX"),
        (2, "n't", "PART"),
        ("2.1", "you", "PRON"),
        (3, "go", "VERB"),
    )
    found = read_pos(written(tmp_path, "a.conllu", text + "\n" + conllu((1, "_", "SYM"))))
    assert rows(found) == [(["do", "n't", "go"], ["AUX", "PART", "VERB"]), (["_"], ["SYM"])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (conllu((1, "a", "X"), (1, "b", "X")), "line 2 is .*; needed is word 2 of the sentence"),
        (conllu((1, "a", "X")) + "2 b\n", "line 2 is '2 b'; needed is ten columns"),
        (conllu((1, "a", "NN")), "line 1 is .*; needed is a universal part of speech"),
        (conllu(("1-x", "a", "X")), "line 1 is .*; needed is word 1"),
        (conllu((1, "_", "X"), (2, "_", "NOUN")), "this treebank comes without its text"),
        ("# nothing\n", "holds no sentence"),
    ],
)
def test_odd_conllu_lines(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_pos(written(tmp_path, "a.conllu", text))


def test_sentiment_of_two_files(tmp_path):
    # A Unicode line separator is part of a text.
    path = written(tmp_path, "test_text.txt", "good\u2028day\nso so\r\nbad ")
    written(tmp_path, "test_labels.txt", "2\n1\n0\n")
    assert read_sentiment(path).to_dict() == {
        "text": ["good\u2028day", "so so", "bad "],
        "label": ["positive", "neutral", "negative"],
    }
    kept = read_sentiment(path, {"2": "good", "0": "bad"}, drop=["neutral"])
    assert kept["label"][:] == ["good", "bad"]


def test_sentiment_of_a_table(tmp_path):
    path = written(tmp_path, "a.csv", 'text,label,x\n"a, b",positive,1\nc,0,2\n')
    assert read_sentiment(path).to_dict() == {
        "text": ["a, b", "c"],
        "label": ["positive", "negative"],
    }


def test_columns_of_a_table_have_other_names(tmp_path):
    table = written(tmp_path, "a.csv", "tweet,mood\na,positive\nb,negative\nc,neutral\n")
    names = {"text": "tweet", "label": "mood"}
    expected = {"text": ["a", "b"], "label": ["positive", "negative"]}
    assert read_zero_shot("sentiment", table, columns=names).to_dict() == expected
    assert len(read_zero_shot("sentiment", table, columns=names, keep_neutral=True)) == 3
    with pytest.raises(ValueError, match="columns goes with the task sentiment, not with pos"):
        read_zero_shot("pos", table, columns=names)
    with pytest.raises(ValueError, match="keep_neutral goes with the task sentiment, not with ner"):
        read_zero_shot("ner", table, keep_neutral=True)


def test_two_digits_could_mean_either(tmp_path):
    table = tmp_path / "reviews.csv"
    table.write_text("text,label\ngood,1\nbad,0\n")
    with pytest.raises(ValueError, match="labels 0 and 1 alone"):
        read_sentiment(table)
    named = read_sentiment(table, {"0": "negative", "1": "positive"})
    assert named["label"][:] == ["positive", "negative"]


def test_odd_sentiment(tmp_path):
    path = written(tmp_path, "a_text.txt", "a\nb\n")
    with pytest.raises(FileNotFoundError, match=r"There is no .*a_labels.txt"):
        read_sentiment(path)
    labels = written(tmp_path, "a_labels.txt", "0\n")
    with pytest.raises(ValueError, match=r"has 2 lines and a_labels.txt 1"):
        read_sentiment(path)
    labels.write_text("0\n \n")
    with pytest.raises(ValueError, match="the label of row 2 is blank"):
        read_sentiment(path)
    labels.write_text("1\n1\n")
    with pytest.raises(ValueError, match=r"no text to use; its labels are \['neutral'\]"):
        read_sentiment(path, drop=["neutral"])
    with pytest.raises(ValueError, match="where are its labels"):
        read_sentiment(written(tmp_path, "posts.txt", "a"))
    with pytest.raises(ValueError, match="has no column 'label'; found are text"):
        read_sentiment(written(tmp_path, "b.csv", "text\na\n"))


@needs_data
@pytest.mark.parametrize(
    ("file", "sentences", "words", "entities"),
    [
        (
            "wnut17/wnut17train.conll",
            3394,
            62730,
            {"PER": 660, "LOC": 548, "ORG": 485, "MISC": 282},
        ),
        (
            "wikineural/es_test.conllu",
            9618,
            228367,
            {"PER": 4187, "LOC": 6157, "ORG": 2239, "MISC": 2817},
        ),
    ],
)
def test_real_entities(file, sentences, words, entities):
    label_map = {
        "person": "PER",
        "location": "LOC",
        "group": "ORG",
        "corporation": "ORG",
        "product": "MISC",
        "creative-work": "MISC",
    }
    found = read_entities(DATA / file, label_map)
    assert len(found) == sentences
    tags = list(chain.from_iterable(found["tags"]))
    assert len(tags) == words
    assert Counter(tag[2:] for tag in tags if tag.startswith("B-")) == entities


@needs_data
@pytest.mark.parametrize(
    ("file", "sentences", "words", "tags"),
    [
        ("en_ewt-ud-dev", 2001, 25147, 17),
        ("en_pud-ud-test", 1000, 21180, 17),
        ("hi_pud-ud-test", 1000, 23829, 16),
        ("ja_gsd-ud-test", 543, 13034, 16),
    ],
)
def test_real_parts_of_speech(file, sentences, words, tags):
    found = read_pos(DATA / "ud" / f"{file}.conllu")
    assert len(found) == sentences
    flat = list(chain.from_iterable(found["tags"]))
    assert (len(flat), len(set(flat))) == (words, tags)


@needs_data
def test_a_real_treebank_without_text():
    with pytest.raises(ValueError, match="this treebank comes without its text"):
        read_pos(DATA / "ud" / "en_gumreddit-ud-train.conllu")


@needs_data
@pytest.mark.parametrize("language", ["english", "arabic", "hindi", "spanish"])
def test_real_sentiment(language):
    found = read_sentiment(DATA / "umsab" / language / "train_text.txt", drop=["neutral"])
    assert Counter(found["label"]) == {"negative": 613, "positive": 613}


def test_a_lone_quote_in_a_tsv_of_sentiment_takes_no_rows(tmp_path):
    rows = ['"hello there\tpositive', "fine\tnegative", 'good night"\tpositive', "ok\tnegative"]
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    assert read_sentiment(path)["text"][:] == ['"hello there', "fine", 'good night"', "ok"]
    path.write_text('text\tlabel\n"a\tb"\tpositive\nc\tnegative\n')
    with pytest.raises(ValueError, match="line 2 has 3 columns, the first line 2"):
        read_zero_shot("sentiment", path)
    quoted = read_zero_shot("sentiment", path, table_format=TableFormat(quoting=True))
    assert quoted["text"][:] == ["a\tb", "c"]
