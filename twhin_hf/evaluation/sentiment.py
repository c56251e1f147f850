"""Sentiment of texts: macro F1, each text cut to 128 tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


def encode_texts(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    label_ids: Mapping[str, int],
    max_length: int,
) -> Dataset:
    """Tokens of each text with its label's number.

    Args:
        dataset: `text` and `label`.
        tokenizer: The model's.
        label_ids: Number of each label; a label that is not among them gets 0.
        max_length: Maximum sequence length; longer texts are truncated.

    Returns:
        `input_ids`, `attention_mask`, `labels`, and `cut`: whether the text was longer.
    """

    def encode(batch: dict) -> dict:
        # Else it warns of what is cut below.
        whole = tokenizer(batch["text"], verbose=False)["input_ids"]
        encoded = tokenizer(batch["text"], truncation=True, max_length=max_length)
        return {
            "input_ids": encoded["input_ids"],
            "attention_mask": encoded["attention_mask"],
            "labels": [label_ids.get(label, 0) for label in batch["label"]],
            "cut": [len(ids) > max_length for ids in whole],
        }

    return dataset.map(encode, batched=True, remove_columns=dataset.column_names)


def macro_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Mean of the F1 of the labels that are in `gold` or `predicted`.

    >>> round(macro_f1(["good", "good", "bad", "bad"], ["good", "bad", "bad", "bad"]), 4)
    0.7333
    """
    from sklearn.metrics import f1_score

    return float(f1_score(gold, predicted, average="macro", zero_division=0))
