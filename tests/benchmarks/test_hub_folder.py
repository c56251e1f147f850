import pytest
import yaml
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_dataset

from twhin_hf.benchmarks.hub_folder import DatasetCard, HubConfig, write_hub_folder

FEATURES = Features(
    {
        "id": Value("string"),
        "label": ClassLabel(names=["猫", "no"]),
        "user": List(Value("float32"), length=2),
    }
)
CARD = DatasetCard("A title: with a colon", "What it is.", "cc-by-4.0", ["text-classification"])


def splits(count=4):
    rows = {
        "id": [str(i) for i in range(count)],
        "label": [i % 2 for i in range(count)],
        "user": [[i, 0.5] for i in range(count)],
    }
    own = Dataset.from_dict(rows, features=FEATURES)
    return DatasetDict(train=own, validation=own.select([0]), test=own.select([1]))


def test_load_dataset_needs_no_code_of_ours(tmp_path):
    configs = (HubConfig(code, code, f"records/{code}", splits()) for code in ("no", "und"))
    folder = write_hub_folder(configs, tmp_path / "set", CARD)
    for code in ("no", "und"):
        loaded = load_dataset(str(folder), code, cache_dir=str(tmp_path / "cache"))
        assert loaded["train"].features == FEATURES
        assert {name: own[:] for name, own in loaded.items()} == {
            name: own[:] for name, own in splits().items()
        }
    with pytest.raises(ValueError, match="not found"):
        load_dataset(str(folder), "en", cache_dir=str(tmp_path / "cache"))


def test_card(tmp_path):
    folder = write_hub_folder([HubConfig("no", "no", "no", splits())], tmp_path / "set", CARD)
    _, header, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    header = yaml.safe_load(header)
    assert header["language"] == ["no"]
    assert header["license"] == "cc-by-4.0"
    assert header["configs"][0]["config_name"] == "no"
    assert header["configs"][0]["data_files"][1] == {
        "split": "validation",
        "path": "no/validation.parquet",
    }
    assert "# A title: with a colon" in body
    assert "| `no` | 4 | 1 | 1 |" in body


def test_refusals(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").write_text("")
    with pytest.raises(FileExistsError, match="holds something already"):
        write_hub_folder([], tmp_path / "old", CARD)
    with pytest.raises(ValueError, match="no config to write"):
        write_hub_folder([], tmp_path / "none", CARD)
    twice = [HubConfig("en", "en", "en", splits())] * 2
    with pytest.raises(ValueError, match="Two configs are called 'en'"):
        write_hub_folder(twice, tmp_path / "twice", CARD)


def test_people_in_texts_are_masked_unless_they_shall_stay(tmp_path):
    features = Features({"id": Value("string"), "text": Value("string")})
    rows = Dataset.from_dict({"id": ["1", "2"], "text": ["hi @ana", "hi"]}, features=features)
    for name, text in ((True, "hi @user"), (False, "hi @ana")):
        configs = [HubConfig("en", "en", "en", DatasetDict(train=rows))]
        folder = write_hub_folder(configs, tmp_path / str(name), CARD, mask_people=name)
        loaded = load_dataset(str(folder), "en", cache_dir=str(tmp_path / "cache"))
        assert loaded["train"][:] == {"id": ["1", "2"], "text": [text, "hi"]}
        assert loaded["train"].features == features
        told = "stands for names and ids of people" in (folder / "README.md").read_text()
        assert told == name


@pytest.mark.parametrize("language", ["../../elsewhere/en", "/en", "..", "en/de", "", "a b"])
def test_a_language_that_is_a_path_writes_nothing(tmp_path, language):
    configs = [HubConfig("en", "en", "en", splits()), HubConfig("x", language, language, splits())]
    with pytest.raises(ValueError, match="is no language code, and would be the name of a file"):
        write_hub_folder(configs, tmp_path / "above" / "set", CARD)
    assert [path.name for path in tmp_path.rglob("*")] == ["above"]
