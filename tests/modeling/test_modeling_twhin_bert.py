import logging

import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, BertForMaskedLM, BertModel

from twhin_hf.modeling import TwhinBertForPreTraining, TwhinBertModel, apply_settings
from twhin_hf.training.batches import Pairs, Posts
from twhin_hf.training.collators import PackingCollator


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    return TwhinBertForPreTraining(tiny_config).eval()


@pytest.fixture
def batch(posts, tokenizer):
    """Twelve pairs, as a function of the collator's row length."""
    from twhin_hf.data.tokenization import tokenize_posts

    rows = torch.arange(24).view(2, 12).T.numpy()
    data = Pairs(Posts(tokenize_posts(posts, tokenizer, max_length=64)), rows)

    def collate(row_length):
        return PackingCollator(tokenizer, row_length, seed=3)(data.__getitems__(list(range(12))))

    return collate


def losses_and_gradients(model, batch):
    model.zero_grad()
    output = model(**batch)
    output.loss.backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters()}
    return output, gradients


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("pooling", ["cls", "mean", "combined"])
@pytest.mark.parametrize("row_length", [64, 128, 700])
def test_packed_equals_padded(tiny_config, batch, attention, pooling, row_length):
    torch.manual_seed(1)
    apply_settings(tiny_config, social_pooling=pooling, mlm_weight=0.7)
    model = TwhinBertForPreTraining._from_config(tiny_config, attn_implementation=attention)
    assert model.config._attn_implementation == attention
    packed, packed_gradients = losses_and_gradients(model, batch(row_length))
    padded_batch = batch(0)
    # The stock way to describe a padded batch.
    mask = (padded_batch.pop("segment_ids") > 0).long()
    del padded_batch["position_ids"]
    padded, padded_gradients = losses_and_gradients(model, padded_batch | {"attention_mask": mask})
    for name in ("loss", "mlm_loss", "social_loss"):
        torch.testing.assert_close(packed[name], padded[name], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        packed.social_projections, padded.social_projections, atol=1e-5, rtol=1e-4
    )
    for name, gradient in padded_gradients.items():
        torch.testing.assert_close(packed_gradients[name], gradient, atol=1e-5, rtol=1e-4)


def test_masked_lm_loss_is_that_of_the_stock_model(model, batch, tmp_path):
    padded = batch(0)
    mask = (padded["segment_ids"] > 0).long()
    model.save_pretrained(tmp_path)
    stock = BertForMaskedLM.from_pretrained(tmp_path).eval()
    expected = stock(padded["input_ids"], attention_mask=mask, labels=padded["labels"]).loss
    ours = model(padded["input_ids"], attention_mask=mask, labels=padded["labels"])
    torch.testing.assert_close(ours.mlm_loss, expected, atol=1e-5, rtol=1e-5)


def test_loss_is_the_weighted_sum(model, batch):
    output = model(**batch(128))
    expected = output.social_loss + 0.05 * output.mlm_loss
    torch.testing.assert_close(output.loss, expected)


def test_objectives_take_part_by_weight_and_by_batch(tiny_config, batch):
    inputs = batch(128)
    mlm_only = TwhinBertForPreTraining(apply_settings(tiny_config, social_weight=0, mlm_weight=1))
    assert mlm_only.social_head is None
    output = mlm_only(**inputs)
    assert output.social_loss is None
    torch.testing.assert_close(output.loss, output.mlm_loss)
    social = TwhinBertForPreTraining(apply_settings(tiny_config, social_weight=1, mlm_weight=0))
    assert social(**inputs).mlm_loss is None
    del inputs["post_ids"], inputs["positive_ids"], inputs["labels"]
    assert social(**inputs).loss is None


def test_a_batch_of_one_pair_is_refused(model, batch):
    inputs = batch(128)
    with pytest.raises(ValueError, match="one pair has no negatives"):
        model(
            inputs["input_ids"][:2],
            attention_mask=torch.ones_like(inputs["input_ids"][:2]),
            post_ids=torch.tensor([0, 1]),
        )
    with pytest.raises(ValueError, match="takes pairs"):
        model(
            inputs["input_ids"][:1],
            attention_mask=torch.ones_like(inputs["input_ids"][:1]),
            post_ids=torch.tensor([0, 1, 2]),
        )


def test_a_plain_mlm_checkpoint_keeps_its_encoder_and_head(tiny_config, tmp_path):
    torch.manual_seed(0)
    stock = BertForMaskedLM(tiny_config)
    stock.save_pretrained(tmp_path)
    model, info = TwhinBertForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert {key.split(".")[0] for key in info["missing_keys"]} == {"social_head"}
    ours = model.state_dict()
    for name, value in stock.state_dict().items():
        assert ours[name].equal(value), name
    assert all(torch.isfinite(value).all() for value in ours.values())
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight


def test_saved_folder_loads_as_every_stock_class_with_equal_weights(model, tmp_path, caplog):
    model.save_pretrained(tmp_path)
    encoder = BertModel.from_pretrained(tmp_path, add_pooling_layer=False)
    mlm = BertForMaskedLM.from_pretrained(tmp_path)
    for name, value in encoder.state_dict().items():
        assert value.equal(model.bert.state_dict()[name]), name
    for name, value in mlm.state_dict().items():
        assert value.equal(model.state_dict()[name]), name
    assert isinstance(AutoModel.from_pretrained(tmp_path), BertModel)
    assert isinstance(AutoModelForMaskedLM.from_pretrained(tmp_path), BertForMaskedLM)
    with caplog.at_level(logging.WARNING):
        again, info = TwhinBertForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    for name, value in again.state_dict().items():
        assert value.equal(model.state_dict()[name]), name


def test_settings_survive_saving(tiny_config, tmp_path):
    settings = {
        "pooling": "mean",
        "social_pooling": "combined",
        "social_projection_sizes": [24, 16, 8],
        "social_temperature": 0.3,
        "social_weight": 0.9,
        "mlm_weight": 0.2,
    }
    TwhinBertForPreTraining(apply_settings(tiny_config, **settings)).save_pretrained(tmp_path)
    model = TwhinBertForPreTraining.from_pretrained(tmp_path)
    assert {key: getattr(model.config, key) for key in settings} == settings
    assert [layer.weight.shape for layer in model.social_head.layers] == [
        (24, 64),
        (16, 24),
        (8, 16),
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 1}, "unknown settings"),
        ({"pooling": "max"}, "pooling is 'max'"),
        ({"social_temperature": 0}, "must be above 0"),
        ({"social_projection_sizes": [0]}, "one positive size a layer"),
        ({"social_weight": 0, "mlm_weight": 0}, "nothing to learn"),
        ({"mlm_weight": -1}, "must be 0 or more"),
    ],
)
def test_bad_settings(tiny_config, settings, message):
    with pytest.raises(ValueError, match=message):
        apply_settings(tiny_config, **settings)


def test_embeddings_of_an_mlm_checkpoint_do_not_change_between_loads(
    tiny_config, tokenizer, texts, tmp_path
):
    BertForMaskedLM(tiny_config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(1)
    first = TwhinBertModel.from_pretrained(tmp_path).encode(texts[:5])
    torch.manual_seed(2)
    second = TwhinBertModel.from_pretrained(tmp_path)
    assert second.encode(texts[:5]).equal(first)
    assert not hasattr(second(torch.tensor([[0, 5, 2]])), "pooler_output")


def test_resizing_keeps_the_decoder_tied(model, tokenizer):
    model.resize_token_embeddings(len(tokenizer) + 8)
    decoder = model.cls.predictions.decoder
    assert decoder.weight is model.bert.embeddings.word_embeddings.weight
    assert decoder.bias.shape == (len(tokenizer) + 8,)
    ids = torch.tensor([[0, len(tokenizer) + 7, 2]])
    output = model(ids, attention_mask=torch.ones_like(ids), labels=ids)
    assert torch.isfinite(output.mlm_loss)


def test_gradient_checkpointing_changes_nothing(model, batch):
    model.train()
    expected, gradients = losses_and_gradients(model, batch(128))
    model.gradient_checkpointing_enable()
    found, others = losses_and_gradients(model, batch(128))
    torch.testing.assert_close(found.loss, expected.loss)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, atol=1e-6, rtol=1e-5)


def test_bfloat16_is_near(model, batch):
    expected = model(**batch(128)).loss.item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(**batch(128)).loss.item() == pytest.approx(expected, rel=2e-2)


def test_packed_rows_need_positions_and_no_mask(model, batch):
    inputs = batch(128)
    with pytest.raises(ValueError, match="not both"):
        model(**inputs, attention_mask=torch.ones_like(inputs["input_ids"]))
    del inputs["position_ids"]
    with pytest.raises(ValueError, match="position_ids that restart"):
        model(**inputs)


def test_returns_a_tuple_when_asked(model):
    ids = torch.tensor([[0, 5, 2]])
    hidden, embeddings = model.bert(ids, return_dict=False)
    assert hidden.shape == (1, 3, 32)
    assert embeddings.shape == (1, 64)
