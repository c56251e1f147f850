"""Every command that the documentation shows is one that the command line takes."""

import re
import shlex
from pathlib import Path

import pytest

from twhin_hf.commands.cli import COMMANDS, find_command, load_command
from twhin_hf.commands.declared import options_of, positional_only
from twhin_hf.commands.parsing import command_parser
from twhin_hf.commands.spelling import spell_out

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "twhin_hf" / "faq.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    *sorted((ROOT / "model_cards").glob("*.md")),
    *sorted((ROOT / "examples").glob("run_*.py")),
]
SCRIPTS = {"run_social_pretraining.py": "pretrain", "run_tpp.py": "tpp"}


def shown_commands(text: str) -> list[list[str]]:
    """Commands of code blocks, whole: continued lines are joined."""
    lines = re.sub(r"\s*\\\\?\n\s*", " ", text).splitlines()
    found = []
    for line in lines:
        match = re.search(
            r"(?:^|\s|`)(twhin-hf|accelerate launch examples/run_\w+\.py) ([^`]*)", line
        )
        is_block = line.startswith(("    ", "twhin-hf", "accelerate")) or line.startswith("| `")
        if match and is_block and not line.lstrip().startswith("#"):
            words = shlex.split(match[2], comments=True)
            script = match[1].rpartition("/")[2]
            found.append([SCRIPTS[script], *words] if script in SCRIPTS else words)
            if script.startswith("run_") and script not in SCRIPTS:
                found.pop()
    return found


SHOWN = [
    (page.relative_to(ROOT), words)
    for page in PAGES
    for words in shown_commands(page.read_text(encoding="utf-8"))
]


def test_there_are_many():
    assert len(SHOWN) > 40
    assert {find_command(words)[0] for page, words in SHOWN if page.name == "stages.md"} > {
        "split", "network embed", "pretrain", "evaluate engagement",
    }  # fmt: skip


@pytest.mark.parametrize(("page", "words"), SHOWN, ids=lambda value: str(value)[:60])
def test_a_shown_command_parses(page, words, monkeypatch):
    monkeypatch.chdir(ROOT)
    name, rest = find_command(words)
    assert name in COMMANDS, words
    if "…" in " ".join(rest):
        return
    rest = [word if not word.startswith("$") else "bce" for word in rest]
    command = load_command(name)
    options = list(options_of(command))
    rest = spell_out(rest, options)
    # The parser takes words without a name by their names, as `parse_command` gives them.
    if unnamed := [word for word in rest if not word.startswith("-")]:
        (option,) = positional_only(command)
        rest = [word for word in rest if word.startswith("-")]
        rest += spell_out([f"--{option}", *unnamed], options)
    # A config that another page tells how to make is not there.
    rest = [w for w in rest if not w.startswith("--config=") or Path(w[9:]).is_file()]
    command_parser(command, name).parse_args(rest)
