"""Translation pairs: reading, items, the held-out share, and writing with its counts."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from twhin_hf.data.language_codes import language_code, parse_language_pair, parse_language_pairs
from twhin_hf.data.translation.columns import column_pairs
from twhin_hf.data.translation.pairs import (
    SCHEMA,
    read_translation_pairs,
    split_translation_pairs,
    translation_items,
    write_published_json_lines,
)
from twhin_hf.data.translation.sources import published_pairs
from twhin_hf.data.translation.text import clean_texts
from twhin_hf.data.translation.writing import write_translation_pairs

ROWS = [
    ("Hello\nworld ", "Hola\r\nmundo", "en", "es"),
    ("See https://t.co/a.", "Ver www.t.co", "en", "es"),
    ("Cafe\u0301", "Café solo", "en", "es"),
    ("", "vac\u00edo", "en", "es"),
    ("\u200b ", "blank", "en", "es"),
    (None, "null", "en", "es"),
    ("same", " same", "en", "es"),
    ("Café", "Cafe\u0301 solo", "en", "es"),
    ("Café solo", "Café", "es", "en"),
    ("Hi", "مرحبا", "en", "ar"),
    ("Hi", "مرحبا", "en", "fa"),
]


def dataset(rows):
    names = ["text_a", "text_b", "lang_a", "lang_b"][: len(rows[0])]
    return Dataset.from_dict({name: [row[i] for row in rows] for i, name in enumerate(names)})


def write(rows, folder, **options):
    source = column_pairs(dataset(rows), **options)
    return write_translation_pairs(source, folder, progress=False)


def texts(table):
    return list(zip(table["text_a"].to_pylist(), table["text_b"].to_pylist(), strict=True))


def test_cleaning():
    raw = [
        "a\nb\r\nc",
        " x ",
        "これはhttp://x.y/aです",
        "(https://x.y/?q=1)",
        "e\u0301",
        "http://",
        None,
    ]
    assert clean_texts(pa.array(raw)).to_pylist() == [
        "a [LF] b [LF] c",
        "x",
        "これは[URL]です",
        "([URL])",
        "\u00e9",
        "http://",
        None,
    ]


def test_writes_what_is_a_pair_and_counts_the_rest(tmp_path):
    report = write(ROWS, tmp_path)
    assert report.rows == 11
    assert report.dropped == {"blank texts": 3, "identical sides": 1, "duplicates": 2}
    assert report.pairs == {"en-ar": 1, "en-es": 3, "en-fa": 1}
    assert report.rows == report.num_pairs + sum(report.dropped.values())
    table = pq.read_table(tmp_path / "en-es.parquet")
    assert [(item.name, item.type) for item in table.schema] == [(i.name, i.type) for i in SCHEMA]
    assert texts(table) == [
        ("Hello [LF] world", "Hola [LF] mundo"),
        ("See [URL].", "Ver [URL]"),
        ("Café", "Café solo"),
    ]
    assert json.loads((tmp_path / "_report.json").read_text())["dropped"] == report.dropped
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "_report.json",
        "en-ar.parquet",
        "en-es.parquet",
        "en-fa.parquet",
    ]


def test_order_is_that_of_the_source_over_many_blocks(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 90_000, 120_000)
    rows = [(f"text {n}", f"texto {n}") for n in numbers.tolist()]
    report = write(rows, tmp_path, languages=[("en", "es")])
    first = np.sort(np.unique(numbers, return_index=True)[1])
    assert texts(pq.read_table(tmp_path / "en-es.parquet")) == [rows[row] for row in first]
    assert report.dropped == {"duplicates": len(rows) - len(first)}


def test_nothing_left_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"is left of 2 of .*blank texts: 1, identical sides: 1"):
        write([("a", ""), ("b", "b")], tmp_path)
    with pytest.raises(ValueError, match=r"'\.\./x' is no language code"):
        write([("a", "b", "../x", "en")], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_reads_a_folder_as_it_was_written(tmp_path):
    write(ROWS, tmp_path / "pairs")
    pairs = read_translation_pairs(tmp_path / "pairs", directory=tmp_path / "cache")
    assert pairs.column_names == SCHEMA.names
    assert pairs["lang_b"][:] == ["ar", "es", "es", "es", "fa"]
    assert pairs[1] == {
        "text_a": "Hello [LF] world",
        "text_b": "Hola [LF] mundo",
        "lang_a": "en",
        "lang_b": "es",
        "source": "columns",
    }
    (file,) = (tmp_path / "cache").iterdir()
    assert pairs.cache_files == [{"filename": str(file)}]


def test_reads_csv_and_json_lines_with_what_is_missing_filled_in(tmp_path):
    (tmp_path / "my.csv").write_text('en,es,lang_a\n"one, two","uno, dos",en\n')
    (tmp_path / "my.jsonl").write_text('{"en": "one, two", "es": "uno, dos", "lang_a": "en"}\n')
    for name in ("my.csv", "my.jsonl"):
        (pair,) = read_translation_pairs(tmp_path / name, columns={"text_a": "en", "text_b": "es"})
        assert pair == {
            "text_a": "one, two",
            "text_b": "uno, dos",
            "lang_a": "en",
            "lang_b": "und",
            "source": "my",
        }


def test_what_cannot_be_read_as_pairs(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_translation_pairs(tmp_path / "nowhere")
    (tmp_path / "one.csv").write_text("text_a\nx\n")
    with pytest.raises(ValueError, match="no column 'text_b'; found are text_a"):
        read_translation_pairs(tmp_path / "one.csv")
    (tmp_path / "blank.csv").write_text("text_a,text_b\nx,y\nx, \n")
    with pytest.raises(ValueError, match=r"1 pairs of .* lack a text"):
        read_translation_pairs(tmp_path / "blank.csv")
    (tmp_path / "empty.csv").write_text("text_a,text_b\n")
    with pytest.raises(ValueError, match="holds no translation pair"):
        read_translation_pairs(tmp_path / "empty.csv")


def test_items_are_connected_components():
    table = pa.table(
        {
            "text_a": ["a", "x", "b", "c", "x", "d"],
            "text_b": ["1", "y", "2", "1", "z", "b"],
        }
    )
    # a-1-c, y-x-z, and 2-b-d: "b" is on side a of one pair and on side b of another.
    expected = [0, 1, 2, 0, 1, 2]
    items = translation_items(table)
    assert items.dtype == np.int64
    assert items.tolist() == expected
    assert translation_items(Dataset(table)).tolist() == expected
    chunked = pa.concat_tables([table.slice(0, 2), table.slice(2, 1), table.slice(3)])
    assert translation_items(chunked).tolist() == expected
    assert translation_items(table.slice(0, 0)).tolist() == []


def test_a_split_holds_items_out_whole():
    rows = [(f"text {n}", f"texto {n % 700} {n % 3}") for n in range(3_000)]
    pairs = dataset(rows)
    train, held_out = split_translation_pairs(pairs, 0.2, seed=1)
    assert sorted(train["text_a"][:] + held_out["text_a"][:]) == sorted(pairs["text_a"][:])
    sides = ("text_a", "text_b")
    ours, theirs = ({t for side in sides for t in part[side][:]} for part in (train, held_out))
    assert not ours & theirs
    assert 0.17 < len(set(translation_items(held_out))) / len(set(translation_items(pairs))) < 0.23

    order = np.random.default_rng(0).permutation(len(pairs))
    _, again = split_translation_pairs(pairs.select(order), 0.2, seed=1)
    assert sorted(again["text_a"][:]) == sorted(held_out["text_a"][:])
    _, other = split_translation_pairs(pairs, 0.2, seed=2)
    assert sorted(other["text_a"][:]) != sorted(held_out["text_a"][:])


def test_writes_a_held_out_share(tmp_path):
    rows = [
        (f"text {n // 2}", f"{lang} {n}", "en", lang) for n in range(200) for lang in ("es", "ar")
    ]
    report = write_translation_pairs(
        column_pairs(dataset(rows)), tmp_path, validation_share=0.1, seed=3, progress=False
    )
    assert report.pairs == {"en-ar": 200, "en-es": 200}
    train, held_out = (read_translation_pairs(tmp_path / part) for part in ("train", "validation"))
    assert len(train) + len(held_out) == 400
    assert not set(train["text_a"]) & set(held_out["text_a"])
    assert sorted(file.name for file in (tmp_path / "validation").iterdir()) == [
        "en-ar.parquet",
        "en-es.parquet",
    ]
    assert set(pq.read_table(tmp_path / "train" / "en-ar.parquet")["lang_b"].to_pylist()) == {"ar"}
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "_report.json",
        "train",
        "validation",
    ]
    with pytest.raises(ValueError, match="share to hold out is 2"):
        write_translation_pairs(column_pairs(dataset(rows)), tmp_path / "no", validation_share=2)
    assert not (tmp_path / "no").exists()


def test_both_parts_of_a_split_are_not_read_as_one(tmp_path):
    for part in ("train", "validation"):
        (tmp_path / part).mkdir()
        dataset([(f"{part} a", f"{part} b")]).to_parquet(tmp_path / part / "en-ar.parquet")
    with pytest.raises(ValueError, match=r"name one of them: .*train or .*validation$"):
        read_translation_pairs(tmp_path)
    assert read_translation_pairs(tmp_path / "validation")["text_a"][:] == ["validation a"]


def test_impossible_shares():
    with pytest.raises(ValueError, match="share to hold out is 1; needed"):
        split_translation_pairs(dataset([("a", "b")]), 1)
    with pytest.raises(ValueError, match="2 pairs are 1 items"):
        split_translation_pairs(dataset([("a", "b"), ("a", "c")]), 0.5)


def test_published_json_lines_there_and_back(tmp_path):
    rows = [("a", f"a{n}") for n in range(6)] + [("b\n", "b0"), ("a", "a6")]
    assert write_published_json_lines(dataset(rows), tmp_path / "items.jsonl") == 3
    lines = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    assert lines == [
        {"id": "0", "unique_label_desc": ["a", "a0", "a1", "a2", "a3"]},
        {"id": "1", "unique_label_desc": ["a", "a4", "a5", "a6"]},
        {"id": "2", "unique_label_desc": ["b\n", "b0"]},
    ]
    pairs = read_translation_pairs(tmp_path / "items.jsonl")
    assert set(rows) <= set(zip(pairs["text_a"], pairs["text_b"], strict=True))
    assert len(pairs) == 10 + 6 + 1
    assert set(pairs["lang_a"]) == set(pairs["lang_b"]) == {"und"}


def test_published_items_give_all_combinations_in_order(tmp_path):
    lines = [
        {"id": 1, "unique_label_desc": ["p", "q", "r"]},
        {"id": "2", "unique_label_desc": ["s"]},
        {"id": "3", "unique_label_desc": list("tuvwxyz")},
        {"id": "4", "unique_label_desc": []},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "items.jsonl").write_text(text)
    source = published_pairs(tmp_path / "items.jsonl", progress=False)
    (table,) = source.batches
    found = [a + b for a, b in texts(table)]
    assert found == [
        *("pq", "pr", "qr"),
        *("tu", "tv", "tw", "tx", "uv", "uw", "ux", "vw", "vx", "wx"),
    ]
    assert set(table["lang_a"].to_pylist()) == set(table["lang_b"].to_pylist()) == {"und"}
    beyond = 7 * 6 // 2 - 10
    assert source.dropped == {
        "items without texts": 1,
        "items of one text": 1,
        "texts beyond the first 5 of an item": beyond,
    }
    # The first text of an item is English, the others are Arabic: no pair is of Arabic alone.
    arabic = published_pairs(tmp_path / "items.jsonl", [("en", "ar")], progress=False)
    (table,) = arabic.batches
    assert [a + b for a, b in texts(table)] == ["pq", "pr", "tu", "tv", "tw", "tx"]
    assert set(table["lang_a"].to_pylist()) == {"en"}
    assert set(table["lang_b"].to_pylist()) == {"ar"}
    assert arabic.dropped == {**source.dropped, "pairs of ar alone": 1 + 6}
    two = published_pairs(tmp_path / "items.jsonl", max_texts=2, progress=False)
    assert [a + b for table in two.batches for a, b in texts(table)] == ["pq", "tu"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": 1, "texts": []}', r'items\.jsonl, line 3: no list "unique_label_desc"'),
        ('{"id": 1, "unique_label_desc": "a"}', r"line 3: no list"),
        ("{nothing", r"items\.jsonl, line 3: this is not JSON"),
    ],
)
def test_published_lines_that_are_wrong(tmp_path, line, message):
    good = '{"id": 0, "unique_label_desc": ["a", "b"]}'
    (tmp_path / "items.jsonl").write_text(f"{good}\n\n{line}\n")
    with pytest.raises(ValueError, match=message):
        list(published_pairs(tmp_path / "items.jsonl", progress=False).batches)


def test_published_options_that_are_wrong(tmp_path):
    with pytest.raises(ValueError, match="max_texts is 1"):
        published_pairs(tmp_path, max_texts=1)
    with pytest.raises(ValueError, match="languages names en-ar en-hi, but the published"):
        published_pairs(tmp_path, [("en", "ar"), ("en", "hi")])


def test_languages():
    assert [language_code(c) for c in ("eng", "hin", "jpn", "cmn", "en", "tlh")] == [
        "en",
        "hi",
        "ja",
        "zh",
        "en",
        "tlh",
    ]
    assert parse_language_pairs(["en-ar", "eng-hin"]) == [("en", "ar"), ("en", "hi")]
    for text, message in (
        ("en", "'en' is one language; needed are two"),
        ("en-eng", "one language twice"),
        ("en-ar-hi", "no pair of languages"),
        ("en-", "no pair of languages"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_language_pair(text)
    with pytest.raises(ValueError, match="comes twice"):
        parse_language_pairs(["en-ar", "ar-en"])


def test_old_pairs_in_the_output_are_refused(tmp_path):
    pairs = Dataset.from_dict(
        {"text_a": ["one"], "text_b": ["uno"], "lang_a": ["en"], "lang_b": ["es"]}
    )
    write_translation_pairs(column_pairs(pairs), tmp_path / "pairs", progress=False)
    with pytest.raises(ValueError, match=r"holds 1 Parquet files already, as en-es\.parquet"):
        write_translation_pairs(column_pairs(pairs), tmp_path / "pairs", progress=False)
