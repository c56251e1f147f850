"""What a person reads of a demo: its answers as HTML, in which texts of strangers stay texts."""

from __future__ import annotations

import html
from collections import Counter
from functools import cache
from importlib import resources
from typing import Any

import jinja2

from twhin_hf.data.language_codes import language_name
from twhin_hf.demo.answers import Answer, Side
from twhin_hf.demo.content import DemoContent

TITLES = {"stock": "Stock encoder", "model": "Socially enriched encoder"}
_SANDBOX = "allow-scripts"
"""The map's script runs, and reaches neither the page around it nor anything else."""


def answer_html(answer: Answer, content: DemoContent) -> str:
    """HTML of an answer.

    Args:
        answer: To a text.
        content: Of the demo.
    """
    return _render("answer.html.jinja", content, answer=answer)


def header_html(content: DemoContent) -> str:
    """HTML of what stands above: what this is, for a newcomer.

    Args:
        content: Of the demo.
    """
    return _render("header.html.jinja", content)


def map_html(content: DemoContent) -> str:
    """HTML of the map, in a frame of its own.

    Args:
        content: Of the demo.
    """
    page = html.escape(content.map_page)
    return (
        '<section class="map"><h2>The map</h2>\n'
        '<p class="hint">Each point is a post; near points are alike to the encoder. Zoom, search, '
        "and colour it by language, topic or audience.</p>\n"
        f'<iframe title="Map of the posts" sandbox="{_SANDBOX}" srcdoc="{page}"></iframe></section>'
    )


def message_html(text: str) -> str:
    """HTML of a sentence in place of an answer."""
    return f'<p class="message" role="status">{html.escape(text)}</p>'


def style() -> str:
    """CSS of all of it."""
    return _read("demo.css")


def summary(side: Side, label: str | None = None) -> str:
    """A sentence on what a list is made of.

    Args:
        side: What an encoder finds.
        label: What the labels of the posts are, such as topic; None where there are none.

    Returns:
        The number of languages, and how many posts have the most frequent label.
    """
    languages = Counter(post.language for post in side.posts)
    if len(languages) == 1:
        told = f"All in {language_name(next(iter(languages)))}"
    else:
        told = f"In {len(languages)} languages"
    labels = Counter(post.label for post in side.posts if post.label)
    if not labels:
        return f"{told}."
    ((most, count),) = labels.most_common(1)
    return f"{told}; {count} of {len(side.posts)} are of {_labelled(most, label)}."


def percent(share: float) -> str:
    """A share as people write it.

    Example:
        >>> percent(0.256), percent(0.004)
        ('26 %', 'below 1 %')
    """
    return "below 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def chance(probability: float) -> str:
    """A probability as one chance of so many.

    Example:
        >>> chance(0.02), chance(0.6), chance(0.0)
        ('1 chance in 50', '60 chances in 100', 'hardly any chance')
    """
    if probability >= 0.5:
        return f"{100 * probability:.0f} chances in 100"
    return f"1 chance in {1 / probability:,.0f}" if probability > 1e-6 else "hardly any chance"


def about(number: float) -> str:
    """An expected number of people.

    Example:
        >>> about(0.2), about(3.4), about(1234.0)
        ('less than one', '3', '1,234')
    """
    return "less than one" if number < 0.5 else f"{number:,.0f}"


def _labelled(value: str, label: str | None) -> str:
    """A label that says what it is: numbers alone would not.

    Example:
        >>> _labelled("3", "topic"), _labelled("sports", "topic")
        ('topic 3', 'sports')
    """
    return f"{label} {value}" if label and value.isdigit() else value


def _render(name: str, content: DemoContent, **more: Any) -> str:
    label = content.settings.get("label")
    template = _environment().get_template(name)
    return template.render(
        titles={name: TITLES[name] for name in content.units},
        num_posts=len(content.texts),
        settings=content.settings,
        labelled=lambda value: _labelled(value, label),
        summary=lambda side: summary(side, label),
        **more,
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_read),
    )
    environment.filters |= {
        "about": about,
        "chance": chance,
        "language": language_name,
        "percent": percent,
        "width": lambda share: round(100 * min(max(share, 0), 1)),
    }
    return environment


def _read(name: str) -> str:
    folder = resources.files("twhin_hf.demo") / "templates"
    return (folder / name).read_text(encoding="utf-8")
