"""Our classes take what the stock classes of transformers take, and give what they give."""

import copy

import accelerate
import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, pipeline

from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.loading.families import MODELS, PRETRAINING_MODELS
from twhin_hf.modeling import TwhinBertForPreTraining, TwhinBertModel
from twhin_hf.modeling.settings import POOLINGS

ROWS = {
    "input_ids": torch.tensor([[0, 7, 8, 9, 2, 1, 1], [0, 11, 12, 13, 14, 15, 2]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1]]),
}
"""Two posts of the tests' tokenizer, whose padding is 1."""


@pytest.fixture
def stock_folder(family_config, tmp_path):
    torch.manual_seed(0)
    AutoModelForMaskedLM.from_config(family_config).save_pretrained(tmp_path / "stock")
    return str(tmp_path / "stock")


@pytest.fixture
def both(family, stock_folder):
    """A stock MLM model, and our model of the same weights."""
    ours = PRETRAINING_MODELS[family].from_pretrained(stock_folder)
    return AutoModelForMaskedLM.from_pretrained(stock_folder).eval(), ours.eval()


def pooled_by_hand(hidden, pooling):
    """Of ROWS, from the hidden states of their tokens."""
    rows = [hidden[0, :5], hidden[1]]
    first = torch.stack([row[0] for row in rows])
    content = torch.stack([row[1:-1].mean(dim=0) for row in rows])
    return {
        "cls": first,
        "mean": content,
        "mean_all": torch.stack([row.mean(dim=0) for row in rows]),
        "combined": torch.cat([first, content], dim=-1),
    }[pooling]


# Settings by keyword


@pytest.mark.parametrize("classes", [MODELS, PRETRAINING_MODELS])
def test_settings_go_by_keyword_with_any_stock_checkpoint(family, stock_folder, classes, tmp_path):
    settings = {"pooling": "cls", "social_weight": 0.5, "social_projection_sizes": [9, 5]}
    model = classes[family].from_pretrained(stock_folder, tpp_weight=2, **settings)
    found = {name: getattr(model.config, name) for name in settings}
    assert found == settings
    assert model.config.tpp_weight == 2
    if classes is PRETRAINING_MODELS:
        assert [layer.out_features for layer in model.social_head.layers] == [9, 5]
        assert model.tpp_head is not None
    # And they are saved, and changed by keyword again: by us, and by the folder's own code.
    model.save_pretrained(tmp_path / "ours")
    again = classes[family].from_pretrained(tmp_path / "ours", tpp_weight=0)
    assert (again.config.pooling, again.config.tpp_weight) == ("cls", 0)
    remote = AutoModel.from_pretrained(
        tmp_path / "ours", trust_remote_code=True, pooling="mean_all"
    )
    assert remote.eval()(**ROWS).embeddings.shape == (2, 32)
    assert remote.config.pooling == "mean_all"


def test_settings_by_keyword_beside_a_config_and_in_load_post_encoder(family, stock_folder):
    config = MODELS[family].config_class.from_pretrained(stock_folder)
    model = MODELS[family].from_pretrained(stock_folder, config=config, pooling="mean")
    assert model.config.pooling == "mean"
    assert not hasattr(config, "pooling")
    encoder = load_post_encoder(stock_folder, pooling="cls").eval()
    output = encoder(**ROWS)
    assert output.embeddings.equal(output.last_hidden_state[:, 0])


@pytest.mark.parametrize("classes", [MODELS, PRETRAINING_MODELS])
def test_an_unknown_keyword_fails_as_with_the_stock_class(family, stock_folder, classes):
    with pytest.raises(TypeError, match="poling"):
        AutoModel.from_pretrained(stock_folder, poling="cls")
    with pytest.raises(TypeError, match=r"unknown settings \['poling'\]; the settings are .*'pool"):
        classes[family].from_pretrained(stock_folder, poling="cls")
    with pytest.raises(ValueError, match="pooling is 'max'"):
        classes[family].from_pretrained(stock_folder, pooling="max")


# Outputs


def test_logits_hidden_states_and_attentions_are_those_of_the_stock_class(both):
    stock, ours = both
    for model in both:
        model.set_attn_implementation("eager")
    asked = {"output_hidden_states": True, "output_attentions": True}
    expected, found = stock(**ROWS, **asked), ours(**ROWS, **asked)
    torch.testing.assert_close(found.logits, expected.logits)
    for name in ("hidden_states", "attentions"):
        assert len(found[name]) == len(expected[name]) > 1
        for one, other in zip(found[name], expected[name], strict=True):
            torch.testing.assert_close(one, other)
    assert found.last_hidden_state.equal(found.hidden_states[-1])
    values = ours(**ROWS, **asked, return_dict=False)
    assert isinstance(values, tuple)
    assert values[0].equal(found.logits)
    ours.config.return_dict = False
    assert isinstance(ours(**ROWS), tuple)


def test_training_makes_the_logits_of_masked_tokens_alone(both, monkeypatch):
    stock, ours = both
    labels = ROWS["input_ids"].where(ROWS["input_ids"] > 12, -100)
    seen = []
    transform = type(ours).mlm_transform

    def watched(self, hidden_states):
        seen.append(tuple(hidden_states.shape))
        return transform(self, hidden_states)

    monkeypatch.setattr(type(ours), "mlm_transform", watched)
    output = ours(**ROWS, labels=labels)
    assert seen == [(3, 32)]
    assert output.logits is None
    assert output.hidden_states is None
    torch.testing.assert_close(output.mlm_loss, stock(**ROWS, labels=labels).loss)
    asked = ours(**ROWS, labels=labels, output_logits=True)
    torch.testing.assert_close(asked.logits, stock(**ROWS).logits)
    assert asked.loss.equal(output.loss)
    assert ours(**ROWS, output_logits=False).logits is None


def test_what_is_asked_for_is_given_with_cached_gradients_too(both):
    _, ours = both
    expected = ours(**ROWS, output_hidden_states=True)
    ours.cache_gradients(2)
    found = ours(**ROWS, output_hidden_states=True)
    torch.testing.assert_close(found.logits, expected.logits)
    assert len(found.hidden_states) == len(expected.hidden_states)


def test_vectors_of_tokens_in_place_of_their_ids(both):
    stock, ours = both
    mask = ROWS["attention_mask"]
    vectors = ours.get_input_embeddings()(ROWS["input_ids"]).detach()
    expected = stock(inputs_embeds=vectors, attention_mask=mask)
    found = ours(inputs_embeds=vectors, attention_mask=mask)
    torch.testing.assert_close(found.logits, expected.logits)
    output = ours.base_model(inputs_embeds=vectors, attention_mask=mask, pooling="combined")
    expected = pooled_by_hand(output.last_hidden_state, "combined")
    torch.testing.assert_close(output.embeddings, expected)
    labels = ROWS["input_ids"]
    torch.testing.assert_close(
        ours(inputs_embeds=vectors, attention_mask=mask, labels=labels).mlm_loss,
        stock(inputs_embeds=vectors, attention_mask=mask, labels=labels).loss,
    )


def test_packed_rows_of_vectors_are_those_of_their_ids(both):
    _, ours = both
    ids = torch.tensor([[0, 7, 8, 2, 0, 9, 2, 1]])
    packed = {
        "segment_ids": torch.tensor([[1, 1, 1, 1, 2, 2, 2, 0]]),
        "position_ids": torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0]]),
    }
    expected = ours.base_model(input_ids=ids, **packed)
    vectors = ours.get_input_embeddings()(ids)
    found = ours.base_model(inputs_embeds=vectors, **packed)
    torch.testing.assert_close(found.embeddings, expected.embeddings)
    found = ours(inputs_embeds=vectors, **packed)
    torch.testing.assert_close(found.logits, ours(input_ids=ids, **packed).logits)


def test_no_input_and_two_inputs_are_the_stock_class_s_errors(both):
    stock, ours = both
    vectors = torch.zeros(2, 7, 32)
    for inputs in ({}, {"attention_mask": ROWS["attention_mask"]}):
        with pytest.raises(ValueError, match="exactly one of input_ids or inputs_embeds") as error:
            stock(**inputs)
        for model in (ours, ours.base_model):
            with pytest.raises(ValueError, match=str(error.value)):
                model(**inputs)
    for model in (stock, ours, ours.base_model):
        with pytest.raises(ValueError, match="exactly one of input_ids or inputs_embeds"):
            model(inputs_embeds=vectors, **ROWS)


def test_labels_that_are_not_as_many_as_tokens(both):
    _, ours = both
    with pytest.raises(ValueError, match=r"labels are \[2, 6\] and the tokens \[2, 7\]"):
        ours(**ROWS, labels=ROWS["input_ids"][:, 1:])


def test_the_fill_mask_pipeline(family, both, tokenizer, tmp_path):
    stock, ours = both
    found = []
    for name, model in (("stock", stock), ("ours", ours)):
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    classes = {"stock": AutoModelForMaskedLM, "ours": PRETRAINING_MODELS[family]}
    for name, one in classes.items():
        model = one.from_pretrained(tmp_path / name)
        fill = pipeline(
            "fill-mask", model=model, tokenizer=AutoTokenizer.from_pretrained(tmp_path / name)
        )
        found.append(fill(f"ab {tokenizer.mask_token} de"))
    assert [token["token"] for token in found[1]] == [token["token"] for token in found[0]]
    assert found[1][0]["score"] == pytest.approx(found[0][0]["score"], rel=1e-4)


# Attention masks


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", ["boolean", "additive", "infinite", "by head"])
def test_masks_of_four_dimensions(family, both, pooling, kind):
    stock, ours = both
    mask = ROWS["attention_mask"].bool()[:, None, None, :].expand(2, 1, 7, 7)
    if kind in ("additive", "infinite"):
        lowest = torch.finfo(torch.float32).min if kind == "additive" else float("-inf")
        mask = torch.zeros(2, 1, 7, 7).masked_fill(~mask, lowest)
    elif kind == "by head":
        mask = mask.expand(2, 4, 7, 7)
    ids = ROWS["input_ids"]
    real = ROWS["attention_mask"].bool()
    expected = getattr(stock, stock.base_model_prefix)(input_ids=ids, attention_mask=mask)
    found = ours.base_model(input_ids=ids, attention_mask=mask, pooling=pooling)
    torch.testing.assert_close(found.last_hidden_state[real], expected.last_hidden_state[real])
    torch.testing.assert_close(found.embeddings, pooled_by_hand(found.last_hidden_state, pooling))
    logits = stock(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(ours(input_ids=ids, attention_mask=mask).logits[real], logits[real])


def test_a_mask_by_layer_type(small_config):
    ours = MODELS["modernbert"](small_config("modernbert")).eval()
    full = ROWS["attention_mask"].bool()[:, None, None, :].expand(2, 1, 7, 7)
    places = torch.arange(7)
    near = full & ((places[:, None] - places).abs() <= ours.config.sliding_window)
    masks = {"full_attention": full, "sliding_attention": near}
    found = ours(input_ids=ROWS["input_ids"], attention_mask=masks)
    torch.testing.assert_close(found.embeddings, ours(**ROWS).embeddings)


def test_masks_that_cannot_be_pooled_by(family, both):
    """The stock classes take none of three dimensions either."""
    stock, ours = both
    mask = ROWS["attention_mask"][:, None, :].expand(2, 7, 7)
    with pytest.raises(RuntimeError, match="the number of sizes"):
        stock(input_ids=ROWS["input_ids"], attention_mask=mask)
    for model in (ours, ours.base_model):
        with pytest.raises(ValueError, match=r"attention_mask is .*\[2, 7, 7\].*: give \[rows, w"):
            model(input_ids=ROWS["input_ids"], attention_mask=mask)


# Prompt methods of peft


@pytest.fixture
def wrapped(family, family_config):
    """Our encoder and the stock one of the same weights, under a method of peft."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    ours = MODELS[family](copy.deepcopy(family_config))
    stock = AutoModel.from_config(copy.deepcopy(family_config))
    stock.load_state_dict(ours.state_dict(), strict=False)

    def wrap(method):
        models = []
        for model in (ours, stock):
            torch.manual_seed(1)
            config = getattr(peft, method)(
                task_type="FEATURE_EXTRACTION",
                num_virtual_tokens=3,
                num_attention_heads=4,
                num_layers=2,
                token_dim=32,
            )
            models.append(peft.get_peft_model(model, config).eval())
        return models

    return wrap


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("has_mask", [True, False])
def test_prefix_tuning_pools_the_post_s_own_tokens(family, wrapped, pooling, has_mask):
    ours, stock = wrapped("PrefixTuningConfig")
    rows = ROWS if has_mask else {"input_ids": ROWS["input_ids"][1:]}
    if family in ("distilbert", "modernbert"):
        with pytest.raises(ValueError, match="takes no past_key_values, so that prefix tuning"):
            ours(**rows, pooling=pooling)
        return
    expected = stock(**rows).last_hidden_state
    output = ours(**rows, pooling=pooling)
    real = ROWS["attention_mask"].bool() if has_mask else slice(None)
    torch.testing.assert_close(output.last_hidden_state[real], expected[real])
    plain = ours.get_base_model()(**rows).last_hidden_state
    assert (plain - output.last_hidden_state).abs().max() > 1e-3  # the prefix is seen
    hidden = expected if has_mask else expected.expand(2, 7, 32)
    found = output.embeddings if has_mask else output.embeddings.expand(2, -1)
    if has_mask:
        torch.testing.assert_close(found, pooled_by_hand(hidden, pooling))
    else:
        torch.testing.assert_close(found[1], pooled_by_hand(hidden, pooling)[1])


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("method", ["PromptTuningConfig", "PromptEncoderConfig"])
def test_virtual_tokens_are_left_out_of_the_pooling(wrapped, pooling, method):
    ours, stock = wrapped(method)
    expected = stock(**ROWS).last_hidden_state[:, 3:]
    output = ours(**ROWS, pooling=pooling, num_virtual_tokens=3)
    real = ROWS["attention_mask"].bool()
    torch.testing.assert_close(output.last_hidden_state[:, 3:][real], expected[real])
    torch.testing.assert_close(output.embeddings, pooled_by_hand(expected, pooling))


@pytest.mark.parametrize("method", ["PromptTuningConfig", "PromptEncoderConfig"])
@pytest.mark.parametrize("rows", [ROWS, {"input_ids": ROWS["input_ids"]}])
def test_virtual_tokens_of_unknown_number_are_refused(wrapped, method, rows):
    ours, _ = wrapped(method)
    with pytest.raises(ValueError, match=r"cannot tell .* call the model with num_virtual"):
        ours(**rows)
    with pytest.raises(ValueError, match="cannot tell how many"):
        ours(**rows, output_hidden_states=True, output_attentions=True)
    ours.train()
    with pytest.raises(ValueError, match="cannot tell how many"):
        ours(**rows)


@pytest.mark.parametrize(
    "method", ["PrefixTuningConfig", "PromptTuningConfig", "PromptEncoderConfig"]
)
def test_encode_never_leaves_out_a_prompt(wrapped, tokenizer, texts, method):
    ours, _ = wrapped(method)
    with pytest.raises(ValueError, match="wrapped for prefix or prompt tuning, which encode would"):
        ours.encode(texts[:2], tokenizer=tokenizer)
    encoder = ours.get_base_model()
    del ours
    assert encoder.encode(texts[:2], tokenizer=tokenizer).shape == (2, 64)


def test_encode_of_a_prompted_head_is_refused_too(tiny_config, tokenizer, texts):
    peft = pytest.importorskip("peft")
    config = peft.PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=3)
    model = peft.get_peft_model(TwhinBertForPreTraining(tiny_config), config)
    with pytest.raises(ValueError, match="wrapped for prefix or prompt tuning"):
        model.encode(texts[:2], "social", tokenizer=tokenizer)
    with pytest.raises(ValueError, match="cannot tell how many"):
        model(**ROWS)
    with pytest.raises(ValueError, match=r"labels are \[2, 7\] and the tokens \[2, 10\]"):
        model(**ROWS, labels=ROWS["input_ids"], num_virtual_tokens=3)


def test_vectors_of_a_frozen_encoder_need_no_number(family, family_config):
    encoder = MODELS[family](family_config).eval().requires_grad_(False)
    vectors = encoder.get_input_embeddings()(ROWS["input_ids"])
    mask = ROWS["attention_mask"]
    assert encoder(inputs_embeds=vectors, attention_mask=mask).embeddings.shape == (2, 64)


def test_lora_takes_vectors_of_tokens_as_before(tiny_config):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(task_type="FEATURE_EXTRACTION", target_modules=["query"])
    model = peft.get_peft_model(TwhinBertModel(tiny_config), config).eval()
    vectors = model.get_input_embeddings()(ROWS["input_ids"])
    for frozen in (False, True):
        model.requires_grad_(not frozen)
        found = model(inputs_embeds=vectors, attention_mask=ROWS["attention_mask"])
        torch.testing.assert_close(found.embeddings, model(**ROWS).embeddings)


# Export and offloading


@pytest.mark.parametrize("pooling", POOLINGS)
def test_export_with_a_batch_of_any_size(family, family_config, pooling):
    torch.manual_seed(0)
    family_config.pooling = pooling
    model = MODELS[family](family_config).eval()
    dim = torch.export.Dim
    ids = torch.randint(5, 90, (3, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    sizes = (
        {0: dim("rows"), 1: dim("width", max=60)} if family != "modernbert" else {0: dim("rows")}
    )
    program = torch.export.export(
        model,
        (),
        {"input_ids": ids, "attention_mask": mask},
        dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
    )
    ids = torch.randint(5, 90, (5, 9))
    mask = torch.ones_like(ids)
    mask[3, 4:] = 0
    found = program.module()(input_ids=ids, attention_mask=mask).embeddings
    torch.testing.assert_close(found, model(input_ids=ids, attention_mask=mask).embeddings)


@pytest.mark.parametrize("where", ["cpu", "disk"])
def test_encode_where_weights_are_offloaded(
    family, family_config, tokenizer, texts, where, tmp_path
):
    torch.manual_seed(0)
    model = PRETRAINING_MODELS[family](family_config).eval()
    expected = [
        model.base_model.encode(texts[:5], tokenizer=tokenizer),
        model.encode(texts[:5], "social", tokenizer=tokenizer),
    ]
    if where == "cpu":
        accelerate.cpu_offload(model, torch.device("cpu"))
    else:
        accelerate.disk_offload(model, tmp_path, torch.device("cpu"))
    assert model.device.type == "meta"
    torch.testing.assert_close(model.base_model.encode(texts[:5], tokenizer=tokenizer), expected[0])
    torch.testing.assert_close(model.encode(texts[:5], "social", tokenizer=tokenizer), expected[1])
