import numpy as np
import pytest
import torch
import transformers

from twhin_hf.loading.auto import load_with_heads
from twhin_hf.loading.families import MODELS
from twhin_hf.modeling import TwhinBertForPreTraining, TwhinBertModel, apply_settings
from twhin_hf.modeling import post_encoder as post_encoder_module
from twhin_hf.modeling.post_encoder import flat_batches


@pytest.fixture
def model(tiny_config, tokenizer, tmp_path):
    torch.manual_seed(0)
    TwhinBertModel(tiny_config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return TwhinBertModel.from_pretrained(tmp_path)


def one_by_one(model, tokenizer, texts, pooling):
    rows = []
    for text in texts:
        ids = torch.tensor([tokenizer(text, truncation=True, max_length=64)["input_ids"]])
        hidden = model.eval()(ids).last_hidden_state[0]
        mean = hidden[1:-1].mean(dim=0)
        poolings = {
            "cls": hidden[0],
            "mean": mean,
            "mean_all": hidden.mean(dim=0),
            "combined": torch.cat([hidden[0], mean]),
        }
        rows.append(poolings[pooling])
    return torch.stack(rows).detach()


@pytest.mark.parametrize("pooling", ["cls", "mean", "mean_all", "combined"])
def test_encode_is_each_text_alone(model, tokenizer, texts, pooling, monkeypatch):
    monkeypatch.setattr(post_encoder_module, "TOKENIZED_AT_ONCE", 50)
    found = model.encode(texts, batch_size=3, max_length=64, pooling=pooling)
    torch.testing.assert_close(
        found, one_by_one(model, tokenizer, texts, pooling), atol=1e-5, rtol=1e-4
    )
    assert found.dtype == torch.float32


def test_batches_hold_no_more_tokens_than_their_budget(model, texts, monkeypatch):
    seen = []
    forward = TwhinBertModel.forward

    def watched(self, input_ids=None, **kwargs):
        seen.append(tuple(input_ids.shape))
        return forward(self, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(TwhinBertModel, "forward", watched)
    model.encode(texts, batch_size=4, max_length=100)
    assert max(rows * width for rows, width in seen) <= 400
    assert [width for _, width in seen] == sorted((width for _, width in seen), reverse=True)
    assert len(seen) < len(texts) / 4  # short posts make large batches


def test_flat_batches_by_hand():
    ids = [[0, 7, 2], [0, 2], [0, 5, 6, 7, 2], [0, 9, 2]]
    (first, batch), (second, rest) = flat_batches(ids, 8)
    assert (first.tolist(), second.tolist()) == ([2, 0], [3, 1])
    assert batch["input_ids"].tolist() == [[0, 5, 6, 7, 2, 0, 7, 2]]
    assert batch["segment_ids"].tolist() == [[1, 1, 1, 1, 1, 2, 2, 2]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2]]
    assert batch["boundaries"].tolist() == [0, 5, 8]
    assert (batch["num_posts"], batch["longest"]) == (2, 5)
    assert rest["input_ids"].tolist() == [[0, 9, 2, 0, 2]]
    assert len(list(flat_batches(ids, 1))) == 4  # a post is never cut


@pytest.mark.parametrize("pooling", ["cls", "mean", "mean_all", "combined"])
def test_posts_end_to_end_have_the_same_embeddings(
    family, family_config, tokenizer, texts, pooling, varlen, monkeypatch
):
    monkeypatch.setattr(post_encoder_module, "COPIED_AT_ONCE", 30)
    model = MODELS[family](family_config)
    options = {"tokenizer": tokenizer, "pooling": pooling, "max_length": 64, "batch_size": 3}
    padded = model.encode(texts, **options)
    # As on a GPU in half precision.
    monkeypatch.setattr(post_encoder_module, "packed_attention_backend", lambda *args: varlen)
    seen = []
    forward = type(model).forward

    def watched(self, input_ids=None, **kwargs):
        assert "attention_mask" not in kwargs
        seen.append(input_ids.shape)
        return forward(self, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(type(model), "forward", watched)
    flat = model.encode(texts, **options)
    torch.testing.assert_close(flat, padded, atol=1e-5, rtol=1e-4)
    num_tokens = sum(map(len, tokenizer(texts, truncation=True, max_length=64)["input_ids"]))
    assert sum(rows * width for rows, width in seen) == num_tokens
    assert max(width for _, width in seen) <= 3 * 64
    assert model.config._attn_implementation == "sdpa"  # as it was


def test_a_batch_on_a_cpu_is_what_its_caches_hold(model, texts, monkeypatch):
    seen = []
    forward = TwhinBertModel.forward

    def watched(self, input_ids=None, **kwargs):
        seen.append(input_ids.numel())
        return forward(self, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(TwhinBertModel, "forward", watched)
    model.encode(texts, batch_size=64)
    assert 1024 * torch.get_num_threads() / 2 < max(seen) <= 1024 * torch.get_num_threads()


def test_normalize(model, texts):
    norms = model.encode(texts[:7], normalize_embeddings=True).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(7))


def test_what_sentence_transformers_users_write(model, texts, capsys):
    vectors = model.encode(texts[:3])
    single = model.encode(texts[1])
    assert single.shape == (64,)
    torch.testing.assert_close(single, vectors[1])
    array = model.encode(texts[:3], convert_to_numpy=True)
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, vectors.numpy())
    assert isinstance(model.encode(texts[0], convert_to_tensor=False), np.ndarray)
    # Asked for is asked for, whatever else shows none.
    transformers.logging.disable_progress_bar()
    model.encode(texts[:3], show_progress_bar=True)
    transformers.logging.enable_progress_bar()
    assert "3/3" in capsys.readouterr().err
    model.encode(texts[:3])
    assert "3/3" not in capsys.readouterr().err
    with pytest.warns(FutureWarning, match="is called normalize_embeddings= now") as warned:
        old = model.encode(texts[:3], normalize=True)
    assert warned[0].filename == __file__
    torch.testing.assert_close(old, model.encode(texts[:3], normalize_embeddings=True))


def test_encode_leaves_training_mode_as_it_was(model, texts):
    model.train()
    model.encode(texts[:2])
    assert model.training


def test_nothing_and_empty_texts(model):
    assert model.encode([]).shape == (0, 64)
    assert torch.isfinite(model.encode(["", " "])).all()


@pytest.mark.parametrize(
    ("bad", "options", "message"),
    [
        (["a", None], {}, "text 1 is None"),
        (["a"], {"pooling": "max"}, "pooling is 'max'"),
        (["a"], {"max_length": 500}, "this model reads 130 at most"),
    ],
)
def test_bad_input(model, bad, options, message):
    with pytest.raises(ValueError, match=message):
        model.encode(bad, **options)


def test_a_tokenizer_larger_than_the_model(model, tokenizer, tiny_config):
    tiny_config.vocab_size = len(tokenizer) - 1
    with pytest.raises(ValueError, match="resize_token_embeddings"):
        TwhinBertModel(tiny_config).encode(["a"], tokenizer=tokenizer)


def test_no_tokenizer_to_be_found(tiny_config):
    with pytest.raises(ValueError, match="pass tokenizer="):
        TwhinBertModel(tiny_config).encode(["a"])


@pytest.mark.parametrize("pooling", ["mean", "combined"])
def test_projections_of_texts(tiny_config, tokenizer, texts, tmp_path, pooling):
    settings = {"tpp_pooling": pooling, "tpp_weight": 1.0, "social_weight": 0.0}
    torch.manual_seed(0)
    model = TwhinBertForPreTraining(apply_settings(tiny_config, **settings)).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = load_with_heads(tmp_path)
    found = model.encode(texts[:6], "tpp", batch_size=2)
    pooled = model.bert.encode(texts[:6], pooling=pooling)
    head = model.tpp_head.projection
    with torch.inference_mode():
        torch.testing.assert_close(found, pooled @ head.weight.T + head.bias)
    torch.testing.assert_close(model.encode(texts[2], "tpp"), found[2])
    unit = model.encode(texts[2], "tpp", normalize_embeddings=True, convert_to_numpy=True)
    np.testing.assert_allclose(np.linalg.norm(unit), 1, rtol=1e-5)
    with pytest.raises(ValueError, match=r"'social'; this model has the heads of \['tpp'\]"):
        model.encode(texts[:2], "social")


def test_a_checkpoint_that_lost_its_heads(tiny_config, tmp_path):
    config = apply_settings(tiny_config, tpp_weight=1.0)
    TwhinBertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="its heads were left out when it was saved"):
        load_with_heads(tmp_path)
