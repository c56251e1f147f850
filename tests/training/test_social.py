import dataclasses
import itertools
import json
import logging
import re
import types
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from recording import assert_equal_batches, new_model, record_batches
from transformers import BertForMaskedLM, TrainingArguments

from twhin_hf.commands.declared import argument_help
from twhin_hf.loading.auto import load_with_heads
from twhin_hf.modeling import TwhinBertForPreTraining, TwhinBertModel, apply_settings
from twhin_hf.training import pretraining
from twhin_hf.training.pretraining import PretrainingConfig
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer


@pytest.fixture
def arguments(tmp_path):
    def make(**options):
        defaults = {
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 8,
            "max_steps": 6,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "max_length": 64,
        }
        return SocialPretrainingConfig(**defaults | options)

    return make


def test_every_parameter_moves(tiny_config, arguments, posts, pairs, tokenizer):
    model = new_model(tiny_config)
    before = {name: value.clone() for name, value in model.named_parameters()}
    SocialPretrainingTrainer(model, arguments(), posts, pairs, processing_class=tokenizer).train()
    for name, value in model.named_parameters():
        assert not value.equal(before[name]), name


def test_both_losses_fall_and_pairs_are_found(tiny_config, arguments, posts, pairs, tokenizer):
    model = new_model(tiny_config, social_temperature=0.1)
    trainer = SocialPretrainingTrainer(
        model,
        arguments(max_steps=90, learning_rate=3e-3, logging_steps=30, mlm_probability=0.05),
        posts,
        pairs.slice(0, 24),
        processing_class=tokenizer,
    )
    trainer.train()
    first, *_, last = [entry for entry in trainer.state.log_history if "social_loss" in entry]
    assert last["social_loss"] < 0.6 * first["social_loss"]
    assert last["social_accuracy"] > 0.6 > 0.5 > first["social_accuracy"]
    assert last["mlm_loss"] < first["mlm_loss"]
    assert last["tokens_per_second"] > 0


def test_the_share_of_time_that_steps_wait_for_data_is_logged(
    tiny_config, arguments, posts, tokenizer, monkeypatch
):
    """A clock that only batches (1 s) and steps (3 s) move; one batch is fetched ahead."""
    now = [0.0]
    clock = types.SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr(pretraining, "time", clock)
    model = new_model(tiny_config, social_weight=0, mlm_weight=1)
    options = arguments(max_steps=4, logging_steps=2)
    trainer = SocialPretrainingTrainer(model, options, posts, processing_class=tokenizer)
    collate, compute_loss = trainer.data_collator, trainer.compute_loss

    def taking(seconds, function):
        def slow(*args, **kwargs):
            now[0] += seconds
            return function(*args, **kwargs)

        return slow

    trainer.data_collator = taking(1, collate)
    trainer.compute_loss = taking(3, compute_loss)
    trainer.train()
    waits = [entry["data_wait"] for entry in trainer.state.log_history if "data_wait" in entry]
    assert waits == [round(3 / 9, 4), round(2 / 8, 4)]


def test_first_step_is_the_stock_models(tiny_config, arguments, posts, tokenizer, tmp_path):
    """Stage 1 against `BertForMaskedLM` on padded rows with its own loss and torch's AdamW."""
    model = new_model(tiny_config, social_weight=0, mlm_weight=1)
    model.save_pretrained(tmp_path / "start")
    options = arguments(max_steps=3, learning_rate=1e-2, lr_scheduler_type="constant")
    trainer = SocialPretrainingTrainer(model, options, posts, processing_class=tokenizer)
    batches = record_batches(trainer)
    trainer.train()

    stock = BertForMaskedLM.from_pretrained(tmp_path / "start")
    decayed = [p for n, p in stock.named_parameters() if not re.search(r"bias|LayerNorm", n)]
    others = [p for n, p in stock.named_parameters() if re.search(r"bias|LayerNorm", n)]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
        lr=1e-2,
        betas=(0.9, 0.98),
        eps=1e-6,
    )
    for step, batch in enumerate(batches):
        rows = [batch["segment_ids"] == post + 1 for post in range(int(batch["num_posts"]))]
        pad = torch.nn.utils.rnn.pad_sequence
        ids = pad([batch["input_ids"][row] for row in rows], True, tokenizer.pad_token_id)
        labels = pad([batch["labels"][row] for row in rows], True, -100)
        mask = (ids != tokenizer.pad_token_id).long()
        loss = stock(ids, attention_mask=mask, labels=labels).loss
        logged = trainer.state.log_history[step]["mlm_loss"]
        assert logged == pytest.approx(loss.item(), abs=2e-5)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stock.parameters(), 1.0)
        optimizer.step()
    trained = model.state_dict()
    for name, value in stock.state_dict().items():
        torch.testing.assert_close(trained[name], value, atol=2e-4, rtol=1e-3)


def test_social_step_is_a_plain_reference(tiny_config, arguments, posts, pairs, tokenizer):
    """NT-Xent written as the paper's sum, post by post, on padded posts."""
    model = new_model(tiny_config)
    trainer = SocialPretrainingTrainer(
        model, arguments(max_steps=1), posts, pairs, processing_class=tokenizer
    )
    batches = record_batches(trainer)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    trainer.train()
    model.load_state_dict(start)
    batch = batches[0]
    count = int(batch["num_posts"])
    vectors = []
    for post in range(count):
        ids = batch["input_ids"][batch["segment_ids"] == post + 1][None]
        hidden = model.bert(ids).last_hidden_state[0, 0]
        first, second = model.social_head.layers
        vectors.append(second(torch.relu(first(hidden))))
    losses = []
    for i in range(count):
        positive = (i + count // 2) % count
        scores = {
            j: torch.cosine_similarity(vectors[i], vectors[j], dim=0) / 0.1
            for j in range(count)
            if j == positive
            or (
                batch["post_ids"][j] != batch["post_ids"][i]
                and batch["post_ids"][j] not in batch["positive_ids"][i]
            )
        }
        losses.append(torch.logsumexp(torch.stack(list(scores.values())), 0) - scores[positive])
    expected = torch.stack(losses).mean().item()
    assert trainer.state.log_history[0]["social_loss"] == pytest.approx(expected, abs=1e-5)


def test_a_resumed_run_sees_the_same_batches_and_ends_the_same(
    tiny_config, arguments, posts, pairs, tokenizer, tmp_path
):
    # 120 pairs make 15 batches an epoch: the run breaks off and ends in the second epoch.
    def run(folder, resume=None, **options):
        tiny_config.hidden_dropout_prob = 0.1
        options = {"max_steps": 22, "save_strategy": "steps", "save_steps": 17} | options
        model = new_model(tiny_config)
        trainer = SocialPretrainingTrainer(
            model,
            arguments(output_dir=str(tmp_path / folder), **options),
            posts,
            pairs,
            processing_class=tokenizer,
        )
        batches = record_batches(trainer)
        trainer.train(resume_from_checkpoint=resume)
        return model, batches

    whole, batches = run("whole")
    resumed, rest = run("resumed", resume=str(tmp_path / "whole" / "checkpoint-17"))
    assert_equal_batches(rest, batches[17:])
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, atol=1e-6, rtol=1e-5)


def test_workers_change_nothing(tiny_config, arguments, posts, pairs, tokenizer):
    def batches_of(**options):
        trainer = SocialPretrainingTrainer(
            new_model(tiny_config),
            arguments(max_steps=3, **options),
            posts,
            pairs,
            processing_class=tokenizer,
        )
        return [dict(batch) for batch in itertools.islice(trainer.get_train_dataloader(), 3)]

    one, two = batches_of(), batches_of(dataloader_num_workers=2)
    for a, b in zip(one, two, strict=True):
        for name in a:
            assert torch.as_tensor(a[name]).equal(torch.as_tensor(b[name])), name


def test_evaluation_is_apart_from_training(tiny_config, arguments, posts, pairs, tokenizer):
    trainer = SocialPretrainingTrainer(
        new_model(tiny_config),
        arguments(eval_strategy="steps", eval_steps=3, logging_steps=2),
        posts,
        pairs,
        eval_dataset=posts,
        eval_pairs=pairs,
        processing_class=tokenizer,
    )
    trainer.train()
    evaluated = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(evaluated) == 2
    for entry in evaluated:
        expected = entry["eval_social_loss"] + 0.05 * entry["eval_mlm_loss"]
        assert entry["eval_loss"] == pytest.approx(expected, abs=1e-3)
        assert "mlm_loss" not in entry
    again = trainer.evaluate()["eval_loss"]
    assert trainer.evaluate()["eval_loss"] == again


def test_saved_folder_holds_no_pickle_and_loads(tiny_config, arguments, posts, pairs, tokenizer):
    options = arguments(max_steps=1)
    trainer = SocialPretrainingTrainer(
        new_model(tiny_config), options, posts, pairs, processing_class=tokenizer
    )
    trainer.train()
    trainer.save_model()
    names = {path.name for path in Path(options.output_dir).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "training_args.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    saved = json.loads((Path(options.output_dir) / "training_args.json").read_text())
    assert saved["mlm_probability"] == 0.15
    model = TwhinBertModel.from_pretrained(options.output_dir)
    assert model.encode(posts["text"][:3]).shape == (3, 64)


@pytest.mark.parametrize(
    ("settings", "options", "with_pairs", "message"),
    [
        ({}, {}, False, "there are no pairs; give pairs="),
        ({}, {"per_device_train_batch_size": 1}, True, "one pair has no negatives"),
        ({}, {"per_device_train_batch_size": 121}, True, "120 pairs do not fill one batch of 121"),
        ({}, {"max_length": 131}, True, "this model reads 130 at most"),
        ({}, {"mlm_probability": 0.0}, True, "mlm_probability is 0"),
        (
            {"social_weight": 0, "mlm_weight": 1},
            {"per_device_train_batch_size": 241},
            False,
            "240 posts do not fill one batch",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    settings, options, with_pairs, message, tiny_config, arguments, posts, pairs, tokenizer
):
    model = new_model(tiny_config, **settings)
    with pytest.raises(ValueError, match=message):
        SocialPretrainingTrainer(
            model,
            arguments(**options),
            posts,
            pairs if with_pairs else None,
            processing_class=tokenizer,
        )


def test_a_tokenizer_larger_than_the_model_is_refused(
    tiny_config, arguments, posts, pairs, tokenizer
):
    tiny_config.vocab_size = len(tokenizer) - 1
    with pytest.raises(ValueError, match="resize_token_embeddings"):
        SocialPretrainingTrainer(
            new_model(tiny_config), arguments(), posts, pairs, processing_class=tokenizer
        )
    with pytest.raises(ValueError, match="tokenizer as processing_class="):
        SocialPretrainingTrainer(new_model(tiny_config), arguments(), posts, pairs)


def test_pairs_without_their_posts(tiny_config, arguments, posts, pairs, tokenizer, caplog):
    some = pa.concat_tables(
        [
            pairs,
            pa.table(
                {
                    "anchor_id": ["x"],
                    "positive_id": ["p1"],
                    "similarity": pa.array([0.5], pa.float32()),
                }
            ),
        ]
    )
    model = new_model(tiny_config)
    with pytest.raises(ValueError, match="1 of 121 pairs name a post"):
        SocialPretrainingTrainer(model, arguments(), posts, some, processing_class=tokenizer)
    with caplog.at_level(logging.WARNING):
        SocialPretrainingTrainer(
            model, arguments(max_missing_pairs=0.01), posts, some, processing_class=tokenizer
        )
    assert "1 pairs were left out" in caplog.text


def test_accumulation_of_pairs_warns(tiny_config, arguments, posts, pairs, tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        SocialPretrainingTrainer(
            new_model(tiny_config),
            arguments(gradient_accumulation_steps=2),
            posts,
            pairs,
            processing_class=tokenizer,
        )
    assert "negatives come from one small batch" in caplog.text


def test_languages_are_resampled(tiny_config, arguments, posts, tokenizer):
    uneven = posts.filter(lambda row: row["lang"] == "en" or row["post_id"] in ("p1", "p5", "p9"))
    trainer = SocialPretrainingTrainer(
        new_model(tiny_config, social_weight=0, mlm_weight=1),
        arguments(language_exponent=0.0),
        uneven,
        processing_class=tokenizer,
    )
    rows = np.array([key % len(uneven) for key in trainer._get_train_sampler()])
    languages = np.array(uneven["lang"])[rows]
    assert (languages == "es").sum() == pytest.approx(len(uneven) / 2, abs=1)


def test_config_says_what_it_has():
    for config in (SocialPretrainingConfig, PretrainingConfig):
        documented = set(argument_help(config))
        assert documented == set(vars(config)["__annotations__"])
    stock = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    for field in dataclasses.fields(SocialPretrainingConfig):
        if field.default != stock.get(field.name, dataclasses.MISSING):
            assert field.name in {*documented, *argument_help(SocialPretrainingConfig)}, field.name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"remove_unused_columns": True}, "remove_unused_columns must be False"),
        ({"row_length": -1}, "row_length is -1"),
        ({"max_length": 2}, "max_length 2"),
    ],
)
def test_bad_config(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        arguments(**options)


def test_a_saved_run_gives_the_heads_vectors(
    tiny_config, arguments, posts, pairs, tokenizer, tmp_path
):
    """The tokenizer comes after the weights: only then the special tokens of a mean are known."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    settings = {"sentence_embedding": "social", "social_pooling": "mean"}
    model = TwhinBertForPreTraining(apply_settings(tiny_config, **settings))
    args = arguments(max_steps=1, output_dir=str(tmp_path))
    trainer = SocialPretrainingTrainer(model, args, posts, pairs, processing_class=tokenizer)
    trainer.train()
    trainer.save_model()
    texts = posts["text"][:4]
    found = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu").encode(texts)
    expected = load_with_heads(str(tmp_path)).encode(texts, "social", normalize_embeddings=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
