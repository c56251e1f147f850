"""Hashtags in whole columns of texts: find them, compare them, take one out.

A hashtag is `#` or the full-width `＃` and a run of letters, marks, digits, underscores and the
signs that some scripts write inside words, with at least one letter. It starts a text or follows
what is no part of a word, so that `page#part` in an address is none.
"""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Zero-width (non-)joiners of Persian and Indic scripts, middle dots, Hebrew and Tibetan signs.
_IN_WORDS = "\\p{L}\\p{M}\\p{N}_\u200c\u200d\u00b7\u30fb\u05be\u05f3\u05f4\u0f0b\u0f0c"
_HASHTAG = rf"(^|[^&/#＃{_IN_WORDS}])([#＃][{_IN_WORDS}]*\p{{L}}[{_IN_WORDS}]*)"
_MARK = "\x1e"  # the record separator: a control sign that no post shows


def normalize_hashtag(hashtag: str) -> str:
    """The form in which hashtags are compared: NFKC, case-folded, without the sign.

    >>> [normalize_hashtag(tag) for tag in ("#BTS", "＃ｂｔｓ", "Straße", "ΚΌΣΜΟΣ")]
    ['bts', 'bts', 'strasse', 'κόσμοσ']
    """
    folded = unicodedata.normalize("NFKC", hashtag.strip()).casefold()
    return unicodedata.normalize("NFKC", folded).removeprefix("#")


def normalize_hashtags(hashtags: pa.Array) -> pa.Array:
    """`normalize_hashtag` of each; each distinct one is looked at once."""
    encoded = hashtags.dictionary_encode()
    names = [normalize_hashtag(tag) for tag in encoded.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(encoded.indices)


def find_hashtags(texts: pa.Array) -> pa.ListArray:
    """Normalised hashtags of each text, in order, repeats included.

    Args:
        texts: Strings without nulls, `[num_texts]`.

    >>> texts = pa.array(["#BTS, ＃ｂｔｓ!", "1 # 2 a#b &#39; #2", "#سلام و #क्ष"])
    >>> find_hashtags(texts).to_pylist()
    [['bts', 'bts'], [], ['سلام', 'क्ष']]
    """
    parts = _split(texts)
    is_tag = _is_hashtag(parts)
    tags = normalize_hashtags(parts.flatten().filter(is_tag))
    before = pc.cumulative_sum(is_tag.cast(pa.int32()))
    before = pa.concat_arrays([pa.array([0], pa.int32()), before.cast(pa.int32())])
    return pa.ListArray.from_arrays(before.take(parts.offsets), tags)


def remove_hashtags(texts: pa.Array, labels: pa.Array) -> pa.Array:
    """Texts without the hashtag that is their label.

    Case, width and Unicode form do not matter; `#bts` is not taken out of `#btsarmy`. The
    punctuation after it stays; one blank goes with it.

    Args:
        texts: Strings without nulls, `[num_texts]`.
        labels: A hashtag each, with or without its sign, `[num_texts]`.

    >>> texts = pa.array(["Go #BTS! #BTSarmy #bts", "＃タグ です"])
    >>> remove_hashtags(texts, pa.array(["bts", "#タグ"])).to_pylist()
    ['Go ! #BTSarmy', 'です']
    """
    parts = _split(texts)
    values = parts.flatten()
    wanted = normalize_hashtags(labels).take(parts.value_parent_indices())
    is_label = pc.and_(_is_hashtag(parts), pc.equal(normalize_hashtags(values), wanted))
    kept = pa.ListArray.from_arrays(parts.offsets, pc.if_else(is_label, _MARK, values))
    cut = pc.replace_substring_regex(pc.binary_join(kept, ""), f"{_MARK}[ \u3000]?", "")
    return pc.utf8_trim_whitespace(cut)


def _split(texts: pa.Array) -> pa.ListArray:
    """Each text cut before and after its hashtags, which so stand at the odd places."""
    texts = pc.replace_substring(texts, _MARK, "")
    marked = pc.replace_substring_regex(texts, _HASHTAG, rf"\1{_MARK}\2{_MARK}")
    return pc.split_pattern(marked, _MARK)


def _is_hashtag(parts: pa.ListArray) -> pa.BooleanArray:
    first = parts.offsets.take(parts.value_parent_indices())
    place = pc.subtract(pa.array(np.arange(len(parts.values), dtype=np.int32)), first)
    return pc.equal(pc.bit_wise_and(place, 1), 1)
