"""From texts to token ids: training an XLM-R-style tokenizer, and tokenizing posts."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from datasets import Dataset, Features, List, Value

from twhin_hf.data.text_normalization import normalizing_steps
from twhin_hf.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>"]
SMALLEST_VOCABULARY = 50


def train_unigram_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    *,
    max_length: int = 128,
    progress: bool = True,
    normalization: str | None = None,
) -> PreTrainedTokenizerBase:
    """Trains a unigram tokenizer as XLM-R's: NFKC, `▁` for spaces, `<s> post </s>`.

    Args:
        texts: The posts to learn from.
        vocab_size: Tokens at most, special ones included (XLM-R and TwHIN-BERT: 250,002).
        max_length: `model_max_length` of the tokenizer.
        progress: Show the trainer's progress bars.
        normalization: Of users and links before all else (`add_normalization`).

    Returns:
        A fast tokenizer; `save_pretrained` it, and `AutoTokenizer` loads it.

    Raises:
        InputError: A vocabulary too small to hold anything, or no text.
    """
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from tokenizers.trainers import UnigramTrainer
    from transformers import PreTrainedTokenizerFast

    if vocab_size < SMALLEST_VOCABULARY:
        raise InputError(f"vocab_size is {vocab_size}; give at least {SMALLEST_VOCABULARY}")
    tokenizer = Tokenizer(Unigram())
    first = normalizing_steps(normalization) if normalization else []
    tokenizer.normalizer = normalizers.Sequence(
        [*first, normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS, "<mask>"],
        unk_token="<unk>",
        show_progress=progress,
    )
    seen = _Counter(texts)
    tokenizer.train_from_iterator(seen, trainer=trainer)
    if seen.count == 0:
        raise InputError("there is no text to train a tokenizer on")
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


class _Counter:
    def __init__(self, texts: Iterable[str]):
        self.texts, self.count = texts, 0

    def __iter__(self):
        for text in self.texts:
            self.count += 1
            yield text


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
    if "lang" not in posts.column_names:
        posts = posts.add_column("lang", ["und"] * len(posts))

    def tokenize(batch: dict) -> dict:
        ids = tokenizer(batch["text"], truncation=True, max_length=max_length)["input_ids"]
        return {"input_ids": ids}

    return posts.select_columns(["post_id", "lang", "text"]).map(
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
    """The language of each post as an integer, int32 `[num_posts]`."""
    column = posts.select_columns("lang").with_format("arrow")[:].column("lang")
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
