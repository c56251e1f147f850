"""Plain text and language codes from what the networks give."""

from __future__ import annotations

import html

import pyarrow as pa
import pyarrow.compute as pc

# What servers let through is a short list of tags without ">" in their attributes
# (https://docs.joinmastodon.org/spec/activitypub/#sanitization).
_TAGS = (
    (r"(?i)</p>\s*<p[^>]*>", "\n\n"),
    (r"(?i)<br\s*/?>|</(?:p|div|li|blockquote|h[1-6]|pre)>", "\n"),
    (r"<[^>]*>", ""),
)
# `&amp;` comes last: `&amp;lt;` is the text `&lt;`.
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&amp;": "&"}
_OLD_CODES = {"in": "id", "iw": "he", "ji": "yi"}
# Undetermined, no language, and X's codes of posts without words: hashtags, mentions, media, links.
_NO_LANGUAGE = ["und", "zxx", "mul", "art", "qam", "qct", "qht", "qme", "qst"]


def html_to_text(texts: pa.Array) -> pa.Array:
    """Strings without tags, with line breaks for paragraphs; entities stay.

    >>> html_to_text(pa.array(["<p>one<br />two</p><p>a <a href='/x'>link</a> &amp;</p>"]))[0]
    <pyarrow.StringScalar: 'one\\ntwo\\n\\na link &amp;'>
    """
    for pattern, replacement in _TAGS:
        texts = pc.replace_substring_regex(texts, pattern, replacement)
    return pc.utf8_trim_whitespace(texts)


def decode_entities(texts: pa.Array) -> pa.Array:
    """Strings with `&amp;` and the like as the characters that they mean.

    >>> decode_entities(pa.array(["a &lt; b", "plain", "&amp;lt; &eacute;"])).to_pylist()
    ['a < b', 'plain', '&lt; é']
    """
    has_entity = pc.fill_null(pc.match_substring(texts, "&"), False)
    if not has_entity.true_count:
        return texts
    encoded = texts.filter(has_entity)
    decoded = encoded
    for entity, sign in _ENTITIES.items():
        decoded = pc.replace_substring(decoded, entity, sign)
    # Python knows all of them, at a tenth of the speed.
    num_common = pc.count_substring_regex(encoded, "|".join(_ENTITIES))
    has_other = pc.not_equal(pc.count_substring(encoded, "&"), num_common)
    others = [html.unescape(text) for text in encoded.filter(has_other).to_pylist()]
    decoded = pc.replace_with_mask(decoded, has_other, pa.array(others, texts.type))
    return pc.replace_with_mask(texts, has_entity, decoded)


def clean_languages(codes: pa.Array) -> pa.Array:
    """Language codes without region and script, null where the code names no language.

    >>> clean_languages(pa.array(["pt-BR", "EN", "zh_Hant", "iw", "und", "", None])).to_pylist()
    ['pt', 'en', 'zh', 'he', None, None, None]
    """
    encoded = pc.dictionary_encode(codes)
    names = pc.replace_substring_regex(pc.utf8_lower(encoded.dictionary), r"[-_].*$", "")
    names = pa.array([_OLD_CODES.get(name, name) for name in names.to_pylist()], pa.string())
    valid = pc.and_not(
        pc.match_substring_regex(names, "^[a-z]{2,3}$"),
        pc.is_in(names, value_set=pa.array(_NO_LANGUAGE)),
    )
    return pc.if_else(valid, names, None).take(encoded.indices)


def split_languages(codes: pa.Array) -> pa.Array:
    """Lists of the languages of posts, cleaned as `clean_languages` does, each language once.

    Args:
        codes: Codes with spaces between.

    Returns:
        Lists of strings, null where no code names a language.

    >>> split_languages(pa.array(["pt-BR en pt", "und", None])).to_pylist()
    [['pt', 'en'], None, None]
    """
    encoded = pc.dictionary_encode(codes)
    lists = []
    for text in encoded.dictionary.to_pylist():
        cleaned = clean_languages(pa.array(text.split(), pa.string())).to_pylist()
        lists.append([code for code in dict.fromkeys(cleaned) if code] or None)
    return pa.array(lists, pa.list_(pa.string())).take(encoded.indices)
