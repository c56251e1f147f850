"""Fine-tune an encoder to predict the hashtag of a post, and keep the classifier.

    accelerate launch examples/run_hashtag.py \\
        --config examples/configs/hashtag.yaml --model_name_or_path Twitter/twhin-bert-base \\
        --benchmark hashtags --language en --output_dir hashtag-classifier

A benchmark is a folder of `twhin-hf data hashtag` or `hashtag-build`, or a data set on the Hub with
the columns `text` and `label` and a config a language. The epoch that is best on validation is
tested and kept: a stock `AutoModelForSequenceClassification`. `twhin-hf evaluate hashtag` runs the
paper's whole protocol (several seeds and languages, few examples a class) and keeps no model.

`--help` lists all options; each may stand in the YAML file too, where an unknown key is an error.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class HashtagArguments:
    """What is fine-tuned, and on what."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Encoder to fine-tune: a folder or a repository."}
    )
    benchmark: str | None = field(
        default=None, metadata={"help": "Folder of the benchmark, or a data set on the Hub."}
    )
    language: str = field(default="en", metadata={"help": "Config of the benchmark."})
    hydration: str | None = field(
        default=None, metadata={"help": "Texts of the posts, where the folder holds ids alone."}
    )
    max_length: int = field(default=128, metadata={"help": "Tokens that a post is cut to."})


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Fine-tunes and tests.

    Returns:
        The figures on the test split.
    """
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from twhin_hf.commands.arguments import parse_arguments
    from twhin_hf.evaluation.classification import check_splits
    from twhin_hf.evaluation.classification_metrics import macro_f1
    from twhin_hf.hub.folder import complete_folder

    args, training = parse_arguments(
        [HashtagArguments, TrainingArguments], "run_hashtag.py", arguments
    )
    splits = check_splits(load_benchmark(args))
    labels = sorted(set(splits["train"]["label"]))
    numbers = {label: number for number, label in enumerate(labels)}

    set_seed(training.seed)  # before the model: the classifier's weights are drawn
    tokenizer = AutoTokenizer.from_pretrained(args.model_name_or_path)
    model = AutoModelForSequenceClassification.from_pretrained(
        args.model_name_or_path, id2label=dict(enumerate(labels)), label2id=numbers
    )

    def tokenize(batch: dict) -> dict:
        encoded = tokenizer(batch["text"], truncation=True, max_length=args.max_length)
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


def load_benchmark(args: HashtagArguments) -> Any:
    """The splits of a language, with `text` and `label`.

    Raises:
        ValueError: model or benchmark is not named, or the benchmark does not hold the language.
        FileNotFoundError: the hydration is not there.
    """
    if not (args.model_name_or_path and args.benchmark):
        raise ValueError("model_name_or_path or benchmark missing: name the encoder and the data")
    if Path(args.benchmark).exists():
        from twhin_hf.benchmarks.hashtag.loading import load_hashtag_prediction

        return load_hashtag_prediction(
            args.language, data_dir=args.benchmark, hydration=args.hydration
        )
    from datasets import load_dataset

    return load_dataset(args.benchmark, args.language)


if __name__ == "__main__":
    from twhin_hf.commands.cli import configure_logging

    configure_logging(logging.INFO)
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"run_hashtag.py: {error}")
