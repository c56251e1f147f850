"""`from twhin_hf import …` gives all that people need, lazily."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import twhin_hf

STUB = Path(twhin_hf.__file__).with_suffix(".pyi")


def declared() -> set[str]:
    tree = ast.parse(STUB.read_text())
    return {alias.name for n in tree.body if isinstance(n, ast.ImportFrom) for alias in n.names}


def test_the_stub_says_one_thing_in_both_places():
    (names,) = (n.value for n in ast.parse(STUB.read_text()).body if isinstance(n, ast.Assign))
    listed = ast.literal_eval(names)
    assert set(listed) == declared()
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("name", sorted(declared()))
def test_every_name_is_there_and_documented(name):
    value = getattr(twhin_hf, name)
    assert value.__doc__
    assert name in dir(twhin_hf)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(twhin_hf, "no_such_name")  # noqa: B009 - mypy knows the names


def test_the_import_loads_nothing_heavy():
    program = (
        "import sys, twhin_hf; dir(twhin_hf);"
        "print({'torch', 'transformers', 'pyarrow', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
