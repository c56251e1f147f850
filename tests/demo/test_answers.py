"""What a demo answers, on posts whose vectors are chosen by hand."""

import numpy as np
import pytest
import torch
from small_demo import save_classifier
from transformers import AutoModelForSequenceClassification

from twhin_hf.demo.answers import Demo
from twhin_hf.demo.content import DemoContent
from twhin_hf.demo.opening import load_hashtag_classifier
from twhin_hf.errors import InputError

TEXTS = ["red bus #bus", "rote Busse #bus", "el gato #cat", "a cat sleeps", "une chatte #cat"]
STOCK = np.array([[1, 0], [0, 1], [0, 1], [0.6, 0.8], [0, -1]], np.float16)
MODEL = np.array([[0.8, 0.6], [1, 0], [0, 1], [0, 1], [0, 1]], np.float16)


def make(**more):
    settings = {"k": 2, "audiences": ["buses", "cats"], "label": None, "examples": []}
    content = DemoContent(
        settings,
        TEXTS,
        ["en", "de", "es", "en", "fr"],
        [""] * 5,
        np.array([0, 0, 1, -1, 1]),
        {"stock": STOCK, "model": MODEL},
    )
    return Demo(
        content, {name: lambda text: np.array([1.0, 0.0]) for name in content.units}, **more
    )


def test_both_sides_of_a_text():
    answer = make().answer("a new bus")
    stock, model = answer.sides
    assert [side.name for side in answer.sides] == ["stock", "model"]
    assert [post.text for post in stock.posts] == [TEXTS[0], TEXTS[3]]
    assert [post.text for post in model.posts] == [TEXTS[1], TEXTS[0]]
    assert [post.language for post in model.posts] == ["de", "en"]
    assert [post.similarity for post in model.posts] == pytest.approx([1, 0.8], abs=1e-3)
    assert [post.is_shared for post in stock.posts] == [True, False]
    assert [post.is_shared for post in model.posts] == [False, True]


def test_hashtags_languages_and_groups():
    answer = make().answer("a new bus")
    stock, model = answer.sides
    # By the stock encoder 1 of 1.6 lies with #bus; by ours all of 1.8.
    assert stock.hashtags == [("bus", pytest.approx(1 / 1.6, abs=1e-3))]
    assert model.hashtags == [("bus", pytest.approx(1))]
    assert answer.languages == ["en", "de", "es", "fr"]
    assert {code: post.text for code, post in model.by_language.items()} == {
        "de": TEXTS[1],
        "en": TEXTS[0],
        "es": TEXTS[2],
        "fr": TEXTS[4],
    }
    # All five are near; one has no audience.
    assert answer.groups == [("buses", 0.5), ("cats", 0.5)]
    assert answer.audience is None
    assert answer.classified is None


@pytest.mark.parametrize("text", [TEXTS[0], " RED  bus #bus https://t.co/x"])
def test_a_post_is_no_neighbour_of_its_copy(text):
    found = [post.text for side in make().answer(text).sides for post in side.posts]
    assert TEXTS[0] not in found


@pytest.mark.parametrize("text", ["", " \n"])
def test_nothing_to_look_for(text):
    with pytest.raises(InputError, match="write a post first"):
        make().answer(text)


def test_hashtags_of_a_classifier(tmp_path, tokenizer):
    folder = save_classifier(tmp_path, tokenizer)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.inference_mode():
        scores = model(**tokenizer("abc", return_tensors="pt")).logits[0]
    dogs = 1 / (1 + float((scores[0] - scores[1]).exp()))
    found = dict(load_hashtag_classifier(str(folder))("abc"))
    assert found == {
        "dogs": pytest.approx(dogs, abs=1e-5),
        "cats": pytest.approx(1 - dogs, abs=1e-5),
    }


def test_a_classifier_is_asked():
    answer = make(hashtags=lambda text: [(f"of {text}", 0.5)]).answer("a @name")
    assert answer.classified == [("of a @user", 0.5)]
