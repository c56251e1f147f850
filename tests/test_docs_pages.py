"""What the pages say is what the code has: names, values, places, questions."""

import ast
import importlib
import re
from pathlib import Path

import pytest
import yaml

import twhin_hf
from twhin_hf.benchmarks.classification.benchmarks import BENCHMARKS
from twhin_hf.benchmarks.hashtag.recipe import HashtagRecipe
from twhin_hf.commands import evaluate_classification
from twhin_hf.commands.faq import read_questions
from twhin_hf.modeling.settings import DEFAULTS, OBJECTIVES, ObjectiveSettings
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.sources import SOURCES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        ROOT / "twhin_hf" / "faq.md",
        *sorted(DOCS.rglob("*.md")),
        *sorted((ROOT / "examples").rglob("*.md")),
        *sorted((ROOT / "model_cards").glob("*.md")),
    ]
}
LINK = re.compile(r"\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]+))?\)")


def without_code(text):
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text):
    """Of the headings, as GitHub and MkDocs make them."""
    found = set(re.findall(r"\{#([\w-]+)\}", text))
    for line in re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL).splitlines():
        if line.startswith("#"):
            words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line.lstrip("# ")).lower()
            found.add(re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", words).strip()))
    return found


# Anchors of these pages are made by the site, and held to in `test_docs_site.py`.
MADE_BY_THE_SITE = ("docs/tables/commands.md", "docs/reference")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    for target, anchor in LINK.findall(without_code(PAGES[page])):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), f"{page} links to {target}"
        name = path.resolve().relative_to(ROOT).as_posix()
        if anchor and name.endswith(".md") and not name.startswith(MADE_BY_THE_SITE):
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{page}: {target}#{anchor}"


def test_every_page_is_in_the_navigation():
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for path in DOCS.rglob("*.md"):
        assert path.relative_to(DOCS).as_posix() in config, path


def test_every_public_name_is_in_the_reference_once():
    shown = [
        name
        for page, text in PAGES.items()
        if page.startswith("docs/reference")
        for name in re.findall(r"^::: twhin_hf\.(\w+)$", text, re.MULTILINE)
    ]
    assert sorted(shown) == sorted(name for name in twhin_hf.__all__ if name != "__version__")


def test_the_index_of_the_reference_names_the_page_of_each():
    index = PAGES["docs/reference/index.md"]
    for name, page in re.findall(r"\[`(\w+)`\]\((\w+\.md)#twhin_hf\.\1\)", index):
        assert f"::: twhin_hf.{name}\n" in PAGES[f"docs/reference/{page}"]
    assert index.count("#twhin_hf.") == len(twhin_hf.__all__) - 1


def paper_rows():
    """Rows of the papers' values: what, the paper's, ours, the option."""
    lines = PAGES["docs/tables/papers.md"].splitlines()
    cells = [[c.strip() for c in line.strip("|").split(" | ")] for line in lines if "|" in line]
    return [row for row in cells if len(row) == 4 and row[0] not in ("value", "---")]


def default_of(option):
    """The default that `Class.field`, `recipe:NAME.key` or `network:METHOD.option` has."""
    owner, _, name = option.rpartition(".")
    kind, _, what = owner.partition(":")
    if kind == "recipe":
        return yaml.safe_load((ROOT / f"twhin_hf/recipes/{what}.yaml").read_text())[name]
    if kind == "network":
        return NetworkEmbeddingConfig(method=what).option(name)
    ours = {"HashtagRecipe": HashtagRecipe, "ObjectiveSettings": ObjectiveSettings}
    fields = (ours.get(owner) or getattr(twhin_hf, owner)).__dataclass_fields__
    return fields[name].default


def test_the_papers_values_are_the_codes():
    checked = 0
    for what, _, ours, where in paper_rows():
        option = where.strip("`")
        if "/" in option:
            assert (ROOT / option).is_file(), option
            continue
        value = ast.literal_eval(re.search(r"`([^`]+)`", ours)[1])
        assert default_of(option) == value, f"{what}: {option}"
        checked += 1
    assert checked > 60


def test_places_in_the_tables_are_there():
    for page in ("papers", "losses"):
        for name in re.findall(r"`(twhin_hf/[\w/.]+)`", PAGES[f"docs/tables/{page}.md"]):
            assert (ROOT / name).exists(), name


def test_all_sources_are_on_the_page():
    answer = read_questions()["import-nothing"].answer
    for name in SOURCES:
        assert f"`{name}`" in PAGES["docs/guides/bluesky.md"], name
        assert f"`{name}`" in answer, name


def test_the_help_names_all_benchmarks():
    told = evaluate_classification.classification.__doc__
    assert all(name.partition("-")[0] in told for name in BENCHMARKS)


def test_the_losses_are_all():
    weights = set(re.findall(r"`(\w+_weight)`", PAGES["docs/tables/losses.md"]))
    assert (
        weights
        == {f"{name}_weight" for name in OBJECTIVES}
        == {name for name in DEFAULTS if name.endswith("_weight")}
    )


def anchors_of_errors():
    """Every `faq=` of the package, with its file."""
    for path in (ROOT / "twhin_hf").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "faq":
                yield path, ast.literal_eval(node.value)


def test_every_error_that_names_a_question_has_one():
    questions = read_questions()
    named = list(anchors_of_errors())
    assert len(named) > 80
    for path, anchor in named:
        assert anchor in questions, f"{path}: {anchor}"
    # Without its extra no command runs, this one neither; the others are no errors of ours.
    of_no_error = {"busy-cores", "extras", "random-pooler"}
    assert questions.keys() - {anchor for _, anchor in named} == of_no_error


def test_the_questions_are_plain():
    for anchor, question in read_questions().items():
        assert not question.title.endswith("."), anchor
        assert len(question.answer) > 100, anchor
        # They are read on a screen too.
        assert not LINK.search(question.answer), anchor


def test_modules_named_in_the_reference_import():
    for name in re.findall(r"^::: (twhin_hf\.\w+)\.(\w+)$", "\n".join(PAGES.values()), re.M):
        assert hasattr(importlib.import_module(name[0]), name[1])
