"""Sources of translation pairs: Tatoeba, WikiMatrix, Wikidata and tables, and their errors."""

import bz2
import gzip
import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
from datasets import Dataset

from twhin_hf.data.translation import aligned
from twhin_hf.data.translation.aligned import moses_pairs
from twhin_hf.data.translation.columns import column_pairs
from twhin_hf.data.translation.sources import wikimatrix_pairs
from twhin_hf.data.translation.tatoeba import tatoeba_pairs
from twhin_hf.data.translation.wikidata import wikidata_pairs

TATOEBA_TRAIN = Path(__file__).parents[3] / "shared" / "data" / "tatoeba_train"
EN_AR, EN_HI = ("en", "ar"), ("en", "hi")

SENTENCES = [
    "1\teng\tHello.",
    "2\tara\tمرحبًا.",
    "3\thin\tनमस्ते।",
    '4\teng\tShe said "no',
    "5\tara\tقالت لا",
    "6\tdeu\tHallo.",
    "7\tara\tأهلا.",
]
LINKS = ["1\t2", "2\t1", "1\t3", "1\t6", "6\t1", "5\t4", "2\t7", "1\t99", "1\t7"]


def write(path, lines):
    data = "".join(f"{line}\n" for line in lines).encode()
    if path.name.endswith(".tar.bz2"):
        with tarfile.open(path, "w:bz2") as archive:
            member = tarfile.TarInfo(path.name.replace(".tar.bz2", ".csv"))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        return path
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(data))
    return path


def draw(source):
    rows = [row for table in source.batches for row in table.to_pylist()]
    return [(row["text_a"], row["text_b"], f"{row['lang_a']}-{row['lang_b']}") for row in rows]


def tatoeba(path, *langs):
    return tatoeba_pairs(path, langs, progress=False)


EXPECTED = [
    ("Hello.", "مرحبًا.", "en-ar"),
    ("Hello.", "أهلا.", "en-ar"),
    ('She said "no', "قالت لا", "en-ar"),
    ("Hello.", "नमस्ते।", "en-hi"),
]


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tar.bz2"])
def test_tatoeba_sentences_and_links(tmp_path, ending):
    write(tmp_path / f"sentences{ending}", SENTENCES)
    write(tmp_path / f"links{ending}", LINKS)
    source = tatoeba(tmp_path, EN_AR, EN_HI)
    assert draw(source) == EXPECTED
    assert +source.dropped == {
        "links to a sentence that is not there": 1,
        "links given twice or both ways": 1,
        "links between other languages": 3,
    }
    assert len(LINKS) == len(EXPECTED) + source.dropped.total()
    assert draw(tatoeba(tmp_path, ("ar", "en")))[0] == ("مرحبًا.", "Hello.", "ar-en")


def test_tatoeba_by_language(tmp_path):
    for code in ("eng", "ara"):
        own = [line for line in SENTENCES if f"\t{code}\t" in line]
        write(tmp_path / f"{code}_sentences.tsv.bz2", own)
    write(tmp_path / "ara-eng_links.tsv.bz2", ["2\t1", "5\t4", "7\t1"])
    assert draw(tatoeba(tmp_path, EN_AR)) == EXPECTED[:3]


def test_tatoeba_pairs_with_ids(tmp_path):
    path = write(tmp_path / "Sentence pairs in English-Arabic - 2026.tsv", ["1\tHi.\t2\tمرحبا"])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert draw(tatoeba(path, EN_AR)) == [("Hi.", "مرحبا", "en-ar")]


def test_tatoeba_exports_as_they_are_named(tmp_path):
    write(tmp_path / "Sentence pairs in English-Arabic - 2024-01-01.tsv", ["1\tHi.\t2\tمرحبا"])
    name = "Sentence pairs in Mandarin Chinese-Norwegian Bokmål - 2024-01-01 (1).tsv"
    write(tmp_path / name, ["3\t你好\t4\tHei."])
    english, chinese = ("Hi.", "مرحبا", "en-ar"), ("你好", "Hei.", "zh-nb")
    assert draw(tatoeba(tmp_path)) == [english, chinese]
    # The name tells which column is which.
    assert draw(tatoeba(tmp_path, ("ar", "en"))) == [("مرحبا", "Hi.", "ar-en")]
    path = tmp_path / "Sentence pairs in Elvish-Arabic - 2024-01-01.tsv"
    (tmp_path / name).rename(path)
    with pytest.raises(ValueError, match=r"Arabic - 2024-01-01\.tsv does not tell its languages"):
        tatoeba(path)


def test_tatoeba_two_columns(tmp_path):
    write(tmp_path / "en-ar.tsv", ["Hi.\tمرحبا\r", "", "a\u2028b\tج", "one\ttab\ttoo many"])
    write(tmp_path / "en-hi.tsv.gz", ["Hi.\tनमस्ते"])
    arabic = [("Hi.", "مرحبا", "en-ar"), ("a\u2028b", "ج", "en-ar")]
    source = tatoeba(tmp_path)
    assert draw(source) == [*arabic, ("Hi.", "नमस्ते", "en-hi")]
    assert source.dropped == {"lines with too many columns": 1}
    assert draw(tatoeba(tmp_path, ("ar", "en"))) == [(b, a, "ar-en") for a, b, _ in arabic]


@pytest.mark.parametrize(("language", "count"), [("ar", 10_965), ("hi", 2_595)])
def test_tatoeba_train(language, count):
    if not TATOEBA_TRAIN.is_dir():
        pytest.skip(f"needs the data in {TATOEBA_TRAIN}")
    found = draw(tatoeba(TATOEBA_TRAIN, ("en", language)))
    assert len(found) == count
    lines = (TATOEBA_TRAIN / f"en-{language}.tsv").read_text("utf-8").split("\n")
    assert found[count // 2] == (*lines[count // 2].split("\t"), f"en-{language}")


@pytest.mark.parametrize(
    ("files", "langs", "message"),
    [
        ({"links.csv": LINKS}, [EN_AR], r"holds links \(links\.csv\) but not sentences"),
        ({"sentences.csv": SENTENCES}, [EN_AR], r"holds sentences .* but not links"),
        ({"links.csv": LINKS, "sentences.csv": SENTENCES}, [], "need languages"),
        (
            {"links.csv": LINKS, "sentences.csv": SENTENCES},
            [("en", "ja")],
            "has no text in ja; found are ar, en, (hi, de|de, hi)",
        ),
        ({"links.csv": LINKS, "sentences.csv": ["x\teng\ty"]}, [EN_AR], "line 1: 'x' is no id"),
        (
            {"links.csv": ["1"], "sentences.csv": SENTENCES},
            [EN_AR],
            r"links\.csv, line 1: 1 column",
        ),
        ({"en-ar.tsv": ["a\tb"], "en-hi.tsv": []}, [("en", "ja")], "found .* are: en-ar, en-hi"),
        ({"en-ar.tsv": ["a\tb", "", "alone"]}, [EN_AR], "line 3: 1 column, .*The line: 'alone'"),
        ({"pairs.tsv": ["a\tb"]}, [], r"pairs\.tsv does not tell its languages"),
        ({"a.tsv": ["a\tb"], "b.tsv": ["a\tb"]}, [], "No name of a file"),
    ],
)
def test_tatoeba_errors(tmp_path, files, langs, message):
    for name, lines in files.items():
        write(tmp_path / name, lines)
    with pytest.raises(ValueError, match=message):
        draw(tatoeba(tmp_path, *langs))


DECK = [
    "Go.\tVa !\tCC-BY 2.0 (France) Attribution: tatoeba.org #1 (a) & #2 (b)",
    "Hi.\tSalut !\tCC-BY 2.0 (France) Attribution: tatoeba.org #3 (c) & #4 (d)",
]


def test_a_deck_for_anki(tmp_path):
    write(tmp_path / "fra.txt", DECK)
    write(tmp_path / "_about.txt", ["about"])
    assert draw(tatoeba(tmp_path)) == [("Go.", "Va !", "en-fr"), ("Hi.", "Salut !", "en-fr")]
    assert draw(tatoeba(tmp_path / "fra.txt", ("fr", "en")))[0] == ("Va !", "Go.", "fr-en")
    assert draw(tatoeba(write(tmp_path / "deck.txt", DECK), ("en", "fr")))[0][2] == "en-fr"
    with pytest.raises(ValueError, match=r"has no pair file of en-de; found by .* are: en-fr"):
        tatoeba(tmp_path / "fra.txt", ("en", "de"))


@pytest.mark.parametrize(
    ("kind", "more"), [("_detailed", "\tuser\t\\N\t2018-01-01"), ("_CC0", "\t2018-01-01")]
)
def test_tatoeba_sentences_with_more_columns(tmp_path, kind, more):
    write(tmp_path / f"sentences{kind}.csv", [line + more for line in SENTENCES])
    write(tmp_path / "links.csv", LINKS)
    source = tatoeba(tmp_path, EN_AR, EN_HI)
    assert draw(source) == EXPECTED
    assert not source.dropped["lines with too many columns"]
    # They are the same sentences.
    write(tmp_path / "sentences.csv", SENTENCES)
    again = tatoeba(tmp_path, EN_AR, EN_HI)
    assert draw(again) == EXPECTED
    assert again.dropped == source.dropped


MOSES = [("Hello.", "مرحبا."), ("", "فارغ"), ("Good night.", "ليلة سعيدة.")]


@pytest.mark.parametrize(
    "names",
    [
        ("Tatoeba.ar-en.en", "Tatoeba.ar-en.ar"),
        ("tatoeba.ara-eng.eng", "tatoeba.ara-eng.ara"),
        ("train.en.gz", "train.ar"),
    ],
)
def test_aligned_files(tmp_path, names, monkeypatch):
    monkeypatch.setattr(aligned, "_ROWS_PER_BATCH", 2)
    for name, texts in zip(names, zip(*MOSES, strict=True), strict=True):
        write(tmp_path / name, texts)
    write(tmp_path / "Tatoeba.ar-en.ids", ["1"])
    write(tmp_path / "README", ["about"])
    expected = [(*texts, "en-ar") for texts in MOSES]
    for path in (tmp_path, tmp_path / names[0], tmp_path / names[1]):
        assert draw(moses_pairs(path, [EN_AR], progress=False)) == expected
    turned = [(b, a, "ar-en") for a, b in MOSES]
    assert draw(moses_pairs(tmp_path, progress=False)) == turned
    assert draw(tatoeba(tmp_path, EN_AR)) == expected
    with pytest.raises(ValueError, match=r"no aligned files of en-hi; found: .* in ar, en"):
        moses_pairs(tmp_path, [EN_AR, EN_HI], progress=False)
    # Cut off between two batches, and within one.
    for lines in (["a"], ["a", "b"]):
        write(tmp_path / names[1], lines)
        with pytest.raises(ValueError, match=rf"has 3 lines and .* {len(lines)}; needed are two"):
            draw(moses_pairs(tmp_path, [EN_AR], progress=False))
    (tmp_path / names[1]).unlink()
    with pytest.raises(FileNotFoundError, match=r"no two files of one name .* corpus\.en"):
        moses_pairs(tmp_path, progress=False)


def test_held_out_parts_beside_those_to_train_on(tmp_path, caplog):
    for stem in ("opus.ar-en-train", "opus.ar-en-test", "opus.ar-en-dev", "zero.ar-en-test"):
        for code in ("ar", "en"):
            (tmp_path / f"{stem}.{code}").write_text(f"{stem} {code}\n")
    names = ["opus.ar-en-train", "zero.ar-en-test"]
    expected = [(f"{name} ar", f"{name} en", "ar-en") for name in names]
    assert draw(moses_pairs(tmp_path, progress=False)) == expected
    assert "opus.ar-en-dev, opus.ar-en-test. To read one of them, give its file" in caplog.text
    alone = draw(moses_pairs(tmp_path / "opus.ar-en-test.ar", progress=False))
    assert alone == [("opus.ar-en-test ar", "opus.ar-en-test en", "ar-en")]


def test_aligned_files_of_several_languages(tmp_path):
    for code in ("en", "ar", "hi"):
        write(tmp_path / f"dev.{code}", [code])
    found = draw(moses_pairs(tmp_path, [EN_AR, EN_HI], progress=False))
    assert found == [("en", "ar", "en-ar"), ("en", "hi", "en-hi")]
    with pytest.raises(ValueError, match="dev is there in ar, en, hi; name the pairs"):
        moses_pairs(tmp_path, progress=False)


@pytest.mark.parametrize("read", [tatoeba, lambda path: wikidata_pairs(path, [EN_AR])])
def test_no_message_shows_an_expression(tmp_path, read):
    write(tmp_path / "notes.md", ["about"])
    with pytest.raises(FileNotFoundError, match="Needed is a name that ends in") as error:
        read(tmp_path)
    assert not set("\\$?|") & set(str(error.value))


def test_missing_sources(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        tatoeba(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no file"):
        wikimatrix_pairs(tmp_path)


def test_wikimatrix_keeps_what_is_above_the_margin(tmp_path):
    lines = ["1.2\tمرحبا\tHi", "1.05\tالحد\tlimit", "0.9\tضعيف\tweak", "1.06e0\tب\tb"]
    path = write(tmp_path / "WikiMatrix.ar-en.tsv.gz", lines)
    source = wikimatrix_pairs(path, [EN_AR], progress=False)
    assert draw(source) == [("Hi", "مرحبا", "en-ar"), ("b", "ب", "en-ar")]
    assert source.dropped == {"score not above 1.05": 2}
    assert len(draw(wikimatrix_pairs(tmp_path, min_score=1.0, progress=False))) == 3


def test_wikimatrix_errors(tmp_path):
    path = tmp_path / "WikiMatrix.ar-en.tsv.gz"

    def message():
        with pytest.raises(ValueError, match="WikiMatrix") as error:
            draw(wikimatrix_pairs(path, [EN_AR], progress=False))
        return str(error.value)

    path.write_text("1.2\ta\tb\n")
    assert "is not gzip, though its name ends in .gz: it begins with b'1.2" in message()
    packed = gzip.compress(b"1.2\ta\tb\n" * 1000)
    path.write_bytes(packed[: len(packed) // 2])
    assert "is cut off or damaged: " in message()
    path.write_bytes(gzip.compress(b"1.2\ta\tb\n1.3\t\xff\tb\n"))
    assert "is not UTF-8 (line 2)" in message()
    write(path, ["1.2\ta\tb", "high\ta\tb"])
    assert "line 2: 'high' is no score. The line: 'high\\ta\\tb'" in message()
    write(path, ["a\tb"])
    assert "line 1: 2 columns, where 3 are needed" in message()


def item(number, labels, descriptions):
    def values(texts):
        # Wikidata writes an empty mapping as a list.
        return {code: {"language": code, "value": text} for code, text in texts.items()} or []

    return json.dumps(
        {
            "type": "item",
            "id": f"Q{number}",
            "labels": values(labels),
            "descriptions": values(descriptions),
        },
        ensure_ascii=False,
    )


ITEMS = [
    item(1, {"en": "Cairo", "ar": "القاهرة"}, {"en": "capital of Egypt", "ar": "عاصمة مصر"}),
    item(2, {"en": "Delhi", "hi": "दिल्ली"}, {"en": "city", "hi": "शहर"}),
    item(3, {"en": "label only", "ar": "فقط"}, {}),
    item(4, {}, {}),
]
CAIRO = ("Cairo capital of Egypt", "القاهرة عاصمة مصر", "en-ar")
DELHI = ("Delhi city", "दिल्ली शहर", "en-hi")


@pytest.mark.parametrize("name", ["all.json", "all.json.gz", "all.json.bz2", "items.jsonl"])
def test_wikidata_dump(tmp_path, name):
    whole = ["[", *(f"{line}," for line in ITEMS[:-1]), ITEMS[-1], "]"]
    path = write(tmp_path / name, ITEMS if name.endswith("jsonl") else whole)
    source = wikidata_pairs(path, [EN_AR, EN_HI], progress=False)
    assert draw(source) == [CAIRO, DELHI]
    assert source.dropped == {"items without label or description in a language": 6}
    with pytest.raises(ValueError, match="no text in ja; found are en, ar, hi"):
        draw(wikidata_pairs(path, [("en", "ja")], progress=False))


def test_wikidata_in_the_variants_of_a_language(tmp_path):
    lines = [
        item(
            1, {"en": "Cairo", "zh-hant": "開羅", "zh-hans": "开罗"}, {"en": "city", "zh": "城市"}
        ),
        item(2, {"en": "Delhi", "zh": "德里", "zh-cn": "x"}, {"en": "city", "zh-hk": "都市"}),
        item(3, {"en": "label only", "zh-tw": "標籤"}, {"en": "text"}),
    ]
    source = wikidata_pairs(write(tmp_path / "all.json", lines), [("en", "zh")], progress=False)
    assert draw(source) == [
        ("Cairo city", "开罗 城市", "en-zh"),
        ("Delhi city", "德里 都市", "en-zh"),
    ]
    assert source.dropped.total() == 1


def test_wikidata_query_answers(tmp_path):
    names = ["item", "label_en", "description_en", "label_ar", "description_ar"]
    rows = [
        ["Q1", "Cairo", "capital of Egypt", "القاهرة", "عاصمة مصر"],
        ["Q2", 'a "quoted"\tlabel', "b\\c, d", "ا", "ب"],
        ["Q3", "label only", "", "فقط", ""],
    ]
    expected = [CAIRO, ('a "quoted"\tlabel b\\c, d', "ا ب", "en-ar")]

    def quoted(text, mark='""'):
        return '"' + text.replace('"', mark) + '"'

    def term(name, text):
        text = quoted(text.replace("\\", "\\\\").replace("\t", "\\t"), '\\"')
        return f"{text}@{name[-2:]}" if "_" in name else "<http://x/Q>"

    csv = [names, *([quoted(text) for text in row] for row in rows)]
    write(tmp_path / "answer.csv", [",".join(row) for row in csv])
    header = "\t".join(f"?{name}" for name in names)
    tsv = ["\t".join(term(*pair) for pair in zip(names, row, strict=True)) for row in rows]
    write(tmp_path / "answer.tsv", [header, *tsv])
    bindings = [
        {
            name: {"type": "literal", "value": text}
            for name, text in zip(names, row, strict=True)
            if text
        }
        for row in rows
    ]
    answer = {"head": {"vars": names}, "results": {"bindings": bindings}}
    (tmp_path / "answer.json").write_text(json.dumps(answer, indent=1))
    (tmp_path / "dense.json").write_text(json.dumps(answer))
    for name in ("answer.csv", "answer.tsv", "answer.json", "dense.json"):
        source = wikidata_pairs(tmp_path / name, [EN_AR], progress=False)
        assert draw(source) == expected, name
        assert source.dropped.total() == 1
        with pytest.raises(ValueError, match="no column 'label_hi'; found are item, label_en"):
            draw(wikidata_pairs(tmp_path / name, [EN_HI], progress=False))


@pytest.mark.parametrize("indent", [None, 1])
def test_wikidata_items_in_one_document(tmp_path, indent):
    items = [json.loads(line) for line in ITEMS]
    for document in (items, {"entities": {item["id"]: item for item in items}, "success": 1}):
        path = tmp_path / "items.json"
        path.write_text(json.dumps(document, indent=indent), encoding="utf-8")
        assert draw(wikidata_pairs(path, [EN_AR, EN_HI], progress=False)) == [CAIRO, DELHI]
    path.write_text(json.dumps(items[0], indent=indent), encoding="utf-8")
    assert draw(wikidata_pairs(path, [EN_AR], progress=False)) == [CAIRO]
    for other in ({"boolean": True, "head": {}}, {"rows": []}, ["Q1"]):
        path.write_text(json.dumps(other, indent=1))
        with pytest.raises(ValueError, match=r"items\.json is (no answer|JSON, but neither)"):
            draw(wikidata_pairs(path, [EN_AR], progress=False))


def test_wikidata_errors(tmp_path):
    with pytest.raises(ValueError, match="Wikidata has many languages"):
        wikidata_pairs(tmp_path, [])
    path = write(tmp_path / "all.json", ["[", f"{ITEMS[0]},", '{"type": ', "]"])
    with pytest.raises(ValueError, match=r"all\.json, line 3: this is not JSON"):
        draw(wikidata_pairs(path, [EN_AR], progress=False))
    write(path, ["[", ITEMS[2], "]"])
    with pytest.raises(ValueError, match="no item with label and description in ar, en"):
        draw(wikidata_pairs(path, [EN_AR], progress=False))
    # Labels that are no object, and another value first under the same key.
    for labels in ("11", '"Q1"', '"Q1", "labels": {"en": {"x": "d"}}'):
        write(path, ["[", f'{{"id": "Q1", "labels": {labels}}},', "]"])
        with pytest.raises(ValueError, match="no item with label and description in ar, en"):
            draw(wikidata_pairs(path, [EN_AR], progress=False))
    write(path, ["[", '{"id": "Q1", "labels": ' + "ラーメン" * 30 + "},", "]"])
    with pytest.raises(ValueError, match=r"all\.json, line 2: this is not JSON"):
        draw(wikidata_pairs(path, [EN_AR], progress=False))
    (tmp_path / "all.json").write_text('{"head": {\n')
    with pytest.raises(ValueError, match=r"all\.json, line 1: this is not JSON"):
        draw(wikidata_pairs(path, [EN_AR], progress=False))


def test_columns_of_a_data_set(tmp_path):
    rows = {"translation": [{"en": f"text {n}", "ar": f"نص {n}"} for n in range(3)]}
    data = Dataset.from_dict(rows).flatten()
    columns = {"text_a": "translation.en", "text_b": "translation.ar"}
    expected = [(f"text {n}", f"نص {n}", "en-ar") for n in range(3)]
    assert draw(column_pairs(data, [EN_AR], columns=columns)) == expected
    stream = data.to_iterable_dataset()
    assert draw(column_pairs(stream, [EN_AR], columns=columns)) == expected
    assert draw(column_pairs(data, columns=columns))[0] == ("text 0", "نص 0", "und-und")
    data.to_csv(tmp_path / "x.csv")
    assert draw(column_pairs(tmp_path / "x.csv", [EN_AR], columns=columns)) == expected
    with pytest.raises(ValueError, match="no column 'text_a'; found are translation"):
        draw(column_pairs(data, [EN_AR]))
    with pytest.raises(
        ValueError, match="names en-ar en-hi, but the table given has no columns of"
    ):
        draw(column_pairs(data, [EN_AR, EN_HI], columns=columns))


def test_columns_with_languages():
    data = Dataset.from_dict(
        {
            "text_a": ["a", "b", "c", "d"],
            "text_b": ["A", "B", "C", "D"],
            "lang_a": ["en", "ar", "en", "en"],
            "lang_b": ["ar", "en", "de", None],
        }
    )
    source = column_pairs(data, [EN_AR])
    assert draw(source) == [("a", "A", "en-ar"), ("B", "b", "en-ar")]
    assert source.dropped == {"other languages": 2}
    whole = [("a", "A", "en-ar"), ("b", "B", "ar-en"), ("c", "C", "en-de"), ("d", "D", "en-und")]
    assert draw(column_pairs(data)) == whole
    # Three-letter codes are those of two letters.
    longer = data.remove_columns(["lang_a", "lang_b"])
    longer = longer.add_column("lang_a", ["eng", "arb", "eng", "cmn"])
    longer = longer.add_column("lang_b", ["ara", "eng", "deu", None])
    assert draw(column_pairs(longer, [EN_AR])) == [("a", "A", "en-ar"), ("B", "b", "en-ar")]
    assert draw(column_pairs(longer)) == [*whole[:3], ("d", "D", "zh-und")]
    with pytest.raises(
        ValueError, match="the table given has no text in hi; found are en, ar, de, und"
    ):
        draw(column_pairs(data, [EN_HI]))
    with pytest.raises(ValueError, match="lang_a but none lang_b"):
        draw(column_pairs(data.remove_columns("lang_b")))
    with pytest.raises(ValueError, match="lang_b but none lang_a"):
        draw(column_pairs(data.remove_columns("lang_a")))
    table = pa.table({"text_a": pa.array(["x"], pa.large_string()), "text_b": ["y"]})
    assert draw(column_pairs(Dataset(table))) == [("x", "y", "und-und")]
