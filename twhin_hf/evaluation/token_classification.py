"""Tags of words: named entities (micro F1) and parts of speech (accuracy).

Only a word's first sub-token carries its tag, in training and in the figures (Mishra and Haghighi,
W-NUT 2021). A word that the model does not get to read, because the sentence is longer than the
model takes or the tokenizer makes nothing of it, counts as tagged `O` among entities and as wrong
among parts of speech.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from twhin_hf.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
UNREAD = -1


def encode_words(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    label_ids: Mapping[str, int],
    max_length: int,
) -> Dataset:
    """Tokens with the label of a word on its first sub-token, and -100 on all others.

    Args:
        dataset: `tokens` and `tags`.
        tokenizer: A fast one, for it tells which word a token is of.
        label_ids: Number of each tag; a tag that is not among them gets 0, for its place matters
            even where its number does not.
        max_length: Tokens that a sentence is cut to.

    Returns:
        `input_ids`, `attention_mask`, `labels`, and `words`: the place in the sentence of each
        word that has a label.

    Raises:
        InputError: The tokenizer is not a fast one.
    """
    if not tokenizer.is_fast:
        raise InputError(
            f"{type(tokenizer).__name__} does not tell which word a token is of; needed is a fast "
            "tokenizer (a folder with tokenizer.json)"
        )

    of_words = _with_blanks(tokenizer)

    def encode(batch: dict) -> dict:
        encoded = of_words(
            batch["tokens"], is_split_into_words=True, truncation=True, max_length=max_length
        )
        labels, words = [], []
        for row, tags in enumerate(batch["tags"]):
            places = np.array([UNREAD if w is None else w for w in encoded.word_ids(row)])
            first = (places != UNREAD) & (np.diff(places, prepend=UNREAD) != 0)
            numbers = np.array([label_ids.get(tag, 0) for tag in tags])
            labels.append(np.where(first, numbers[places], IGNORED))
            words.append(places[first])
        return {
            "input_ids": encoded["input_ids"],
            "attention_mask": encoded["attention_mask"],
            "labels": labels,
            "words": words,
        }

    return dataset.map(encode, batched=True, remove_columns=dataset.column_names)


def _with_blanks(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """One that puts a blank before each word, where it is bytes that it splits.

    To those of RoBERTa and ModernBERT the blank tells where a word begins, and words that are
    already split have none.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    if not isinstance(tokenizer.backend_tokenizer.pre_tokenizer, ByteLevel):
        return tokenizer
    changed = copy.deepcopy(tokenizer)
    pieces = changed.backend_tokenizer.pre_tokenizer
    pieces.add_prefix_space = True
    changed.backend_tokenizer.pre_tokenizer = pieces
    return changed


def tags_of_words(
    predictions: np.ndarray, labels: np.ndarray, encoded: Dataset, num_words: Sequence[int]
) -> list[np.ndarray]:
    """The predicted label of each word of each sentence, -1 for a word that was not read.

    Args:
        predictions: Labels of the tokens `[sentences, width]`.
        labels: Those of `encode_words`, padded by -100 `[sentences, width]`.
        encoded: Of `encode_words`.
        num_words: How many words each sentence has.
    """
    ends = np.cumsum(num_words)
    read = encoded.with_format("arrow")[:]["words"].combine_chunks()
    counts = np.diff(read.offsets.to_numpy())
    places = np.repeat(ends - num_words, counts) + read.flatten().to_numpy()
    found = np.full(ends[-1], UNREAD)
    found[places] = predictions[labels != IGNORED]
    return np.split(found, ends[:-1])


def entity_f1(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """Micro F1 of whole entities, with seqeval: type and both ends must agree.

    >>> gold = [["B-PER", "I-PER", "O", "B-LOC"]]
    >>> round(entity_f1(gold, [["B-PER", "O", "O", "B-LOC"]]), 3)
    0.5
    """
    from seqeval.metrics import f1_score

    return float(f1_score(list(gold), list(predicted), average="micro", zero_division=0))


def tag_accuracy(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """Share of the words whose tag is right.

    >>> tag_accuracy([["NOUN", "VERB"], ["X"]], [["NOUN", "NOUN"], ["X"]])
    0.6666666666666666
    """
    pairs = zip(chain.from_iterable(gold), chain.from_iterable(predicted), strict=True)
    return float(np.mean([right == found for right, found in pairs]))
