"""`torch_compile` compiles the encoder once for all lengths of batches, and without breaks."""

import pytest
import torch
from recording import new_model, record_batches
from torch._dynamo.utils import counters

from twhin_hf.loading.families import PRETRAINING_MODELS
from twhin_hf.training import pretraining
from twhin_hf.training.pretraining import encoder_of
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer

MOST_GRAPHS = 3
"""The first shape, and one or two in which what turned out to differ is left open."""


@pytest.fixture(autouse=True)
def forgotten():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()
    counters.clear()


@pytest.fixture
def train(posts, pairs, tokenizer, varlen, tmp_path, monkeypatch):
    def train(model, is_flat, **options):
        if is_flat:
            monkeypatch.setattr(pretraining, "_attention_backend", lambda *args: varlen)
        config = SocialPretrainingConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=16,
            max_steps=8,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            max_length=64,
            **options,
        )
        trainer = SocialPretrainingTrainer(model, config, posts, pairs, processing_class=tokenizer)
        seen = record_batches(trainer)
        trainer.train()
        losses = [e["loss"] for e in trainer.state.log_history if "loss" in e]
        return trainer, {tuple(batch["input_ids"].shape) for batch in seen}, losses

    return train


@pytest.mark.parametrize("is_flat", [False, True])
def test_many_lengths_take_few_graphs(tiny_config, train, is_flat):
    options = {"torch_compile": True, "torch_compile_backend": "eager"}
    _, shapes, _ = train(new_model(tiny_config), is_flat, **options)
    assert len(shapes) > MOST_GRAPHS
    assert 1 <= counters["stats"]["unique_graphs"] <= MOST_GRAPHS
    assert not counters["graph_break"]


def test_compiled_training_is_the_same(tiny_config, train, tmp_path):
    _, _, expected = train(new_model(tiny_config), is_flat=False)
    options = {"torch_compile": True, "torch_compile_backend": "aot_eager"}
    trainer, _, found = train(new_model(tiny_config), is_flat=False, **options)
    assert found == pytest.approx(expected, rel=1e-4)
    # What is saved knows nothing of it.
    trainer.save_model(tmp_path / "saved")
    saved = type(trainer.model).from_pretrained(tmp_path / "saved")
    assert saved.state_dict().keys() == new_model(tiny_config).state_dict().keys()


def test_the_encoder_is_one_graph(family, family_config):
    """Where something has to be read from a batch, `fullgraph` raises."""
    model = PRETRAINING_MODELS[family](family_config)
    encoder_of(model).compile(backend="eager", fullgraph=True)
    ids = torch.randint(5, 50, (3, 40))
    packed = {
        "segment_ids": torch.arange(120).view(3, 40) // 20 + 1,
        "position_ids": (torch.arange(120) % 20).view(3, 40),
        "num_posts": 6,
    }
    compiled = model.eval()(ids, **packed).last_hidden_state
    encoder_of(model)._compiled_call_impl = None
    torch.testing.assert_close(compiled, model(ids, **packed).last_hidden_state)
