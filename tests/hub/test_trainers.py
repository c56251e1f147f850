"""`push_to_hub` of trainers, models and adapters goes through the checks of `twhin-hf push`."""

import json
import shutil

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load

from twhin_hf.commands.cli import main
from twhin_hf.hub.push import plan_push, push_model, push_to_hub
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.modeling import TwhinBertForPreTraining, TwhinBertModel
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer
from twhin_hf.training.translation_pair import TPPConfig, TPPTrainer

NEVER = (".bin", ".pt", ".pth")


@pytest.fixture
def options(tmp_path):
    return {
        "output_dir": str(tmp_path / "stage2"),
        "max_steps": 2,
        "per_device_train_batch_size": 8,
        "max_length": 32,
        "logging_steps": 1,
        "save_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
    }


def social_trainer(options, folder, posts, pairs, tokenizer):
    model = TwhinBertForPreTraining.from_pretrained(folder)
    model.config.tpp_weight = 0.0
    config = SocialPretrainingConfig(**options)
    return SocialPretrainingTrainer(model, config, posts, pairs, processing_class=tokenizer)


def published(hub, repo):
    return hub.repos[repo].commits[-1]


def test_a_trainer_publishes_its_model_and_no_more(
    hub, options, saved_models, posts, pairs, tokenizer
):
    hub_options = {"push_to_hub": True, "hub_model_id": "me/trained", "hub_private_repo": True}
    trainer = social_trainer(options | hub_options, saved_models["bert"], posts, pairs, tokenizer)
    assert hub.repos["me/trained"].private  # before any training
    trainer.train()
    assert len(hub.repos["me/trained"].commits) == 5  # two a save: the model, and its pin
    assert not trainer.push_to_hub(dry_run=True).url
    assert len(hub.repos["me/trained"].commits) == 5
    done = trainer.push_to_hub("The end")
    files = published(hub, "me/trained")
    assert files.keys() == done.files.keys()
    assert {"model.safetensors", "tokenizer.json", "modeling_twhin_bert.py", "losses.png"} <= set(
        files
    )
    for commit in hub.repos["me/trained"].commits:
        assert not any(name.endswith(NEVER) or "checkpoint" in name for name in commit)
        assert "trainer_state.json" not in commit
    assert not any(options["output_dir"].encode() in content for content in files.values())
    card = ModelCard(files["README.md"].decode())
    assert "| Steps | 2 (" in card.content
    weights = load(files["model.safetensors"])
    assert weights.keys() <= trainer.model.state_dict().keys()
    assert all(trainer.model.state_dict()[name].equal(value) for name, value in weights.items())


def test_a_hub_that_is_down_does_not_end_a_training(
    hub, options, saved_models, posts, pairs, tokenizer, waits, caplog
):
    hub_options = {"push_to_hub": True, "hub_model_id": "me/late"}
    trainer = social_trainer(options | hub_options, saved_models["bert"], posts, pairs, tokenizer)
    hub.fail("POST", "/commit/", 500, times=1000)
    trainer.train()
    assert trainer.state.global_step == 2
    assert "was not published: the Hub did not answer" in caplog.text
    hub.faults.clear()
    trainer.push_to_hub()
    assert len(hub.repos["me/late"].commits) == 3


def test_what_a_trainer_refuses(
    hub, options, saved_models, translation_pairs, tokenizer, monkeypatch
):
    model = TwhinBertForPreTraining.from_pretrained(saved_models["bert"])
    for weight, value in (("tpp_weight", 1.0), ("social_weight", 0.0), ("mlm_weight", 0.0)):
        setattr(model.config, weight, value)

    def trainer(**more):
        config = TPPConfig(**options, push_to_hub=True, hub_model_id="me/tpp", **more)
        return TPPTrainer(model, config, translation_pairs, processing_class=tokenizer)

    for strategy in ("checkpoint", "all_checkpoints"):
        with pytest.raises(ValueError, match=f"'{strategy}', which publishes the state of the"):
            trainer(hub_strategy=strategy)
    assert hub.requests == []
    with pytest.raises(ValueError, match="a model is published on main"):
        trainer(hub_strategy="end").push_to_hub(revision="other")
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(ValueError, match="the token may only read"):
        trainer()


@pytest.fixture
def doubled(saved_models):
    """A model that is no longer what its folder holds."""
    model = TwhinBertModel.from_pretrained(saved_models["bert"])
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.mul_(2)
    return model


def test_a_model_in_memory(hub, doubled, texts):
    url = push_to_hub(doubled, "mine", private=True, commit_message="Twice").url
    assert url == f"{hub.endpoint}/me/mine/commit/{hub.repos['me/mine'].sha()}"
    files = published(hub, "me/mine")
    assert {"tokenizer.json", "modeling_twhin_bert.py", "1_Pooling/config.json"} <= files.keys()
    card = files["README.md"].decode()
    pinned = f'revision="{hub.repos["me/mine"].sha(1)}")'
    assert f'TwhinBertModel.from_pretrained("me/mine", {pinned}' in card
    assert "No training is recorded" in card
    found = load_post_encoder("me/mine").encode(texts[:3])
    torch.testing.assert_close(found, doubled.encode(texts[:3]))
    fresh = TwhinBertModel(doubled.config)
    fresh.config._name_or_path = ""
    with pytest.raises(ValueError, match="pass tokenizer="):
        push_to_hub(fresh, "me/none")


def test_the_push_of_every_transformers_model(hub, doubled, saved_models, texts, tokenizer):
    url = doubled.push_to_hub("stock", private=True, commit_message="Twice")
    assert url.endswith(f"/me/stock/commit/{hub.repos['me/stock'].sha()}")
    files = published(hub, "me/stock")
    assert {"tokenizer.json", "modeling_twhin_bert.py", "1_Pooling/config.json"} <= files.keys()
    found = load_post_encoder("me/stock").encode(texts[:3])
    torch.testing.assert_close(found, doubled.encode(texts[:3]))
    # And by the argument that every model's saving takes.
    doubled.save_pretrained(saved_models["bert"].parent / "again", push_to_hub=True, repo_id="me/a")
    assert published(hub, "me/a").keys() == files.keys()
    # A model that was made in memory has no tokenizer, and needs none to be pushed.
    fresh = TwhinBertModel(doubled.config)
    fresh.config._name_or_path = ""
    fresh.push_to_hub("me/fresh")
    assert "modeling_twhin_bert.py" in published(hub, "me/fresh")
    assert "tokenizer.json" not in published(hub, "me/fresh")
    loaded = load_post_encoder("me/fresh")
    expected = fresh.encode(texts[:3], tokenizer=tokenizer)
    torch.testing.assert_close(loaded.encode(texts[:3], tokenizer=tokenizer), expected)


class TestAdapters:
    @pytest.fixture
    def adapter(self, saved_adapters, tmp_path):
        shutil.copytree(saved_adapters["bert"], tmp_path / "adapter")
        return tmp_path / "adapter"

    def test_an_adapter_names_a_base_that_others_have(self, hub, adapter, saved_models):
        with pytest.raises(ValueError, match=r"a folder that nobody else has.*--base-model"):
            push_model(adapter, "me/adapter")
        assert hub.requests == []
        for name in ("optimizer.pt", "training_args.bin"):
            (adapter / name).write_bytes(b"never to be seen")
        command = ["push", "--model", str(adapter), "--repo", "me/adapter"]
        assert main([*command, "--base-model", "me/base"]) == 0
        files = published(hub, "me/adapter")
        assert "config.json" not in files
        assert not any(name.endswith((".py", *NEVER)) for name in files)
        named = json.loads(files["adapter_config.json"])["base_model_name_or_path"]
        assert named == "me/base"
        assert b"me/base" not in (adapter / "adapter_config.json").read_bytes()  # stays as it was
        card = ModelCard(files["README.md"].decode())
        assert card.data.base_model == "me/base"
        assert card.data.library_name == "peft"
        assert "model = AutoPeftModelForFeatureExtraction.from_pretrained(" in card.content
        assert "| Adapter | LoRA, rank 16, alpha 32, on `query`, `value` |" in card.content
        assert "| Trained in full | `social_head`, `tpp_head`" in card.content.replace(
            "`cls.predictions.transform`, ", ""
        )

    def test_in_memory(self, hub, adapter, saved_models):
        from twhin_hf.loading.adapters import load_pretraining_adapter

        base = TwhinBertForPreTraining.from_pretrained(saved_models["bert"])
        model = load_pretraining_adapter(base, str(adapter))
        push_to_hub(model, "me/memory", base_model="me/base")
        files = published(hub, "me/memory")
        assert files["adapter_model.safetensors"]
        assert "tokenizer.json" in files

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"),
                "a pickle never goes out",
            ),
            (lambda f: (f / "encoder_config.json").unlink(), "no adapter of this package"),
            (lambda f: (f / "tokenizer_config.json").unlink(), "holds no tokenizer"),
        ],
    )
    def test_what_is_refused(self, adapter, change, message):
        change(adapter)
        with pytest.raises(ValueError, match=message):
            plan_push(adapter, "me/never", base_model="me/base")

    def test_a_whole_model_has_no_base(self, saved_models):
        with pytest.raises(ValueError, match="holds no adapter"):
            plan_push(saved_models["bert"], "me/never", base_model="me/base")
