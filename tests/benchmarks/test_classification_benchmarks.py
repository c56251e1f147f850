import bz2
import json
from pathlib import Path

import pytest

from twhin_hf.benchmarks.classification.benchmarks import (
    BENCHMARKS,
    UMSAB_LANGUAGES,
    find_benchmark,
    find_files,
    load_benchmark,
)
from twhin_hf.benchmarks.classification.formats import read_labelled_table
from twhin_hf.evaluation.classification_metrics import METRICS
from twhin_hf.table_format import TableFormat

SHARED = Path(__file__).parents[3] / "shared" / "data"


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def rows(found, split):
    return list(zip(found.splits[split]["text"], found.splits[split]["label"], strict=True))


def tweeteval(folder, labels=("0", "1")):
    return {
        f"{folder}/{split}_{kind}.txt": "\n".join(values) + "\n"
        for split in ("train", "val", "test")
        for kind, values in (("text", [f"{split} {label}" for label in labels]), ("labels", labels))
    }


# --- what is known by name ------------------------------------------------------------------------


def test_metrics_are_those_of_the_papers():
    for name in ("semeval2017", "asad", "tweeteval-sentiment"):
        assert find_benchmark(name).metric == "average recall"
    assert find_benchmark("covid-ja").metric == "accuracy"
    for name, metric in (("semeval2018-en", "macro F1"), ("semeval2020-es", "accuracy")):
        assert find_benchmark(name).metric == metric
    assert find_benchmark("tweeteval-irony").metric == "F1 of irony"
    assert {benchmark.metric for benchmark in BENCHMARKS.values()} <= METRICS.keys()
    with pytest.raises(ValueError, match="no benchmark 'sst2'; known are semeval2017"):
        load_benchmark("sst2", ".")


# --- formats --------------------------------------------------------------------------------------


def test_tweeteval_takes_the_task_and_its_names(tmp_path):
    files = tweeteval("irony") | tweeteval("emoji") | tweeteval("stance/climate", ("0", "1", "2"))
    files["emoji/mapping.txt"] = "0\t❤\t_red_heart_\t\n1\t😍\t_smiling_\t\n"
    write(tmp_path, files)
    emoji = load_benchmark("tweeteval-emoji", tmp_path)
    assert rows(emoji, "test") == [("test 0", "❤"), ("test 1", "😍")]
    assert rows(emoji, "validation") == [("val 0", "❤"), ("val 1", "😍")]
    irony = load_benchmark("tweeteval-irony", tmp_path)
    assert rows(irony, "train") == [("train 0", "not irony"), ("train 1", "irony")]
    stance = load_benchmark("tweeteval-stance-climate", tmp_path)
    assert stance.splits["test"]["label"][:] == ["none", "against", "favor"]
    assert stance.notes == {}
    assert {file.name for file in emoji.files} == {
        *(
            f"{split}_{kind}.txt"
            for split in ("train", "val", "test")
            for kind in ("text", "labels")
        ),
        "mapping.txt",
    }


def test_blank_texts_are_left_out_and_counted(tmp_path, caplog):
    files = tweeteval("hate")
    files["hate/train_text.txt"] = "a fine text\n\u00a0\n\nanother\n"
    files["hate/train_labels.txt"] = "0\n1\n1\n1\n"
    files["hate/test_text.txt"] = "\nb\n"
    found = load_benchmark("tweeteval-hate", write(tmp_path, files))
    assert rows(found, "train") == [("a fine text", "not hateful"), ("another", "hateful")]
    assert rows(found, "test") == [("b", "hateful")]
    assert found.notes == {"blank_texts": {"train": 2, "test": 1}}
    assert "tweeteval-hate, blank texts left out: 2 train, 1 test" in caplog.text


def test_signed_sentiments_of_a_table(tmp_path):
    table = "text,label\n" + "".join(f"t{i},{i % 3 - 1}\n" for i in range(60))
    found = load_benchmark("asad", write(tmp_path, {"train.csv": table}))
    names = ["negative", "neutral", "positive"]
    for text, label in (row for split in found.splits for row in rows(found, split)):
        assert label == names[int(text[1:]) % 3]


def test_semeval2018_takes_its_language(tmp_path):
    write(
        tmp_path,
        {
            "train/crawler/data/us/tweet_by_ID_1.txt.text": "good\u2028day\nbad\n",
            "train/crawler/data/us/tweet_by_ID_1.txt.labels": "3\n4\n",
            "trial/us_trial.text": "trial\n",
            "trial/us_trial.labels": "3\n",
            "test/us_test.text": "test\n",
            "test/us_test.labels": "4\n",
            "test/es_test.text": "prueba\n",
            "test/es_test.labels": "5\n",
            "train/es_train.text": "uno\ndos\n",
            "train/es_train.labels": "5\n6\n",
            "trial/es_trial.text": "tres\n",
            "trial/es_trial.labels": "6\n",
        },
    )
    english = load_benchmark("semeval2018-en", tmp_path)
    assert rows(english, "train") == [("good\u2028day", "3"), ("bad", "4")]
    assert rows(english, "validation") == [("trial", "3")]
    assert rows(load_benchmark("semeval2018-es", tmp_path), "test") == [("prueba", "5")]


HINGLISH = "meta\t3\tnegative\nmeta\tEng\nkya\tHin\n\nmeta\t4\tpositive\nnice\tEng\n\n"
UNLABELLED = "meta\t7\n@\tO\nuser\tEng\nhai\tHin\n\nmeta\t8\nok\tEng\n"


def test_semeval2020_reads_tokens_and_the_labels_of_the_test_set(tmp_path):
    write(
        tmp_path,
        {
            "Hinglish/Hinglish_train_14k_split_conll.txt": HINGLISH,
            "Hinglish/Hinglish_dev_3k_split_conll.txt": HINGLISH,
            "Hinglish/Hinglish_test_unalbelled_conll_updated.txt": UNLABELLED,
            "Hinglish/Hinglish_test_labels.txt": "Uid,Sentiment\n7,neutral\n8,positive\n",
            "Spanglish/Spanglish_train.conll": "meta\t1\tneutral\nhola\tlang2\n\n",
            "README.txt": "about\n",
        },
    )
    found = load_benchmark("semeval2020-hi", tmp_path)
    # The first word of a tweet may be "meta" too.
    assert rows(found, "train") == [("meta kya", "negative"), ("nice", "positive")]
    assert rows(found, "test") == [("@ user hai", "neutral"), ("ok", "positive")]
    (tmp_path / "Hinglish" / "Hinglish_test_labels.txt").unlink()
    with pytest.raises(ValueError, match=r"line 1: tweet '7' has no sentiment. Put the file with"):
        load_benchmark("semeval2020-hi", tmp_path)


def test_semeval2020_of_spanish_has_heads_of_another_form(tmp_path):
    head = "# sent_enum = {}\tneutral\nhola\tlang2\n# {}\tother\n\t\n".format
    write(
        tmp_path,
        {
            "Spanglish/train.conll": head(1, "all") + head(2, "all"),
            "Spanglish/Spanglish_train.conll": head(1, "t"),
            "Spanglish/Spanglish_dev.conll": head(1, "d"),
            "Spanglish/Spanglish_test_conll_unlabeled.txt": "meta\t1\nsoy\tlang2\n",
            "Spanglish/Spanglish_test_labels.txt": "Uid,Sentiment\n1,positive\n",
        },
    )
    found = load_benchmark("semeval2020-es", tmp_path)
    assert rows(found, "train") == [("hola # t", "neutral")]
    assert rows(found, "validation") == [("hola # d", "neutral")]
    assert rows(found, "test") == [("soy", "positive")]


def test_another_benchmark_of_the_same_publication_is_not_taken_for_it(tmp_path):
    for language in ("arabic", "english"):
        for split in ("train", "val", "test"):
            write(
                tmp_path / "umsab" / language,
                {f"{split}_text.txt": f"{split}\n", f"{split}_labels.txt": "1\n"},
            )
    with pytest.raises(ValueError, match=r"no file of umsab-de; it holds those of umsab-ar, umsab"):
        load_benchmark("umsab-de", tmp_path / "umsab")
    assert rows(load_benchmark("umsab-de", tmp_path / "umsab" / "arabic"), "test")
    assert find_files("umsab-fr", tmp_path / "umsab") == []


def test_semeval2017_trains_on_earlier_years(tmp_path):
    write(
        tmp_path,
        {
            "twitter-2013train-A.txt": '1\tpositive\t"a good day"\n2\tneutral\tNot Available\n',
            "twitter-2016test-A.txt": "3\tnegative\ta bad\tday\n",
            "twitter-2016devtest-A.txt": "4\tneutral\ta day\n",
            "SemEval2017-task4-test.subtask-A.english.txt": "5\tpositive\tgood\n",
            "livejournal-README.txt": "about\n",
        },
    )
    found = load_benchmark("semeval2017", tmp_path)
    assert rows(found, "train") == [('"a good day"', "positive"), ("a bad\tday", "negative")]
    assert rows(found, "validation") == [("a day", "neutral")]
    assert rows(found, "test") == [("good", "positive")]
    assert found.notes == {"labels_without_text": {"train": 1}}


def test_asad_reads_tables_by_their_columns(tmp_path):
    write(
        tmp_path,
        {
            "train_all.csv": "ID,Sentiment,Tweet\n"
            + "".join(f'{i},{"Positive" if i % 2 else "Negative"},"نص {i}"\n' for i in range(60)),
            "test1_with_text.csv": "id,tweet,sentiment\n1,نص 3,Positive\n",
        },
    )
    found = load_benchmark("asad", tmp_path)
    train, validation = (set(found.splits[name]["text"]) for name in ("train", "validation"))
    assert len(train | validation) == 60
    assert not train & validation
    assert 1 <= len(validation) <= 15
    assert found.notes["splits_made_here"] == {"validation": "a tenth of train"}
    assert found.notes.get("texts_of_train_in_test", 0) == int("نص 3" in train)
    again = load_benchmark("asad", tmp_path)
    assert again.splits["validation"]["text"][:] == found.splits["validation"]["text"][:]


def test_covid_ja_is_hydrated(tmp_path):
    table = "tweet_id,assessment_option_id\n" + "".join(
        f"12345678901234{i:05},{63 + i % 2}\n" for i in range(200)
    )
    path = tmp_path / "covid19.csv.bz2"
    path.write_bytes(bz2.compress(table.encode()))
    with pytest.raises(ValueError, match=r"holds ids and labels without texts. Give the texts"):
        load_benchmark("covid-ja", path)
    texts = tmp_path / "texts.csv"
    texts.write_text(
        "post_id,text\n" + "".join(f"12345678901234{i:05},マスク{i}\n" for i in range(150))
    )
    found = load_benchmark("covid-ja", path, texts)
    assert sum(map(len, found.splits.values())) == 150
    assert found.notes["labels_without_text"] == {"train": 50}
    assert set(found.notes["splits_made_here"]) == {"validation", "test"}
    assert set(found.splits["train"]["label"]) == {"general fact", "personal fact"}
    texts = found.splits["test"]["text"][:]
    labels = found.splits["test"]["label"][:]
    expected = ["general fact" if int(text[3:]) % 2 == 0 else "personal fact" for text in texts]
    assert labels == expected


def test_columns_of_other_names(tmp_path):
    rows = "".join(f"text {number},{'ab'[number % 2]}\n" for number in range(60))
    folder = write(tmp_path, {"train.csv": f"body,mood\n{rows}"})
    with pytest.raises(ValueError, match=r"Say which they are .*`--columns text=... label=...`"):
        load_benchmark("asad", folder)
    found = load_benchmark("asad", folder, columns={"text": "body", "label": "mood"})
    assert set(found.splits["train"]["label"]) == {"a", "b"}
    with pytest.raises(ValueError, match=r"columns names txt, .*; known are "):
        load_benchmark("asad", folder, columns={"txt": "body"})
    with pytest.raises(ValueError, match="has no column 'no'; found are body, mood"):
        load_benchmark("asad", folder, columns={"text": "no", "label": "mood"})


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"notes.md": "x"}, "holds no file of asad that can be read; found are notes.md. Read are"),
        ({"train.csv": "a,b\n1,2\n"}, r"has the columns a, b; needed are a label \(label, senti"),
        ({"train.csv": "text,label\n ,x\n"}, "train.csv holds no text with a label"),
        ({"train.csv": "text,label\n ,\na, \n"}, "the label of row 2 is blank"),
        ({"test.csv": "text,label\na,x\n"}, "no file of asad is of train; found are test.csv"),
        ({"train.csv": "text,label\na,x\n"}, "the 1 texts of train are too few"),
        (
            {"train_text.txt": "a\nb\n", "train_labels.txt": "0\n"},
            "has 2 lines and train_labels.txt 1; needed is one label a text",
        ),
        (
            {"train.conll": "meta\t1\tpositive\na\tX\n\nb\tX\n"},
            r"line 4 is 'b\\tX'; needed is 'meta'",
        ),
        ({"train.txt": "1\tpositive\ta\n2\tgood\tb\n"}, "line 2 is .* needed are an id, one of"),
        ({"train.txt": "1\tpositive\n"}, "line 1 is .* needed are an id, one of"),
    ],
)
def test_bad_files(tmp_path, files, message):
    with pytest.raises(ValueError, match=message):
        load_benchmark("asad", write(tmp_path, files))


def test_missing_and_damaged(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"There is no .*gone; give the folder of the files"
    ):
        load_benchmark("asad", tmp_path / "gone")
    (tmp_path / "train.csv.bz2").write_bytes(bz2.compress(b"text,label\na,x\n")[:-4])
    with pytest.raises(ValueError, match=r"train.csv.bz2 is cut off or damaged"):
        load_benchmark("asad", tmp_path)
    (tmp_path / "train.csv.bz2").unlink()
    (tmp_path / "train_text.txt").write_bytes(b"\xe9t\xe9\n")
    (tmp_path / "train_labels.txt").write_text("0\n")
    with pytest.raises(ValueError, match=r"train_text.txt is not UTF-8"):
        load_benchmark("asad", tmp_path)
    (tmp_path / "emoji").mkdir()
    write(tmp_path, tweeteval("emoji") | {"emoji/mapping.txt": "0 heart\n"})
    with pytest.raises(ValueError, match=r"mapping.txt: '0 heart' is no number, a tab and a name"):
        load_benchmark("tweeteval-emoji", tmp_path / "emoji")


# --- real data ------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "ar", "hi", "es"])
def test_umsab(language):
    folder = SHARED / "umsab"
    if not (folder / UMSAB_LANGUAGES[language]).is_dir():
        pytest.skip(f"no {folder}")
    found = load_benchmark(f"umsab-{language}", folder)
    assert {name: len(dataset) for name, dataset in found.splits.items()} == {
        "train": 1839,
        "validation": 324,
        "test": 870,
    }
    assert set(found.splits["train"]["label"]) == {"negative", "neutral", "positive"}


def test_tweeteval_emoji():
    folder = SHARED / "tweeteval"
    if not (folder / "emoji").is_dir():
        pytest.skip(f"no {folder}")
    found = load_benchmark("tweeteval-emoji", folder)
    assert {name: len(dataset) for name, dataset in found.splits.items()} == {
        "train": 45_000,
        "validation": 5_000,
        "test": 50_000,
    }
    assert found.splits["test"][0] == {"text": "en Pelham Parkway", "label": "😂"}
    assert len(set(found.splits["train"]["label"])) == 20
    assert "❤" in found.splits["train"]["label"]


def test_tables_of_labels_are_read_as_all_tables_are(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text('text\tlabel\n"a\tx\nb"\ty\n')
    assert read_labelled_table(path).texts == ['"a', 'b"']
    path = tmp_path / "train.csv"
    path.write_text('id;tweet;class\n1;"é; è";x\n', encoding="latin-1")
    table_format = TableFormat(separator=";", encoding="latin-1")
    assert read_labelled_table(path, table_format=table_format).texts == ["é; è"]
    late = [{"label": "x", "text": "a"}] * 150 + [{"label": "x", "tweet_id": 5, "text": "b"}]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in late))
    assert len(read_labelled_table(path).texts) == 151
