"""A pickle that holds more than tensors is opened nowhere, and nobody is told how to."""

import ast
import os
import traceback
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

import twhin_hf
from twhin_hf.commands.cli import main
from twhin_hf.conversion.convert import convert_checkpoint
from twhin_hf.errors import InputError
from twhin_hf.evaluation.fine_tuning import load_classifier
from twhin_hf.loading.auto import load_post_encoder, load_with_heads
from twhin_hf.loading.joined import load_joined_encoder
from twhin_hf.loading.text_encoders import load_text_encoder
from twhin_hf.modeling import TwhinBertForPreTraining, TwhinBertModel
from twhin_hf.serving.exported import load_encoder
from twhin_hf.training.checkpoints import write_manifest
from twhin_hf.training.initialization import load_pretraining_model
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer


@pytest.fixture
def mark(tmp_path):
    """What the pickle would leave behind."""
    return tmp_path / "it_ran"


@pytest.fixture
def payload(mark):
    """An object whose pickle makes a folder when it is opened."""

    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(mark),))

    return Payload()


@pytest.fixture
def folder(tiny_config, tokenizer, tmp_path, payload):
    """A model whose weights are such a pickle."""
    folder = tmp_path / "model"
    model = TwhinBertForPreTraining(tiny_config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save({**model.state_dict(), "more": payload}, folder / "pytorch_model.bin")
    return folder


def test_the_pickle_would_run(folder, mark):
    """Else the tests below would say nothing."""
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert mark.exists()


LOADERS = {
    "load_post_encoder": lambda folder, _: load_post_encoder(folder),
    "load_with_heads": lambda folder, _: load_with_heads(folder),
    "load_encoder": lambda folder, _: load_encoder(folder),
    "load_joined_encoder": lambda folder, _: load_joined_encoder(folder, "cls+social"),
    "load_text_encoder": lambda folder, _: load_text_encoder(folder),
    "load_classifier": lambda folder, _: load_classifier(folder, ["a", "b"], True, 0),
    "load_pretraining_model": lambda folder, tokenizer: load_pretraining_model(folder, tokenizer),
    "convert_checkpoint": lambda folder, _: convert_checkpoint(folder, f"{folder}-converted"),
}


def refused(error, mark):
    """What comes out says it in our words alone, down to the causes that a traceback shows."""
    assert "holds a pickle with" in str(error.value)
    assert "mkdir in it" in str(error.value)
    shown = "".join(traceback.format_exception(error.value))
    assert "weights_only" not in shown.replace("weights_only=True", "")
    assert "arbitrary code" not in shown
    assert not mark.exists()


@pytest.mark.parametrize("loader", LOADERS)
def test_no_loader_opens_it(folder, mark, tokenizer, loader):
    with pytest.raises(InputError) as error:
        LOADERS[loader](str(folder), tokenizer)
    refused(error, mark)


@pytest.mark.parametrize("model_class", [TwhinBertModel, TwhinBertForPreTraining])
def test_nor_do_the_classes(folder, mark, model_class):
    with pytest.raises(ValueError, match="holds a pickle") as error:
        model_class.from_pretrained(folder)
    refused(error, mark)


@pytest.mark.parametrize(
    "load",
    [
        lambda folder: load_post_encoder(str(folder), weights_only=False),
        lambda folder: load_with_heads(str(folder), weights_only=False),
        lambda folder: TwhinBertModel.from_pretrained(folder, weights_only=False),
    ],
)
def test_who_asks_for_it_is_refused(folder, mark, load):
    with pytest.raises(ValueError, match="weights_only is False, which would run code"):
        load(folder)
    assert not mark.exists()


def test_a_plain_encoder_by_sentence_transformers(folder, mark, monkeypatch):
    pytest.importorskip("sentence_transformers")
    from twhin_hf.loading import text_encoders

    with pytest.raises(InputError) as error:
        text_encoders._sentence_transformer(str(folder), None, 8, None, "cpu")
    refused(error, mark)


def test_an_adapter(saved_adapter, payload, mark):
    (saved_adapter / "adapter_model.safetensors").unlink()
    torch.save({"a": payload}, saved_adapter / "adapter_model.bin")
    for load in (load_post_encoder, load_with_heads):
        with pytest.raises(InputError) as error:
            load(str(saved_adapter))
        refused(error, mark)


@pytest.fixture
def saved_adapter(tiny_config, tokenizer, tmp_path):
    pytest.importorskip("peft")
    from twhin_hf.training.lora import add_lora

    base = tmp_path / "base"
    tokenizer.save_pretrained(base)
    TwhinBertForPreTraining(tiny_config).save_pretrained(base)
    model = add_lora(TwhinBertForPreTraining.from_pretrained(base))
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "adapter")
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    "name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "pytorch_model.bin"]
)
def test_a_checkpoint_to_go_on_from(
    tiny_config, posts, pairs, tokenizer, tmp_path, payload, mark, name
):
    def trainer():
        options = {"per_device_train_batch_size": 8, "max_length": 16, "report_to": []}
        options |= {"max_steps": 2, "save_steps": 1, "use_cpu": True, "disable_tqdm": True}
        config = SocialPretrainingConfig(output_dir=str(tmp_path / "run"), **options)
        model = TwhinBertForPreTraining(tiny_config, pooling="mean")
        return SocialPretrainingTrainer(model, config, posts, pairs, processing_class=tokenizer)

    trainer().train()
    checkpoint = tmp_path / "run" / "checkpoint-1"
    if name == "pytorch_model.bin":
        (checkpoint / "model.safetensors").unlink()
    else:
        assert (checkpoint / name).exists()
    torch.save({"a": payload}, checkpoint / name)
    (checkpoint / "manifest.json").unlink()
    write_manifest(checkpoint)  # whoever plants a pickle makes the manifest fit
    with pytest.raises(InputError) as error:
        trainer().train(resume_from_checkpoint=str(checkpoint))
    refused(error, mark)


def test_a_command_says_it_in_a_line(folder, mark, tmp_path, capsys):
    posts = tmp_path / "posts.jsonl"
    posts.write_text('{"post_id": "1", "text": "a b"}\n')
    command = ["embed", "--model", str(folder), "--input", str(posts), "--output"]
    assert main([*command, str(tmp_path / "out.parquet")]) == 2
    told = capsys.readouterr().err
    assert "holds a pickle with" in told
    assert "weights_only" not in told
    assert not mark.exists()


def test_a_damaged_file(folder):
    # Long enough for the config: a pickle that never stops.
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02" + b"K\x01" * 100_000)
    with pytest.raises(InputError, match="holds a file that is damaged or cut short"):
        load_post_encoder(str(folder))


PACKAGE = Path(twhin_hf.__file__).parent
UNSAFE = ("pickle.load", "pickle.loads", "joblib.load", "dill.load", "faiss.read_index")
OF_INDEXES = ("serving/index/shards.py", "network/searching.py")
"""What alone reads the files of FAISS, which hold no pickles: indexes, of which SECURITY.md says
whose to take, and those that the processes of one run of mining write for each other."""


def test_no_code_of_ours_opens_one():
    loads = 0
    for path in sorted([*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "examples").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            options = {key.arg: ast.unparse(key.value) for key in node.keywords}
            where = f"{path}:{node.lineno}"
            if name != "faiss.read_index" or not path.as_posix().endswith(OF_INDEXES):
                assert name not in UNSAFE, where
            assert options.get("allow_pickle", "False") == "False", where
            assert options.get("weights_only", "True") == "True", where
            if name == "torch.load":
                loads += 1
                assert options.get("weights_only") == "True", where
    assert loads == 4
