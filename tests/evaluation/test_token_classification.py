import numpy as np
import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from twhin_hf.evaluation.token_classification import (
    encode_words,
    entity_f1,
    tag_accuracy,
    tags_of_words,
)

LABELS = {"O": 0, "B-PER": 1}


def test_only_the_first_sub_token_has_a_label(tokenizer, texts):
    words = [*texts[0].split()[:3], "qzqzqz", texts[1].split()[0]]
    tags = ["O", "B-PER", "O", "B-PER", "B-LOC"]
    dataset = Dataset.from_dict({"tokens": [words], "tags": [tags]})
    row = encode_words(dataset, tokenizer, LABELS, 128)[0]
    encoded = tokenizer(words, is_split_into_words=True)
    assert row["input_ids"] == encoded["input_ids"]
    assert len(row["input_ids"]) > len(words) + 2
    before, expected = None, []
    for place in encoded.word_ids():
        new = place is not None and place != before
        expected.append(LABELS.get(tags[place], 0) if new else -100)
        before = place
    assert row["labels"] == expected
    assert row["words"] == [0, 1, 2, 3, 4]


def test_words_of_a_byte_level_tokenizer_begin_with_a_blank(texts):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<pad>"], show_progress=False
    )
    backend.train_from_iterator([" ana reads"] * 9, trainer)
    byte_level = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")
    dataset = Dataset.from_dict({"tokens": [["ana", "reads"]], "tags": [["B-PER", "O"]]})
    row = encode_words(dataset, byte_level, LABELS, 128)[0]
    assert byte_level.convert_ids_to_tokens(row["input_ids"]) == ["Ġana", "Ġreads"]
    assert row["labels"] == [1, 0]
    # The tokenizer itself is as it was.
    assert byte_level.tokenize("ana") != ["Ġana"]


def test_words_that_are_not_read(tokenizer, texts):
    words = texts[0].split()[:2]
    sentences = [[*words, *words], [words[0], "\u3000", words[1]], ["\u3000"]]
    dataset = Dataset.from_dict(
        {"tokens": sentences, "tags": [["O"] * len(tokens) for tokens in sentences]}
    )
    length = 1 + len(tokenizer(words[:1], is_split_into_words=True)["input_ids"])
    assert encode_words(dataset, tokenizer, LABELS, length)["words"][:] == [[0, 1], [0, 2], []]


def test_a_slow_tokenizer_is_refused():
    class Slow:
        is_fast = False

    dataset = Dataset.from_dict({"tokens": [["a"]], "tags": [["O"]]})
    with pytest.raises(ValueError, match="Slow does not tell which word a token is of"):
        encode_words(dataset, Slow(), LABELS, 8)


def test_predictions_go_to_their_words():
    encoded = Dataset.from_dict({"words": [[0, 2], [], [0]]})
    labels = np.array([[-100, 0, -100, 0], [-100] * 4, [0, -100, -100, -100]])
    predictions = np.array([[9, 5, 9, 6], [9] * 4, [7, 9, 9, 9]])
    found = tags_of_words(predictions, labels, encoded, [4, 1, 1])
    assert [sentence.tolist() for sentence in found] == [[5, -1, 6, -1], [-1], [7]]


def test_entity_f1_by_hand():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "O", "B-PER", "B-PER"]]
    found = [["B-PER", "I-PER", "O", "B-PER"], ["O", "O", "B-PER", "I-PER"]]
    # Gold entities: 5. Found: PER 0-1 (right), PER 3 (wrong type), PER 2-3 (wrong end): 1 of 3.
    # F1 = 2 · 1/3 · 1/5 / (1/3 + 1/5) = 1/4.
    assert entity_f1(gold, found) == pytest.approx(1 / 4)
    assert entity_f1(gold, gold) == 1
    assert entity_f1([["O"]], [["O"]]) == 0


def test_accuracy_counts_words_not_sentences():
    assert tag_accuracy([["X"] * 3, ["X"]], [["X", "Y", "Y"], ["X"]]) == 0.5
