import gzip
import json
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from twhin_hf.benchmarks.zero_shot.labels import sentiment_names
from twhin_hf.benchmarks.zero_shot.readers import (
    read_entities,
    read_pos,
    read_sentiment,
    read_zero_shot,
)
from twhin_hf.benchmarks.zero_shot.tags import to_bio
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


CONLL = """-DOCSTART- -X- -X- O

# NN B-NP O
1996 CD I-NP O
U.N. NNP B-NP I-ORG

-DOCSTART- -X- -X- O

Rome NNP B-NP I-LOC
"""
UNER = (
    "# sent_id = w-1\n# text = Tampa and O\n1\tTampa\tB-LOC\t-\t-\n1-2\tandO\t_\t-\t-\n"
    "2\t#\tO\t-\t-\n\n# text = #a\n1\t#a\tS-PER\t-\t-\n"
)
GERMEVAL = (
    "#\thttp://de.example/a [2010-01-01]\n1\tder\tO\tO\n2\tTSV\tB-ORG\tO\n"
    "3\tKoeln\tI-ORG\tB-LOC\n\n#\tno url\n1\t2010\tO\tO\n"
)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        # A token may look like a comment, and a year like a number of words.
        (
            "eng.testa",
            CONLL,
            [(["#", "1996", "U.N."], ["O", "O", "B-ORG"]), (["Rome"], ["B-LOC"])],
        ),
        ("esp.testa", "El DA O\nCairo NC B-LOC\n\n", [(["El", "Cairo"], ["O", "B-LOC"])]),
        ("deu.a", "Am an APPR I-PC O\n\n", [(["Am"], ["O"])]),
        ("a.iob2", UNER, [(["Tampa", "#"], ["B-LOC", "O"]), (["#a"], ["B-PER"])]),
        (
            "a.tsv",
            GERMEVAL,
            [(["der", "TSV", "Koeln"], ["O", "B-ORG", "I-ORG"]), (["2010"], ["O"])],
        ),
        (
            "multiconer.conll",
            "# id 5f\tdomain=en\nnew _ _ O\n\n# id 6a\tdomain=en\n#x _ _ B-CW\n",
            [(["new"], ["O"]), (["#x"], ["B-CW"])],
        ),
        (
            "panx.tsv",
            "de:Anton\tB-PER\nde::\tO\n\nzh-yue:a:b\tO\n",
            [(["Anton", ":"], ["B-PER", "O"]), (["a:b"], ["O"])],
        ),
        # One word that looks so has no prefix, and a no-break space is a word.
        ("a.conll", "re:zero O\nis O\n\u00a0 O\n", [(["re:zero", "is", "\u00a0"], ["O"] * 3)]),
        ("docs", "-DOCSTART- O\n\na O\n-DOCSTART- O\nb O\n", [(["a"], ["O"]), (["b"], ["O"])]),
    ],
)  # fmt: skip
def test_usual_files_of_a_word_a_line(tmp_path, name, text, expected):
    assert rows(read_entities(written(tmp_path, name, text))) == expected


def test_the_column_of_the_tags_is_chosen(tmp_path):
    text = "{}a\tB-X\tO\tann1\n#b\tO\tB-Y\tann2\n"
    path = written(tmp_path, "a.tsv", text.format(""))
    with pytest.raises(ValueError, match=r"a.tsv, line 1 .*'ann1' is no tag; .*--columns tags=4"):
        read_entities(path)
    assert rows(read_entities(path, columns={"tags": "3"})) == [(["a", "#b"], ["O", "B-Y"])]
    assert rows(read_zero_shot("ner", path, {"X": "Z"}, columns={"tags": "2"})) == [
        (["a", "#b"], ["B-Z", "O"])
    ]
    for header in ("word\tcoarse\tfine\tby\n", "# global.columns = word coarse fine by\n"):
        path = written(tmp_path, "a.tsv", text.format(header))
        found = read_entities(path, columns={"tokens": "word", "tags": "fine"})
        assert rows(found) == [(["a", "#b"], ["O", "B-Y"])]
    with pytest.raises(ValueError, match="no column 'ner' for the tags; found are word, coarse"):
        read_entities(path, columns={"tags": "ner"})
    with pytest.raises(ValueError, match="has 4 columns, not 5"):
        read_entities(written(tmp_path, "a.tsv", text.format("")), columns={"tags": "5"})
    with pytest.raises(ValueError, match="columns names text, which named entities do not have"):
        read_entities(path, columns={"text": "x"})
    with pytest.raises(ValueError, match="Shakti Standard Format; leave columns out"):
        read_entities(written(tmp_path, "a.ssf", SSF), columns={"tags": "2"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a NN O\nb O\n", r"line 2 is 'b O'; needed is 3 columns .* the tag in column 3"),
        ("1\ta\tO\t-\n2\tb\tO\n", r"line 2 .*: a number first, the token in column 2, the tag "),
        ("a O\n\nb NN O\n", r"line 3 is 'b NN O'; needed is token, tag"),
        ("de:a O\nde:b O\nc O\n", r"line 3 is 'c O'; needed is a word after its language"),
        ("# only = comment\n", "holds no sentence"),
        ("-DOCSTART- -X- O\n", "holds no sentence"),
    ],
)
def test_odd_lines_of_words(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_entities(written(tmp_path, "a.txt", text))


NUMBERED = '{"tokens": ["a", "b", "c"], "ner_tags": [1, 2, 0]}'
NAMES = ["O", "B-PER", "I-PER"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("label.json", {"I-PER": 2, "O": 0, "B-PER": 1}),
        ("id2label.json", {"0": "O", "1": "B-PER", "2": "I-PER"}),
        ("labels.json", NAMES),
        (
            "dataset_info.json",
            {
                "features": {
                    "pos_tags": {"feature": {"names": ["X"]}},
                    "ner_tags": {"feature": {"names": NAMES, "_type": "ClassLabel"}},
                }
            },
        ),
    ],
)
def test_numbered_tags_are_named_by_a_file_beside(tmp_path, name, content):
    written(tmp_path, name, json.dumps(content, indent=1))
    path = written(tmp_path, "2021.test.json", NUMBERED + "\n")
    expected = [(["a", "b", "c"], ["B-PER", "I-PER", "O"])]
    assert rows(read_entities(path)) == expected
    # The names are no sentences of the folder.
    assert rows(read_entities(tmp_path)) == expected
    renamed = read_entities(path, {"1": "B-LOC", "PER": "MISC"})
    assert rows(renamed) == [(["a", "b", "c"], ["B-LOC", "B-MISC", "O"])]


def test_numbered_tags_are_named_in_the_file_or_by_the_reader(tmp_path):
    expected = [(["a", "b", "c"], ["B-PER", "I-PER", "O"])]
    row = json.loads(NUMBERED)
    for text in (
        json.dumps([row | {"label_names": NAMES}], indent=2),
        json.dumps({"id2label": dict(enumerate(NAMES)), "data": [row]}, indent=2),
        json.dumps(row | {"tags": ["B-PER", "I-PER", "O"]}),
    ):
        assert rows(read_entities(written(tmp_path, "a.json", text))) == expected
    path = written(tmp_path, "b.json", NUMBERED)
    assert rows(read_entities(path, {str(i): name for i, name in enumerate(NAMES)})) == expected
    with pytest.raises(ValueError, match=r"b.json, line 1: the number 2 of 'ner_tags' has no name"):
        read_entities(path, {"0": "O", "1": "B-PER"})
    with pytest.raises(ValueError, match=r"line 1 .*'PER' is no tag"):
        read_entities(path, {"0": "O", "1": "PER", "2": "O"})


def test_parquet_of_the_hub_brings_its_names(tmp_path):
    from datasets import ClassLabel, Dataset, Features, Sequence, Value

    features = Features(
        {"tokens": Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=NAMES))}
    )
    table = Dataset.from_dict({"tokens": [["a", "b"]], "ner_tags": [[1, 0]]}, features)
    table.to_parquet(tmp_path / "test.parquet")
    assert rows(read_entities(tmp_path / "test.parquet")) == [(["a", "b"], ["B-PER", "O"])]


def test_json_of_other_keys(tmp_path):
    path = written(tmp_path, "a.json", '{"words": ["a"], "entities": ["O"]}')
    with pytest.raises(ValueError, match=r"needed are 'tokens' and one of .*--columns tokens"):
        read_entities(path)
    found = read_entities(path, columns={"tokens": "words", "tags": "entities"})
    assert rows(found) == [(["a"], ["O"])]
    with pytest.raises(ValueError, match="nested too deep"):
        read_entities(written(tmp_path, "b.json", "[" * 100_000))


def test_adjacent_entities_of_one_type():
    assert to_bio(["B-PER", "B-PER", "I-PER"]) == ["B-PER", "B-PER", "I-PER"]
    assert to_bio(["U-PER", "I-PER", "L-PER", "I-PER"]) == ["B-PER", "B-PER", "I-PER", "B-PER"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.conll", "a\tO\nb\tO\tO\n", r"a.conll, line 2 is 'b\\tO\\tO'; needed is token, tag"),
        ("a.conll", "a\tO\n\nb\n", "line 3 is 'b'; needed is token, tag"),
        ("a.conll", "a b c d\n", r"line 1 .*'d' is no tag.*`--columns tags=4`, counted from 1"),
        ("a.conll", "a\n", "line 1 is 'a'; needed is a token and a tag"),
        ("a.conll", "a\tO\nb\tPER\n", r"line 2 .*'PER' is no tag; needed is 'O', or a prefix"),
        ("a.conll", "0\ta\tO\nx\tb\tO\n", "line 2 is .*; needed is number, token, tag"),
        ("a.conll", "\n\n", "holds no sentence"),
        ("a.jsonl", '{"tokens": ["a"]}', r"line 1 holds \['tokens'\]; needed are 'tokens' and"),
        ("a.jsonl", "\n{", "line 2 is not JSON"),
        ("a.jsonl", '{"tokens": ["a"], "tags": []}', "line 1 has 1 tokens and 0 tags"),
        (
            "a.jsonl",
            '{"tokens": ["a"], "tags": [3]}',
            r"numbers without names. Tell what .*--label_map 0=O 1",
        ),
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
    path = written(tmp_path, "a.csv", 'text,label,x\n"a, b",positive,1\nc,negative,2\n')
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
    with pytest.raises(
        ValueError, match="columns go with the tasks sentiment and ner, not with pos"
    ):
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


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (("-1", "0", "1"), ["negative", "neutral", "positive"]),
        (("-1.0", "0.0", "1.0"), ["negative", "neutral", "positive"]),
        (("-1", "+1", "1"), ["negative", "positive", "positive"]),
        (("0", "1", "2"), ["negative", "neutral", "positive"]),
        (("0", "2", "2"), ["negative", "positive", "positive"]),
        (("0", "2", "4"), ["negative", "neutral", "positive"]),
        (("bad", "good", "mixed"), ["bad", "good", "mixed"]),
    ],
)
def test_numbers_mean_what_their_scale_says(tmp_path, labels, names):
    text = "text,label\n" + "".join(f"t{i},{label}\n" for i, label in enumerate(labels))
    assert read_sentiment(written(tmp_path, "a.csv", text))["label"][:] == names


@pytest.mark.parametrize("labels", [("0", "1"), ("1", "2"), ("1", "2", "3", "4", "5"), ("-2", "0")])
def test_numbers_that_could_mean_several_things_are_asked_for(tmp_path, labels):
    text = "text,label\n" + "".join(f"t{i},{label}\n" for i, label in enumerate(labels))
    with pytest.raises(ValueError, match=r"a.csv has the labels .*--label_map"):
        read_sentiment(written(tmp_path, "a.csv", text))
    named = {label: f"class {label}" for label in labels}
    found = read_sentiment(tmp_path / "a.csv", named)
    assert found["label"][:] == list(named.values())


def test_latin_1_as_conll_2002_has_it(tmp_path):
    text = "De Art O\nJos\xe9 N B-PER\n\n-DOCSTART- -DOCSTART- O\nx\x85y N O\n"
    for name, pack in (("ned.train", bytes), ("ned.train.gz", gzip.compress)):
        path = tmp_path / name
        path.write_bytes(pack(text.encode("latin-1")))
        with pytest.raises(ValueError, match=r"is not UTF-8 \(line 2\).*`iconv -f latin1"):
            read_zero_shot("ner", path)
        found = read_zero_shot("ner", path, table_format=TableFormat(encoding="latin-1"))
        assert found["tokens"][:] == [["De", "Jos\xe9"], ["x\x85y"]]
        with pytest.raises(ValueError, match=r"ned\.train.* is not ASCII \(line"):
            read_zero_shot("ner", path, table_format=TableFormat(encoding="ascii"))
    for task, options in (("ner", {"separator": ","}), ("pos", {"encoding": "latin-1"})):
        with pytest.raises(ValueError, match=f"go with the task sentiment, not with {task}"):
            read_zero_shot(task, path, table_format=TableFormat(**options))


def test_names_in_capitals_are_the_same_classes(tmp_path):
    assert sentiment_names(["Positive", "neutral", "NEGATIVE", "Mixed"], "a") == {
        "Positive": "positive", "neutral": "neutral", "NEGATIVE": "negative", "Mixed": "Mixed",
    }  # fmt: skip
    assert sentiment_names(["Positive"], "a", {"Positive": "good"}) == {"Positive": "good"}
    # Neutral ones are left out, in capitals too.
    path = written(tmp_path, "a.csv", "text,label\na,Positive\nb,Neutral\nc,positive\n")
    assert read_zero_shot("sentiment", path).to_dict() == {
        "text": ["a", "c"], "label": ["positive", "positive"],
    }  # fmt: skip


def test_scores_are_no_classes():
    with pytest.raises(ValueError, match=r"a\.csv has scores as labels, such as -0\.25; needed"):
        sentiment_names(["0.0", "-0.25", "1.0"], "a.csv")
    assert sentiment_names(["0.5"], "a.csv", {"0.5": "neutral"}) == {"0.5": "neutral"}


def test_names_given_tell_the_scale_of_the_others():
    assert sentiment_names(["0", "1", "2"], "a", {"2": "good"}) == {
        "0": "negative", "1": "neutral", "2": "good",
    }  # fmt: skip
    assert sentiment_names(["1"], "a", three_classes=True) == {"1": "neutral"}


def test_blank_texts_are_left_out_and_counted(tmp_path, caplog):
    path = written(tmp_path, "a_text.txt", "good\n\n\u200b\nbad\n")
    written(tmp_path, "a_labels.txt", "2\n1\n0\n0\n")
    left_out = Counter()
    found = read_zero_shot("sentiment", path, keep_neutral=True, left_out=left_out)
    assert found.to_dict() == {"text": ["good", "bad"], "label": ["positive", "negative"]}
    assert left_out == {"blank texts": 2}
    assert "a_text.txt: 2 blank texts are left out" in caplog.text
    table = written(tmp_path, "a.csv", "text,label\n  ,positive\na,negative\n")
    assert read_sentiment(table, left_out=left_out)["text"][:] == ["a"]
    assert left_out == {"blank texts": 3}


def test_a_row_of_too_many_columns_is_named(tmp_path):
    path = written(tmp_path, "a.csv", "text,label\ngood,positive\nbad,very,negative\n")
    with pytest.raises(ValueError, match=r"a.csv") as error:
        read_sentiment(path)
    assert "auto_detect" not in str(error.value)


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
    labels.write_text("neutral\nneutral\n")
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
