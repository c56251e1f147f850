"""What holds for every encoder family."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    ElectraConfig,
)

from twhin_hf import modeling
from twhin_hf.loading.auto import load_post_encoder, load_with_heads
from twhin_hf.loading.families import MODELS, PRETRAINING_MODELS, model_class
from twhin_hf.modeling import apply_settings, score_blocks

ALL_OBJECTIVES = {"social_weight": 1.0, "mlm_weight": 0.7, "tpp_weight": 0.9}


@pytest.fixture
def model(family, family_config):
    torch.manual_seed(0)
    return PRETRAINING_MODELS[family](apply_settings(family_config, **ALL_OBJECTIVES)).eval()


@pytest.fixture
def encoder_class(family):
    return MODELS[family]


def encoder_of(model):
    return getattr(model, model.base_model_prefix)


def stock_form(padded):
    """A padded batch as the stock classes take it."""
    left = {name: padded[name] for name in padded if name not in ("segment_ids", "position_ids")}
    return left | {"attention_mask": (padded["segment_ids"] > 0).long()}


NETWORK_OBJECTIVES = {
    "engagement_weight": 1.0,
    "engagement_projection_sizes": [12, 8],
    "distillation_weight": 1.0,
    "distillation_loss": "neighbours",
    "distillation_hidden_sizes": [12],
    "network_dimension": 6,
}


def losses_and_gradients(model, batch):
    model.zero_grad()
    output = model(**batch)
    output.loss.backward()
    return output, {
        name: value.grad.clone()
        for name, value in model.named_parameters()
        if value.grad is not None
    }


def hidden_of_tokens(output, inputs):
    """`[num_tokens, hidden]`, post by post."""
    segments, positions = inputs["segment_ids"].flatten(), inputs["position_ids"].flatten()
    order = (segments * 1000 + positions).argsort()
    return output.last_hidden_state.flatten(0, 1)[order[(segments == 0).sum() :]]


def assert_equal_weights(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].equal(value), name


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["social", "network", "bce", "contrastive"])
def test_packed_equals_padded(
    family, family_config, batch, network_batch, translation_batch, attention, kind
):
    torch.manual_seed(1)
    settings = {"social_pooling": "combined", "tpp_pooling": "mean"}
    if kind == "network":
        settings |= NETWORK_OBJECTIVES
        batch = network_batch
    elif kind != "social":
        settings["tpp_loss"] = kind
        batch = translation_batch
    apply_settings(family_config, **ALL_OBJECTIVES, **settings)
    model = PRETRAINING_MODELS[family]._from_config(family_config, attn_implementation=attention)
    assert model.config._attn_implementation == attention
    collated = {row_length: batch(row_length) for row_length in (0, 128, 700)}
    if kind == "contrastive":
        for inputs in collated.values():
            inputs["pair_labels"] = torch.ones_like(inputs["pair_labels"])
    padded, padded_gradients = losses_and_gradients(model, stock_form(collated[0]))
    for row_length in (128, 700):
        packed, gradients = losses_and_gradients(model, collated[row_length])
        assert packed.keys() == padded.keys()
        losses = [name for name in packed if name.endswith("loss")]
        of_network = ["engagement_loss", "distillation_loss"] if kind == "network" else []
        of_pairs = "social_loss" if kind in ("social", "network") else "tpp_loss"
        assert losses == ["loss", "mlm_loss", of_pairs, *of_network]
        for name in losses:
            torch.testing.assert_close(packed[name], padded[name], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            hidden_of_tokens(packed, collated[row_length]),
            hidden_of_tokens(padded, collated[0]),
            atol=1e-5,
            rtol=1e-4,
        )
        assert gradients.keys() == padded_gradients.keys()
        for name, gradient in padded_gradients.items():
            torch.testing.assert_close(
                gradients[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda text, n=name: n + text
            )


@pytest.mark.parametrize("family", ["modernbert"])
def test_windows_matter(family, family_config, batch):
    """Else the comparison of packed with padded rows would say nothing about them."""
    inputs = batch(128)
    torch.manual_seed(0)
    model = MODELS[family](family_config).eval()
    narrow = model(inputs["input_ids"], **packed_keys(inputs)).last_hidden_state
    family_config.local_attention = 128
    wide = MODELS[family](family_config).eval()
    wide.load_state_dict(model.state_dict())
    whole = wide(inputs["input_ids"], **packed_keys(inputs)).last_hidden_state
    assert (narrow - whole).abs().max() > 1e-2


def packed_keys(inputs):
    return {name: inputs[name] for name in ("segment_ids", "position_ids", "num_posts")}


def test_mlm_loss_is_that_of_the_stock_model(model, batch, tmp_path):
    inputs = stock_form(batch(0))
    model.save_pretrained(tmp_path)
    stock = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    named = {name: inputs[name] for name in ("input_ids", "attention_mask", "labels")}
    torch.testing.assert_close(model(**named).mlm_loss, stock(**named).loss, atol=1e-5, rtol=1e-5)


def test_a_saved_model_reloads_with_equal_outputs(
    family, model, batch, translation_batch, tmp_path
):
    model.save_pretrained(tmp_path)
    again, info = PRETRAINING_MODELS[family].from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert_equal_weights(again.state_dict(), model.state_dict())
    for inputs in (batch(128), translation_batch(128)):
        expected, found = model(**inputs), again.eval()(**inputs)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert found[name].equal(value), name


def test_a_saved_model_loads_as_the_stock_classes(family, model, tmp_path):
    model.save_pretrained(tmp_path)
    stock = AutoModel.from_pretrained(tmp_path)
    mlm = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert type(stock).__module__.startswith("transformers.")
    assert type(mlm).__module__.startswith("transformers.")
    ours = encoder_of(model).state_dict()
    theirs = stock.state_dict()
    assert_equal_weights({name: theirs[name] for name in ours}, ours)
    assert {name.split(".")[0] for name in theirs.keys() - ours.keys()} <= {"pooler"}
    ours = model.state_dict()
    heads = ("social_head.", "tpp_head.")
    assert_equal_weights(
        mlm.state_dict(), {n: v for n, v in ours.items() if not n.startswith(heads)}
    )


def test_the_stock_classes_of_a_model_without_mlm_weight(family, family_config, tmp_path):
    apply_settings(family_config, social_weight=0, mlm_weight=0, tpp_weight=1)
    model = PRETRAINING_MODELS[family](family_config)
    model.save_pretrained(tmp_path)
    mlm, info = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    ours = model.state_dict()
    assert_equal_weights(mlm.state_dict(), {name: ours[name] for name in mlm.state_dict()})


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForMaskedLM])
def test_a_stock_checkpoint_keeps_its_weights(family, family_config, auto_class, tmp_path):
    torch.manual_seed(0)
    stock = auto_class.from_config(family_config)
    stock.save_pretrained(tmp_path)
    config = apply_settings(type(family_config).from_pretrained(tmp_path), **ALL_OBJECTIVES)
    model, info = PRETRAINING_MODELS[family].from_pretrained(
        tmp_path, config=config, output_loading_info=True
    )
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    embeddings, decoder = model.get_input_embeddings(), model.get_output_embeddings()
    assert decoder.weight is embeddings.weight
    if auto_class is AutoModelForMaskedLM:
        assert {key.split(".")[0] for key in info["missing_keys"]} == {"social_head", "tpp_head"}
        ours = model.state_dict()
        assert_equal_weights({name: ours[name] for name in stock.state_dict()}, stock.state_dict())
    encoder, info = MODELS[family].from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    theirs = getattr(stock, stock.base_model_prefix, stock).state_dict()
    for of in (encoder, encoder_of(model)):
        ours = of.state_dict()
        assert_equal_weights(ours, {name: theirs[name] for name in ours})
    with pytest.raises(AttributeError, match=r"no trained pooler.*Read `output\.embeddings`"):
        _ = encoder(torch.tensor([[0, 5, 2]])).pooler_output


def test_encoder_of_a_pretraining_checkpoint(family, model, tokenizer, texts, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder, info = load_post_encoder(str(tmp_path), output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(encoder) is MODELS[family]
    assert encoder.encode(texts[:5]).equal(encoder_of(model).encode(texts[:5], tokenizer=tokenizer))
    whole, info = load_with_heads(str(tmp_path), output_loading_info=True)
    assert not info["missing_keys"]
    assert type(whole) is type(model)


def test_gradients_reach_all_parts(model, batch, translation_batch):
    for inputs in (batch(128), translation_batch(128)):
        model(**inputs).loss.backward()
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name
        # BERT has two token types, of which posts use the first; softmax cancels a key's bias.
        assert value.grad.abs().max() > 0 or name.endswith("key.bias"), name


def test_tpp_alone_has_no_other_head_and_trains_its_own(family, family_config, translation_batch):
    apply_settings(family_config, social_weight=0, mlm_weight=0, tpp_weight=1)
    model = PRETRAINING_MODELS[family](family_config)
    assert model.social_head is None
    output, gradients = losses_and_gradients(model, translation_batch(128))
    assert output.mlm_loss is None
    torch.testing.assert_close(output.loss, output.tpp_loss)
    parts = {name.split(".")[0] for name in gradients}
    assert parts == {model.base_model_prefix, "tpp_head"}
    encoder = {n for n, _ in model.named_parameters() if n.startswith(model.base_model_prefix)}
    assert encoder <= gradients.keys()


def test_without_tpp_there_is_no_head(family, family_config, translation_batch):
    model = PRETRAINING_MODELS[family](family_config)
    assert model.tpp_head is None
    assert not any(name.startswith("tpp_head") for name in model.state_dict())
    assert model(**translation_batch(128)).tpp_loss is None


def test_resizing_keeps_the_decoder_tied(family, model, tokenizer, tmp_path):
    size = len(tokenizer) + 8
    model.resize_token_embeddings(size)
    ids = torch.tensor([[0, size - 1, 2]])
    expected = model(ids, attention_mask=torch.ones_like(ids), labels=ids).mlm_loss
    assert torch.isfinite(expected)
    model.save_pretrained(tmp_path)
    again = PRETRAINING_MODELS[family].from_pretrained(tmp_path)
    for resized in (model, again):
        decoder = resized.get_output_embeddings()
        assert decoder.weight is resized.get_input_embeddings().weight
        assert decoder.weight.shape == (size, 32)
        assert decoder.bias.shape == (size,)
        assert resized.config.vocab_size == size
    found = again(ids, attention_mask=torch.ones_like(ids), labels=ids).mlm_loss
    torch.testing.assert_close(found, expected)
    # And the stock class reads the same decoder.
    stock = AutoModelForMaskedLM.from_pretrained(tmp_path)
    torch.testing.assert_close(
        stock(ids, attention_mask=torch.ones_like(ids), labels=ids).loss, expected
    )


@pytest.mark.parametrize("row_length", [0, 64])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_cached_gradients_are_those_of_the_whole_batch(
    family, family_config, network_batch, translation_batch, row_length, attention, monkeypatch
):
    """Three blocks, one of them shorter, and scores in blocks; MLM goes through them too."""
    torch.manual_seed(1)
    settings = NETWORK_OBJECTIVES | {"social_pooling": "combined", "distillation_pooling": "cls"}
    apply_settings(family_config, **ALL_OBJECTIVES | settings)
    model = PRETRAINING_MODELS[family]._from_config(family_config, attn_implementation=attention)
    for batch in (network_batch, translation_batch):
        inputs = batch(row_length) if row_length else stock_form(batch(0))
        model.cache_gradients(None)
        expected, gradients = losses_and_gradients(model, inputs)
        model.cache_gradients(3)
        with monkeypatch.context() as patch:
            patch.setattr(score_blocks, "MAX_SCORES", 90)
            found, others = losses_and_gradients(model, inputs)
        assert found.last_hidden_state is None
        for name, value in expected.items():
            if name != "last_hidden_state":
                torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5)
        assert others.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, atol=1e-5, rtol=1e-4)


def test_gradient_checkpointing_changes_nothing(model, batch):
    model.train()
    expected, gradients = losses_and_gradients(model, batch(128))
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing
    found, others = losses_and_gradients(model, batch(128))
    torch.testing.assert_close(found.loss, expected.loss)
    assert others.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_bfloat16_is_near(model, batch, translation_batch, attention):
    model.set_attn_implementation(attention)
    batches = batch(128), translation_batch(128)
    expected = [model(**inputs).loss.item() for inputs in batches]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = [model(**inputs).loss.item() for inputs in batches]
    assert near == pytest.approx(expected, rel=3e-2)
    model.to(torch.bfloat16)
    losses = [model(**inputs).loss for inputs in batches]
    assert [loss.item() for loss in losses] == pytest.approx(expected, rel=3e-2)
    sum(losses).backward()
    assert all(torch.isfinite(value.grad).all() for value in model.parameters())


def test_encode_does_not_depend_on_the_batch(encoder_class, family_config, tokenizer, texts):
    torch.manual_seed(0)
    encoder = encoder_class(family_config)
    some = texts[:40]
    together = encoder.encode(some, tokenizer=tokenizer, max_length=64)
    assert together.shape == (40, 64)
    alone = torch.cat([encoder.encode([text], tokenizer=tokenizer, max_length=64) for text in some])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    in_threes = encoder.encode(some[::-1], batch_size=3, tokenizer=tokenizer, max_length=64)
    torch.testing.assert_close(together, in_threes.flip(0), atol=1e-5, rtol=1e-4)


def test_the_longest_post(encoder_class, family_config, tokenizer):
    encoder = encoder_class(family_config)
    longest = encoder.check_tokenizer(tokenizer)
    positions = 130 - encoder.position_offset
    assert longest == min(128, positions)
    assert torch.isfinite(
        encoder.encode(["a" * 500], tokenizer=tokenizer, max_length=positions)
    ).all()
    with pytest.raises(ValueError, match=f"this model reads {positions} at most"):
        encoder.encode(["a"], tokenizer=tokenizer, max_length=positions + 1)


def test_a_family_without_a_class():
    with pytest.raises(ValueError, match=r"'electra' model; the families .*'modernbert'"):
        model_class(ElectraConfig(), MODELS)


def test_every_family_is_exported():
    import twhin_hf

    files = Path(modeling.__file__).parent.glob("modeling_twhin_*.py")
    families = {file.stem.removeprefix("modeling_twhin_").replace("_", "-") for file in files}
    assert MODELS.keys() == PRETRAINING_MODELS.keys() == families
    for one in [*MODELS.values(), *PRETRAINING_MODELS.values()]:
        assert getattr(twhin_hf, one.__name__) is one
