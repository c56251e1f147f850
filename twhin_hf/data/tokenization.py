"""From texts to token ids: training an XLM-R-style tokenizer, and tokenizing posts."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, List, Value

from twhin_hf.data.text_normalization import normalizing_steps
from twhin_hf.errors import InputError
from twhin_hf.privacy.people import mask_people

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>"]
SMALLEST_VOCABULARY = 50
_LONGEST_TEXT = 1 << 24
"""Bytes; SentencePiece leaves longer texts out."""
_TEXTS_PER_BLOCK = 8192
_THREADS = 16
"""Fixed, whatever the machine: the sums of the training depend on how they are shared out."""


def train_unigram_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    *,
    max_length: int = 128,
    progress: bool = True,
    normalization: str | None = None,
) -> PreTrainedTokenizerBase:
    """Trains a unigram tokenizer as XLM-R's: NFKC, `▁` for spaces, `<s> post </s>`.

    SentencePiece trains it, as it did XLM-R's; the same texts give the same tokenizer. Unlike
    XLM-R's, a piece may cross scripts, so that `▁https://t.co/` and frequent hashtags are one each.
    Names and ids of people are none: it learns from texts with `@user` in their place.

    Args:
        texts: The posts to learn from.
        vocab_size: Tokens at most, special ones included (XLM-R and TwHIN-BERT: 250,002).
        max_length: `model_max_length` of the tokenizer.
        progress: Show the trainer's progress bars.
        normalization: Of users and links before all else (`add_normalization`).

    Returns:
        A fast tokenizer; `save_pretrained` it, and `AutoTokenizer` loads it.

    Raises:
        InputError: A vocabulary too small to hold the characters of the texts, or no text.
    """
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    if vocab_size < SMALLEST_VOCABULARY:
        raise InputError(f"vocab_size is {vocab_size}; give at least {SMALLEST_VOCABULARY}")
    first = normalizing_steps(normalization) if normalization else []
    normalizer = normalizers.Sequence(
        [*first, normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    pieces = _train_pieces(
        map(normalizer.normalize_str, _without_people(texts)),
        vocab_size - len(SPECIAL_TOKENS) - 1,
        progress,
    )
    lowest = min(score for _, score in pieces)
    special = [(token, 0.0) for token in SPECIAL_TOKENS[:-1]] + [(SPECIAL_TOKENS[-1], lowest)]
    tokenizer = Tokenizer(
        Unigram([*special, *pieces, ("<mask>", 0.0)], unk_id=SPECIAL_TOKENS.index("<unk>"))
    )
    tokenizer.add_special_tokens([*SPECIAL_TOKENS, "<mask>"])
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
    )


def _without_people(texts: Iterable[str]) -> Iterator[str]:
    remaining = iter(texts)
    while block := list(islice(remaining, _TEXTS_PER_BLOCK)):
        yield from mask_people(pa.array(block, pa.string())).to_pylist()


def _train_pieces(texts: Iterable[str], vocab_size: int, progress: bool) -> list[tuple[str, float]]:
    """Pieces with their log probabilities, the likeliest first."""
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    given = filter(None, texts)
    first = next(given, None)
    if first is None:
        raise InputError("there is no text to train a tokenizer on")
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=chain([first], given),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size + 1,  # and the unknown
            hard_vocab_limit=False,
            normalization_rule_name="identity",
            # Else links, users and hashtags are spelt out: their letters and signs are two scripts.
            split_by_unicode_script=False,
            max_sentence_length=_LONGEST_TEXT,
            num_threads=_THREADS,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            unk_id=0,
            minloglevel=0 if progress else 2,
        )
    except RuntimeError as error:
        if needed := re.search(r"required_chars.*?\. \d+ vs (\d+)", str(error)):
            raise InputError(
                f"vocab_size leaves room for {vocab_size} pieces, and the texts have "
                f"{needed[1]} characters: give at least {int(needed[1]) + 2 + len(SPECIAL_TOKENS)}"
            ) from error
        raise InputError(f"SentencePiece finds no pieces in the texts: {error}") from error
    trained = SentencePieceProcessor(model_proto=model.getvalue())
    numbers = range(1, trained.get_piece_size())
    found = [(trained.id_to_piece(number), trained.get_score(number)) for number in numbers]
    return [(piece, score) for piece, score in found if piece not in SPECIAL_TOKENS]


def tokenize_posts(
    posts: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int = 128,
    num_proc: int | None = None,
) -> Dataset:
    """Adds `input_ids` to posts, special tokens included, cut to `max_length`.

    Args:
        posts: Columns `post_id`, `text` and, if wanted, `lang`.
        tokenizer: A tokenizer that frames each post by special tokens.
        max_length: Maximum sequence length; longer posts are truncated.
        num_proc: Processes; `datasets` caches the result by its content.

    Returns:
        Columns `post_id`, `lang` (`und` where posts have none) and `input_ids` (int32 lists).

    Raises:
        InputError: A column is missing, there are no posts, or the tokenizer does not frame them.
    """
    missing = [column for column in ("post_id", "text") if column not in posts.column_names]
    if missing:
        raise InputError(f"posts have the columns {posts.column_names}; {missing} are needed")
    if len(posts) == 0:
        raise InputError("there are no posts to train on")
    if len(tokenizer("")["input_ids"]) != 2:
        raise InputError(
            f"{type(tokenizer).__name__} must frame a post by one special token on either side; "
            f"of an empty text it makes {tokenizer('')['input_ids']}"
        )
    has_languages = "lang" in posts.column_names

    def tokenize(batch: dict) -> dict:
        ids = tokenizer(batch["text"], truncation=True, max_length=max_length)["input_ids"]
        languages = batch["lang"] if has_languages else ["und"] * len(ids)
        return {"lang": languages, "input_ids": ids}

    return posts.select_columns(["post_id", "text", *(["lang"] if has_languages else [])]).map(
        tokenize,
        batched=True,
        num_proc=num_proc,
        remove_columns=["text"],
        features=Features(
            {"post_id": Value("string"), "lang": Value("string"), "input_ids": List(Value("int32"))}
        ),
        desc="Tokenizing posts",
    )


def language_codes(posts: Dataset) -> np.ndarray:
    """The language of each post as an integer, int16 `[num_posts]`."""
    column = posts.select_columns("lang").with_format("arrow")[:].column("lang")
    codes = np.empty(len(column), np.int16)
    start = 0
    # All chunks share a dictionary, in the order in which languages first come.
    for chunk in column.dictionary_encode().chunks:
        codes[start : start + len(chunk)] = chunk.indices.to_numpy(zero_copy_only=False)
        start += len(chunk)
    return codes
