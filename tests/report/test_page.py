"""The page: nothing from outside, no text of a stranger becomes code, a table behind each chart."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from written_folders import EVIL, map_file

from twhin_hf.errors import InputError
from twhin_hf.plots import COLOURS
from twhin_hf.report.page import vega_bundle
from twhin_hf.report.report_config import ReportConfig
from twhin_hf.report.writing import write_report

FETCHING = ("src", "href", "data", "action", "poster", "srcset", "xlink:href")
VOID = {"meta", "br", "link", "input", "img"}


class Page(HTMLParser):
    """Tags with their attributes and the ones around them, and the texts between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.around, self.texts, self.scripts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes), tuple(self.around)))
        if tag == "script":
            self.scripts.append((dict(attributes), ""))
        if tag not in VOID:
            self.around.append(tag)

    def handle_endtag(self, tag):
        assert self.around.pop() == tag, f"{tag} closes nothing"

    def handle_data(self, text):
        if self.around[-1:] == ["script"]:
            attributes, before = self.scripts[-1]
            self.scripts[-1] = (attributes, before + text)
        elif self.around[-1:] != ["style"]:
            self.texts.append(text)

    @property
    def data(self):
        return json.loads(next(text for given, text in self.scripts if given.get("type")))

    def of(self, name):
        return [attributes for tag, attributes, _ in self.tags if tag == name]


@pytest.fixture
def written(run_folder, evaluations, tmp_path):
    map_file(evaluations / "map" / "map.html", 6, EVIL)
    return write_report([run_folder, evaluations], tmp_path / "report").read_text("utf-8")


@pytest.fixture
def page(written):
    return Page(written)


def test_it_is_whole_html_in_which_every_chart_has_a_name_and_a_table(page):
    assert not page.around
    charts = [given for given in page.of("div") if given.get("class") == "chart"]
    assert {given["id"] for given in charts} == set(page.data["charts"])
    assert len(charts) > 10
    for given in charts:
        assert given["aria-label"].strip(". ")
    figures = [tag for tag, _, _ in page.tags if tag == "figure"]
    tables = [around for tag, _, around in page.tags if tag == "table" and "figure" in around]
    assert len(figures) == len(charts) == len(tables)
    assert all("details" in around for around in tables)


def test_headings_are_in_order_and_links_lead_somewhere(page):
    levels = [int(tag[1]) for tag, _, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = {given["id"] for _, given, _ in page.tags if "id" in given}
    links = [given["href"] for given in page.of("a")]
    assert links
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    assert page.of("html") == [{"lang": "en"}]


def test_nothing_is_fetched(page, written):
    for _, attributes, _ in page.tags:
        for name in FETCHING:
            assert attributes.get(name, "#").startswith("#"), attributes
    style = re.search(r"<style>(.*?)</style>", written, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [
        given["content"] for given in page.of("meta") if "Security" in given.get("http-equiv", "")
    ]
    assert policy.startswith("default-src 'none';")
    assert "unsafe-eval" not in policy
    assert "script-src 'sha256-" in policy
    # The charts' own data are in them.
    assert not [1 for chart in page.data["charts"].values() if '"url"' in json.dumps(chart["spec"])]


def test_texts_of_strangers_stay_texts_and_nobody_is_named(page, written):
    assert EVIL in "".join(page.texts)
    assert "owned" not in "".join(text for given, text in page.scripts if not given)
    assert not page.of("img")
    assert written.count("</script") == len(page.scripts)
    assert "secret-user" not in written
    assert "@ana" not in written
    assert "thanks @user" in written


def test_bundle_ends_no_script():
    assert not re.search(r"</script|<!--", vega_bundle())
    assert "vegaEmbed" in vega_bundle()


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_in_light_and_dark(written):
    style = re.search(r"<style>(.*?)</style>", written, re.DOTALL)[1]
    schemes = [
        dict(re.findall(r"--(\w+): (#\w{6})", block))
        for block in re.findall(r":root \{([^}]*)", style)
    ]
    assert len(schemes) == 3  # light, dark, paper
    for scheme in schemes:
        for name in ("ink", "soft", "accent"):
            for ground in ("page", "card"):
                assert contrast(scheme[name], scheme[ground]) >= 4.5, (name, ground)
        assert min(contrast(colour, scheme["card"]) for colour in COLOURS) >= 3


def test_what_is_there_is_not_written_over(run_folder, tmp_path):
    path = write_report([run_folder], tmp_path / "page.html")
    assert path == tmp_path / "page.html"
    with pytest.raises(FileExistsError, match=r"page.html is there.*--overwrite"):
        write_report([run_folder], path)
    write_report([run_folder], path, overwrite=True)


def test_nothing_to_show(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty hold nothing to show: no trainer_state.json"):
        write_report([tmp_path / "empty"], tmp_path / "report")
    with pytest.raises(FileNotFoundError, match=r"There is no .*nowhere"):
        write_report([tmp_path / "nowhere"], tmp_path / "report")
    assert not (tmp_path / "report").exists()
    with pytest.raises(InputError, match="num_pairs is -1"):
        ReportConfig(num_pairs=-1)


def opened(path, folder):
    """The page as a browser has it after its scripts, and what it said."""
    done = subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--disable-background-networking", "--virtual-time-budget=20000"),
            *("--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=180,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium to open the page with")
def test_a_browser_draws_all_charts_and_says_nothing(run_folder, evaluations, tmp_path):
    map_file(evaluations / "map" / "map.html", 6, EVIL)
    path = write_report([run_folder, evaluations], tmp_path / "report")
    charts = len(Page(path.read_text("utf-8")).data["charts"])
    shown, said = opened(path, tmp_path)
    assert not said  # no error of the scripts, none of the policy
    assert f'data-drawn="{charts}"' in shown
    assert len(re.findall(r"<svg[^>]*class=.marks", shown)) == charts - 1  # the map is a canvas
    assert "<canvas" in shown
    assert "<title>Report: run, evaluations</title>" in shown


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium to open the page with")
def test_ten_thousand_posts_are_drawn(tmp_path):
    source = map_file(tmp_path / "map.html", 12_000)
    path = write_report([source], tmp_path / "report")
    (chart,) = Page(path.read_text("utf-8")).data["charts"].values()
    assert len(chart["posts"]["text"]) == len(chart["posts"]["x"][1]) == 10_000
    assert path.stat().st_size < 4_000_000
    shown, said = opened(path, tmp_path)
    assert not said
    assert 'data-drawn="1"' in shown
