"""results.json: what was measured, of which model, with which versions and options."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

LIBRARIES = ("twhin_hf", "torch", "transformers", "numpy", "pyarrow", "faiss-cpu")


@dataclass(frozen=True)
class Result:
    """One figure.

    Args:
        language: Language code, or `average`.
        metric: Its name, such as `HITS@10`.
        value: The figure that is reported.
        seeds: The runs behind it.
        values: One figure a seed.
        details: What a reader needs to judge it (number of candidates, of records).
    """

    language: str
    metric: str
    value: float
    seeds: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """The content of a results.json.

    Args:
        task: The benchmark, such as `engagement`.
        model: Folder or repository of the model.
        results: The figures.
        revision: The model's revision, where it has one.
        options: Options of the evaluation.
        versions: Versions of Python and the libraries; filled in on writing where empty.
    """

    task: str
    model: str
    results: list[Result]
    revision: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def library_versions(libraries: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """Versions of Python and of those libraries that are installed."""
    installed = {library: _version(library) for library in libraries}
    found = {library: version for library, version in installed.items() if version}
    return {"python": platform.python_version(), **found}


def write_results(results: Results, path: str | os.PathLike[str]) -> Path:
    """Write results.json in one step: a reader never sees half a file.

    Args:
        results: What to write.
        path: The file, or the folder for `results.json`.

    Returns:
        The file's path.
    """
    path = _file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = asdict(results) | {"versions": results.versions or library_versions()}
    return write_json(content, path)


def write_json(content: Any, path: Path) -> Path:
    """Writes a JSON file in one step: a reader never sees half of it.

    Raises:
        ValueError: A number is NaN or infinite, which JSON does not know.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def read_results(path: str | os.PathLike[str]) -> Results:
    """Read a results.json.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not JSON, or a key is missing.
    """
    path = _file(path)
    if not path.is_file():
        raise FileNotFoundError(f"No results at {path}; `twhin-hf evaluate` writes them.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    needed = {item.name for item in fields(Results)}
    if not isinstance(content, dict) or not needed <= content.keys():
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path} holds {found}; these keys are needed: {sorted(needed)}.")
    rows = [Result(**row) for row in content["results"]]
    return Results(**{name: content[name] for name in needed} | {"results": rows})


MOST_COLUMNS = 6
"""Metrics that stand side by side on a screen of 80 columns."""


def results_table(results: Mapping[str, Results] | Results, title: str | None = None) -> Table:
    """A table for the screen: a row a model and language, a column a metric.

    One evaluation with more metrics than a screen is wide for has a row a metric instead.

    Args:
        results: One evaluation, whose model stands in the title, or several by the name to show.
        title: Above the table; the task's name where none is given.
    """
    from rich.table import Table

    named = {results.model: results} if isinstance(results, Results) else dict(results)
    rows = [(name, row) for name, item in named.items() for row in item.results]
    metrics = list(dict.fromkeys(row.metric for _, row in rows))
    title = title or " / ".join(dict.fromkeys(r.task for r in named.values()))
    is_one = isinstance(results, Results)
    title = f"{title}: {next(iter(named))}" if is_one else title
    table = Table(title=title, min_width=min(len(title), 78))  # else it wraps at a narrow table
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for name, row in rows:
        cells.setdefault((name, row.language), {})[row.metric] = f"{row.value:.4f}"
    if is_one and len(metrics) > MOST_COLUMNS:
        table.add_column("metric", overflow="fold")
        for _, language in cells:
            table.add_column(language, justify="right")
        for metric in metrics:
            table.add_row(metric, *(values.get(metric, "") for values in cells.values()))
        return table
    for name in ["language"] if is_one else ["model", "language"]:
        table.add_column(name, overflow="fold")
    for metric in metrics:
        table.add_column(metric, justify="right")
    for (name, language), values in cells.items():
        cell = [language] if is_one else [name, language]
        table.add_row(*cell, *(values.get(metric, "") for metric in metrics))
    return table


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _file(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    return path / "results.json" if path.is_dir() or not path.suffix else path
