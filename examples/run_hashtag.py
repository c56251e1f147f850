"""Fine-tune an encoder to predict the hashtag of a post, and keep the classifier.

    accelerate launch examples/run_hashtag.py \\
        --config hashtag --model_name_or_path Twitter/twhin-bert-base \\
        --benchmark hashtags --language en --output_dir hashtag-classifier

A benchmark is a folder of `twhin-hf data hashtag` or `hashtag-build`, or a data set on the Hub with
the columns `text` and `label` and one config per language. The epoch that is best on validation is
tested and kept: a stock `AutoModelForSequenceClassification`. `twhin-hf evaluate hashtag` runs the
paper's whole protocol (several seeds and languages, few examples per class) and keeps no model.

`--help` lists all options; each may stand in the YAML file too, where an unknown key is an error.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainingArguments


@dataclass
class HashtagData:
    """Model and data.

    Args:
        model_name_or_path: Encoder to fine-tune: folder or Hub repository.
        benchmark: Benchmark: folder, or data set on the Hub.
        language: Config of the benchmark.
        hydration: Texts of the posts, if the folder holds ids alone.
        max_length: Maximum sequence length; longer posts are truncated.
    """

    model_name_or_path: str
    benchmark: str
    language: str = "en"
    hydration: str | None = None
    max_length: int = 128


@dataclass
class HashtagTraining(TrainingArguments):
    """Training."""


def run_hashtag(data: HashtagData, training: HashtagTraining) -> dict[str, float]:
    """Fine-tune an encoder to predict the hashtag of a post, and keep the classifier.

    Args:
        data: What is fine-tuned, and on what.
        training: Options of the training.

    Returns:
        The figures on the test split.
    """
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        set_seed,
    )

    from twhin_hf.evaluation.classification import check_splits
    from twhin_hf.evaluation.classification_metrics import macro_f1
    from twhin_hf.hub.folder import complete_folder
    from twhin_hf.loading.weights import safe_weights

    splits = check_splits(load_benchmark(data))
    labels = sorted(set(splits["train"]["label"]))
    numbers = {label: number for number, label in enumerate(labels)}

    set_seed(training.seed)  # before the model: the classifier's weights are drawn
    tokenizer = AutoTokenizer.from_pretrained(data.model_name_or_path, trust_remote_code=False)
    model = AutoModelForSequenceClassification.from_pretrained(
        data.model_name_or_path,
        id2label=dict(enumerate(labels)),
        label2id=numbers,
        trust_remote_code=False,
    )

    def tokenize(batch: dict) -> dict:
        encoded = tokenizer(batch["text"], truncation=True, max_length=data.max_length)
        return {**encoded, "labels": [numbers[label] for label in batch["label"]]}

    tokenized = {
        name: split.map(tokenize, batched=True, remove_columns=split.column_names)
        for name, split in splits.items()
    }
    trainer = Trainer(
        model=model,
        args=training,
        train_dataset=tokenized["train"],
        eval_dataset=tokenized["validation"],
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        compute_metrics=lambda found: {
            "macro_f1": macro_f1(found.label_ids, found.predictions.argmax(axis=-1))
        },
    )
    with safe_weights(training.resume_from_checkpoint):
        trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    metrics = trainer.predict(tokenized["test"]).metrics
    trainer.log_metrics("test", metrics)
    trainer.save_metrics("test", metrics)
    trainer.save_model()
    if trainer.is_world_process_zero():
        folder = Path(training.output_dir)
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle, which nobody needs
        if hasattr(model.config, "pooling"):  # one of ours: with the code that its config names
            complete_folder(folder)
    return metrics


def load_benchmark(data: HashtagData) -> Any:
    """The splits of a language, with `text` and `label`.

    Raises:
        ValueError: The benchmark does not hold the language.
        FileNotFoundError: The hydration is not there.
    """
    if Path(data.benchmark).exists():
        from twhin_hf.benchmarks.hashtag.loading import load_hashtag_prediction

        return load_hashtag_prediction(
            data.language, data_dir=data.benchmark, hydration=data.hydration
        )
    from datasets import load_dataset

    return load_dataset(data.benchmark, data.language)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Fine-tunes as the command line says; returns the figures on the test split."""
    from twhin_hf.commands.parsing import run_command

    arguments = sys.argv[1:] if arguments is None else arguments
    return run_command(run_hashtag, arguments, "run_hashtag.py")


if __name__ == "__main__":
    from twhin_hf.commands.cli import configure_logging

    configure_logging(logging.INFO)
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"run_hashtag.py: {error}")
