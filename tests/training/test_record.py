"""What is told of a training run."""

import json

import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers import set_seed

from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings
from twhin_hf.training.initialization import load_pretraining_model
from twhin_hf.training.record import RECORD_NAME, changed_options, training_record
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer
from twhin_hf.training.translation_pair import TPPConfig


@pytest.fixture
def train(posts, tokenizer, tmp_path):
    def run(model, name):
        options = {"max_steps": 2, "per_device_train_batch_size": 16, "logging_steps": 1}
        args = SocialPretrainingConfig(
            output_dir=str(tmp_path / name),
            run_name="secret",
            learning_rate=1e-3,
            save_strategy="no",
            report_to=[],
            **options,
        )
        trainer = SocialPretrainingTrainer(model, args, posts, processing_class=tokenizer)
        trainer.train()
        trainer.save_model()
        return tmp_path / name

    return run


def test_the_record_of_two_runs_one_after_the_other(train, tiny_config, tokenizer):
    set_seed(0)
    settings = {"social_weight": 0.0, "mlm_weight": 1.0, "pooling": "mean"}
    first = train(TwhinBertForPreTraining(apply_settings(tiny_config, **settings)), "first")
    record = json.loads((first / RECORD_NAME).read_text())
    assert record["base_model"] == []
    assert record["data"] == {"posts": 240}
    assert record["steps"] == 2
    assert record["tokens"] > 0
    assert record["seconds"] > 0
    assert record["hyper_parameters"] == {
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "max_steps": 2,
        "per_device_train_batch_size": 16,
        "save_strategy": "no",
    }
    assert str(first.parent) not in json.dumps(record)
    # The mean leaves out the special tokens, without any code of ours.
    modules = json.loads((first / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == [
        "Transformer",
        "MultiVectorMask",
        "Pooling",
    ]
    mask = json.loads((first / "1_MultiVectorMask" / "config.json").read_text())
    assert mask["skiplist_words"] == [tokenizer.cls_token, tokenizer.sep_token]
    model = load_pretraining_model(str(first), tokenizer)
    second = training_record(
        model, SocialPretrainingConfig(report_to=[]), _state(), {"pairs": 3}, "AnyTrainer"
    )
    assert second["base_model"] == ["first"]
    assert second["tokens"] is None
    (first / RECORD_NAME).write_text(json.dumps(record | {"base_model": ["me/base"]}))
    assert training_record(
        model, SocialPretrainingConfig(report_to=[]), _state(), {"pairs": 3}, "AnyTrainer"
    )["base_model"] == ["first", "me/base"]


def _state():
    from transformers import TrainerState

    return TrainerState()


def test_naming_the_options_leaves_accelerate_as_it_is(tmp_path):
    args = TPPConfig(output_dir=str(tmp_path), max_steps=3, use_cpu=True, report_to=[])
    accelerator = Accelerator(cpu=True)
    assert changed_options(args) == {"max_steps": 3}
    assert AcceleratorState().distributed_type == accelerator.distributed_type
