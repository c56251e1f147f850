"""Code that a folder or repository of others brings along is never run, whoever asks for it."""

import ast
import builtins
import contextlib
import io
import json
import sys
from pathlib import Path

import pytest

import twhin_hf
from twhin_hf.commands.cli import main
from twhin_hf.conversion.convert import convert_checkpoint
from twhin_hf.conversion.encoder import convert_to_encoder
from twhin_hf.evaluation.fine_tuning import load_classifier
from twhin_hf.hub.folder import complete_folder
from twhin_hf.loading.auto import load_post_encoder, load_with_heads
from twhin_hf.loading.joined import load_joined_encoder
from twhin_hf.loading.text_encoders import load_text_encoder
from twhin_hf.modeling import TwhinBertForPreTraining
from twhin_hf.modeling.saving import local_tokenizer
from twhin_hf.serving.exported import load_encoder
from twhin_hf.training.initialization import load_pretraining_model, new_pretraining_model

PACKAGE = Path(twhin_hf.__file__).parent
EXAMPLES = PACKAGE.parent / "examples"

CODE = """
from pathlib import Path
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

Path(__file__).with_name("it_ran").touch()
Path({mark!r}).touch()


class OtherConfig(BertConfig):
    model_type = "other"


class OtherModel(BertForMaskedLM):
    config_class = OtherConfig


class OtherTokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture
def mark(tmp_path):
    """What the code would leave behind."""
    return tmp_path / "it_ran"


@pytest.fixture(params=["everything", "tokenizer"])
def folder(request, tiny_config, tokenizer, tmp_path, mark, monkeypatch):
    """A model whose config or tokenizer asks for code of its own, and a user who says yes."""
    folder = tmp_path / "model"
    TwhinBertForPreTraining(tiny_config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "modules.json").unlink()
    (folder / "other.py").write_text(CODE.format(mark=str(mark)))
    asked = {"config.json": {}, "tokenizer_config.json": {}}
    classes = {"AutoConfig": "other.OtherConfig", "AutoModel": "other.OtherModel"}
    classes |= {"AutoModelForSequenceClassification": "other.OtherModel"}
    if request.param == "everything":
        asked["config.json"] = {"model_type": "other", "auto_map": classes}
    asked["tokenizer_config.json"] = {
        "tokenizer_class": "OtherTokenizer",
        "auto_map": {"AutoTokenizer": ["other.OtherTokenizer", "other.OtherTokenizer"]},
    }
    for name, keys in asked.items():
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | keys))
    monkeypatch.setattr(builtins, "input", lambda *_: "y")
    return str(folder)


LOADERS = {
    "load_post_encoder": lambda folder, _: load_post_encoder(folder).encode(["a"]),
    "load_with_heads": lambda folder, _: load_with_heads(folder).encode(["a"], "social"),
    "load_encoder": lambda folder, _: load_encoder(folder).encode(["a"]),
    "load_joined_encoder": lambda folder, _: load_joined_encoder(folder, "cls+mean").encode(["a"]),
    "load_text_encoder": lambda folder, _: load_text_encoder(folder).encode(["a"]),
    "load_classifier": lambda folder, _: load_classifier(folder, ["a", "b"], True, 0),
    "load_pretraining_model": lambda folder, one: load_pretraining_model(folder, one),
    "new_pretraining_model": lambda folder, one: new_pretraining_model(folder, one),
    "convert_checkpoint": lambda folder, _: convert_checkpoint(folder, f"{folder}-converted"),
    "convert_to_encoder": lambda folder, _: convert_to_encoder(folder, f"{folder}-plain"),
    "complete_folder": lambda folder, _: complete_folder(folder),
    "save_pretrained": lambda folder, _: TwhinBertForPreTraining.from_pretrained(
        folder
    ).save_pretrained(f"{folder}-again"),
    "local_tokenizer": lambda folder, _: local_tokenizer(
        TwhinBertForPreTraining.from_pretrained(folder).config
    ),
}


@pytest.mark.parametrize("loader", LOADERS)
def test_no_loader_runs_it(folder, mark, tokenizer, loader):
    # A refusal is as good as an answer that needs no code.
    with contextlib.suppress(ValueError, OSError, AttributeError, KeyError):
        LOADERS[loader](folder, tokenizer)
    assert not mark.exists()


@pytest.mark.parametrize("folder", ["everything"], indirect=True)
def test_the_code_would_run(folder, mark):
    """Else the tests above would say nothing."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(folder)  # the prompt is answered with y
    assert mark.exists()


@pytest.mark.parametrize("folder", ["everything"], indirect=True)
@pytest.mark.parametrize(
    "command",
    [
        ["embed", "--model", "MODEL", "--input", "POSTS", "--output", "OUT"],
        ["convert", "--checkpoint", "MODEL", "--output", "OUT"],
        ["pretrain", "--model_name_or_path", "MODEL", "--posts", "POSTS", "--output_dir", "OUT"],
    ],
)
def test_a_yes_on_standard_input_runs_nothing(folder, mark, tmp_path, monkeypatch, capsys, command):
    monkeypatch.undo()  # the real prompt
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))
    posts = tmp_path / "posts.jsonl"
    posts.write_text('{"post_id": "1", "text": "a b"}\n{"post_id": "2", "text": "c d"}\n')
    places = {"MODEL": folder, "POSTS": str(posts), "OUT": str(tmp_path / "out")}
    assert main([places.get(part, part) for part in command]) != 0
    assert "Do you wish to run the custom code" not in "".join(capsys.readouterr())
    assert sys.stdin.tell() == 0
    assert not mark.exists()


def untrusting_calls():
    """Every place where a class chosen by a checkpoint is loaded."""
    for path in sorted([*PACKAGE.rglob("*.py"), *EXAMPLES.rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            owner, _, name = ast.unparse(node.func).rpartition(".")
            if (name == "from_pretrained" and owner.startswith("Auto")) or (
                name == "SentenceTransformer" and node.args
            ):
                yield path, node


def test_all_code_says_that_it_trusts_none():
    calls = list(untrusting_calls())
    assert len(calls) >= 12
    for path, call in calls:
        trust = {key.arg: ast.unparse(key.value) for key in call.keywords}
        assert trust.get("trust_remote_code") == "False", f"{path}:{call.lineno}"
