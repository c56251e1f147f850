"""Checkpoints in, ours out, and plain encoders back: no number changes."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from twhin_hf.commands.cli import main
from twhin_hf.conversion.convert import compare_weights, convert_checkpoint
from twhin_hf.conversion.encoder import convert_to_encoder
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.loading.families import MODELS, PRETRAINING_MODELS
from twhin_hf.modeling import apply_settings

POOLERLESS = ("distilbert", "modernbert")
"""Families whose stock encoder has no pooler."""


@pytest.fixture
def inputs(tokenizer, texts):
    return tokenizer(texts[:6], padding=True, truncation=True, max_length=40, return_tensors="pt")


@torch.no_grad()
def hidden(model, inputs):
    return model.eval()(**inputs).last_hidden_state


def test_a_masked_language_model(save_stock, family, inputs, texts, tmp_path):
    stock, theirs = save_stock(AutoModelForMaskedLM)
    done = convert_checkpoint(str(theirs), tmp_path / "ours")
    assert done.model == PRETRAINING_MODELS[family].__name__
    assert (done.max_difference, done.dropped, done.renamed) == (0, [], {})
    assert done.compared == len(load_file(theirs / "model.safetensors"))
    assert any("RANDOM" in note for note in done.notes) == (family not in POOLERLESS)
    with torch.no_grad():
        expected = stock(**inputs, labels=inputs["input_ids"])
        ours = PRETRAINING_MODELS[family].from_pretrained(tmp_path / "ours").eval()
        found = ours(**inputs, labels=inputs["input_ids"])
        again = AutoModelForMaskedLM.from_pretrained(tmp_path / "ours").eval()
        logits = again(**inputs).logits
    torch.testing.assert_close(found.mlm_loss, expected.loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits, expected.logits, atol=1e-5, rtol=1e-5)
    assert (ours.social_head, ours.tpp_head) == (None, None)  # nothing random in the folder
    trusted = AutoModel.from_pretrained(tmp_path / "ours", trust_remote_code=True)
    assert trusted.encode(texts[:3]).equal(load_post_encoder(str(theirs)).encode(texts[:3]))


def old_transformers(weights, prefix):
    """Names of 2019: `gamma` and `beta`, no `bert.` in front, position ids among the weights."""
    names = {
        name: name.removeprefix(prefix).replace("Norm.weight", "Norm.gamma") for name in weights
    }
    names = {name: old.replace("Norm.bias", "Norm.beta") for name, old in names.items()}
    old = {names[name]: value for name, value in weights.items()}
    return old | {"embeddings.position_ids": torch.arange(130)[None]}


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_old_names_in_a_pickle_of_tensors(save_stock, family, inputs, tmp_path):
    stock, theirs = save_stock(AutoModelForMaskedLM)
    weights = load_file(theirs / "model.safetensors")
    (theirs / "model.safetensors").unlink()
    prefix = f"{stock.base_model_prefix}."
    torch.save(old_transformers(weights, prefix), theirs / "pytorch_model.bin")
    config = json.loads((theirs / "config.json").read_text())
    if family == "bert":  # of a time when configs named no family
        (theirs / "config.json").write_text(
            json.dumps({key: value for key, value in config.items() if key != "model_type"})
        )
    done = convert_checkpoint(str(theirs), tmp_path / "ours", pooling="mean")
    assert (done.max_difference, done.dropped) == (0, ["embeddings.position_ids"])
    assert done.renamed[f"{prefix}embeddings.LayerNorm.weight"] == "embeddings.LayerNorm.gamma"
    found = load_file(tmp_path / "ours" / "model.safetensors")
    assert found.keys() == weights.keys()
    assert all(found[name].equal(value) for name, value in weights.items())
    ours = load_post_encoder(str(tmp_path / "ours"))
    assert ours.config.pooling == "mean"
    torch.testing.assert_close(hidden(ours, inputs), hidden(stock.base_model, inputs))


def test_an_encoder_with_a_pooler_and_a_classifier(save_stock, family, inputs, tmp_path, capsys):
    stock, theirs = save_stock(AutoModel)
    weights = load_file(theirs / "model.safetensors")
    done = convert_checkpoint(str(theirs), tmp_path / "ours")
    assert done.model == MODELS[family].__name__
    poolers = [name for name in weights if "pooler" in name]
    assert sorted(done.dropped) == sorted(poolers)
    assert len(poolers) == (0 if family in POOLERLESS else 2)
    assert any("is LEFT OUT" in note for note in done.notes) == bool(poolers)
    ours = load_post_encoder(str(tmp_path / "ours"))
    torch.testing.assert_close(hidden(ours, inputs), hidden(stock, inputs))

    _, tuned = save_stock(AutoModelForSequenceClassification, "tuned")
    command = ["convert", "--checkpoint", str(tuned), "--output", str(tmp_path / "second")]
    assert main(command) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "largest difference 0;" in printed
    assert "classifier" in printed.partition("Left out: ")[2]
    assert MODELS[family].__name__ in printed
    if family == "modernbert":  # its classifier has the first half of an MLM head
        assert "LEFT OUT, for it is not whole: decoder" in printed


@pytest.fixture
def ours(family, family_config, tokenizer, tmp_path):
    """A folder of ours with every head."""
    torch.manual_seed(0)
    settings = apply_settings(family_config, tpp_weight=1.0, pooling="cls")
    PRETRAINING_MODELS[family](settings).save_pretrained(tmp_path / "trained")
    tokenizer.save_pretrained(tmp_path / "trained")
    return tmp_path / "trained"


def test_back_to_a_plain_encoder(ours, family, texts, inputs, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    done = convert_to_encoder(str(ours), tmp_path / "plain")
    weights = load_file(ours / "model.safetensors")
    assert done.max_difference == 0
    assert done.compared + len(done.dropped) == len(weights)
    assert {name.split(".")[0] for name in done.dropped} >= {"social_head", "tpp_head"}
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert config["architectures"] == [done.model]
    assert not {"auto_map", "pooling", "social_weight", "projection_dim"} & config.keys()
    assert not list((tmp_path / "plain").glob("*.py"))
    pooling = json.loads((tmp_path / "plain" / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode_cls_token"]
    expected = load_post_encoder(str(ours))
    stock = AutoModel.from_pretrained(tmp_path / "plain")
    torch.testing.assert_close(hidden(stock, inputs), hidden(expected, inputs))
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "plain"), device="cpu")
    found = torch.from_numpy(theirs.encode(texts[:5]))
    torch.testing.assert_close(found, expected.encode(texts[:5]), atol=1e-5, rtol=1e-5)
    # And round again.
    again = convert_checkpoint(str(tmp_path / "plain"), tmp_path / "again", pooling="cls")
    assert (again.model, again.dropped) == (MODELS[family].__name__, [])
    assert (
        load_post_encoder(str(tmp_path / "again"))
        .encode(texts[:3])
        .equal(expected.encode(texts[:3]))
    )


@pytest.mark.parametrize("family", ["bert"])
class TestOneFamily:
    def test_our_own_heads_stay(self, ours, tmp_path):
        done = convert_checkpoint(str(ours), tmp_path / "second")
        assert (done.dropped, done.renamed) == ([], {})
        first, second = (load_file(f / "model.safetensors") for f in (ours, tmp_path / "second"))
        assert first.keys() == second.keys()
        config = json.loads((tmp_path / "second" / "config.json").read_text())
        assert (config["tpp_weight"], config["pooling"]) == (1.0, "cls")

    def test_half_precision_stays(self, save_stock, tmp_path):
        _, theirs = save_stock(AutoModelForMaskedLM)
        weights = load_file(theirs / "model.safetensors")
        halves = {name: value.half() for name, value in weights.items()}
        save_file(halves, theirs / "new", metadata={"format": "pt"})
        os.replace(theirs / "new", theirs / "model.safetensors")
        assert convert_checkpoint(str(theirs), tmp_path / "ours").max_difference == 0
        found = load_file(tmp_path / "ours" / "model.safetensors")
        assert {value.dtype for value in found.values()} == {torch.float16}

    def test_missing_weights_are_named(self, save_stock, tmp_path, capsys):
        _, theirs = save_stock(AutoModelForMaskedLM)
        weights = load_file(theirs / "model.safetensors")
        lost = "bert.encoder.layer.1.output.dense.bias"
        del weights[lost]
        save_file(weights, theirs / "new", metadata={"format": "pt"})
        os.replace(theirs / "new", theirs / "model.safetensors")
        command = ["convert", "--checkpoint", str(theirs), "--output", str(tmp_path / "ours")]
        assert main(command) == 2
        assert f"random ones are no conversion: {lost}" in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs"]  # nothing is left

    def test_a_decoder_of_its_own_stays(self, save_stock, tmp_path):
        _, theirs = save_stock(AutoModelForMaskedLM)
        weights = load_file(theirs / "model.safetensors")
        embeddings = weights["bert.embeddings.word_embeddings.weight"]
        weights["cls.predictions.decoder.weight"] = embeddings + 1
        save_file(weights, theirs / "new", metadata={"format": "pt"})
        os.replace(theirs / "new", theirs / "model.safetensors")
        assert convert_checkpoint(str(theirs), tmp_path / "ours").dropped == []
        model = PRETRAINING_MODELS["bert"].from_pretrained(tmp_path / "ours")
        assert model.get_output_embeddings().weight.equal(embeddings + 1)
        assert model.get_input_embeddings().weight.equal(embeddings)

    def test_a_pickle_with_code_is_not_run(self, save_stock, tmp_path):
        _, theirs = save_stock(AutoModelForMaskedLM)
        (theirs / "model.safetensors").unlink()

        class Payload:
            def __reduce__(self):
                return (os.mkdir, (str(tmp_path / "ran"),))

        torch.save({"weights": Payload()}, theirs / "pytorch_model.bin")
        with pytest.raises(ValueError, match=r"a pickle with .*mkdir in it.* run code") as error:
            convert_checkpoint(str(theirs), tmp_path / "ours")
        assert "weights_only" not in str(error.value)
        assert not (tmp_path / "ran").exists()

    def test_shards(self, save_stock, tmp_path):
        stock, theirs = save_stock(AutoModelForMaskedLM)
        (theirs / "model.safetensors").unlink()
        stock.save_pretrained(theirs, max_shard_size="20KB")
        assert (theirs / "model.safetensors.index.json").exists()
        assert convert_checkpoint(str(theirs), tmp_path / "ours").max_difference == 0
        next(theirs.glob("model-*.safetensors")).unlink()
        with pytest.raises(FileNotFoundError, match="which is not there"):
            convert_checkpoint(str(theirs), tmp_path / "other")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: (f / "model.safetensors").unlink(), "holds no model.safetensors"),
            (lambda f: (f / "config.json").unlink(), r"holds no config\.json"),
            (lambda f: [p.unlink() for p in f.glob("tokenizer*")], "holds no tokenizer"),
            (lambda f: f.rename(f.with_name("moved")), "there is no .*theirs"),
        ],
    )
    def test_what_is_not_there(self, save_stock, tmp_path, change, message):
        _, theirs = save_stock(AutoModelForMaskedLM)
        change(theirs)
        with pytest.raises(FileNotFoundError, match=message):
            convert_checkpoint(str(theirs), tmp_path / "ours")

    def test_an_output_that_is_there(self, ours, tmp_path):
        for convert in (convert_checkpoint, convert_to_encoder):
            with pytest.raises(FileExistsError, match="give a new folder"):
                convert(str(ours), ours)

    def test_a_pooling_that_nobody_else_has(self, ours, tmp_path, capsys):
        config = json.loads((ours / "config.json").read_text())
        (ours / "config.json").write_text(json.dumps(config | {"pooling": "combined"}))
        command = ["convert", "--to-encoder", "--checkpoint", str(ours)]
        command += ["--output", str(tmp_path / "plain")]
        assert main(command) == 2
        assert "choose --pooling cls or --pooling mean" in capsys.readouterr().err
        assert main([*command, "--pooling", "mean"]) == 0
        assert "mean is over ALL tokens" in " ".join(capsys.readouterr().out.split())
        pooling = json.loads((tmp_path / "plain" / "1_Pooling" / "config.json").read_text())
        assert pooling["pooling_mode_mean_tokens"]

    def test_an_adapter_becomes_a_plain_encoder(self, ours, inputs, tmp_path):
        pytest.importorskip("peft")
        from twhin_hf.training.lora import add_lora

        model = add_lora(PRETRAINING_MODELS["bert"].from_pretrained(ours))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(tmp_path / "adapter")
        AutoTokenizer.from_pretrained(ours).save_pretrained(tmp_path / "adapter")
        done = convert_to_encoder(str(tmp_path / "adapter"), tmp_path / "plain")
        assert any("social_head" in name for name in done.dropped)
        stock = AutoModel.from_pretrained(tmp_path / "plain")
        torch.testing.assert_close(
            hidden(stock, inputs), hidden(model, inputs), atol=1e-5, rtol=1e-5
        )


def test_changed_weights_are_told():
    weights = {"a": torch.zeros(2), "b": torch.ones(1)}
    assert compare_weights(weights, weights | {"c": torch.ones(1)}) == 0
    with pytest.raises(ValueError, match=r"2 weights differ .*: a \(by 0\.5\), b \(by 1\)"):
        compare_weights(weights, {"a": torch.tensor([0.0, 0.5])})
