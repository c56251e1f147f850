"""`twhin-hf`: the table of commands, their help, and what it says to a mistyped one."""

import os
import subprocess
import sys

import pytest

from twhin_hf.commands.cli import COMMANDS, load_command, main
from twhin_hf.commands.declared import options_of

OURS = {name: list(options_of(load_command(name))) for name in COMMANDS}
NEEDS_TORCH = ("pretrain", "tpp")


def test_the_overview_lists_every_command(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    for name, (_, text) in COMMANDS.items():
        assert f"  {name} " in shown
        assert text in shown
    assert main(["network"]) == 2
    inside = capsys.readouterr().out
    assert "network mine" in inside
    assert "tokenizer" not in inside
    assert main(["evaluate", "--help"]) == 0


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("twhin_hf 0.")


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        (["pretrian"], "pretrain"),
        (["network", "mien"], "network mine"),
        (["evalute"], "evaluate suite"),
    ],
)
def test_did_you_mean(line, meant, capsys):
    assert main(line) == 2
    assert f"did you mean {meant!r}?" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_in_plain_english_what_it_is(name, capsys):
    assert main([*name.split(), "--help"]) == 0
    assert "--config FILE" in capsys.readouterr().out
    for option in OURS[name]:
        if option.group.startswith("transformers."):
            continue
        assert option.help, option.name
        assert option.help.endswith("."), option.name
        assert option.help[0].isupper() or not option.help[0].isalpha(), option.name
        assert not option.help.startswith(("Of ", "The ")), option.name
    names = [option.name for option in OURS[name]]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and "-" not in name for name in names)


def test_one_name_for_one_thing():
    names = {option.name for options in OURS.values() for option in options}
    assert not names & {"langs", "runs", "map", "options", "input_file", "seq_length"}


def test_a_command_that_needs_no_torch_does_not_import_it():
    program = f"""
import sys
from twhin_hf.commands.cli import COMMANDS, main
for name in COMMANDS:
    if name not in {NEEDS_TORCH}:
        main([*name.split(), "--help"])
        heavy = {{"torch", "transformers", "datasets", "pyarrow", "ibis"}} & set(sys.modules)
        assert not heavy, (name, heavy)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not done.returncode, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("given", "spins"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),
    ],
)
def test_threads_wait_briefly_unless_the_user_says_otherwise(given, spins):
    program = """
import os, sys
from twhin_hf.commands.cli import main
assert "torch" not in sys.modules  # whose OpenMP reads its settings once
main(["tpp", "--help"])
print(os.environ.get("GOMP_SPINCOUNT"))
"""
    unset = {name: value for name, value in os.environ.items() if "OMP" not in name}
    found = subprocess.run(
        [sys.executable, "-c", program], env=unset | given, capture_output=True, text=True
    )
    assert found.stdout.split()[-1] == spins, found.stderr


def test_completion(capsys):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "--min_similarity" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert main(["completion", "cmd.exe"]) == 2


# They read labelled sets and benchmarks, of which the engine holds no more than a block.
_WITHOUT_LIMIT = {
    *("data hashtag", "evaluate hashtag", "evaluate classification", "evaluate zero-shot"),
    "run",  # has it in `log`
}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_who_reads_tables_takes_how_and_with_how_much_memory(name):
    names = {option.name for option in OURS[name]}
    written = {"separator", "quoting", "header", "encoding"}
    assert written <= names or not written & names
    if name not in _WITHOUT_LIMIT:
        assert "memory_limit" in names or not {*written, "columns", "post_columns"} & names
    # Whoever lets columns be renamed reads tables, but for pairs of translations.
    if {"columns", "post_columns"} & names and not names & {"pairs"}:
        assert written <= names
