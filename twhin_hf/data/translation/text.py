"""Cleaning of the texts of translation pairs."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

# Scripts without blanks and their punctuation: a URL in such a text ends where they go on.
_OUTSIDE_URL = r"\s\p{Han}\p{Hiragana}\p{Katakana}、。「」（）！？"
_URL = (
    rf"(?i)\b(?:https?://|www\.)[^{_OUTSIDE_URL}]*"
    rf"[^{_OUTSIDE_URL}.,;:!?)\]\"'»؟،।]"  # what ends a sentence is not the URL's
)


def clean_texts(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Cleans texts as the TPP paper does, and makes equal texts equal bytes.

    Line breaks become ` [LF] ` and URLs `[URL]` (Mishra and Haghighi 2021, Section 2); Unicode
    is brought to its form NFC, white space around a text goes.

    >>> clean_texts(pa.array([" Cafe\\u0301:\\nhttps://t.co/a1. "])).to_pylist()
    ['Café: [LF] [URL].']
    """
    texts = pc.utf8_trim_whitespace(pc.utf8_normalize(texts, form="NFC"))
    texts = pc.replace_substring_regex(texts, pattern=r"\r\n?|\n", replacement=" [LF] ")
    return pc.replace_substring_regex(texts, pattern=_URL, replacement="[URL]")
