"""Names of labels, so that several data sets have one set of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from twhin_hf.errors import InputError
from twhin_hf.files import read_yaml

SENTIMENTS = {"0": "negative", "1": "neutral", "2": "positive"}
"""What the numbers mean in the label files of UMSAB and TweetEval."""
SIGNED_SENTIMENTS = {"-1": "negative", "0": "neutral", "1": "positive"}
"""What they mean where the negative ones are below 0."""
_SENTIMENT140 = {"0": "negative", "2": "neutral", "4": "positive"}
_SCALES = (
    (SENTIMENTS, ({"0", "1", "2"}, {"0", "2"})),
    (SIGNED_SENTIMENTS, ({"-1", "0", "1"}, {"-1", "1"}, {"-1", "0"}, {"-1"})),
    (_SENTIMENT140, ({"0", "2", "4"}, {"0", "4"})),
)
_INTEGER = re.compile(r"([+-]?)0*(\d{1,18})(?:\.0*)?")
_SCORE = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")


def read_label_map(entries: Iterable[str]) -> dict[str, str]:
    """New names of labels, by their old ones.

    Args:
        entries: `OLD=NEW`, and paths of YAML files with `OLD: NEW` lines.

    Raises:
        InputError: An entry that is neither.
        FileNotFoundError: A YAML file that is not there.
    """
    found: dict[str, str] = {}
    for entry in entries:
        old, equals, new = entry.partition("=")
        if equals and old and new:
            found[old] = new
        elif not entry.endswith((".yaml", ".yml")):
            raise InputError(f"--label_map {entry!r}: needed is OLD=NEW or a YAML file")
        elif not Path(entry).is_file():
            raise FileNotFoundError(f"--label_map: there is no {entry}")
        else:
            content = read_yaml(entry)
            if not isinstance(content, dict):
                raise InputError(f"{entry} holds no `OLD: NEW` lines")
            found |= {str(name): str(new_name) for name, new_name in content.items()}
    return found


def integer_label(label: str) -> str:
    """A label that is a whole number in its shortest form; any other as it is.

    >>> [integer_label(label) for label in ("-1.0", "+1", "00", "2", "good", "0.5")]
    ['-1', '1', '0', '2', 'good', '0.5']
    """
    found = _INTEGER.fullmatch(label)
    if found is None:
        return label
    return ("-" if found[1] == "-" and found[2] != "0" else "") + found[2]


def sentiment_names(
    labels: Iterable[str],
    where: str,
    label_map: Mapping[str, str] | None = None,
    *,
    three_classes: bool = False,
) -> dict[str, str]:
    """Names of a data set's sentiment labels: words stay, and numbers are read by what is there.

    The three names themselves are known in capitals too (`Positive`, `NEUTRAL`).

    Whole numbers are read where only one scale has them: -1, 0, 1 (a set with a -1); 0, 1, 2 or
    0, 2 (UMSAB, TweetEval); 0, 2, 4 or 0, 4 (Sentiment140): negative, neutral and positive.

    Args:
        labels: The labels, each once or more often.
        where: The file, for the message.
        label_map: Names that come before these; the numbers that it names tell the scale of the
            others.
        three_classes: Whether 0, 1 and 2 are known to be UMSAB's, even where only some of them are
            there.

    Raises:
        InputError: Numbers of which nobody can tell the meaning, such as 0 and 1, which are two
            classes or two of three, or 1 to 5; or scores such as 0.7.

    Example:
        >>> sentiment_names(["-1", "0", "1"], "a.csv")
        {'-1': 'negative', '0': 'neutral', '1': 'positive'}
    """
    chosen = label_map or {}
    numbers = {
        label: label.lower() if label.lower() in SENTIMENTS.values() else integer_label(label)
        for label in labels
    }
    scores = [n for label, n in numbers.items() if _SCORE.fullmatch(n) and label not in chosen]
    if scores:
        raise InputError(
            f"{where} has scores as labels, such as {scores[0]}; needed are classes, as negative, "
            "neutral and positive. Write them into a column of their own, and say which it is "
            "(`--columns label=...`)"
        )
    found = {number for number in numbers.values() if _INTEGER.fullmatch(number)}
    unnamed = {
        number for label, number in numbers.items() if not {label, number} & chosen.keys()
    } & found
    scale = next((scale for scale, sets in _SCALES if found in sets), None)
    if three_classes and found <= SENTIMENTS.keys():
        scale = SENTIMENTS
    if unnamed and scale is None:
        told = " and ".join(sorted(found, key=int)) + " alone" * (found < SENTIMENTS.keys())
        raise InputError(
            f"{where} has the labels {told}, which may mean several things: with three classes 1 "
            "is neutral, with two it is positive, and others count stars. Say which "
            "(`--label_map 0=negative 1=positive`)",
            faq="label-map",
        )
    named = {**(scale or {}), **chosen}
    return {label: named.get(label, named.get(number, number)) for label, number in numbers.items()}
