"""The core has what `encode` needs; each extra of the package brings what other stages need."""

from __future__ import annotations

import traceback
from functools import cache
from importlib import metadata
from pathlib import Path

CORE = ("modeling", "loading", "version")
"""Files and folders that need no extra."""

EXTRA_OF_STAGE = {
    "training": "train",
    "hub": "train",
    "plots": "train",
    "benchmarks": "evaluate",
    "evaluation": "evaluate",
    "maps": "evaluate",
    "report": "evaluate",
    "demo": "demo",
    "recommendation": "serve",
    "pipeline": "all",
    "pipeline_config": "all",
    "pipeline_stages": "all",
}
"""Of a file or folder; the others need `data`."""

EXTRA_OF_COMMAND = {
    "run": "all",
    "pretrain": "train",
    "tpp": "train",
    "push": "train",
    "evaluate": "evaluate",
    "map": "evaluate",
    "report": "evaluate",
    "demo": "demo",
    "recommender": "serve",
    "recommend": "serve",
    "serve": "serve",
}
"""Of a command's first word; the others need `data`."""


def check_stage(module: str) -> None:
    """Checks that the extra of a module is installed.

    Raises:
        ModuleNotFoundError: It is not.
    """
    stage = module.split(".")[1]
    if stage not in CORE:
        check_extra(EXTRA_OF_STAGE.get(stage, "data"))


def check_command(name: str) -> None:
    """Checks that the extra of a command is installed.

    Raises:
        ModuleNotFoundError: It is not.
    """
    check_extra(EXTRA_OF_COMMAND.get(name.split()[0], "data"))


def check_extra(extra: str) -> None:
    """Checks that what an extra brings is installed.

    Raises:
        ModuleNotFoundError: It is not; the message says what to install.
    """
    if missing := missing_of(extra):
        are = "is" if len(missing) == 1 else "are"
        raise ModuleNotFoundError(
            f"{', '.join(missing)} {are} not installed: pip install 'twhin_hf[{extra}]'",
            name=missing[0],
        )


@cache
def missing_of(extra: str) -> tuple[str, ...]:
    """What an extra names and is not installed; nothing where the package itself is not."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires("twhin_hf") or ()
    except metadata.PackageNotFoundError:
        return ()
    named = (Requirement(line) for line in lines)
    # What has no marker, or holds without the extra, belongs to the core.
    wanted = {one.name for one in named if one.marker and one.marker.evaluate({"extra": extra})}
    return tuple(sorted(name for name in wanted if not _is_installed(name)))


def module_of(error: BaseException) -> str | None:
    """The module of ours whose import an error broke off."""
    package = Path(__file__).parent
    files = (Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__))
    ours = (path.relative_to(package) for path in files if path.is_relative_to(package))
    return next(
        (".".join(("twhin_hf", *p.with_suffix("").parts)) for p in ours if p.stem != "__init__"),
        None,
    )


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
