"""The core installs alone, each extra brings what its stages import; what is missing is named."""

import ast
import os
import subprocess
import sys
from functools import cache
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_imports import FILES, IMPORTS, stage_of

from twhin_hf import TwhinBertModel
from twhin_hf.commands.cli import COMMANDS
from twhin_hf.extras import EXTRA_OF_COMMAND, EXTRA_OF_STAGE, missing_of

CORE_STAGES = {"version", "extras", "errors", "modeling", "__init__"}
"""And some of `loading`, as the test of the core shows: the whole folder reads adapters too."""

OPTIONAL = {
    "bitsandbytes",
    "fasttext",
    "fbgemm_gpu",
    "flash_attn",
    "gradio",
    "implicit",
    "lance",
    "libipld",
    "nncf",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "peft",
    "pgvector",
    "psycopg",
    "py4j",
    "py3langid",
    "pyspark",
    "qdrant_client",
    "sentence_transformers",
    "tensorboard",
    "torchrec",
    "umap",
}
"""Libraries of extras of their own, which are asked for by an option and named where they lack."""


@cache
def distributions_of(extra: str | None) -> frozenset[str]:
    """Names of what an installation with an extra has, dependencies of dependencies too."""
    found, waiting = set(), [("twhin_hf", frozenset({extra} if extra else ()))]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in found:
            continue
        found.add((name, extras))
        try:
            lines = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            continue  # a marker of another system
        for one in map(Requirement, lines):
            wanted = one.marker is None or any(
                one.marker.evaluate({"extra": given}) for given in ("", *extras)
            )
            if wanted:
                waiting.append((canonicalize_name(one.name), frozenset(one.extras)))
    return frozenset(name for name, _ in found)


@cache
def installed_by(extra: str | None) -> frozenset[str]:
    """Modules that an installation with an extra can import."""
    names = distributions_of(extra)
    return frozenset(
        module
        for module, owners in metadata.packages_distributions().items()
        if names & {canonicalize_name(owner) for owner in owners}
    )


def libraries_of(module: str) -> set[str]:
    """What a file imports that is neither ours nor Python's, but for type checkers."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"twhin_hf"}


def reached_from(modules: set[str]) -> set[str]:
    """The modules of ours that are imported on the way."""
    reached, waiting = set(), set(modules)
    while waiting:
        reached |= waiting
        waiting = {found for module in waiting for found in IMPORTS[module]} - reached
    return reached


def extra_of(module: str) -> str | None:
    stage = stage_of(module)
    if stage in CORE_STAGES:
        return None
    if module.startswith(("twhin_hf.serving.service", "twhin_hf.serving.post_index")):
        return "serve"
    if stage == "commands":
        word = module.rpartition(".")[2].partition("_")[0]
        return EXTRA_OF_COMMAND.get(word, "data")
    return EXTRA_OF_STAGE.get(stage, "data")


@pytest.mark.parametrize("extra", [None, "data", "train", "evaluate", "serve", "all", "demo"])
def test_an_extra_brings_what_its_stages_import(extra):
    # What a module imports, wherever: the stages before it may be of smaller extras alone.
    modules = {module for module in FILES if module != "twhin_hf" and extra_of(module) == extra}
    assert modules
    lacking = {
        f"{module}: {library}"
        for module in reached_from(modules)
        for library in libraries_of(module) - installed_by(extra) - OPTIONAL
    }
    assert not lacking


def test_what_is_optional_is_in_no_ordinary_extra():
    assert not OPTIONAL & installed_by("data")


@pytest.fixture(scope="session")
def installation(tmp_path_factory):
    """Makes the folder of packages that an installation with an extra has."""

    @cache
    def make(extra: str | None):
        folder = tmp_path_factory.mktemp(f"with-{extra}")
        (folder / "twhin_hf").symlink_to(FILES["twhin_hf.version"].parent)
        for name in distributions_of(extra):
            try:
                found = metadata.distribution(name)
            except metadata.PackageNotFoundError:
                continue  # a marker of another system
            for top in {path.parts[0] for path in found.files or () if path.parts[0] != ".."}:
                target = found.locate_file(top)
                if target.exists() and not (folder / top).exists():
                    (folder / top).symlink_to(target)
        return folder

    return make


def run_in(packages, program: str, *arguments: str) -> subprocess.CompletedProcess:
    """Runs a program that sees these packages and Python's own."""
    return subprocess.run(
        [sys.executable, "-S", "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(packages)},
        cwd=packages,
    )


def test_the_core_alone_loads_models_and_encodes(installation, small_config, tokenizer, tmp_path):
    TwhinBertModel(small_config("bert")).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    program = """
import sys
from twhin_hf import TwhinBertModel, load_post_encoder
vectors = load_post_encoder(sys.argv[1]).encode(["a post", "another"])
assert vectors.shape[0] == 2
again = TwhinBertModel.from_pretrained(sys.argv[1]).encode("a post", convert_to_numpy=True)
assert abs(again - vectors[0].numpy()).max() < 1e-5
print("encoded")
"""
    done = run_in(installation(None), program, str(tmp_path))
    assert done.stdout.strip() == "encoded", done.stderr


@pytest.mark.parametrize(
    ("name", "extra"),
    [("read_log", "data"), ("SocialPretrainingTrainer", "train"), ("evaluate_hashtag", "evaluate")],
)
def test_a_name_without_its_extra_says_what_to_install(installation, name, extra):
    done = run_in(installation(None), f"import twhin_hf; twhin_hf.{name}")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: ")
    assert last.endswith(f"pip install 'twhin_hf[{extra}]'")


@pytest.mark.parametrize(
    ("line", "extra"), [("network import", "data"), ("tpp", "train"), ("serve", "serve")]
)
def test_a_command_without_its_extra_says_what_to_install(installation, line, extra):
    words = line.split()
    program = f"import sys; from twhin_hf.commands.cli import main; sys.exit(main({words!r}))"
    done = run_in(installation(None), program)
    assert done.returncode == 2
    assert done.stderr.startswith("twhin-hf: ")
    assert done.stderr.splitlines()[0].endswith(f"pip install 'twhin_hf[{extra}]'")


def test_an_installation_that_is_none_is_not_checked(monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("twhin_hf.extras.metadata.requires", requires)
    assert missing_of.__wrapped__("data") == ()


def test_extras_of_commands_and_stages_exist():
    named = {*EXTRA_OF_COMMAND.values(), *EXTRA_OF_STAGE.values()}
    assert named <= set(metadata.metadata("twhin_hf").get_all("Provides-Extra"))
    assert set(EXTRA_OF_COMMAND) <= {name.split()[0] for name in COMMANDS}
    assert set(EXTRA_OF_STAGE) <= {stage_of(module) for module in FILES}
