"""A saved folder loads as ours and as stock classes, with and without the package."""

import json

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
)

from twhin_hf.hub.folder import auto_classes, code_files, complete_folder, missing_files
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.modeling import TwhinBertForPreTraining, TwhinBertModel


def test_a_folder_names_and_holds_its_code(saved_models):
    for family, folder in saved_models.items():
        config = json.loads((folder / "config.json").read_text())
        file = f"modeling_twhin_{family.replace('-', '_')}"
        assert config["auto_map"] == auto_classes(folder / f"{file}.py")
        assert config["auto_map"].keys() == {"AutoModel", "AutoModelForPreTraining"}
        assert config["model_type"] == family
        needed = code_files(folder / f"{file}.py")
        assert {path.name for path in folder.glob("*.py")} == needed
        assert missing_files(folder) == {}


def test_saving_leaves_the_config_without_code(saved_models, tmp_path):
    """Else a stock class made from it would name code that it does not save."""
    model = TwhinBertForPreTraining(BertConfig(vocab_size=50, hidden_size=12))
    model.save_pretrained(tmp_path / "ours")
    BertModel(model.config).save_pretrained(tmp_path / "stock")
    assert "auto_map" in json.loads((tmp_path / "ours" / "config.json").read_text())
    assert "auto_map" not in json.loads((tmp_path / "stock" / "config.json").read_text())


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForSequenceClassification])
def test_what_an_untrusted_load_saves_is_completed(saved_models, auto_class, texts, tmp_path):
    source = saved_models["bert"]
    stock = auto_class.from_pretrained(source)
    stock.save_pretrained(tmp_path)
    with pytest.raises(OSError, match=r"modeling_twhin_bert\.py"):
        AutoModel.from_pretrained(tmp_path, trust_remote_code=True)
    names = complete_folder(tmp_path)
    assert {"config.json", "modeling_twhin_bert.py", "modules.json"} <= set(names)
    assert complete_folder(tmp_path) == []
    ours = AutoModel.from_pretrained(tmp_path, trust_remote_code=True)
    assert type(ours).__name__ == "TwhinBertModel"
    assert type(ours) is not TwhinBertModel  # the folder's own code
    expected = load_post_encoder(str(source))
    tokenizer = expected._own_tokenizer()
    assert ours.encode(texts[:3], tokenizer=tokenizer).equal(expected.encode(texts[:3]))
    again = auto_class.from_pretrained(tmp_path)
    assert type(again) is type(stock)
    for name, value in stock.state_dict().items():
        assert again.state_dict()[name].equal(value) or "pooler" in name


def test_a_merged_adapter_loads_both_ways(saved_adapters, saved_models, texts, tmp_path):
    """By our class the folder is whole; by peft's merging of a stock encoder it is completed."""
    from peft import AutoPeftModelForFeatureExtraction

    adapter = str(saved_adapters["bert"])
    merged = load_post_encoder(adapter)
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    expected = merged.encode(texts[:3], tokenizer=tokenizer)
    merged.save_pretrained(tmp_path / "ours")
    assert missing_files(tmp_path / "ours") == {}
    stock = AutoPeftModelForFeatureExtraction.from_pretrained(adapter).merge_and_unload()
    stock.save_pretrained(tmp_path / "stock")
    assert "modeling_twhin_bert.py" in complete_folder(tmp_path / "stock")
    for folder in (tmp_path / "ours", tmp_path / "stock"):
        assert type(AutoModel.from_pretrained(folder)) is BertModel
        ours = AutoModel.from_pretrained(folder, trust_remote_code=True)
        found = ours.encode(texts[:3], tokenizer=tokenizer)
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)


def test_what_a_stock_trainer_has_tuned_loads_both_ways(saved_models, texts, tokenizer, tmp_path):
    from transformers import Trainer, TrainingArguments

    model = AutoModelForSequenceClassification.from_pretrained(saved_models["bert"])
    rows = [tokenizer(text, truncation=True, max_length=20) | {"labels": 1} for text in texts[:4]]
    options = {"max_steps": 1, "report_to": [], "use_cpu": True, "disable_tqdm": True}
    arguments = TrainingArguments(str(tmp_path), learning_rate=1e-2, **options)
    trainer = Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    trainer.save_model()
    assert "modeling_twhin_bert.py" in complete_folder(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, trust_remote_code=True)
    assert again.classifier.weight.equal(model.classifier.weight)
    expected = model.bert.embeddings.word_embeddings.weight
    before = TwhinBertModel.from_pretrained(saved_models["bert"])
    assert not before.get_input_embeddings().weight.equal(expected)  # it was tuned
    for trust in (True, False):
        encoder = AutoModel.from_pretrained(tmp_path, trust_remote_code=trust)
        assert encoder.get_input_embeddings().weight.equal(expected)


def test_a_resized_model_loads_both_ways(saved_models, tmp_path):
    model = TwhinBertForPreTraining.from_pretrained(saved_models["bert"])
    size = model.config.vocab_size + 8
    model.resize_token_embeddings(size)
    model.save_pretrained(tmp_path)
    ours = AutoModel.from_pretrained(tmp_path, trust_remote_code=True)
    mlm = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert type(mlm) is BertForMaskedLM
    expected = model.get_input_embeddings().weight
    for loaded in (ours, mlm):
        assert loaded.get_input_embeddings().weight.shape == (size, 32)
        assert loaded.get_input_embeddings().weight.equal(expected)


def test_a_stock_encoder_without_our_settings_is_refused(tmp_path):
    BertModel(BertConfig(vocab_size=50, hidden_size=12)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"'bert' model without our settings\); load it with"):
        missing_files(tmp_path)


def test_asking_for_a_pooler_tells_what_to_read_instead():
    model = TwhinBertModel(BertConfig(vocab_size=50, hidden_size=12)).eval()
    output = model(torch.tensor([[0, 5, 2]]))
    with pytest.raises(AttributeError, match=r"no trained pooler.*Read `output\.embeddings`"):
        _ = output.pooler_output
    with pytest.raises(KeyError, match=r"Read `output\.embeddings`"):
        _ = output["pooler_output"]
    assert not hasattr(output, "pooler_output")
    with pytest.raises(AttributeError, match="has no attribute 'poolers'"):
        _ = output.poolers
    assert output["embeddings"] is output.embeddings
    assert output[1] is output.embeddings  # where a stock BERT's tuple has its pooler's
