"""Tokens added to a tokenizer, and texts normalized as encoders of tweets expect.

Both are made part of the tokenizer itself: whatever loads it (training, `encode`,
sentence-transformers, a server) does the same, and no text has to be changed before.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from twhin_hf.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Normalization = Literal["xlm-t", "bertweet"]
NORMALIZATIONS: tuple[str, ...] = get_args(Normalization)

_REPLACED: dict[str, tuple[tuple[str, str], ...]] = {
    # https://huggingface.co/cardiffnlp/twitter-xlm-roberta-base, "preprocess": words between
    # spaces that begin so.
    "xlm-t": ((r"(?<![^ ])@[^ ]+", "@user"), (r"(?<![^ ])http[^ ]*", "http")),
    # https://github.com/VinAIResearch/BERTweet, TweetNormalizer.py
    "bertweet": (
        (r"(?<![^\s])(?:[Hh][Tt][Tt][Pp]|[Ww][Ww][Ww]\.)[^\s]*", "HTTPURL"),
        (r"(?<![\w@])@\w+", "@USER"),
        ("’", "'"),
        ("…", "..."),
    ),
}


def prepare_tokenizer(
    tokenizer: PreTrainedTokenizerBase,
    tokens: Sequence[str] | None = None,
    normalization: str | None = None,
) -> PreTrainedTokenizerBase:
    """The tokenizer with what a person asks for: see `add_normalization` and `add_tokens`."""
    if normalization is not None:
        tokenizer = add_normalization(tokenizer, normalization)
    if tokens:
        add_tokens(tokenizer, tokens)
    return tokenizer


def add_normalization(
    tokenizer: PreTrainedTokenizerBase, normalization: str
) -> PreTrainedTokenizerBase:
    """Lets a tokenizer normalize texts before all else; one that does already is left as it is.

    Args:
        tokenizer: A fast one.
        normalization: `xlm-t` (users become `@user`, links `http`: the same as XLM-T's own
            function) or `bertweet` (users `@USER`, links `HTTPURL`, and its quotation marks and
            dots; BERTweet's splitting of words and its names of emoji are left out).

    Returns:
        The tokenizer, changed in place, or one of the general class that does the same where its
        own class would forget the normalization when it is loaded.

    Raises:
        InputError: Another normalization, or a slow tokenizer.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from transformers import PreTrainedTokenizerFast
        >>> fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram()))
        >>> fast = add_normalization(fast, "xlm-t")
        >>> fast.backend_tokenizer.normalizer.normalize_str("@ana see https://a.b/c @ 5")
        '@user see http @ 5'
    """
    steps = normalizing_steps(normalization)
    _check_fast(tokenizer, "normalize_texts")
    from tokenizers import normalizers

    backend = tokenizer.backend_tokenizer
    present = backend.normalizer
    whole = normalizers.Sequence([*steps, *([present] if present is not None else [])])
    if present is None or _steps(present)[: len(steps)] != _steps(whole)[: len(steps)]:
        backend.normalizer = whole
    return _of_general_class(tokenizer)


def _of_general_class(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The same tokenizer, of the class that loads `tokenizer.json` as it is.

    Those of single families (`BertTokenizer`, `XLMRobertaTokenizer`) take the vocabulary out of the
    file and make the normalizer anew.
    """
    from transformers import PreTrainedTokenizerFast

    if type(tokenizer) is PreTrainedTokenizerFast:
        return tokenizer
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        model_input_names=tokenizer.model_input_names,
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        **tokenizer.special_tokens_map,
    )


def normalizing_steps(normalization: str) -> list[Any]:
    """The steps of a normalization, for a normalizer of tokenizers.

    Raises:
        InputError: Another normalization.
    """
    if normalization not in NORMALIZATIONS:
        raise InputError(
            f"normalize_texts is {normalization!r}; choose one of {', '.join(NORMALIZATIONS)}"
        )
    from tokenizers import Regex, normalizers

    return [normalizers.Replace(Regex(pattern), to) for pattern, to in _REPLACED[normalization]]


def add_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> int:
    """Adds tokens that a text is never split within, such as `@user` or an emoji.

    Args:
        tokenizer: A fast one; changed in place.
        tokens: Those that the vocabulary holds as one token already are no new ones.

    Returns:
        How many are new: rows that the model's embeddings lack.

    Raises:
        InputError: An empty token, one with white space around it, or a slow tokenizer.
    """
    _check_fast(tokenizer, "add_tokens")
    from tokenizers import AddedToken

    for token in tokens:
        if not token or token != token.strip():
            raise InputError(f"add_tokens has {token!r}; a token is text without spaces around it")
    # After normalization, which makes `@user` of a name and small letters of large ones.
    added = tokenizer.add_tokens([AddedToken(token, normalized=True) for token in tokens])
    if added:
        logger.info("%d tokens are new: their embeddings begin at the mean of all", added)
    return added


def _check_fast(tokenizer: PreTrainedTokenizerBase, option: str) -> None:
    if not tokenizer.is_fast:
        raise InputError(
            f"{option} needs a fast tokenizer (tokenizer.json), and {type(tokenizer).__name__} is "
            "a slow one; normalize the texts before instead"
        )


def _steps(normalizer: object) -> list[object]:
    """The steps of a normalizer as JSON, those of sequences in sequences in a row."""
    from tokenizers import Tokenizer, models

    bare = Tokenizer(models.WordLevel({"x": 0}, "x"))
    bare.normalizer = normalizer  # type: ignore[assignment]
    return _flat(json.loads(bare.to_str())["normalizer"])


def _flat(state: dict) -> list[object]:
    if state["type"] != "Sequence":
        return [state]
    return [step for inner in state["normalizers"] for step in _flat(inner)]
