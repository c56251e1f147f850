"""Data only moves downwards: no import circle, and no stage imports a later one."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "twhin_hf"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(module: str) -> set[str]:
    """Modules of ours that a file imports, in functions and for type checkers too."""
    path = FILES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            found |= {
                name if (name := f"{base}.{alias.name}") in FILES else base for alias in node.names
            }
    return {name for name in found if name in FILES and name != module}


IMPORTS = {module: imports_of(module) for module in FILES}


def stages() -> list[str]:
    """The order that CONTRIBUTING.md states, first to last."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = re.search(r"^twhin_hf/\n((?:  .*\n)+)", text, re.MULTILINE)
    assert tree, "CONTRIBUTING.md shows no tree of twhin_hf/"
    return [
        name
        for line in tree[1].splitlines()
        for name in re.findall(r"(?:^|· )\s*(\w+)(?:\.py|/)", line.strip())
    ]


def stage_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def test_contributing_names_every_stage():
    assert sorted(stages()) == sorted({stage_of(module) for module in FILES})


@pytest.mark.parametrize("module", [m for m in FILES if m != "twhin_hf"])
def test_no_import_of_a_later_stage(module):
    order = stages()
    later = {
        imported
        for imported in IMPORTS[module]
        if order.index(stage_of(imported)) > order.index(stage_of(module))
    }
    assert not later


def test_no_import_circle():
    # The lazy public API imports everything and is imported by nothing of ours.
    assert not [module for module, found in IMPORTS.items() if "twhin_hf" in found]
    waiting = {module: set(found) for module, found in IMPORTS.items()}
    while free := {module for module, found in waiting.items() if not found}:
        waiting = {m: found - free for m, found in waiting.items() if m not in free}
    assert not waiting, f"these import each other: {sorted(waiting)}"


def test_modeling_is_what_travels_to_the_hub():
    for module, path in FILES.items():
        if stage_of(module) != "modeling" or module == "twhin_hf.modeling":
            continue
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        relative = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.level]
        assert all(node.level == 1 and node.module for node in relative), module
        absolute = [n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level]
        absolute += [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]
        assert not [name for name in absolute if str(name).startswith("twhin_hf")], module
