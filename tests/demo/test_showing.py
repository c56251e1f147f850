"""Answers as HTML: everything is there, in plain words, and texts of strangers stay texts."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from twhin_hf.demo.answers import Answer, Audience, NearPost, Person, Side
from twhin_hf.demo.content import DemoContent
from twhin_hf.demo.showing import answer_html, header_html, map_html, message_html, summary

EVIL = "</p><script>alert(1)</script><img src=x onerror=alert(1)>\"'&${alert(1)}{{x}}"
SETTINGS = {"k": 1, "label": "topic", "audiences": ["a"], "examples": [], "is_generated": False}


def post(text="a post", **more):
    return NearPost(text, "ja", 0.834, **more)


def content(map_page="<p>map</p>", **settings):
    units = np.zeros((1200, 2))
    return DemoContent(
        SETTINGS | settings,
        ["a"] * 1200,
        ["en"] * 1200,
        [""] * 1200,
        np.zeros(1200, int),
        {"stock": units, "model": units},
        map_page=map_page,
    )


def sides(text="a post"):
    return [
        Side(name, [post(text, label="3", is_shared=True)], [("cats", 0.25)], {"ja": post(text)})
        for name in ("stock", "model")
    ]


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words += data


def words(html):
    return " ".join(Tags(html).words.split())


def test_everything_is_there():
    person = Person("abcdef0123456789", 0.02, post("her favourite"))
    answer = Answer(
        sides(), ["ja"], Audience([person], 3.4, 5000), [("red, bus", 0.6), ("cat", 0.4)]
    )
    shown = words(answer_html(answer, content()))
    for told in (
        "Stock encoder",
        "Socially enriched encoder",
        "All in Japanese; 1 of 1 are of topic 3.",
        "similarity 0.83",
        "in both lists",
        "#cats 25 %",
        "Of 5,000 people the recommender expects about 3 to engage",
        "abcdef01 1 chance in 50; would also like her favourite",
        "red, bus 60 %",
        "Out of 1,200",
    ):
        assert told in shown
    assert "abcdef0123456789" not in shown
    assert "Nothing was given" not in shown


def test_without_a_recommender_or_a_network_it_says_so():
    shown = words(answer_html(Answer(sides(), []), content()))
    assert "neither a recommender (--recommender) nor a network" in shown
    assert "nearest post in each language" not in shown
    shown = words(answer_html(Answer(sides(), [], groups=[]), content()))
    assert "it is not known who engaged with them" in shown


def test_a_classifier_goes_before_the_neighbours_hashtags():
    shown = words(answer_html(Answer(sides(), [], classified=[("dogs", 0.5)]), content()))
    assert "#dogs 50 %" in shown
    assert "#cats" not in shown


def test_texts_of_strangers_stay_texts():
    person = Person(EVIL, 0.1, post(EVIL))
    answer = Answer(sides(EVIL), ["ja"], Audience([person], 1.0, 1), [(EVIL, 1.0)], [(EVIL, 1.0)])
    plain = Answer(sides(), ["ja"], Audience([Person("x", 0.1, post())], 1.0, 1), [("a", 1.0)])
    for shown in (answer_html(answer, content()), message_html(EVIL)):
        tags = Tags(shown)
        assert not {"script", "img"} & {tag for tag, _ in tags.tags}
        assert not [name for _, given in tags.tags for name in given if name.startswith("on")]
        assert "<script>alert(1)</script>" in tags.words
    assert len(Tags(answer_html(plain, content())).tags) > 20


def test_the_map_stands_in_a_frame_that_reaches_nothing():
    page = f'<p>{EVIL}</p><script>let a = "b"</script>'
    tags = Tags(map_html(content(page))).tags
    (frame,) = [given for tag, given in tags if tag == "iframe"]
    assert frame["srcdoc"] == page
    assert frame["sandbox"] == "allow-scripts"
    assert frame["title"]
    assert "script" not in {tag for tag, _ in tags}


def test_the_header_says_what_is_generated():
    assert "made up by a program" not in words(header_html(content()))
    assert "made up by a program" in words(header_html(content(is_generated=True)))


@pytest.mark.parametrize(
    ("languages", "labels", "expected"),
    [
        (["en", "en"], ["", ""], "All in English."),
        (["en", "ja"], ["", ""], "In 2 languages."),
        (["en", "ja", "ar"], ["7", "7", "2"], "In 3 languages; 2 of 3 are of topic 7."),
        (["und"], ["sport"], "All in unknown language; 1 of 1 are of sport."),
    ],
)
def test_a_summary(languages, labels, expected):
    posts = [NearPost("a", code, 0.5, label) for code, label in zip(languages, labels, strict=True)]
    assert summary(Side("model", posts, [], {}), "topic") == expected


def test_no_word_of_it_is_a_link_or_comes_from_elsewhere():
    text = answer_html(Answer(sides(), ["ja"]), content()) + header_html(content())
    assert not re.search(r"https?:|//|src=|href=", text)
