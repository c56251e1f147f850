import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

pytest.importorskip("peft")

from safetensors.torch import load_file

from twhin_hf.commands.cli import main
from twhin_hf.loading.auto import load_post_encoder, load_with_heads
from twhin_hf.loading.families import PRETRAINING_MODELS
from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings
from twhin_hf.training.initialization import load_pretraining_model
from twhin_hf.training.lora import LORA_TARGETS, add_lora, heads_to_save
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer


@pytest.fixture
def base(tiny_config, tokenizer, tmp_path):
    torch.manual_seed(0)
    tiny_config.initializer_range = 0.2
    model = TwhinBertForPreTraining(apply_settings(tiny_config, pooling="mean"))
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def trainer_of(model, posts, pairs, tokenizer, folder, **options):
    config = SocialPretrainingConfig(
        output_dir=str(folder),
        per_device_train_batch_size=16,
        max_length=32,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **{"max_steps": 4, "save_strategy": "no"} | options,
    )
    return SocialPretrainingTrainer(model, config, posts, pairs, processing_class=tokenizer)


def test_every_family_has_layers_to_adapt():
    assert LORA_TARGETS.keys() == PRETRAINING_MODELS.keys()


@pytest.mark.parametrize(
    ("family", "transform"),
    [
        ("bert", ["cls.predictions.transform"]),
        ("distilbert", ["vocab_transform", "vocab_layer_norm"]),
        ("modernbert", ["head"]),
        ("roberta", ["lm_head.dense", "lm_head.layer_norm"]),
    ],
)
def test_what_is_trained_of_an_mlm_head(family, transform, family_config):
    model = PRETRAINING_MODELS[family](apply_settings(family_config))
    assert heads_to_save(model) == ["social_head", *transform]


def test_of_an_mlm_head_all_but_the_decoder_is_trained(family, family_config):
    model = PRETRAINING_MODELS[family](apply_settings(family_config))
    others = (model.base_model_prefix, *heads_to_save(model))
    left = [
        w for n, w in model.named_parameters() if not n.startswith(tuple(f"{o}." for o in others))
    ]
    decoder = {id(weight) for weight in model.get_output_embeddings().parameters()}
    assert {id(weight) for weight in left} <= decoder


def test_the_base_stays_and_adapter_and_heads_move(base, posts, pairs, tokenizer, tmp_path):
    model = add_lora(TwhinBertForPreTraining.from_pretrained(base))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = trainer_of(model, posts, pairs, tokenizer, tmp_path / "out")
    trainer.train()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name or ".modules_to_save." in name for name in trained)
    for name, value in model.state_dict().items():
        assert value.equal(before[name]) == (name not in trained), name
    for head in heads_to_save(model.get_base_model()):
        assert any(f".{head}." in name for name in trained)

    trainer.save_model()
    saved = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert "adapter_model.safetensors" in saved
    assert "model.safetensors" not in saved
    texts = posts["text"][:5]
    expected = torch.nn.functional.normalize(_mean(model, tokenizer, texts), dim=-1)
    found = load_post_encoder(str(tmp_path / "out")).encode(texts, normalize_embeddings=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_an_adapter_is_a_sentence_transformer(base, posts, pairs, tokenizer, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = add_lora(TwhinBertForPreTraining.from_pretrained(base))
    trainer = trainer_of(model, posts, pairs, tokenizer, tmp_path / "out")
    trainer.train()
    trainer.save_model()
    texts = posts["text"][:5]
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    found = torch.from_numpy(theirs.encode(texts))
    expected = load_post_encoder(str(tmp_path / "out")).encode(texts)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    before = load_post_encoder(str(base)).encode(texts)
    assert not torch.allclose(found, before, atol=1e-2)


def test_the_head_of_an_adapter_is_a_sentence_embedding(base, posts, pairs, tokenizer, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = TwhinBertForPreTraining.from_pretrained(base)
    apply_settings(model.config, sentence_embedding="social", social_pooling="mean_all")
    model = add_lora(model)
    trainer = trainer_of(model, posts, pairs, tokenizer, tmp_path / "out")
    trainer.train()
    trainer.save_model()
    texts = posts["text"][:5]
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    expected = load_with_heads(str(tmp_path / "out")).encode(
        texts, "social", normalize_embeddings=True
    )
    found = torch.from_numpy(theirs.encode(texts))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def _mean(model, tokenizer, texts):
    """Mean over the tokens between the special ones, post by post."""
    model.eval()
    inputs = [tokenizer(text, return_tensors="pt") for text in texts]
    return torch.stack([model(**one).last_hidden_state[0, 1:-1].mean(dim=0) for one in inputs])


def test_a_resumed_run_ends_where_an_unbroken_one_does(base, posts, pairs, tokenizer, tmp_path):
    def run(folder, resume=None, **options):
        torch.manual_seed(1)
        model = add_lora(TwhinBertForPreTraining.from_pretrained(base))
        trainer = trainer_of(model, posts, pairs, tokenizer, tmp_path / folder, **options)
        trainer.train(resume_from_checkpoint=resume)
        trainer.save_model()
        return load_file(tmp_path / folder / "adapter_model.safetensors")

    saving = {"save_strategy": "steps", "save_steps": 2}
    whole = run("whole", **saving)
    resumed = run("resumed", str(tmp_path / "whole" / "checkpoint-2"))
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, msg=name)
    early = load_file(tmp_path / "whole" / "checkpoint-2" / "adapter_model.safetensors")
    assert not all(early[name].equal(value) for name, value in whole.items())


@pytest.fixture
def files(base, posts, pairs, translation_pairs, tmp_path):
    posts.to_parquet(tmp_path / "posts.parquet")
    pq.write_table(pairs, tmp_path / "pairs.parquet")
    translation_pairs.to_parquet(tmp_path / "translations.parquet")
    config = {
        "model_name_or_path": str(base),
        "output_dir": str(tmp_path / "out"),
        "lora": True,
        "lora_r": 2,
        "max_steps": 2,
        "per_device_train_batch_size": 8,
        "max_length": 32,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_pretrain_with_lora_and_further(files):
    command = ["pretrain", "--config", str(files / "config.yaml")]
    command += ["--posts", str(files / "posts.parquet"), "--pairs", str(files / "pairs.parquet")]
    assert main(command) == 0
    adapter = json.loads((files / "out" / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["base_model_name_or_path"]) == (2, str(files / "base"))
    assert sorted(adapter["target_modules"]) == ["query", "value"]

    further = [*command, "--model_name_or_path", str(files / "out")]
    assert main([*further, "--output_dir", str(files / "further")]) == 0
    again = json.loads((files / "further" / "adapter_config.json").read_text())
    assert again["base_model_name_or_path"] == str(files / "base")
    first, second = (load_file(files / f / "adapter_model.safetensors") for f in ("out", "further"))
    assert first.keys() == second.keys()
    assert not all(first[name].equal(second[name]) for name in first)


def test_tpp_with_lora_in_stages(files):
    pairs = str(files / "translations.parquet")
    stages = [{"translation_pairs": pairs, "output_dir": name} for name in ("one", "two")]
    command = ["tpp", "--config", str(files / "config.yaml"), "--stages", yaml.safe_dump(stages)]
    assert main(command) == 0
    one, two = (load_file(files / "out" / f / "adapter_model.safetensors") for f in ("one", "two"))
    assert one.keys() == two.keys()
    assert any("tpp_head" in name for name in one)
    assert not any("cls." in name for name in one)  # no MLM: its head has no part
    vectors = load_post_encoder(str(files / "out" / "two")).encode(["a b c"])
    assert np.isfinite(vectors.numpy()).all()


def test_qlora_holds_the_encoder_alone_in_four_bits(tiny_config, posts, pairs, tokenizer, tmp_path):
    pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes")
    tiny_config.hidden_size, tiny_config.intermediate_size = 64, 128  # whole blocks of 64
    TwhinBertForPreTraining(apply_settings(tiny_config)).save_pretrained(tmp_path / "wide")
    tokenizer.save_pretrained(tmp_path / "wide")
    loaded = load_pretraining_model(str(tmp_path / "wide"), tokenizer, four_bit=True)
    kinds = {n: type(m).__name__ for n, m in loaded.named_modules() if "Linear" in type(m).__name__}
    assert {n for n, kind in kinds.items() if kind == "Linear4bit"} == {
        n for n in kinds if n.startswith("bert.")
    }
    model = add_lora(loaded)
    trainer = trainer_of(model, posts, pairs, tokenizer, tmp_path / "out", max_steps=2)
    before = {n: p.clone() for n, p in model.named_parameters() if p.requires_grad}
    trainer.train()
    moved = [n for n, p in model.named_parameters() if p.requires_grad and not p.equal(before[n])]
    assert len(moved) == len(before)
    trainer.save_model()
    # On the base in full precision, as whoever loads the adapter has it.
    vectors = load_post_encoder(str(tmp_path / "out")).encode(posts["text"][:3])
    assert np.isfinite(vectors.numpy()).all()
    with pytest.raises(ValueError, match="cannot be merged into weights of 4 bits"):
        load_pretraining_model(str(tmp_path / "out"), tokenizer, four_bit=True)


def test_four_bits_need_bitsandbytes_and_lora(files, monkeypatch, capsys):
    command = ["tpp", "--config", str(files / "config.yaml"), "--translation_pairs", "x"]
    monkeypatch.setattr("transformers.utils.is_bitsandbytes_available", lambda: False)
    assert main([*command, "--lora_4bit", "true"]) == 2
    assert "`pip install bitsandbytes`" in capsys.readouterr().err
    assert main([*command, "--lora_4bit", "true", "--lora", "false"]) == 2
    assert "lora_4bit goes with lora" in capsys.readouterr().err


def test_lora_needs_a_checkpoint(files, capsys):
    command = ["tpp", "--config", str(files / "config.yaml"), "--translation_pairs", "x"]
    (files / "config.yaml").write_text("lora: true\nconfig_name: bert\ntokenizer_name: base\n")
    assert main([*command, "--output_dir", str(files / "out")]) == 2
    assert "lora adapts a checkpoint" in capsys.readouterr().err
