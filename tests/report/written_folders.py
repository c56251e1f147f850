"""What the tests of the report write by hand."""

import json

import numpy as np

from twhin_hf.maps.classes import Classes
from twhin_hf.maps.page import MapContent, map_page

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)> &amp;"


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def map_file(path, num_posts, text="a post"):
    """A page of `twhin-hf map`."""
    random = np.random.default_rng(0)
    layouts = {name: random.integers(4096, size=(num_posts, 2)) for name in ("after", "before")}
    languages = ["en", "ar"] * (num_posts // 2)
    classes = Classes(["en", "ar"], np.arange(num_posts) % 2)
    texts = [f"{text} {number}" for number in range(num_posts)]
    path.parent.mkdir(parents=True, exist_ok=True)
    page = map_page(MapContent(layouts, {"language": classes}, languages, texts))
    path.write_text(page, encoding="utf-8")
    return path
