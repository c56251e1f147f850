"""A stock classifier on an encoder, and the Trainer that fine-tunes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor
    from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase, Trainer

_EVAL_BATCH_SIZE = 64


class Classifier(NamedTuple):
    """An encoder with a new classifier on top.

    Attributes:
        model: `AutoModelForSequenceClassification` or `AutoModelForTokenClassification`.
        tokenizer: The one saved beside the model.
        is_sequence: Whether it labels whole texts.
        new_weights: Weights that the checkpoint did not hold, drawn from the seed.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    is_sequence: bool
    new_weights: list[str]


def load_classifier(
    name_or_path: str,
    labels: Sequence[str],
    is_sequence: bool,
    seed: int,
    revision: str | None = None,
) -> Classifier:
    """Loads the stock class, without remote code; what is new in it comes from the seed.

    Raises:
        ValueError: The tokenizer has more tokens than the model embeds.
    """
    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
        set_seed,
    )

    stock = AutoModelForSequenceClassification if is_sequence else AutoModelForTokenClassification
    set_seed(seed)
    model, info = stock.from_pretrained(
        name_or_path,
        revision=revision or "main",
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        trust_remote_code=False,
        output_loading_info=True,
    )
    # RoBERTa's byte-level tokenizer asks for it before it takes words that are already split.
    options = {"add_prefix_space": True} if model.config.model_type == "roberta" else {}
    tokenizer = AutoTokenizer.from_pretrained(name_or_path, revision=revision or "main", **options)
    vocabulary = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > vocabulary:
        raise ValueError(
            f"the tokenizer has {len(tokenizer):,} tokens and the model embeds {vocabulary:,}; "
            "put the model's own tokenizer beside it"
        )
    return Classifier(model, tokenizer, is_sequence, sorted(info["missing_keys"]))


def check_length(classifier: Classifier, max_length: int | None, default: int) -> int:
    """`max_length`; by default `default`, or what the model reads if less.

    Raises:
        ValueError: A `max_length` longer than the model's.
    """
    model = classifier.model
    embeddings = getattr(model.base_model, "embeddings", None)
    padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    # RoBERTa's positions begin behind that of the padding.
    longest = model.config.max_position_embeddings - (0 if padding is None else padding + 1)
    if max_length is None:
        return min(longest, default)
    if max_length > longest:
        raise ValueError(f"max_length is {max_length}; this model reads {longest} at most")
    return max_length


def check_device(device: str | None) -> None:
    """Checks that fine-tuning can take place where it should: Trainer chooses an accelerator alone.

    Args:
        device: `cpu`, the kind of accelerator that is there, or None for what Trainer finds.

    Raises:
        ValueError: An accelerator that is not there, or one with a number.
    """
    import torch

    if device in (None, "cpu"):
        return
    there = torch.accelerator.current_accelerator(check_available=True)
    found = "cpu" if there is None else f"{there.type} and cpu"
    if there is None or device != there.type:
        raise ValueError(
            f"device is {device!r}; fine-tuning runs on {found} here, and Trainer takes every "
            "accelerator it sees. To choose one by its number set CUDA_VISIBLE_DEVICES, such as "
            "CUDA_VISIBLE_DEVICES=1, and leave device out"
        )


def describe_classifier(classifier: Classifier) -> dict[str, Any]:
    """What was fine-tuned, for `results.json`: the class, what it reads, and what is new in it."""
    # ModernBERT says it in its config; the others read the first token, BERT through its pooler.
    pooling = getattr(classifier.model.config, "classifier_pooling", "cls")
    return {
        "class": type(classifier.model).__name__,
        "classifier_reads": pooling if classifier.is_sequence else "first sub-token of each word",
        "new_weights": classifier.new_weights,
    }


def make_trainer(
    classifier: Classifier,
    train: Dataset,
    folder: str,
    *,
    validation: Dataset | None = None,
    compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
    **training_arguments: Any,
) -> Trainer:
    """A Trainer that pads each batch to its longest text, and predicts labels, not logits.

    Args:
        classifier: What is trained.
        train: `input_ids`, `attention_mask` and `labels`.
        folder: Where Trainer may write; nothing is kept there.
        validation: As `train`; judged while training where `eval_strategy` says so.
        compute_metrics: Its figures, of labels, not logits.
        **training_arguments: As `TrainingArguments` takes.
    """
    from transformers import (
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    collator = (
        DataCollatorWithPadding if classifier.is_sequence else DataCollatorForTokenClassification
    )
    return Trainer(
        model=classifier.model,
        args=TrainingArguments(
            output_dir=folder,
            per_device_eval_batch_size=_EVAL_BATCH_SIZE,
            train_sampling_strategy="group_by_length",
            logging_strategy="no",
            report_to="none",
            **{"save_strategy": "no", **training_arguments},
        ),
        train_dataset=train,
        eval_dataset=validation,
        compute_metrics=compute_metrics,
        data_collator=collator(classifier.tokenizer),
        processing_class=classifier.tokenizer,
        preprocess_logits_for_metrics=_best_label,
    )


def predict_labels(trainer: Trainer, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The best labels and the true ones, in the order of the data set.

    Args:
        trainer: Of `make_trainer`, trained.
        dataset: As it was trained on.

    Returns:
        Two arrays `[texts]`, or `[texts, tokens]` padded by -100.
    """
    # While Trainer groups by length for training, it predicts in an order of its own too.
    trainer.args.train_sampling_strategy = "sequential"
    found: Any = trainer.predict(dataset)
    return found.predictions, found.label_ids


def _best_label(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.argmax(dim=-1)
