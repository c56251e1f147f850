"""results.json: what was measured, of which model, with which versions and options."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twhin_hf.errors import InputError, reading
from twhin_hf.files import read_json_object, write_json
from twhin_hf.path_names import path_name

if TYPE_CHECKING:
    from rich.table import Table

LIBRARIES = ("twhin_hf", "torch", "transformers", "numpy", "pyarrow", "faiss-cpu")

_LARGEST = 1e300
CHANCE = "chance"
"""The baseline of a random order."""


@dataclass(frozen=True)
class Result:
    """One figure.

    Args:
        language: Language code, or `average`.
        metric: Its name, such as `HITS@10`.
        value: The figure that is reported.
        seeds: The runs behind it.
        values: One figure a seed.
        details: What a reader needs to judge it (number of candidates, of records). Tables show
            `rows` (which features were read) and `note` (why a figure is another than its
            neighbours).
        interval: 95 % interval, `[low, high]`; empty where none was made.
    """

    language: str
    metric: str
    value: float
    seeds: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    interval: list[float] = field(default_factory=list)


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
        baselines: Figures of what the model must beat, by its name.
        run: Record of the command that made them: its options, seed and data.
    """

    task: str
    model: str
    results: list[Result]
    revision: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    baselines: dict[str, list[Result]] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)


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

    Raises:
        InputError: A number is NaN or infinite, which JSON does not know.
    """
    path = results_path(path)
    content = asdict(results) | {"versions": results.versions or library_versions()}
    write_json(path, content)
    return path


def read_results(path: str | os.PathLike[str]) -> Results:
    """Read a results.json.

    Raises:
        FileNotFoundError: There is none.
        InputError: It is not JSON, a key is missing or unknown, or a value is of another type.
    """
    path = results_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No results at {path}; `twhin-hf evaluate` writes them.")
    return results_of(read_json_object(path), path)


def results_of(content: dict[str, Any], path: str | os.PathLike[str]) -> Results:
    """The results that the content of a results.json holds.

    Args:
        content: As JSON gives it.
        path: Of the file, for messages.

    Raises:
        InputError: A key is missing or unknown, or a value is of another type.
    """
    # Files of old have neither.
    needed = {item.name for item in fields(Results)} - {"baselines", "run"}
    if not needed <= content.keys():
        raise InputError(
            f"{path} holds {sorted(content)}; these keys are needed: {sorted(needed)}."
        )
    with reading(path, "Needed is what `twhin-hf evaluate` writes: run it again."):
        found = {name: content[name] for name in needed} | {
            "results": list(map(_result, content["results"])),
            "baselines": {
                name: list(map(_result, rows))
                for name, rows in content.get("baselines", {}).items()
            },
            "run": content.get("run", {}),
        }
        _check_kinds(
            found, {"task": str, "model": str, "options": dict, "versions": dict, "run": dict}
        )
        _check_kinds(found, {"revision": (str, type(None))})
        return Results(**found)


def results_path(path: str | os.PathLike[str]) -> Path:
    """The file itself, or `results.json` of a folder."""
    path = Path(path)
    return path / "results.json" if path.is_dir() or not path.suffix else path


def _result(row: Mapping[str, Any]) -> Result:
    """A figure from its JSON, its types checked: tables and cards are made of it."""
    found = Result(**row)
    lists = {"seeds": list, "values": list, "interval": list}
    _check_kinds(asdict(found), {"language": str, "metric": str, "details": dict, **lists})
    numbers = [found.value, *found.seeds, *found.values, *found.interval]
    if not all(isinstance(number, (int, float)) and abs(number) < _LARGEST for number in numbers):
        raise TypeError(f"a figure of {found.metric} is no number")
    if len(found.interval) not in (0, 2):
        raise TypeError(f"the interval of {found.metric} is {found.interval}")
    _check_kinds({"note": ""} | found.details, {"note": str})
    return found


def _check_kinds(found: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    for name, kind in kinds.items():
        if not isinstance(found[name], kind):
            raise TypeError(f"{name} is {type(found[name]).__name__}")


def write_model_results(results: Results, folder: str | os.PathLike[str]) -> Path | None:
    """Write the results into the model's own folder, where its card is made of them.

    Args:
        results: What to write.
        folder: Of the model.

    Returns:
        `results_TASK.json` in the folder; None where it is no folder (a repository's name) or
        nothing may be written there.
    """
    folder = Path(folder)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return None
    return write_results(results, folder / f"results_{path_name(results.task, 'task')}.json")


MOST_COLUMNS = 6
"""Metrics that stand side by side."""
SCREEN = 80
"""Columns of a terminal that tables fit."""
_NAME = 24
"""Columns that a long name has at least; it is folded in them."""


def results_table(results: Mapping[str, Results] | Results, title: str | None = None) -> Table:
    """A table for the screen: one row per model and language, one column per metric.

    One evaluation that is wider than a screen has one row per metric and one column per language
    instead, or one row per figure. A 95 % interval stands behind its figure in brackets; below the
    table, what languages with a star have of their own.

    Args:
        results: One evaluation, whose model stands in the title, or with its baselines above it; or
            several by the name to show.
        title: Above the table; the task's name where none is given.
    """
    is_one = isinstance(results, Results)
    named = _with_baselines(results) if isinstance(results, Results) else dict(results)
    is_one = is_one and len(named) == 1
    title = title or " / ".join(dict.fromkeys(r.task for r in named.values()))
    title = f"{title}: {next(iter(named))}" if is_one else title
    every = [row for item in named.values() for row in item.results]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for name, item in named.items():
        for row in item.results:
            values = cells.setdefault((name, starred(row)), {})
            values[row.metric] = figure_text(row)
            if any("rows" in other.details for other in every):
                values["rows"] = str(row.details.get("rows", ""))
    metrics = list(dict.fromkeys(metric for values in cells.values() for metric in values))
    metrics.sort(key=lambda metric: metric == "rows")
    notes = "\n".join(notes_of(every)) or None
    if not is_one:
        rows = [[*key, *(values.get(m, "") for m in metrics)] for key, values in cells.items()]
        return figures_table(title, ["model", "language", *metrics], rows, 2, notes)
    languages = {language: values for (_, language), values in cells.items()}
    wide = ["language", *metrics]
    rows = [[name, *(values.get(m, "") for m in metrics)] for name, values in languages.items()]
    if len(metrics) > MOST_COLUMNS or not fits_screen(wide, rows):
        wide = ["metric", *languages]
        rows = [[m, *(values.get(m, "") for values in languages.values())] for m in metrics]
    if not fits_screen(wide, rows):
        wide = ["language", "metric", "value"]
        rows = [[name, *cell] for name, values in languages.items() for cell in values.items()]
        return figures_table(title, wide, rows, 2, notes)
    return figures_table(title, wide, rows, 1, notes)


def figure_text(row: Result) -> str:
    """A figure as tables show it.

    Example:
        >>> figure_text(Result("en", "MRR", 0.154, interval=[0.1463, 0.1619]))
        '0.1540 (0.146–0.162)'
    """
    between = f" ({row.interval[0]:.3f}–{row.interval[1]:.3f})" if row.interval else ""
    return f"{row.value:.4f}{between}"


def starred(row: Result) -> str:
    """A row's language, with a star where there is a note on it."""
    return f"{row.language} *" if "note" in row.details else row.language


def notes_of(rows: Sequence[Result]) -> list[str]:
    """What is to be said of languages, those with the same note together.

    Example:
        >>> few = {"note": "few posts"}
        >>> notes_of([Result("ja", "MRR", 0.1, details=few), Result("tl", "MRR", 0.2, details=few)])
        ['* ja, tl: few posts']
    """
    noted: dict[str, dict[str, None]] = {}
    for row in rows:
        if "note" in row.details:
            noted.setdefault(row.details["note"], {})[row.language] = None
    return [f"* {', '.join(languages)}: {note}" for note, languages in noted.items()]


def rows_by_model(results: Results) -> dict[str, list[Result]]:
    """Rows by what they judge: the baselines first, then the models that the rows name.

    A model that no row names has the name of its folder or repository.

    Example:
        >>> rows = [Result("en", "MRR", 0.2, details={"model": "ours"}), Result("en", "MRR", 0.1)]
        >>> list(rows_by_model(Results("engagement", "runs/a", rows, baselines={"chance": []})))
        ['chance', 'ours', 'a']
    """
    by_model = {name: list(rows) for name, rows in results.baselines.items()}
    for row in results.results:
        name = row.details.get("model", Path(results.model).name or results.model)
        by_model.setdefault(str(name), []).append(row)
    return by_model


def _with_baselines(results: Results) -> dict[str, Results]:
    """An evaluation by the names to show, the baselines first."""
    baselines = {
        name: Results(results.task, name, rows) for name, rows in results.baselines.items()
    }
    return baselines | {results.model: results}


def figures_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    num_names: int = 1,
    caption: str | None = None,
) -> Table:
    """A table of names, which fold where they are too long, and figures right of them."""
    from rich.markup import escape
    from rich.table import Table

    # Else the title wraps at a narrow table.
    table = Table(
        title=escape(title),
        min_width=min(len(title), SCREEN - 2),
        caption=None if caption is None else escape(caption),
        caption_justify="left",
    )
    for place, name in enumerate(columns):
        is_name = place < num_names
        table.add_column(escape(name), overflow="fold", justify="left" if is_name else "right")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def fits_screen(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a table fits with no figure broken; headers wrap at spaces, the first name folds."""
    widths = [
        max(len(word) for text in (name, *values) for word in text.split() or [""])
        for name, *values in zip(columns, *rows, strict=True)
    ]
    return sum(width + 3 for width in [min(widths[0], _NAME), *widths[1:]]) + 1 <= SCREEN


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
