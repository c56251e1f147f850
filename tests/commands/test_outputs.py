"""What commands write is told apart by all of their options, and is not written over."""

import dataclasses
import json

import pyarrow.parquet as pq
import pytest

from twhin_hf import run_file, run_folder
from twhin_hf.commands.cli import load_command, main
from twhin_hf.commands.declared import options_of
from twhin_hf.commands.options import FREE
from twhin_hf.commands.parsing import call, parse_command
from twhin_hf.evaluation.classification_config import ClassificationConfig
from twhin_hf.table_format import TableFormat

REQUIRED = {
    "split": "--posts p",
    "network import": "--source table --input i",
    "network embed": "--engagements e",
    "network update": "--network n --engagements e",
    "network mine": "--network n --posts p",
    "tokenizer": "--posts p",
    "evaluate engagement": "--posts p --engagements e --network n --model a/m --base_model a/b",
    "evaluate hashtag": "--model a/m --data_dir d --beside c",
    "evaluate classification": "--benchmark umsab-ar --model a/m --data_dir d",
    "evaluate retrieval": "--pairs p --model a/m",
    "evaluate zero-shot": "--task pos --model a/m --train en=t --validation en=v --test hi=s",
    "evaluate alignment": "--before a/m --after a/n --pairs p",
    "data hashtag": "--data_dir d",
    "data hashtag-build": "--posts p",
    "data engagement": "--data_dir d",
    "data engagement-build": "--posts p --engagements e --network n",
    "data translation-pairs": "--source moses --input i",
    "data contamination": "--pretraining p --benchmark b",
    "embed": "--model a/m --input i",
    "recommender fit": "--engagements e --posts p --encoder a/m --network n",
    "index": "--vectors v",
    "convert": "--checkpoint a/m --tokenizer a/t",
    "export": "--model a/m --format onnx",
    "synthesize": "",
}
UNTOLD = FREE | {"output", "overwrite", "progress", "push_to_hub"}
"""Options that leave the result as it is."""
FINE_TUNING = {field.name for field in dataclasses.fields(ClassificationConfig)}
OF_SOME = {
    # A text's vector does not depend on the others of its batch; results of another are shown only.
    "embed": {"batch_size", "add"},
    "index": {"add", "delete", *(field.name for field in dataclasses.fields(TableFormat))},
    "evaluate engagement": {"batch_size"},
    "evaluate retrieval": {"batch_size"},
    "evaluate alignment": {"batch_size"},
    "evaluate zero-shot": {"before"},
    # Told where they are given: otherwise the benchmark's recipe decides.
    "evaluate hashtag": FINE_TUNING,
    "evaluate classification": FINE_TUNING,
    "data translation-pairs": {"min_score", "max_texts", "columns"},
}


class Described(Exception):
    pass


@pytest.mark.parametrize("name", REQUIRED)
def test_every_option_tells_results_apart(name, tmp_path, monkeypatch):
    command = load_command(name)
    given = [*REQUIRED[name].split(), "--output", str(tmp_path / "out")]
    values = parse_command(command, given, name)
    found = {}

    def describe(command, options, data, seed):
        found.update(command=command, told={**options, **data})
        raise Described

    for module in (run_folder, run_file):
        monkeypatch.setattr(module, "describe_run", describe)
        monkeypatch.setattr(
            module, "fingerprints_of", lambda data, more=None: {**(data or {}), **(more or {})}
        )
    with pytest.raises(Described):
        call(command, values)
    assert found["command"] == name
    told = {key.partition(" ")[0] for key in found["told"]}
    untold = UNTOLD | OF_SOME.get(name, set())
    # A revision is part of what identifies a model.
    assert {option.name for option in options_of(command)} - untold - {"revision"} <= told


def ended(*command):
    return main([*map(str, command)])


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "posts.csv"
    path.write_text("post_id,text\n" + "".join(f"p{i},ab cd {i} ef\n" for i in range(40)))
    return path


def everything(folder):
    """Content and time of all files."""
    files = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files if file.is_file()}


COMMANDS = {
    "split": (["--posts", "posts.csv"], ["--seed", "1"], "seed was 0 and is 1"),
    "tokenizer": (
        ["--posts", "posts.csv", "--vocab_size", "60", "--no_progress"],
        ["--max_length", "64"],
        "max_length was 128 and is 64",
    ),
    "synthesize": (
        *(["--num_users", "20", "--num_posts", "60"], ["--seed", "1"], "seed was 0 and is 1"),
    ),
    "network import": (
        ["--source", "table", "--input", "log.csv", "--no_progress"],
        ["--content_warnings"],
        "content_warnings was False and is True",
    ),
    "data contamination": (
        ["--pretraining", "posts.csv", "--benchmark", "posts.csv"],
        ["--ngram", "20"],
        "ngram was 50 and is 20",
    ),
    "data translation-pairs": (
        ["--source", "columns", "--input", "pairs.csv", "--no_progress"],
        ["--seed", "1"],
        "seed was 0 and is 1",
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_finished_result_is_kept(name, source, tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("user_id,post_id,text\nu,p,one\nv,p,one\n")
    rows = "".join(f"a {i},b {i},en,ar\n" for i in range(9))
    (tmp_path / "pairs.csv").write_text(f"text_a,text_b,lang_a,lang_b\n{rows}")
    given, other, said = COMMANDS[name]
    caplog.set_level("INFO")
    output = tmp_path / "made" / ("out.parquet" if name == "data contamination" else "out")
    command = [*name.split(), *given, "--output", output]
    assert ended(*command) == 0
    before = everything(output)
    assert ended(*command) == 0
    assert "is finished: nothing to do" in caplog.text
    assert ended(*command, *other) == 2
    assert said in capsys.readouterr().err
    assert everything(output) == before
    for file in (tmp_path / "posts.csv", tmp_path / "log.csv", tmp_path / "pairs.csv"):
        with file.open("a") as stream:
            stream.write({"posts.csv": "q,gh ij\n", "log.csv": "w,p,one\n"}.get(file.name, ""))
            stream.write({"pairs.csv": "c,d,en,ar\n"}.get(file.name, ""))
    if name != "synthesize":
        assert ended(*command) == 2
        assert "has changed" in capsys.readouterr().err
        assert everything(output) == before
    assert ended(*command, "--overwrite") == 0
    assert everything(output) != before
    if name == "data contamination":
        record = json.loads(pq.read_schema(output).metadata[b"twhin_hf"])
    else:
        record = json.loads((output / "run.json").read_text())
        assert record["finished"]
    assert record["command"] == name
    assert {"python", "twhin_hf"} <= record["versions"].keys()
    assert record["command_line"]


def test_what_nobody_knows_of_is_not_written_over(source, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train.parquet").write_text("mine")
    split = ("split", "--posts", source, "--output", tmp_path / "out")
    assert ended(*split) == 2
    assert "train.parquet, of a run that left no run.json" in capsys.readouterr().err
    tokenizer = ("tokenizer", "--posts", source, "--output", tmp_path / "out")
    for more in ((), ("--overwrite",)):  # which would take the whole folder
        assert ended(*tokenizer, *more) == 2
        assert "holds files of no known run" in capsys.readouterr().err
    (tmp_path / "c.parquet").write_text("mine")
    contamination = ("data", "contamination", "--pretraining", source, "--benchmark", source)
    assert ended(*contamination, "--output", tmp_path / "c.parquet") == 2
    assert "of a run that left no record" in capsys.readouterr().err
    assert (tmp_path / "out" / "train.parquet").read_text() == "mine"
    assert (tmp_path / "c.parquet").read_text() == "mine"


def test_a_folder_of_another_command_is_not_replaced_as_a_whole(source, tmp_path, capsys):
    assert ended("split", "--posts", source, "--output", tmp_path / "out") == 0
    before = everything(tmp_path / "out")
    command = ("tokenizer", "--posts", source, "--output", tmp_path / "out", "--overwrite")
    assert ended(*command) == 2
    assert "holds a run of split" in capsys.readouterr().err
    assert everything(tmp_path / "out") == before
