"""What a card prints runs as printed, and runs the code of the commit that it pins, for good."""

import re
from pathlib import Path

import pytest

from twhin_hf.hub.push import push_model

MARK = "\nfrom pathlib import Path\nPath({mark!r}).touch()\n"


def blocks(card):
    """The Python blocks of a card, and its inline snippets of one line."""
    found = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    inline = re.findall(r"`(AutoModel\.from_pretrained\([^`]*\))`", card)
    return found + [f"from transformers import AutoModel\nmodel = {one}" for one in inline]


def run(code):
    names = {}
    exec(compile(code, "a block of a card", "exec"), names)
    return names


@pytest.fixture
def mark(tmp_path):
    """What changed code leaves behind."""
    return tmp_path / "it_ran"


@pytest.fixture
def changed(hub, saved_models, mark):
    """A card, and its repository whose code somebody has changed since."""
    pytest.importorskip("sentence_transformers")
    push_model(saved_models["roberta"], "me/pinned")  # of pooling combined: all needs trust
    card = hub.text("me/pinned", "README.md")
    new = {
        name: content + MARK.format(mark=str(mark)).encode() if name.endswith(".py") else content
        for name, content in hub.repos["me/pinned"].commits[-1].items()
    }
    hub.repos["me/pinned"].commits.append(new)
    return card


def test_every_call_of_a_card_names_the_commit(hub, changed):
    sha = hub.repos["me/pinned"].sha(1)
    calls = re.findall(r'\(\s*"me/pinned"[^()]*\)', changed)
    assert len(calls) == 4
    for call in calls:
        assert f'revision="{sha}"' in call
        if "trust_remote_code" in call:
            assert "code_revision" in call
            assert set(re.findall(r'revision"?[=:] ?"(\w+)"', call)) == {sha}
    assert "COMMIT" not in changed


def test_what_is_printed_runs_and_runs_no_changed_code(changed, mark):
    printed = blocks(changed)
    assert len(printed) == 4
    for code in printed:
        names = run(code)
        if "trust_remote_code" in code:
            assert names["vectors"].shape == (2, 64)
    assert not mark.exists()


@pytest.mark.parametrize("wrapper", ["SentenceTransformer", "AutoModel"])
def test_without_the_commit_it_would(changed, mark, wrapper):
    code = next(c for c in blocks(changed) if wrapper in c and "trust_remote_code" in c)
    run(re.sub(r"^ +(revision|code_revision|\w+_kwargs)=.*\n", "", code, flags=re.MULTILINE))
    assert mark.exists()


LOCAL = ('"stage2"', '"quickstart/pretrained"')
"""Folders of the documentation's own, which no one else changes."""


def test_no_other_call_of_the_documentation_trusts_what_may_change():
    root = Path(__file__).parents[2]
    files = [*root.glob("*.md"), *root.glob("model_cards/*.md"), *root.glob("docs/**/*.md")]
    for kind in ("*.md", "*.py", "*.ipynb", "*.jinja"):
        files += [*root.glob(f"examples/**/{kind}"), *root.glob(f"twhin_hf/**/{kind}")]
    calls = [
        call
        for path in files
        for call in re.findall(
            r"\w\(([^()]*trust_remote_code=True[^()]*)\)",
            path.read_text(encoding="utf-8").replace('\\"', '"'),
        )
        if '"' in call
    ]
    assert len(calls) >= 5
    for call in calls:
        assert call.startswith(LOCAL) or len(re.findall(r"\b(?:code_)?revision", call)) > 1, call


class TestWhichCommit:
    def test_the_one_that_brought_what_is_there(self, hub, trained):
        push_model(trained, "me/one")
        commits = hub.repos["me/one"].commits
        assert len(commits) == 3  # nothing, the model, the card with the model's commit
        first, second = commits[1:]
        assert {name for name in first if first[name] != second[name]} == {"README.md"}
        assert f'revision="{hub.repos["me/one"].sha(1)}"' in hub.text("me/one", "README.md")
        assert b'revision="COMMIT"' in first["README.md"]

    def test_it_stays_where_nothing_is_new(self, hub, trained):
        push_model(trained, "me/same")
        card = hub.text("me/same", "README.md")
        done = push_model(trained, "me/same")
        assert len(hub.repos["me/same"].commits) == 3
        assert done.files["README.md"].decode() == card == hub.text("me/same", "README.md")

    def test_it_moves_where_something_is(self, hub, trained):
        push_model(trained, "me/new")
        config = (trained / "config.json").read_text()
        (trained / "config.json").write_text(config.replace("{", '{\n  "note": 1,', 1))
        push_model(trained, "me/new")
        assert len(hub.repos["me/new"].commits) == 5
        assert f'revision="{hub.repos["me/new"].sha(3)}"' in hub.text("me/new", "README.md")

    def test_a_push_that_broke_off_before_the_card(self, hub, trained, waits):
        push_model(trained, "me/broken")
        commits = hub.repos["me/broken"].commits
        del commits[2:]
        push_model(trained, "me/broken")
        assert len(commits) == 3
        assert f'revision="{hub.repos["me/broken"].sha(1)}"' in hub.text("me/broken", "README.md")

    def test_another_repository_named_in_the_card_is_not_meant(self, hub, trained):
        push_model(trained, "me/other")
        text = hub.text("me/other", "README.md")
        by_hand = f'---\nlicense: mit\n---\n`load("me/else", revision="{"0" * 40}")`\n'
        hub.repos["me/other"].commits[-1]["README.md"] = (
            by_hand + text.split("\n---\n", 1)[1]
        ).encode()
        push_model(trained, "me/other")
        assert f'revision="{hub.repos["me/other"].sha(1)}"' in hub.text("me/other", "README.md")
