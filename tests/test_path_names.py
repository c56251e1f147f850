"""Names from elsewhere that become paths: the one check, and every place that it stands in."""

import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from twhin_hf.benchmarks.archives import open_folder
from twhin_hf.benchmarks.hub_folder import DatasetCard, HubConfig, write_hub_folder
from twhin_hf.commands.cli import main
from twhin_hf.commands.tpp import plan_stages
from twhin_hf.conversion.checkpoints import read_weights
from twhin_hf.data.language_codes import check_language_code
from twhin_hf.data.translation.sources import PairSource
from twhin_hf.data.translation.writing import write_translation_pairs
from twhin_hf.errors import InputError
from twhin_hf.evaluation.suite.running import Model, SuiteTask, run_tasks
from twhin_hf.hub.folder import family_file
from twhin_hf.loading.fingerprint import weights_fingerprint
from twhin_hf.modeling.sentence_transformer_settings import checkpoint_file
from twhin_hf.path_names import path_name, relative_path
from twhin_hf.pipeline_config import folder_name
from twhin_hf.results import Result, Results, write_model_results
from twhin_hf.serving.embedding_settings import sentence_transformer_paths

KEEP = "../../keep"
"""What once wrote over files outside of the output."""

BAD = {
    "": "is empty",
    KEEP: "begins with a dot",
    "..": "begins with a dot",
    ".hidden": "begins with a dot",
    "end.": "ends with a dot or a blank",
    "end ": "ends with a dot or a blank",
    "a/b": "holds '/'",
    "/a": "holds '/'",
    "a\\b": r"holds '\\\\'",
    "C:a": "holds ':'",
    "a\0b": r"holds '\\x00'",
    "a\nb": r"holds '\\n'",
    "what?": r"holds '\?'",
    "CON": "Windows keeps for devices",
    "nul.txt": "Windows keeps for devices",
    "com¹": "Windows keeps for devices",
    "Lpt9 .json": "Windows keeps for devices",
    "\ud800": "is no Unicode text",
    "猫" * 80: "is longer than 230 bytes",
}


@pytest.mark.parametrize(("name", "reason"), BAD.items(), ids=map(repr, range(len(BAD))))
def test_what_is_no_name_of_a_file(name, reason):
    with pytest.raises(InputError, match=f"the thing .* {reason}"):
        path_name(name, "thing")
    if "/" not in name:
        with pytest.raises(InputError, match=reason):
            relative_path(f"fine/{name}")


@pytest.mark.parametrize("name", ["en", "zh-Hans", "hi+en", "日本語", "console", "a b", "_x"])
def test_what_is_one(name):
    assert path_name(name) == name
    assert relative_path(f"{name}/{name}").parts == (name, name)


@pytest.mark.parametrize("path", ["/etc/x", "a//b", "a/../b", "../b", "a/", "./a", "a/NUL/b"])
def test_paths_that_may_leave_their_folder(path):
    with pytest.raises(InputError, match=r"the path .* has a part"):
        relative_path(path)


@pytest.fixture
def outside(tmp_path):
    """A folder to work in, with a file beside it that must stay, and nothing beside that."""
    keep = tmp_path / "keep"
    keep.mkdir()
    (keep / "mine").write_text("mine")
    work = tmp_path / "a" / "b" / "c"
    work.mkdir(parents=True)
    yield work
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*keep*"))] == [
        "keep"
    ]
    assert [path.name for path in keep.iterdir()] == ["mine"]


@pytest.mark.parametrize("code", [KEEP, "con", "en/x", "x" * 9])
def test_languages(code):
    with pytest.raises(InputError):
        check_language_code(code)


def test_languages_of_translation_pairs(outside):
    columns = {"text_a": ["a"], "text_b": ["b"], "lang_a": [KEEP], "lang_b": ["en"]}
    source = PairSource("test", iter([pa.table(columns)]), {})
    with pytest.raises(InputError, match="is no language code"):
        write_translation_pairs(source, outside, progress=False)


@pytest.mark.parametrize(
    ("name", "folder", "split"), [(KEEP, "en", "train"), ("en", KEEP, "train"), ("en", "en", KEEP)]
)
def test_configs_folders_and_splits_of_data_sets(outside, name, folder, split):
    splits = DatasetDict({split: Dataset.from_dict({"id": ["1"]})})
    with pytest.raises(InputError, match="keep"):
        write_hub_folder(
            [HubConfig(name, "en", folder, splits)], outside / "set", DatasetCard("Title", "Text")
        )


def test_tasks_of_results(outside):
    with pytest.raises(InputError, match="the task"):
        write_model_results(Results(KEEP, "model", [Result("en", "F1", 0.5)]), outside)


def test_tasks_and_languages_of_a_suite(outside):
    class Task(SuiteTask):
        def options(self, model):
            return {}

        def run(self, model, seeds):
            pytest.fail("it ran")

    with pytest.raises(InputError, match="the task"):
        run_tasks([Model("a/one")], [Task("ner", "F1", (KEEP,), (0,))], outside)


def test_languages_of_an_alignment(outside, capsys):
    columns = {"text_a": ["a"], "text_b": ["b"], "lang_a": [KEEP], "lang_b": ["en"]}
    pq.write_table(pa.table(columns), outside / "pairs.parquet")
    command = ["evaluate", "alignment", "--before", "me/none", "--after", "me/none"]
    command += ["--pairs", str(outside / "pairs.parquet"), "--output", str(outside / "out")]
    assert main(command) == 2
    assert "the language '../../keep'" in capsys.readouterr().err


def test_names_of_evaluators(outside):
    pytest.importorskip("sentence_transformers")
    from twhin_hf.evaluation.sentence_evaluators import RetrievalEvaluator

    pairs = {"text_a": ["a"], "text_b": ["a"], "lang_a": ["en"], "lang_b": ["es"]}

    class Evaluator(RetrievalEvaluator):
        def rows(self, encoder):
            return [Result("en", self.judged_by, 0.5)]

    evaluator = Evaluator(Dataset.from_dict(pairs), f"x/{KEEP}")
    with pytest.raises(InputError, match="the name"):
        evaluator(None, str(outside))


@pytest.mark.parametrize("name", ["en/../../keep", "/keep", "en/CON", "en/.keep", "C:/keep"])
def test_members_of_archives(outside, name):
    with zipfile.ZipFile(outside / "a.zip", "w") as made:
        entry = zipfile.ZipInfo("x")
        entry.filename = name
        made.writestr(entry, "text")
    with (
        pytest.raises(InputError, match="Nothing was unpacked"),
        open_folder(outside / "a.zip", lambda name: True),
    ):
        pytest.fail("it was unpacked")


@pytest.mark.parametrize("read", [read_weights, weights_fingerprint])
def test_files_of_weights_that_an_index_names(outside, read):
    index = {"weight_map": {"a": f"{KEEP}/mine"}}
    (outside / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="needed is a file of the same folder"):
        read(outside)


def test_modules_of_a_sentence_transformer(outside):
    modules = [{"path": "", "type": "x.Transformer"}, {"path": KEEP, "type": "x.Pooling"}]
    (outside / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match="the module"):
        sentence_transformer_paths(str(outside))


@pytest.mark.parametrize("file", [f"{KEEP}/config.json", "/etc/passwd", "C:/x", "a\\..\\..\\b"])
def test_files_of_a_checkpoint(outside, file):
    with pytest.raises(ValueError, match="a file outside of its folder"):
        checkpoint_file(str(outside), file)


def test_families():
    with pytest.raises(InputError, match="the model type"):
        family_file("../../../keep")


@pytest.mark.parametrize("folder", [KEEP, "/keep", "a/../../keep", "CON"])
def test_folders_of_stages(folder):
    with pytest.raises(InputError, match="the output_dir of a stage"):
        plan_stages(None, [{"output_dir": "fine"}, {"output_dir": folder}])


def test_folders_of_objectives():
    assert folder_name("../../keep me") == "keep_me"
    with pytest.raises(InputError, match="the objective 'con'"):
        folder_name("CON")
