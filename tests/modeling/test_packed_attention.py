import sys
import types

import pytest
import torch
from transformers import BertConfig, ModernBertConfig

from twhin_hf.loading.families import PRETRAINING_MODELS
from twhin_hf.modeling import TwhinBertForPreTraining, TwhinModernBertModel
from twhin_hf.modeling.packed_attention import (
    VARLEN,
    attention_dropout,
    packed_attention_arguments,
    packed_attention_backend,
    register_varlen_attention,
)

SEGMENTS = torch.tensor([[1, 1, 2, 0], [3, 3, 3, 3]])


def config(backend):
    settings = BertConfig()
    settings._attn_implementation = backend
    return settings


def test_blocks_of_the_mask_by_hand():
    mask = packed_attention_arguments(SEGMENTS, config("sdpa"), torch.float32)["attention_mask"]
    assert mask.shape == (2, 1, 4, 4)
    assert mask[0, 0].tolist() == [
        [True, True, False, False],
        [True, True, False, False],
        [False, False, True, False],
        [False, False, False, True],
    ]
    assert mask[1].all()


def test_eager_takes_an_additive_mask():
    mask = packed_attention_arguments(SEGMENTS, config("eager"), torch.float32)["attention_mask"]
    least = torch.finfo(torch.float32).min
    assert mask[0, 0, 0].tolist() == [0, 0, least, least]


def test_a_mask_for_each_type_of_layer():
    settings = ModernBertConfig(num_hidden_layers=2, local_attention=4)  # two tokens either side
    settings._attn_implementation = "sdpa"
    masks = packed_attention_arguments(SEGMENTS, settings, torch.float32)["attention_mask"]
    assert masks["full_attention"][1].all()
    assert masks["sliding_attention"][1, 0].tolist() == [
        [True, True, True, False],
        [True, True, True, True],
        [True, True, True, True],
        [False, True, True, True],
    ]
    assert masks["sliding_attention"][0].equal(masks["full_attention"][0])
    settings._attn_implementation = VARLEN
    masks = packed_attention_arguments(SEGMENTS, settings, torch.float32)["attention_mask"]
    assert masks == {"full_attention": None, "sliding_attention": None}


def test_a_kernel_without_windows(monkeypatch):
    module = types.ModuleType("torch.nn.attention.varlen")
    module.varlen_attn = lambda query, *rest: query
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", module)
    register_varlen_attention()
    sizes = {"vocab_size": 9, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
    config = ModernBertConfig(**sizes, num_hidden_layers=2, local_attention=4, pad_token_id=1)
    model = TwhinModernBertModel(config)
    model.set_attn_implementation(VARLEN)

    def forward(length):
        ids = torch.full((1, length), 5)
        model(ids, segment_ids=torch.ones_like(ids), position_ids=torch.arange(length)[None])

    forward(3)  # the window holds the whole post
    with pytest.raises(ValueError, match="has no windows and this model needs them"):
        forward(9)


def test_dropout_of_each_family(family_config):
    for name in ("attention_probs_dropout_prob", "attention_dropout"):
        if hasattr(family_config, name):
            setattr(family_config, name, 0.3)
    assert attention_dropout(family_config) == 0.3


@pytest.mark.parametrize("backend", ["flash_attention_2", VARLEN])
def test_boundaries_by_hand(backend):
    found = packed_attention_arguments(SEGMENTS, config(backend), torch.float32)
    assert found["cu_seq_lens_q"].tolist() == [0, 2, 3, 4, 8]
    assert found["cu_seq_lens_q"].dtype == torch.int32
    assert found["max_length_q"] == 4


def test_a_backend_without_packed_rows_is_refused():
    with pytest.raises(ValueError, match="'flex_attention' does not"):
        packed_attention_arguments(SEGMENTS, config("flex_attention"), torch.float32)


def test_cpu_and_float32_take_sdpa():
    assert packed_attention_backend(torch.device("cpu"), torch.bfloat16, 0.0) == "sdpa"
    assert packed_attention_backend(torch.device("cuda"), torch.float32, 0.0) == "sdpa"


def test_rows_end_to_end_equal_rows_with_a_mask(varlen, family, family_config, tokenizer, posts):
    from twhin_hf.data.tokenization import tokenize_posts
    from twhin_hf.training.batches import PostBatches
    from twhin_hf.training.collators import PackingCollator

    data = PostBatches(tokenize_posts(posts, tokenizer, max_length=64))
    batch = PackingCollator(tokenizer)(data.__getitems__(list(range(20))))
    batch["post_ids"] = torch.arange(20)
    torch.manual_seed(0)
    model = PRETRAINING_MODELS[family](family_config)
    expected = model(**batch)
    model.set_attn_implementation(VARLEN)
    found = model(**batch)
    assert found.last_hidden_state.shape == expected.last_hidden_state.shape
    torch.testing.assert_close(found.loss, expected.loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        found.social_projections, expected.social_projections, atol=1e-5, rtol=1e-4
    )
    # One row that brings its boundaries: nothing but a little padding at its end.
    batch = PackingCollator(tokenizer, is_flat=True)(data.__getitems__(list(range(20))))
    batch["post_ids"] = torch.arange(20)
    flat = model(**batch)
    torch.testing.assert_close(flat.mlm_loss, expected.mlm_loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        flat.social_projections, expected.social_projections, atol=1e-5, rtol=1e-4
    )
    # Padded batches go to sdpa.
    ids, mask = torch.tensor([[0, 7, 2, 1], [0, 7, 9, 2]]), torch.tensor([[1, 1, 1, 0], [1] * 4])
    padded = model(ids, attention_mask=mask).last_hidden_state
    model.set_attn_implementation("sdpa")
    again = model(ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(padded[mask > 0], again[mask > 0], atol=1e-6, rtol=1e-5)


def test_varlen_has_no_dropout(varlen, tiny_config):
    tiny_config.attention_probs_dropout_prob = 0.1
    model = TwhinBertForPreTraining(tiny_config)
    model.set_attn_implementation(VARLEN)
    ids = torch.tensor([[0, 7, 2]])
    with pytest.raises(ValueError, match="has no dropout"):
        model.train()(ids, segment_ids=torch.ones_like(ids), position_ids=torch.arange(3)[None])
