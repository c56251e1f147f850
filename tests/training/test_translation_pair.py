import dataclasses
import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from recording import assert_equal_batches, new_model, record_batches
from sklearn.metrics import roc_auc_score
from transformers import TrainingArguments

from twhin_hf.commands.declared import argument_help
from twhin_hf.modeling import TwhinBertForPreTraining
from twhin_hf.training.pretraining import PretrainingConfig
from twhin_hf.training.translation_pair import TPPConfig, TPPTrainer

TPP = {"tpp_weight": 1.0, "social_weight": 0.0, "mlm_weight": 0.0}
LOSSES = ("bce", "cosine", "contrastive")


@pytest.fixture
def arguments(tmp_path):
    def make(**options):
        defaults = {
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 8,
            "max_steps": 3,
            "learning_rate": 1e-3,
            "warmup_steps": 0,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "max_length": 64,
        }
        return TPPConfig(**defaults | options)

    return make


@pytest.fixture
def trainer(tiny_config, arguments, translation_pairs, tokenizer):
    """A trainer of a new tiny model, with settings of the model and options of the run."""

    def make(settings=None, pairs=translation_pairs, eval_dataset=None, seed=0, **options):
        model = new_model(tiny_config, seed, **TPP | (settings or {}))
        return TPPTrainer(
            model, arguments(**options), pairs, eval_dataset, processing_class=tokenizer
        )

    return make


def losses_of(trainer):
    return [entry["tpp_loss"] for entry in trainer.state.log_history if "tpp_loss" in entry]


def test_every_parameter_moves(trainer):
    training = trainer({"mlm_weight": 0.1})
    before = {name: value.clone() for name, value in training.model.named_parameters()}
    training.train()
    for name, value in training.model.named_parameters():
        assert not value.equal(before[name]), name
    assert {"tpp_loss", "tpp_accuracy", "mlm_loss"} <= training.state.log_history[0].keys()
    assert "social_loss" not in training.state.log_history[0]


def test_batches_are_labelled_pairs(trainer, translation_pairs, tokenizer):
    batches = record_batches(training := trainer(max_steps=20))
    training.train()
    both = [
        tuple(tokenizer(pair[side], truncation=True, max_length=64)["input_ids"])
        for pair in translation_pairs
        for side in ("text_a", "text_b")
    ]
    translations = set(zip(both[::2], both[1::2], strict=True))
    labels, per_epoch = [], 2 * len(translation_pairs)
    for batch in batches:
        assert "labels" not in batch
        assert "post_ids" not in batch
        assert len(batch["pair_labels"]) == 8
        texts = [
            tuple(batch["input_ids"][batch["segment_ids"] == post + 1].tolist())
            for post in range(16)
        ]
        for pair, label in enumerate(batch["pair_labels"].tolist()):
            assert ((texts[pair], texts[pair + 8]) in translations) == bool(label)
        same_item = batch["item_ids"][:8] == batch["item_ids"][8:]
        assert same_item.equal(batch["pair_labels"].bool())
        labels += batch["pair_labels"].tolist()
    assert len(labels) == per_epoch
    assert sum(labels) == per_epoch / 2


def test_negatives_are_drawn_anew_in_every_epoch(trainer):
    training = trainer()
    data, sampler = training.train_dataset, training._get_train_sampler()
    drawn = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        keys = sorted(sampler, key=lambda key: key % len(data))
        batch = data.__getitems__(keys)
        drawn.append(batch.post_ids.reshape(2, -1).T[batch.pair_labels == 0])
    assert (drawn[0] == drawn[2]).all()
    assert (drawn[0] != drawn[1]).any(axis=1).mean() > 0.9


def reference_loss(model, batch, name, pad):
    """Two towers on padded texts, with the loss of torch or as the formula has it."""
    count = int(batch["num_posts"])
    rows = [batch["input_ids"][batch["segment_ids"] == post + 1] for post in range(count)]
    ids = torch.nn.utils.rnn.pad_sequence(rows, True, pad)
    hidden = model.bert(ids, attention_mask=(ids != pad).long()).last_hidden_state
    first, second = model.tpp_head.projection(hidden[:, 0]).chunk(2)
    labels = batch["pair_labels"]
    if name == "bce":
        return F.binary_cross_entropy_with_logits((first * second).sum(1), labels.float())
    if name == "cosine":
        return F.cosine_embedding_loss(first, second, 2 * labels - 1, margin=0.2)
    items = batch["item_ids"].chunk(2)[0]
    cosines = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    scores = (cosines - 0.2 * torch.eye(len(items))) / 0.05
    others = (items[:, None] == items[None]) & ~torch.eye(len(items), dtype=torch.bool)
    scores = scores.masked_fill(others, float("-inf"))
    own = torch.arange(len(items))
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


@pytest.mark.parametrize("name", LOSSES)
def test_steps_are_a_plain_reference(name, trainer, tiny_config, tokenizer, tmp_path):
    """Padded texts and torch's SGD, step by step."""
    tiny_config.initializer_range = 0.2
    training = trainer(
        {"tpp_loss": name, "tpp_margin": 0.2},
        lr_scheduler_type="constant",
        optim="sgd",
        learning_rate=0.1,
    )
    training.model.save_pretrained(tmp_path / "start")
    batches = record_batches(training)
    training.train()
    plain = TwhinBertForPreTraining.from_pretrained(tmp_path / "start")
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    logged = losses_of(training)
    assert len(logged) == len(batches) == 3
    for batch, loss in zip(batches, logged, strict=True):
        expected = reference_loss(plain, batch, name, tokenizer.pad_token_id)
        assert loss == pytest.approx(expected.item(), abs=1e-5)
        optimizer.zero_grad()
        expected.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
    trained = training.model.state_dict()
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(trained[key], value, atol=2e-5, rtol=1e-4)


def test_packed_is_padded(trainer):
    packed, padded = trainer({"mlm_weight": 0.1}), trainer({"mlm_weight": 0.1}, row_length=0)
    for training in (packed, padded):
        training.train()
    for one, other in zip(packed.state.log_history[:3], padded.state.log_history, strict=False):
        for name in ("loss", "tpp_loss", "mlm_loss"):
            assert one[name] == pytest.approx(other[name], abs=1e-5)


def test_translations_are_learnt(trainer, translation_pairs):
    training = trainer(
        {"tpp_loss": "contrastive"},
        translation_pairs.select(range(16)),
        max_steps=50,
        learning_rate=3e-3,
        logging_steps=10,
    )
    training.train()
    losses = losses_of(training)
    assert losses[-1] < 0.5 * losses[0]


def test_a_resumed_run_sees_the_same_batches_and_ends_the_same(trainer, tmp_path):
    # 160 labelled pairs make 20 batches an epoch: the run breaks off and ends in the second.
    options = {"max_steps": 25, "save_strategy": "steps", "save_steps": 22}
    whole = trainer(output_dir=str(tmp_path / "whole"), **options)
    batches = record_batches(whole)
    whole.train()
    resumed = trainer(output_dir=str(tmp_path / "resumed"), **options)
    rest = record_batches(resumed)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-22"))
    assert_equal_batches(rest, batches[22:])
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, atol=1e-6, rtol=1e-5)


def eval_metrics(training, translation_pairs, tokenizer):
    """Metrics by padded texts, one after the other."""
    held_out, count = training.eval_dataset, len(translation_pairs)
    texts = [pair[f"text_{side}"] for side in "ab" for pair in translation_pairs]

    def tokenized(text):
        return tokenizer(text, truncation=True, max_length=64, return_tensors="pt")

    with torch.no_grad():
        vectors = [
            training.model.tpp_head(training.model.bert(**tokenized(text)).last_hidden_state[:, 0])[
                0
            ]
            for text in texts
        ]
    rows = np.arange(count) * (1 + held_out.num_negatives) + 1
    negatives = held_out.negatives.replace(np.arange(count), np.zeros(count, int), rows)
    pairs = [*zip(range(count), range(count, 2 * count), strict=True), *negatives.T]
    if training.model.config.tpp_loss == "bce":
        scores = [float(vectors[a] @ vectors[b]) for a, b in pairs]
    else:
        scores = [float(F.cosine_similarity(vectors[a], vectors[b], dim=0)) for a, b in pairs]
    found = 0
    for pair in range(count):
        languages = (translation_pairs[pair]["lang_a"], translation_pairs[pair]["lang_b"])
        candidates = [
            other
            for other in range(count)
            if (translation_pairs[other]["lang_a"], translation_pairs[other]["lang_b"]) == languages
        ]
        cosines = [
            float(F.cosine_similarity(vectors[pair], vectors[count + other], dim=0))
            for other in candidates
        ]
        found += candidates[int(np.argmax(cosines))] == pair
    return roc_auc_score([1] * count + [0] * count, scores), found / count


@pytest.mark.parametrize("name", ["bce", "contrastive"])
def test_evaluation_on_held_out_pairs(name, trainer, tiny_config, translation_pairs, tokenizer):
    tiny_config.initializer_range = 0.2
    # 30 pairs are no whole number of batches of 8.
    held_out = translation_pairs.select(range(45, 75))
    training = trainer(
        {"tpp_loss": name}, eval_dataset=held_out, eval_strategy="steps", eval_steps=3
    )
    training.train()
    evaluated = [entry for entry in training.state.log_history if "eval_loss" in entry]
    assert len(evaluated) == 1
    assert {"eval_tpp_loss", "eval_tpp_accuracy", "eval_tpp_auc"} <= evaluated[0].keys()
    metrics = training.evaluate()
    auc, found = eval_metrics(training, held_out, tokenizer)
    assert metrics["eval_tpp_auc"] == pytest.approx(auc, abs=2e-3)
    assert metrics["eval_retrieval_a_to_b"] == pytest.approx(found)
    assert 0 <= metrics["eval_retrieval_b_to_a"] <= 1
    again = training.evaluate()
    for key in ("eval_loss", "eval_tpp_auc", "eval_retrieval_b_to_a"):
        assert again[key] == metrics[key]


def test_held_out_pairs_are_judged_by_texts_without_masks(trainer, tiny_config, translation_pairs):
    tiny_config.initializer_range = 0.2
    held_out = translation_pairs.select(range(45, 75))
    alone, beside = (
        trainer({"mlm_weight": weight}, eval_dataset=held_out, mlm_probability=share)
        for weight, share in ((0.0, None), (0.5, 0.5))
    )
    expected, found = alone.evaluate(), beside.evaluate()
    figures = ("tpp_loss", "tpp_accuracy", "tpp_auc", "retrieval_a_to_b", "retrieval_b_to_a")
    for name in (*(f"eval_{figure}" for figure in figures), "eval_tokens"):
        assert found[name] == pytest.approx(expected[name], abs=1e-6), name
    # The MLM loss is that of masked texts, the same at every evaluation.
    losses, counts = [], []
    for batch in beside.get_eval_dataloader():
        texts = {key: batch[key] for key in batch if key not in ("pair_labels", "item_ids")}
        losses.append(beside.model(**texts).mlm_loss.item())
        counts.append(int((batch["labels"] != -100).sum()))
    expected_mlm = np.average(losses, weights=counts)
    assert found["eval_mlm_loss"] == pytest.approx(expected_mlm, abs=1e-5)
    assert beside.evaluate()["eval_mlm_loss"] == found["eval_mlm_loss"]
    assert beside.evaluate()["eval_loss"] == found["eval_loss"]


def test_held_out_pairs_that_nothing_can_be_told_from(trainer, translation_pairs, caplog):
    # One Arabic-English pair among English-Spanish ones.
    lone = translation_pairs.select([*range(8), 60])
    with caplog.at_level(logging.WARNING):
        training = trainer(eval_dataset=lone)
    assert "1 of 9 held-out translation pairs cannot be judged: all texts in ['ar']" in caplog.text
    assert training.eval_dataset.items.tolist() == list(range(8))
    assert training.evaluate()["eval_tpp_auc"] >= 0
    # Without the pair of the Arabic text, English has one item left, and no pair remains.
    with pytest.raises(ValueError, match=r"2 of 2 held-out .* texts in \['ar', 'en', 'es'\]"):
        trainer(eval_dataset=translation_pairs.select([0, 61]))
    with pytest.raises(ValueError, match="there are no held-out translation pairs"):
        trainer(eval_dataset=translation_pairs.select([]))


def test_small_languages_are_upsampled(trainer):
    training = trainer(upsample_languages=True)
    data, sampler = training.train_dataset, training._get_train_sampler()
    rows = np.array([key % len(data) for key in sampler])
    # 60 English-Spanish pairs and 20 Arabic-English ones, with a negative each.
    assert len(rows) == len(sampler) == 2 * 120
    pairs, counts = np.unique(rows, return_counts=True)
    assert len(pairs) == len(data) == 160
    assert counts[:120].tolist() == [1] * 120
    assert counts[120:].tolist() == [3] * 40
    assert len(trainer()._get_train_sampler()) == 160


def test_several_negatives(trainer):
    data = trainer(num_negatives=3).train_dataset
    assert len(data) == 4 * 80
    batch = data.__getitems__(range(8))
    assert batch.pair_labels.tolist() == [1, 0, 0, 0, 1, 0, 0, 0]
    assert len({tuple(pair) for pair in batch.post_ids.reshape(2, -1).T.tolist()}) == 8


def test_contrastive_takes_translations_alone(trainer):
    data = trainer({"tpp_loss": "contrastive"}).train_dataset
    assert len(data) == 80
    assert data.__getitems__(range(80)).pair_labels.all()


def test_saved_model_reloads_with_equal_outputs(trainer):
    training = trainer({"tpp_pooling": "mean", "tpp_projection_size": 12})
    training.train()
    training.save_model()
    folder = Path(training.args.output_dir)
    assert not [path for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]
    assert json.loads((folder / "training_args.json").read_text())["num_negatives"] == 1
    again = TwhinBertForPreTraining.from_pretrained(folder).eval()
    batch = training.data_collator(training.train_dataset.__getitems__(range(6)))
    with torch.no_grad():
        one, other = training.model.eval()(**batch), again(**batch)
    assert one.tpp_projections.shape == (12, 12)
    assert other.tpp_projections.equal(one.tpp_projections)
    assert other.tpp_loss == one.tpp_loss


def test_masking_follows_the_models_weight(trainer):
    assert trainer().data_collator.mlm_probability == 0
    assert trainer({"mlm_weight": 0.1}).data_collator.mlm_probability == 0.15
    assert trainer({"mlm_weight": 0.1}, mlm_probability=0.3).data_collator.mlm_probability == 0.3


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({"tpp_weight": 0.0, "mlm_weight": 1.0}, {}, "tpp_weight is 0.0 and there are translation"),
        ({"social_weight": 1.0}, {}, "social_weight is 1.0 and there are no pairs"),
        ({"mlm_weight": 1.0}, {"mlm_probability": 0.0}, "mlm_probability is 0"),
        ({}, {"per_device_train_batch_size": 161}, "160 labelled translation pairs do not fill"),
        (
            {"tpp_loss": "contrastive"},
            {"per_device_train_batch_size": 81},
            "80 labelled translation pairs do not fill one batch of 81",
        ),
        ({"tpp_loss": "contrastive"}, {"per_device_train_batch_size": 1}, "has no negatives"),
        ({}, {"max_length": 131}, "this model reads 130 at most"),
        ({}, {"num_negatives": 0}, "num_negatives is 0"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(settings, options, message, trainer):
    with pytest.raises(ValueError, match=message):
        trainer(settings, **options)


def test_pairs_that_cannot_be_used(trainer, translation_pairs):
    with pytest.raises(ValueError, match=r"\['lang_b'\] are needed"):
        trainer(pairs=translation_pairs.remove_columns("lang_b"))
    with pytest.raises(ValueError, match="there are no translation pairs"):
        trainer(pairs=translation_pairs.select([]))
    one = translation_pairs.map(lambda pair: {"lang_a": "en", "lang_b": "en"})
    with pytest.raises(ValueError, match="all texts are in 'en'"):
        trainer(pairs=one)
    # Languages that are not known, as in the published JSON lines, are no reason to refuse.
    trainer(pairs=translation_pairs.map(lambda pair: {"lang_a": "und", "lang_b": "und"}))
    with pytest.raises(ValueError, match=r"all texts in \['ar'\] are translations of one another"):
        trainer(pairs=translation_pairs.select([*range(60), 60]))
    texts = [None, *translation_pairs["text_a"][1:]]
    empty = translation_pairs.remove_columns("text_a").add_column("text_a", texts)
    with pytest.raises(ValueError, match=r"pairs lack values: \{'text_a': 1"):
        trainer(pairs=empty)


def test_a_tokenizer_is_needed(tiny_config, arguments, translation_pairs):
    with pytest.raises(ValueError, match="tokenizer as processing_class="):
        TPPTrainer(new_model(tiny_config, **TPP), arguments(), translation_pairs)


def test_long_texts_and_accumulation_warn(trainer, caplog):
    with caplog.at_level(logging.WARNING):
        trainer({"tpp_loss": "contrastive"}, max_length=20, gradient_accumulation_steps=2)
    assert re.search(r"\d+ of 160 texts were cut to 20 tokens", caplog.text)
    assert "negatives come from one small batch" in caplog.text


def test_a_warm_up_that_never_ends_warns(trainer, caplog):
    for steps, scheduler in ((2, "linear"), (3, "constant"), (2, "constant_with_warmup")):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            training = trainer(max_steps=2, warmup_steps=steps, lr_scheduler_type=scheduler)
            training.create_optimizer_and_scheduler(2)
        warned = "Training takes 2 steps, and the learning rate rises for 2: it never reaches 0.001"
        assert (warned in caplog.text) == (scheduler != "constant")
    caplog.clear()
    trainer(warmup_steps=1).create_optimizer_and_scheduler(2)
    assert "learning rate" not in caplog.text


def test_config_says_what_it_has():
    for config in (TPPConfig, PretrainingConfig):
        documented = set(argument_help(config))
        assert documented == set(vars(config)["__annotations__"])
    stock = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    for field in dataclasses.fields(TPPConfig):
        if field.default != stock.get(field.name, dataclasses.MISSING):
            assert field.name in {*documented, *argument_help(TPPConfig)}, field.name


def test_the_papers_hyper_parameters(tmp_path):
    config = TPPConfig(output_dir=str(tmp_path), use_cpu=True)
    assert (config.num_train_epochs, config.per_device_train_batch_size) == (3, 32)
    assert (config.warmup_steps, config.learning_rate, config.num_negatives) == (500, 1e-6, 1)
