"""The plain encoders of `convert --to-encoder` hold what text-embeddings-inference and vLLM read.

`examples/serving.md` says which key is read by which.
"""

import json

import pytest
from transformers import AutoConfig

from twhin_hf.conversion.encoder import convert_to_encoder
from twhin_hf.loading.auto import load_post_encoder

ARCHITECTURES = {
    "bert": "BertModel",
    "distilbert": "DistilBertModel",
    "modernbert": "ModernBertModel",
    "roberta": "RobertaModel",
    "xlm-roberta": "XLMRobertaModel",
}
EVERY = {
    "architectures", "model_type", "vocab_size", "pad_token_id", "max_position_embeddings", "dtype",
}  # fmt: skip
BERT = {
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "hidden_act", "hidden_dropout_prob", "type_vocab_size", "initializer_range", "layer_norm_eps",
}  # fmt: skip
DISTILBERT = {"dim", "n_layers", "n_heads", "hidden_dim", "activation"}
MODERNBERT = {
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "hidden_activation", "initializer_range", "initializer_cutoff_factor", "norm_eps", "norm_bias",
    "eos_token_id", "bos_token_id", "cls_token_id", "sep_token_id", "attention_bias",
    "attention_dropout", "local_attention", "classifier_activation", "rope_parameters",
    "layer_types", "global_rope_theta", "local_rope_theta", "global_attn_every_n_layers",
}  # fmt: skip


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_plain_encoder_has_the_keys_that_servers_read(family, pooling, saved_encoders, tmp_path):
    folder = tmp_path / "plain"
    convert_to_encoder(str(saved_encoders[family]), folder, pooling=pooling)
    config = read(folder / "config.json")
    own = {"distilbert": DISTILBERT, "modernbert": MODERNBERT}.get(family, BERT)
    assert config.keys() >= EVERY | own
    assert config["architectures"] == [ARCHITECTURES[family]]
    assert "auto_map" not in config
    assert config["dtype"] == "float32"
    modules = read(folder / "modules.json")
    assert [(module["type"], module["path"]) for module in modules] == [
        ("sentence_transformers.models.Transformer", ""),
        ("sentence_transformers.models.Pooling", "1_Pooling"),
    ]
    options = read(folder / "1_Pooling" / "config.json")
    flags = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    assert [flag for flag in flags if options[f"pooling_mode_{flag}"]] == [
        {"cls": "cls_token", "mean": "mean_tokens"}[pooling]
    ]
    # vLLM takes any other value that is true for a pooling.
    assert sum(value is True for value in options.values()) == 1
    sentence = read(folder / "sentence_bert_config.json")
    assert (sentence["max_seq_length"], sentence["do_lower_case"]) == (128, False)
    assert (folder / "tokenizer.json").is_file()
    assert (folder / "model.safetensors").is_file()


def test_the_old_keys_of_modernbert_say_what_the_new_ones_do(saved_encoders, tmp_path):
    convert_to_encoder(str(saved_encoders["modernbert"]), tmp_path / "plain", pooling="cls")
    config = read(tmp_path / "plain" / "config.json")
    every, types = config["global_attn_every_n_layers"], config["layer_types"]
    assert types == ["sliding_attention" if row % every else "full_attention" for row in range(2)]
    ropes = config["rope_parameters"]
    assert config["global_rope_theta"] == ropes["full_attention"]["rope_theta"]
    assert config["local_rope_theta"] == ropes["sliding_attention"]["rope_theta"]
    again = AutoConfig.from_pretrained(tmp_path / "plain")
    before = load_post_encoder(str(saved_encoders["modernbert"])).config
    assert (again.rope_parameters, again.layer_types) == (
        before.rope_parameters,
        before.layer_types,
    )
