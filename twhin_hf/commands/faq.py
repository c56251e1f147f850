"""`twhin-hf faq`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

QUESTIONS = Path(__file__).parent.parent / "faq.md"
_HEADING = re.compile(r"^## (.+?) \{#([a-z0-9-]+)\}\n", re.MULTILINE)


def faq(anchor: str | None = None, /) -> None:
    """Say more of an error than its line does: why it comes, and how to go on.

    Errors name the entry that belongs to them: `More: twhin-hf faq ids`.

    Args:
        anchor: Name of an entry; all are listed without one.
    """
    from twhin_hf.errors import InputError

    questions = read_questions()
    if anchor is None:
        width = max(map(len, questions))
        for name, question in questions.items():
            print(f"{name:<{width}}  {question.title}")
    elif anchor in questions:
        print(f"{questions[anchor].title}\n\n{questions[anchor].answer}")
    else:
        raise InputError(f"there is no entry {anchor!r}; `twhin-hf faq` lists them")


class Question(NamedTuple):
    """A question and its answer, in Markdown."""

    title: str
    answer: str


def read_questions() -> dict[str, Question]:
    """The entries of the package's `faq.md` by their anchors, in the order of the file.

    Example:
        >>> read_questions()["ids"].title
        'A column of ids is of another type'
    """
    _, *parts = _HEADING.split(QUESTIONS.read_text(encoding="utf-8"))
    titles, anchors, answers = parts[::3], parts[1::3], parts[2::3]
    return {
        anchor: Question(title, answer.strip())
        for title, anchor, answer in zip(titles, anchors, answers, strict=True)
    }
