"""The page: nothing from outside, no text of a stranger becomes code, all posts in it."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.sparse import csr_array

from twhin_hf.evaluation.audience import audience_agreement
from twhin_hf.maps.classes import Classes
from twhin_hf.maps.page import MapContent, embedded_json, map_page

EVIL = "</script><script>document.title='owned'</script><!-- <script> &amp; <img src=x onerror=a>"


class Page(HTMLParser):
    """Tags with their attributes, and what stands in scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.inside = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.inside.append((tag, dict(attributes), ""))

    def handle_data(self, text):
        if self.tags and self.tags[-1][0] in ("script", "style") and self.cdata_elem:
            tag, attributes, before = self.inside[-1]
            self.inside[-1] = (tag, attributes, before + text)

    def block(self, tag, kind=None):
        (found,) = [
            text for name, given, text in self.inside if (name, given.get("type")) == (tag, kind)
        ]
        return found

    @property
    def data(self):
        return json.loads(self.block("script", "application/json"))


def content(num_posts=6, text="a post", **more):
    random = np.random.default_rng(0)
    places = {name: random.integers(4096, size=(num_posts, 2)) for name in ("before", "after")}
    classes = Classes(["one", EVIL], np.arange(num_posts) % 2)
    texts = [f"{text} {number}" for number in range(num_posts)]
    languages = ["en", "ar"] * (num_posts // 2)
    return MapContent(places, {"topic": classes}, languages, texts, **more)


@pytest.fixture(scope="module")
def agreement():
    vectors = np.array([[5.0, 0], [1, 0.1], [0, 1], [0.1, 2]])
    users = csr_array([[1, 1, 0], [0, 1, 0], [0, 1, 1], [1, 0, 0]])
    return audience_agreement({"after": vectors, "words <b>": vectors[::-1]}, users, k=1)


def test_everything_given_is_in_the_data():
    made = content(people=[3, None, 1, 2, 5, 4])
    data = Page(map_page(made)).data
    assert [found["name"] for found in data["layouts"]] == ["before", "after"]
    assert data["layouts"][1]["x"] == made.layouts["after"][:, 0].tolist()
    assert data["texts"] == made.texts
    assert data["people"] == made.people
    assert [data["languages"][i] for i in data["language"]] == made.languages
    (topic,) = data["colorings"]
    assert topic["counts"] == [3, 3]
    assert topic["of"] == [0, 1] * 3


def test_nothing_comes_from_outside(agreement):
    text = map_page(content(agreement=agreement))
    page = Page(text)
    assert not re.search(r"https?:|[\"'(]//|@import|url\(|\bfetch\(|XMLHttp|WebSocket", text)
    for tag, attributes in page.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert not {"src", "href", "srcset", "action", "data"} & attributes.keys()
        # The page's policy would not run them either.
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_the_policy_lets_the_pages_own_script_run_and_no_other():
    page = Page(map_page(content(text=EVIL)))
    (policy,) = [
        given["content"]
        for tag, given in page.tags
        if tag == "meta" and given.get("http-equiv") == "Content-Security-Policy"
    ]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.block(tag).encode()).digest()).decode()
        assert directives[f"{tag}-src"] == f"'sha256-{digest}'"


def test_texts_of_strangers_stay_texts():
    page = Page(map_page(content(text=EVIL)))
    assert [tag for tag, *_ in page.inside] == ["style", "script", "script"]
    assert page.data["texts"][0] == f"{EVIL} 0"
    assert page.data["colorings"][0]["classes"][1] == EVIL
    assert "innerHTML" not in page.block("script")


def test_json_holds_no_sign_of_html():
    value = ["<>&\u2028\u2029", "é🌋", EVIL]
    text = embedded_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="JSON"):
        embedded_json(float("nan"))


def test_the_figure_stands_in_the_page(agreement):
    text = map_page(content(agreement=agreement, notes=["Made of <this>."], training="Seen <it>."))
    assert "words &lt;b&gt;" in text
    assert "words <b>" not in text
    assert "Made of &lt;this&gt;." in text
    assert text.count("Seen &lt;it&gt;.") == 2  # under both measures
    share = agreement.share
    for estimate in (*share.values.values(), share.chance):
        assert f"<td>{100 * estimate.value:.1f} %" in text
    assert f"{share.lifts['after'].value:.2f} × chance" in text
    gain = 100 * share.gains["words <b>"].value
    assert f"{gain:+.2f} points".replace("-", "−") in text
    assert "chance" not in Page(map_page(content())).data
    assert 'class="figure"' not in map_page(content())


def test_without_texts_there_is_none_and_no_search():
    text = map_page(replace(content(text="secret"), texts=None))
    assert "secret" not in text
    assert Page(text).data["texts"] is None
    assert 'id="search"' not in text


def test_one_encoder_has_no_switch():
    made = content()
    one = replace(made, layouts={"this encoder": made.layouts["after"]})
    assert 'id="layouts"' not in map_page(one)
    assert 'id="layouts"' in map_page(made)


def test_five_thousand_long_posts_stay_below_three_megabytes():
    made = content(5000, text="東" * 155, people=[1000] * 5000)
    assert len(map_page(made).encode()) < 3 * 2**20


# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as people see it.
SIGHTS = {
    "all cones": np.eye(3),
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def lab(colours):
    """CIE L*a*b* (D65) of linear RGB `[colours, 3]`."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = np.clip(colours, 0, 1) @ to_xyz.T / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_are_told_apart_by_the_colour_blind(theme, sight):
    style = re.findall(r":root[^{]*{([^}]*)}", Page(map_page(content())).block("style"))[theme]
    names = [*map("c{}".format, range(8)), "rest"]
    codes = [re.search(rf"--{name}: #(\w{{6}})", style)[1] for name in names]
    values = np.array([list(bytes.fromhex(code)) for code in codes]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = lab(linear @ np.transpose(SIGHTS[sight]))
    apart = np.linalg.norm(seen[:, None] - seen, axis=2)[~np.eye(9, dtype=bool)]
    assert apart.min() > 12  # 2.3 is a just noticeable difference


def opened(text, folder):
    """The page as a browser has it after its scripts, and what it said."""
    path = folder / "map.html"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium to open the page with")
def test_a_browser_draws_it_and_runs_nothing_else(agreement, tmp_path):
    text = map_page(content(text=EVIL, agreement=agreement))
    shown, said = opened(text, tmp_path)
    assert not said  # no error of the script, none of the policy
    assert shown.count('aria-pressed="true"') == 2  # a row of the legend for each class
    assert "<title>Map of 6 posts</title>" in shown
    assert re.search(r'<canvas[^>]* width="\d{3,}"', shown)
    # Were a text to become a script all the same, the policy would not let it run.
    shown, said = opened(text.replace("</body>", f"{EVIL}</body>"), tmp_path)
    assert "<title>Map of 6 posts</title>" in shown
    assert "Content Security Policy" in "".join(said)
