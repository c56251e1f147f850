import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("peft")

from peft import (
    AutoPeftModelForFeatureExtraction,
    BOFTConfig,
    LoraConfig,
    PeftModel,
    PrefixTuningConfig,
    ShiraConfig,
    get_peft_model,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from twhin_hf.commands.cli import main
from twhin_hf.evaluation.fine_tuning import load_classifier
from twhin_hf.loading import adapters
from twhin_hf.loading.adapters import PretrainingAdapter, load_pretraining_adapter
from twhin_hf.loading.auto import load_post_encoder, load_with_heads
from twhin_hf.loading.families import PRETRAINING_MODELS
from twhin_hf.loading.text_encoders import load_text_encoder
from twhin_hf.modeling import apply_settings
from twhin_hf.training.initialization import load_pretraining_model
from twhin_hf.training.lora import add_lora, lora_config

SETTINGS = {"tpp_weight": 1.0, "mlm_weight": 0.05, "pooling": "mean"}


@pytest.fixture
def base(family, family_config, tokenizer, tmp_path):
    """The folder of a pretraining checkpoint."""
    torch.manual_seed(0)
    model = PRETRAINING_MODELS[family](apply_settings(family_config, **SETTINGS))
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


@pytest.fixture
def adapted(base, family, tokenizer):
    """A model with an adapter whose weights are not those it began with, and its folder."""
    model = add_lora(PRETRAINING_MODELS[family].from_pretrained(base))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    folder = base.removesuffix("base") + "adapter"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval(), folder


@pytest.fixture
def inputs(tokenizer, texts):
    return tokenizer(texts[:6], padding=True, truncation=True, max_length=40, return_tensors="pt")


@torch.no_grad()
def hidden(model, inputs):
    return model(**inputs).last_hidden_state


def test_peft_and_we_load_what_was_saved(adapted, base, inputs, texts, tokenizer):
    model, folder = adapted
    expected = hidden(model, inputs)
    from_peft = AutoPeftModelForFeatureExtraction.from_pretrained(folder).eval()
    torch.testing.assert_close(hidden(from_peft, inputs), expected)
    assert not torch.allclose(hidden(load_post_encoder(base), inputs), expected, atol=1e-2)

    ours = load_post_encoder(folder)
    torch.testing.assert_close(hidden(ours, inputs), expected, atol=1e-5, rtol=1e-5)
    assert type(ours).__name__ == type(load_post_encoder(base)).__name__  # merged: no adapter in it
    again = load_pretraining_model(folder, tokenizer)
    torch.testing.assert_close(hidden(again, inputs), expected, atol=1e-5, rtol=1e-5)
    # Nothing stays frozen in what an adapter was merged into.
    assert all(parameter.requires_grad for m in (ours, again) for parameter in m.parameters())
    further = load_pretraining_model(folder, tokenizer, trainable_adapter=True).eval()
    torch.testing.assert_close(hidden(further, inputs), expected)
    assert {n for n, p in further.named_parameters() if p.requires_grad} == {
        n for n, p in model.named_parameters() if p.requires_grad
    }


def test_merged_folders_load_as_any_other(adapted, base, inputs, tokenizer, texts, tmp_path):
    model, folder = adapted
    with torch.no_grad():
        labels = {"labels": inputs["input_ids"], "pair_labels": torch.tensor([1, 0, 1])}
        expected = model(**inputs, **labels)
    merged = load_pretraining_model(folder, tokenizer)
    merged.save_pretrained(tmp_path / "merged")
    tokenizer.save_pretrained(tmp_path / "merged")
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    for loaded in (
        load_pretraining_model(str(tmp_path / "merged"), tokenizer).eval(),
        model.merge_and_unload(),
    ):
        with torch.no_grad():
            found = loaded(**inputs, **labels)
        for name in ("last_hidden_state", "tpp_projections", "mlm_loss", "loss"):
            torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-5)
    stock = AutoModel.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(
        hidden(stock, inputs), expected.last_hidden_state, atol=1e-5, rtol=1e-5
    )
    encoder = load_post_encoder(str(tmp_path / "merged"))
    torch.testing.assert_close(
        encoder.encode(texts[:6]), load_post_encoder(folder).encode(texts[:6])
    )


def test_what_an_adapter_is_loaded_by(adapted, texts, tmp_path):
    _, folder = adapted
    vectors = load_post_encoder(folder).encode(texts[:6], convert_to_numpy=True)
    np.testing.assert_allclose(load_text_encoder(folder).encode(texts[:6]), vectors, atol=1e-6)
    assert (
        main(["convert", "--checkpoint", folder, "--merge", "--output", str(tmp_path / "merged")])
        == 0
    )
    merged = load_text_encoder(str(tmp_path / "merged"))
    np.testing.assert_allclose(merged.encode(texts[:6]), vectors, atol=1e-5)
    whole, again = load_with_heads(folder), load_with_heads(str(tmp_path / "merged"))
    torch.testing.assert_close(whole.encode(texts[:6], "tpp"), again.encode(texts[:6], "tpp"))


@pytest.mark.parametrize("load", [load_post_encoder, load_with_heads])
def test_what_was_loaded_is_told_where_it_is_asked_for(adapted, load, inputs):
    _, folder = adapted
    model, info = load(folder, output_loading_info=True)
    assert not info["unexpected_keys"]
    assert hidden(model, inputs).equal(hidden(load(folder), inputs))


@pytest.mark.parametrize("is_sequence", [True, False])
def test_a_classifier_stands_on_the_adapter(adapted, inputs, is_sequence):
    model, folder = adapted
    classifier = load_classifier(folder, ["no", "yes"], is_sequence, seed=0)
    encoder = classifier.model.base_model.eval()
    torch.testing.assert_close(hidden(encoder, inputs), hidden(model, inputs), atol=1e-5, rtol=1e-5)
    assert classifier.model.config.label2id == {"no": 0, "yes": 1}
    assert classifier.new_weights
    prefix = classifier.model.base_model_prefix
    adapted_weights = {f"{prefix}.{name}" for name in load_post_encoder(folder).state_dict()}
    assert not adapted_weights & set(classifier.new_weights)
    Path(folder, "tokenizer_config.json").unlink()
    load_classifier(folder, ["no", "yes"], is_sequence, seed=0)  # with its base's tokenizer


def test_an_adapter_has_its_own_tokenizer(adapted, base, texts):
    _, folder = adapted
    cut = AutoTokenizer.from_pretrained(base)
    cut.model_max_length = 7
    cut.save_pretrained(folder)
    assert load_post_encoder(folder)._own_tokenizer().model_max_length == 7


def test_an_adapter_of_sentence_transformers_pools_as_its_own_modules_say(
    family, family_config, tokenizer, texts, tmp_path
):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    stock, base, folder = (str(tmp_path / name) for name in ("stock", "base", "adapter"))
    torch.manual_seed(0)
    AutoModel.from_config(family_config).save_pretrained(stock)
    tokenizer.save_pretrained(stock)
    # The base pools by the mean, what is trained on it by the first token.
    sentence_transformers.SentenceTransformer(stock, device="cpu").save(base)
    modules = pytest.importorskip("sentence_transformers.models")
    words = modules.Transformer(base, max_seq_length=12)
    model = sentence_transformers.SentenceTransformer(
        modules=[words, modules.Pooling(family_config.hidden_size, "cls")], device="cpu"
    )
    lora = lora_config(PRETRAINING_MODELS[family](apply_settings(family_config)))
    lora.modules_to_save, lora.init_lora_weights = None, False
    lora.task_type = "FEATURE_EXTRACTION"
    model.add_adapter(lora)
    model.save(folder)
    some = ["", *texts[:5]]
    found = load_post_encoder(folder)
    assert (found.config.pooling, found.max_seq_length) == ("cls", 12)
    np.testing.assert_allclose(found.encode(some), model.encode(some), atol=1e-5)


def test_a_base_that_has_changed_is_refused(adapted, base, family):
    _, folder = adapted
    load_post_encoder(folder)
    path = Path(base, "model.safetensors")
    weights = load_file(path)
    name = next(iter(weights))
    # The same weights in other files are the same base.
    PRETRAINING_MODELS[family].from_pretrained(base).save_pretrained(base, max_shard_size="10KB")
    assert len(list(Path(base).glob("model-*.safetensors"))) > 1
    load_post_encoder(folder)
    for file in Path(base).glob("model*"):
        file.unlink()
    weights[name] = weights[name] + 1e-3
    save_file(weights, path, metadata={"format": "pt"})
    for load in (load_post_encoder, load_with_heads):
        with pytest.raises(ValueError, match=f"{base} are not those that the adapter"):
            load(folder)


def test_going_on_from_an_adapter_names_its_heads_as_loaded(adapted, base, tokenizer, caplog):
    _, folder = adapted
    caplog.set_level(logging.INFO)
    model = load_pretraining_model(folder, tokenizer)
    weights = len(model.state_dict())
    told = f"{weights} of {weights} weights are from {base} and the adapter {folder}"
    assert told in [record.getMessage() for record in caplog.records]
    assert f"{folder}: mean pooling, " in caplog.text


def test_a_base_that_is_not_there_is_named(adapted, base):
    _, folder = adapted
    Path(base).rename(base + "-moved")
    with pytest.raises(
        FileNotFoundError, match=f"stands on a model that is not here: there is no {base}"
    ):
        load_post_encoder(folder)


def test_adapters_of_virtual_tokens_are_refused(base, tmp_path):
    model = AutoModel.from_pretrained(base)
    sizes = {"token_dim": 32, "num_layers": 2, "num_attention_heads": 4}
    config = PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=2, **sizes)
    get_peft_model(model, config).save_pretrained(tmp_path / "prefix")
    with pytest.raises(ValueError, match=r"PREFIX_TUNING.*cannot be merged"):
        load_text_encoder(str(tmp_path / "prefix"))


def test_an_adapter_is_not_converted_by_mistake(adapted, tmp_path, capsys):
    _, folder = adapted
    assert main(["convert", "--checkpoint", folder, "--output", str(tmp_path / "out")]) == 2
    assert "--merge" in capsys.readouterr().err


def test_the_folder_tells_what_it_is(adapted, base):
    _, folder = adapted
    adapter = json.loads(Path(folder, "adapter_config.json").read_text())
    assert adapter["task_type"] == "FEATURE_EXTRACTION"
    assert adapter["base_model_name_or_path"] == base
    config = json.loads(Path(folder, "encoder_config.json").read_text())
    assert config["pooling"] == "mean"
    assert "auto_map" not in config
    names = list(load_file(f"{folder}/adapter_model.safetensors"))
    assert any(name.startswith("base_model.model.social_head.") for name in names)
    assert any(name.startswith("base_model.model.tpp_head.") for name in names)
    assert AutoTokenizer.from_pretrained(folder).pad_token


@pytest.mark.parametrize("family", ["bert"])
class TestOneFamily:
    @pytest.mark.parametrize("change", ["renamed", "missing", "reshaped", "head"])
    def test_weights_that_do_not_fit_are_an_error(self, change, adapted, tokenizer):
        _, folder = adapted
        path = f"{folder}/adapter_model.safetensors"
        weights = load_file(path)
        lora = [name for name in weights if "lora_A" in name]
        if change == "renamed":  # as an adapter of the whole pretraining model is
            weights = {n.replace(".encoder.", ".bert.encoder."): w for n, w in weights.items()}
            message = "lacks weights"
        elif change == "missing":
            del weights[lora[0]]
            message = "lacks weights that this model needs: 1 of"
        elif change == "reshaped":
            weights[lora[0]] = weights[lora[0]][:, :3].contiguous()
            message = "another shape"
        else:
            weights = {n: w for n, w in weights.items() if "tpp_head" not in n}
            message = None  # the encoder needs no head
        save_file(weights, path + "2", metadata={"format": "pt"})
        os.replace(path + "2", path)
        if message is None:
            load_post_encoder(folder)
            message = "tpp_head"
        else:
            with pytest.raises(ValueError, match=message):
                load_post_encoder(folder)
        with pytest.raises(ValueError, match=message):
            load_pretraining_model(folder, tokenizer)
        with pytest.raises(ValueError, match=message):
            load_pretraining_model(folder, tokenizer, trainable_adapter=True)

    def test_a_damaged_adapter_is_refused_before_its_base_is_read(self, adapted, monkeypatch):
        _, folder = adapted
        path = Path(folder, "adapter_model.safetensors")
        path.write_bytes(path.read_bytes()[:-8])
        for name in ("check_files", "model_class", "weights_fingerprint"):
            monkeypatch.setattr(adapters, name, lambda *_: pytest.fail("the base is read"))
        for load in (load_post_encoder, load_with_heads):
            with pytest.raises(ValueError, match=f"{folder}"):
                load(folder)

    @pytest.mark.parametrize("key", ["r", "rank_pattern"])
    def test_a_rank_that_the_file_has_not_is_refused_before_it_is_made(
        self, adapted, key, tokenizer
    ):
        _, folder = adapted
        path = Path(folder, "adapter_config.json")
        told = json.loads(path.read_text())
        ranks = {"r": 10**9, "rank_pattern": dict.fromkeys(told["target_modules"], 10**9)}
        path.write_text(json.dumps(told | {key: ranks[key]}))
        for load in (load_post_encoder, load_with_heads):
            with pytest.raises(ValueError, match="another shape"):
                load(folder)
        for trainable in (True, False):
            with pytest.raises(ValueError, match="another shape"):
                load_pretraining_model(folder, tokenizer, trainable_adapter=trainable)

    def test_more_layers_than_weights_are_refused_before_they_are_made(self, adapted):
        _, folder = adapted
        path = Path(folder, "adapter_config.json")
        told = json.loads(path.read_text()) | {"layer_replication": [[0, 2]] * 1000}
        path.write_text(json.dumps(told))
        for load in (load_post_encoder, load_with_heads):
            with pytest.raises(ValueError, match="repeats more layers of its base than it has"):
                load(folder)

    def test_a_base_that_is_an_adapter_itself(self, adapted, base):
        _, folder = adapted
        for file in Path(folder).glob("adapter_*"):
            Path(base, file.name).write_bytes(file.read_bytes())
        for load in (load_post_encoder, load_with_heads):
            with pytest.raises(ValueError, match="which is an adapter itself; merge"):
                load(folder)

    def test_an_adapter_of_the_heads_too(self, base, tmp_path):
        model = load_with_heads(base)
        config = LoraConfig(target_modules=["query", "dense"], r=2)
        adapted = PretrainingAdapter(model, config)
        adapted.save_pretrained(tmp_path / "adapter")
        assert any(
            "mlm_head" in n or "cls" in n
            for n in load_file(tmp_path / "adapter" / "adapter_model.safetensors")
        )
        assert load_with_heads(str(tmp_path / "adapter")).config.tpp_weight == 1.0

    @pytest.mark.parametrize(
        ("kind", "options"), [(BOFTConfig, {"boft_block_size": 2}), (ShiraConfig, {"r": 2})]
    )
    def test_kinds_that_look_at_values_when_they_are_made(
        self, base, inputs, tmp_path, kind, options
    ):
        encoder = load_post_encoder(base)
        target = next(n for n, m in encoder.named_modules() if isinstance(m, torch.nn.Linear))
        model = get_peft_model(encoder, kind(target_modules=[target], **options))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        model.eval().save_pretrained(tmp_path / "adapter")
        expected = hidden(model, inputs)
        loaded = load_post_encoder(str(tmp_path / "adapter"))
        torch.testing.assert_close(hidden(loaded, inputs), expected)

    def test_weights_of_a_deeper_model_are_an_error(self, adapted, base):
        _, folder = adapted
        config = json.loads(Path(folder, "encoder_config.json").read_text()) | {
            "num_hidden_layers": 1
        }
        Path(folder, "encoder_config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match="no place for"):
            load_post_encoder(folder)

    def test_an_adapter_that_peft_made_of_the_stock_encoder(self, base, inputs, tmp_path):
        from peft import LoraConfig, get_peft_model

        stock = get_peft_model(
            AutoModel.from_pretrained(base),
            LoraConfig(
                task_type="FEATURE_EXTRACTION", target_modules=["query"], init_lora_weights=False
            ),
        ).eval()
        stock.save_pretrained(tmp_path / "theirs")
        ours = load_post_encoder(str(tmp_path / "theirs"))
        torch.testing.assert_close(
            hidden(ours, inputs), hidden(stock, inputs), atol=1e-5, rtol=1e-5
        )
        assert ours.config.pooling == "mean"  # of the base model's config

    def test_other_heads_than_the_adapter_has(self, adapted, tokenizer):
        _, folder = adapted
        with pytest.raises(ValueError, match="was trained with the heads"):
            load_pretraining_model(folder, tokenizer, trainable_adapter=True, tpp_weight=0.0)
        load_pretraining_model(folder, tokenizer, tpp_weight=0.0)  # merged: nothing is lacking

    def test_layers_outside_of_the_encoder_have_no_lora(self, base):
        model = PRETRAINING_MODELS["bert"].from_pretrained(base)
        adapted = add_lora(model, lora_config(model, r=2, target_modules=["dense"]))
        names = [name for name, _ in adapted.named_parameters() if "lora_" in name]
        assert names
        assert all(".bert.encoder." in name for name in names)

    def test_without_a_checkpoint_or_on_a_merged_adapter(self, family_config, adapted, tokenizer):
        with pytest.raises(ValueError, match="random weights"):
            add_lora(PRETRAINING_MODELS["bert"](apply_settings(family_config)))
        with pytest.raises(ValueError, match="merged into it"):
            add_lora(load_pretraining_model(adapted[1], tokenizer))

    def test_ranks_that_cannot_work(self, base):
        model = PRETRAINING_MODELS["bert"].from_pretrained(base)
        with pytest.raises(ValueError, match="lora_r is 0"):
            lora_config(model, r=0)
        with pytest.raises(ValueError, match="lora_dropout is 1"):
            lora_config(model, dropout=1.0)

    def test_without_peft_the_extra_is_named(self, adapted, monkeypatch):
        monkeypatch.setattr("twhin_hf.loading.auto.is_peft_available", lambda: False)
        with pytest.raises(ValueError, match=r"pip install 'twhin_hf\[peft\]'"):
            load_post_encoder(adapted[1])

    def test_loaded_onto_a_model_it_is_a_peft_model(self, adapted, base):
        model = PRETRAINING_MODELS["bert"].from_pretrained(base)
        assert isinstance(load_pretraining_adapter(model, adapted[1]), PeftModel)
        assert not any(parameter.requires_grad for parameter in model.parameters())
