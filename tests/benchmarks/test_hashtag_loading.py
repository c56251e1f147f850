import json
import shutil
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from twhin_hf.benchmarks.hashtag.loading import (
    HashtagPrediction,
    hashtag_configs,
    hashtag_languages,
    load_hashtag_prediction,
)
from twhin_hf.benchmarks.hub_folder import DatasetCard, write_hub_folder

SPLITS = {
    "train": [("1", "BTS"), ("2", "love"), ("3", "BTS"), ("4", "love"), ("9", "love")],
    "dev": [("5", "BTS"), ("6", "love")],
    "test": [("7", "BTS"), ("8", "love")],
}
POSTS = {str(i): f"post {i} ＃ｂｔｓ! #LOVE it" for i in range(1, 9)} | {"9": "#Love"}


def write_tables(folder, splits=SPLITS, pattern="{lang}/{split}.tsv", langs=("en", "iw")):
    for lang in langs:
        for split, rows in splits.items():
            path = folder / pattern.format(lang=lang, split=split)
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = "".join("\t".join(row) + "\n" for row in rows)
            path.write_text(f"ID\tlabel\n{lines}", encoding="utf-8")
    return folder


@pytest.fixture
def hydration(tmp_path):
    path = tmp_path / "posts.jsonl"
    posts = [{"id_str": key, "full_text": text} for key, text in POSTS.items() if key != "3"]
    path.write_text("".join(json.dumps(post) + "\n" for post in posts), encoding="utf-8")
    return path


def load(folder, hydration=None, language="en", **options):
    options.setdefault("cache_dir", folder.parent / "cache")
    return load_hashtag_prediction(language, data_dir=folder, hydration=hydration, **options)


def change(**splits):
    return SPLITS | splits


def test_the_published_archive_with_texts(tmp_path, hydration):
    folder = write_tables(tmp_path / "hashtag-classification-id")
    shutil.make_archive(str(folder), "zip", tmp_path, folder.name)
    archive = folder.with_suffix(".zip")
    loaded = load(archive, hydration)
    assert loaded["train"].to_dict() == {
        "id": ["1", "2", "4"],
        "text": ["post 1 ! #LOVE it", "post 2 ＃ｂｔｓ! it", "post 4 ＃ｂｔｓ! it"],
        "label": [0, 1, 1],
    }
    assert loaded["train"].features["label"] == ClassLabel(names=["BTS", "love"])
    assert {name: own["id"][:] for name, own in loaded.items()} == {
        "train": ["1", "2", "4"],
        "validation": ["5", "6"],
        "test": ["7", "8"],
    }
    # The post 3 has no text, the post 9 nothing but its hashtag.
    expected = "train 3 of 5, validation 2 of 2, test 2 of 2."
    assert expected in loaded["train"].info.description
    # From the cache, by the content: the folder is the archive.
    again = load(folder, hydration)
    assert again["train"].cache_files == loaded["train"].cache_files
    assert expected in again["train"].info.description
    for code in ("he", "iw"):
        assert load(archive, hydration, code)["train"][:] == loaded["train"][:]
    assert hashtag_languages(archive) == ["en", "he"]


def test_the_cache_sees_changed_files(tmp_path, hydration):
    folder = write_tables(tmp_path / "set")
    before = load(folder, hydration)["test"]["text"][:]
    hydration.write_text(hydration.read_text().replace("post", "changed"))
    assert load(folder, hydration)["test"]["text"][:] == [
        text.replace("post", "changed") for text in before
    ]
    write_tables(folder, change(test=[("7", "BTS")]))
    assert load(folder, hydration)["test"].num_rows == 1


@pytest.mark.parametrize(
    "pattern", ["{split}/{lang}.tsv", "{lang}_{split}.tsv", "x/{split}.{lang}.tsv"]
)
def test_other_layouts(tmp_path, hydration, pattern):
    folder = write_tables(tmp_path / "hashtag-classification-id", pattern=pattern)
    assert load(folder, hydration)["test"]["id"][:] == ["7", "8"]
    assert hashtag_languages(folder) == ["en", "he"]


def test_columns_of_other_names(tmp_path, hydration):
    folder = write_tables(tmp_path / "data")
    expected = load(folder, hydration)
    for path in folder.rglob("*.tsv"):
        path.write_text(path.read_text().replace("ID\tlabel", "key\tclass"))
    with pytest.raises(ValueError, match=r"no column id and none label.*--columns id=... label"):
        load(folder, hydration)
    found = load(folder, hydration, columns={"id": "key", "label": "class"})
    assert found["train"].to_dict() == expected["train"].to_dict()
    with pytest.raises(ValueError, match="columns names key, which is not read here"):
        load(folder, hydration, columns={"key": "id"})


def test_streaming_and_processes_give_the_same(tmp_path):
    rows = {
        split: [(f"{split}{i}", ("a", "b", "c")[i % 3]) for i in range(count)]
        for split, count in (("train", 2500), ("dev", 30), ("test", 30))
    }
    folder = write_tables(tmp_path / "set", rows)
    ids = [post_id for own in rows.values() for post_id, _ in own]
    table = pa.table({"post_id": ids, "text": [f"text {post_id} #a #b" for post_id in ids]})
    pq.write_table(table, tmp_path / "texts.parquet")
    plain = load(folder, tmp_path / "texts.parquet")
    builder = HashtagPrediction(
        config_name="en",
        data_dir=folder,
        hydration=tmp_path / "texts.parquet",
        cache_dir=str(tmp_path / "other"),
    )
    builder.download_and_prepare(num_proc=2)
    shared = builder.as_dataset()
    assert len(shared["train"].cache_files) == 2
    assert sorted(shared["train"]["id"][:]) == sorted(plain["train"]["id"][:])
    stream = load(folder, tmp_path / "texts.parquet", streaming=True)
    assert list(stream["test"]) == plain["test"].to_list()
    assert stream["train"].features == plain["train"].features
    assert next(iter(stream["train"])) == {"id": "train0", "text": "text train0 #b", "label": 0}


def test_hydrated_folders_and_our_own(tmp_path, hydration):
    folder = tmp_path / "hydrated" / "en"
    folder.mkdir(parents=True)
    for split, rows in SPLITS.items():
        lines = "".join(f"{key}\t{POSTS[key]}\t#{label}\n" for key, label in rows)
        (folder / f"{split}.tsv").write_text(f"ID\ttext\tlabel\n{lines}", encoding="utf-8")
    loaded = load(folder.parent)
    assert loaded["train"]["text"][:2] == ["post 1 ! #LOVE it", "post 2 ＃ｂｔｓ! it"]
    assert loaded["train"].features["label"].names == ["BTS", "love"]
    with pytest.raises(ValueError, match="holds the texts already; leave hydration out"):
        load(folder.parent, hydration)
    # What we write ourselves holds the labels as numbers.
    ids_alone = write_tables(tmp_path / "set")
    own = write_hub_folder(
        hashtag_configs(ids_alone, hydration), tmp_path / "own", DatasetCard("Title", "Text")
    )
    again = load(own, language="he")
    assert again["test"][:] == load(ids_alone, hydration)["test"][:]
    assert again["test"].features == loaded["test"].features


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (change(test=[("7", "BTS"), ("8", "new")]), r"1 labels have no example in train .*: new"),
        (
            change(dev=[("1", "love")]),
            r"1 ids have different labels; '1' has 'BTS' in train, 'love' in validation",
        ),
        (change(dev=[]), "The split validation is empty"),
        (change(dev=[("1", "BTS")]), "The split validation is empty .* an earlier split"),
        (change(dev=[("1", " ")]), "1 of 1 rows have a blank label"),
        ({"train": SPLITS["train"], "test": SPLITS["test"]}, "has no validation file"),
    ],
)
def test_tables_that_contradict_themselves(tmp_path, hydration, splits, message):
    with pytest.raises(ValueError, match=message):
        load(write_tables(tmp_path / "set", splits), hydration)


def test_other_bad_input(tmp_path, hydration):
    (tmp_path / "empty").mkdir()
    folder = write_tables(tmp_path / "set")
    with pytest.raises(ValueError, match=r"has no language 'fr'\. It has en, he"):
        load(folder, hydration, "fr")
    with pytest.raises(ValueError, match="ids and labels without texts"):
        load(folder)
    with pytest.raises(ValueError, match="no table whose path names a language and a split"):
        load(tmp_path / "empty")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "gone.zip", hydration)
    few = tmp_path / "few.csv"
    few.write_text("post_id,text\n1,a\n2,b\n5,c\n")
    with pytest.raises(ValueError, match=r"No text is left in test .* test 0 of 2"):
        load(folder, few)
    (folder / "en" / "train.tsv").write_text("1\tBTS\n2\tlove\n")
    with pytest.raises(ValueError, match=r"no column id and none label; .* '1', 'BTS'.*a header"):
        load(folder, hydration)
    archive = tmp_path / "cut.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("en/train.tsv", "ID\tlabel\n1\ta\n" * 100)
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(ValueError, match="is no whole zip archive"):
        load(archive, hydration)


def test_a_label_that_hydration_loses_is_told(tmp_path):
    folder = write_tables(tmp_path / "set")
    texts = tmp_path / "texts.csv"
    texts.write_text("post_id,text\n1,a\n5,b\n6,c\n7,d\n")
    loaded = load(folder, texts)
    assert "Labels without a text in train: 1." in loaded["train"].info.description
    assert loaded["train"].features["label"].names == ["BTS", "love"]


def test_some_files_with_texts(tmp_path):
    folder = write_tables(tmp_path / "set", langs=("en",))
    (folder / "en" / "test.tsv").write_text("id\tlabel\ttext\n7\tBTS\ta\n8\tlove\tb\n")
    with pytest.raises(ValueError, match=r"Some splits have texts \(test\), others none"):
        load(folder)


def test_class_labels_of_parquet(tmp_path):
    features = Features(
        {"id": Value("string"), "text": Value("string"), "label": ClassLabel(names=["x", "y"])}
    )
    for split in ("train", "dev", "test"):
        rows = {"id": [f"{split}0", f"{split}1"], "text": ["a", "b"], "label": [1, 0]}
        path = tmp_path / "set" / "en" / f"{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_dict(rows, features=features).to_parquet(path)
    loaded = load(tmp_path / "set")
    assert loaded["test"].features["label"].names == ["x", "y"]
    assert loaded["test"]["label"][:] == [1, 0]
