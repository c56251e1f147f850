"""What the folders hold: results, logs of trainings, networks, pairs, curves, maps and records."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.data_fingerprint import RUN_NAME
from twhin_hf.errors import InputError, reading
from twhin_hf.evaluation.alignment_plots import POINTS_FILE, AlignmentPoint, read_points
from twhin_hf.evaluation.hashtag import read_curves
from twhin_hf.files import parse_json, read_json_object, read_text, read_yaml
from twhin_hf.network.folder import METADATA_FILE
from twhin_hf.network.pairs import PAIR_SCHEMA
from twhin_hf.recommendation.folder import CONFIG, is_recommender
from twhin_hf.report.charts import map_rows
from twhin_hf.report.posts import PostsSource
from twhin_hf.results import Results, results_of
from twhin_hf.run_file import RUN_KEY
from twhin_hf.run_folder import read_run
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import read_errors

logger = logging.getLogger(__name__)

TRAINER_STATE = "trainer_state.json"
_MAP_DATA = '<script type="application/json" id="data">'
_LARGEST = 1e300
_BINS = ("predicted", "observed")
_ADVICE = "Make it anew, or leave its folder out."


@dataclass(frozen=True)
class Training:
    """One training.

    Args:
        name: Of its folder, below what was given.
        log: The Trainer's `log_history`.
        record: Its `training_record.json`; empty where there is none.
        exponent: Of the languages' re-sampling; None where it is not known.
    """

    name: str
    log: list[dict[str, Any]]
    record: dict[str, Any] = field(default_factory=dict)
    exponent: float | None = None


@dataclass(frozen=True)
class Suite:
    """What `evaluate suite` has left.

    Args:
        name: Of the suite.
        evaluations: Results of each model and task.
    """

    name: str
    evaluations: list[Results]


@dataclass
class Found:
    """What a report is made of, each by the name to show.

    Args:
        runs: Records of commands.
        results: Results of evaluations and of the main job.
        suites: Those of suites.
        trainings: Logs.
        networks: Folders of networks, with what `network.json` says.
        pairs: Files of mined pairs.
        posts: Where the texts of each file of pairs, or run, are, as far as that is known.
        curves: Few-shot curves by model and language.
        points: Translations in two dimensions.
        recommenders: Reliability of engagement models: `predicted`, `observed` and `error`.
        maps: What pages of `twhin-hf map` hold.
    """

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, Results] = field(default_factory=dict)
    suites: dict[str, Suite] = field(default_factory=dict)
    trainings: dict[str, Training] = field(default_factory=dict)
    networks: dict[str, tuple[Path, dict[str, Any]]] = field(default_factory=dict)
    pairs: dict[str, Path] = field(default_factory=dict)
    posts: dict[str, PostsSource] = field(default_factory=dict)
    curves: dict[str, dict[tuple[str, str], dict[int, list[float]]]] = field(default_factory=dict)
    points: dict[str, list[AlignmentPoint]] = field(default_factory=dict)
    recommenders: dict[str, dict[str, Any]] = field(default_factory=dict)
    maps: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def shows_something(self) -> bool:
        """Whether there is anything but records of runs."""
        return any(value for name, value in vars(self).items() if name not in ("runs", "posts"))


def read_folders(folders: Sequence[str | os.PathLike[str]]) -> Found:
    """Looks through folders and their subfolders for what a report shows.

    Args:
        folders: Output folders of any commands; also single files (pairs, maps, results).

    Raises:
        FileNotFoundError: A folder is not there.
        InputError: A damaged file, or folders with nothing to show.
    """
    found = Found()
    given = [Path(folder) for folder in folders]
    for path in given:
        if not path.exists():
            raise FileNotFoundError(
                f"There is no {path}. Give the output folder of a command, such as that of "
                "`twhin-hf run`."
            )
    for path, name in zip(given, _names(given), strict=True):
        for file in [path] if path.is_file() else _files(path):
            below = "" if file == path else file.parent.relative_to(path).as_posix()
            _read_file(file, name if below in ("", ".") else f"{name}/{below}", found)
    if not found.shows_something:
        raise InputError(
            f"{' and '.join(map(str, given))} hold nothing to show: no {TRAINER_STATE}, "
            f"results.json, {METADATA_FILE}, pairs, few_shot.csv, {POINTS_FILE} or map. Give the "
            "output folders of `twhin-hf run`, `evaluate …`, `pretrain`, `tpp`, `network embed` or "
            "`recommender fit`"
        )
    return found


def _names(paths: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as tell them apart."""
    whole = [path.resolve() for path in paths]
    for number in range(1, max(len(path.parts) for path in whole) + 1):
        names = ["/".join(path.parts[-number:]).lstrip("/") for path in whole]
        if len(set(names)) == len(names):
            break
    return [name or "/" for name in names]


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder, without hidden ones and checkpoints of trainings that have ended."""
    for root, folders, files in os.walk(folder):
        checkpoints = sorted(
            (name for name in folders if name.startswith("checkpoint-")), key=_step_of
        )
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in checkpoints
        )
        if checkpoints and TRAINER_STATE not in files:  # one that runs, or was broken off
            yield from _files(Path(root, checkpoints[-1]))
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))


def _step_of(checkpoint: str) -> int:
    number = checkpoint.partition("-")[2]
    return int(number) if number.isdigit() else -1


def _read_file(file: Path, name: str, found: Found) -> None:
    folder = file.parent
    if file.name == RUN_NAME:
        run = read_run(file)
        if run is not None:
            found.runs[name] = run
    elif file.name == "results.json":
        _read_results(file, name, found)
    elif file.name == TRAINER_STATE:
        found.trainings[name] = _training(file, name)
    elif file.name == METADATA_FILE:
        metadata = read_json_object(file)
        if "num_edges" in metadata:
            metrics = metadata.get("metrics")
            metrics = _figures(metrics) if isinstance(metrics, dict) else {}
            found.networks[name] = folder, metadata | {"metrics": metrics}
    elif file.name == "pipeline.yaml":
        posts = _posts_of(file)
        if posts is not None:
            found.posts[name] = posts
    elif file.name == "few_shot.csv":
        found.curves[name] = read_curves(file)
    elif file.name == POINTS_FILE:
        found.points[name] = read_points(file)
    elif file.name == CONFIG and is_recommender(folder):
        found.recommenders[name] = _reliability(file)
    elif file.suffix == ".html":
        content = _map_of(file)
        if content is not None:
            found.maps[f"{name}/{file.name}" if name != file.name else name] = content
    elif file.suffix == ".parquet":
        _read_parquet(file, name, found)


def _read_results(file: Path, name: str, found: Found) -> None:
    content = read_json_object(file)
    run = content.get("run")
    if isinstance(run, dict) and run.get("command"):
        found.runs.setdefault(name, run)
    if "suite" in content:
        with reading(file, _ADVICE):
            evaluations = [results_of(item, file) for item in content["evaluations"]]
        found.suites[name] = Suite(str(content["suite"]), evaluations)
    elif "task" in content:
        found.results[name] = results_of(content, file)
    else:
        logger.warning("%s is no result of `twhin-hf`: it is left out", file)


def _training(file: Path, name: str) -> Training:
    folder = file.parent
    with reading(file, _ADVICE):
        entries = (_figures(entry) for entry in read_json_object(file)["log_history"])
        log = [entry for entry in entries if "step" in entry]
    record = folder / "training_record.json"
    options = folder / "training_args.json"
    exponent = None
    if options.is_file():
        exponent = _figures(read_json_object(options)).get("language_exponent")
    return Training(name, log, _record(record) if record.is_file() else {}, exponent)


def _figures(entry: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among values; what has diverged to NaN or infinity is none."""
    return {
        key: float(value)
        for key, value in entry.items()
        if isinstance(value, (int, float)) and abs(value) < _LARGEST
    }


def _record(file: Path) -> dict[str, Any]:
    """What a record tells of a training, as far as it is of the kind that it should be."""
    record = read_json_object(file)
    figures = _figures(record)
    told: dict[str, Any] = {key: figures[key] for key in ("tokens", "seconds") if key in figures}
    for key in ("languages", "data"):
        if isinstance(record.get(key), dict):
            told[key] = _figures(record[key])
    if isinstance(record.get("objectives"), list):
        told["objectives"] = list(map(str, record["objectives"]))
    return told | {"hardware": str(record.get("hardware") or "")}


def _reliability(file: Path) -> dict[str, Any]:
    """The bins of an engagement model's probabilities, and its calibration error."""
    config = read_json_object(file)
    with reading(file, _ADVICE):
        bins = {key: list(map(float, config["reliability"][key])) for key in _BINS}
        if len(set(map(len, bins.values()))) != 1:
            raise ValueError("it has not one share for each prediction")
        if not all(0 <= value <= 1 for values in bins.values() for value in values):
            raise ValueError("a probability is not between 0 and 1")
        return bins | {"error": _figures(config["figures"]).get("calibration_error")}


def _posts_of(file: Path) -> PostsSource | None:
    """Where the posts of the main job are, as its config says."""
    config = read_yaml(file)
    with reading(file, _ADVICE):
        path = config.get("posts") or file.parent / "data" / "posts.parquet"
        if not Path(path).exists():
            return None
        return PostsSource(
            path,
            (config.get("log") or {}).get("post_columns"),
            TableFormat(**config.get("table_format") or {}),
        )


def _map_of(file: Path) -> dict[str, Any] | None:
    """What stands in a page of `twhin-hf map`; None of another page."""
    _, start, rest = read_text(file).partition(_MAP_DATA)
    if not start:
        return None
    with reading(file, _ADVICE):
        content = parse_json(rest.partition("</script>")[0])
        if not isinstance(content, dict) or not {"layouts", "colorings"} <= content.keys():
            return None
        map_rows(content, len(content["language"]), 0)  # all of it can be shown
    return content


def _read_parquet(file: Path, name: str, found: Found) -> None:
    with read_errors(file, has_memory_limit=False), reading(file, _ADVICE, (pa.ArrowException,)):
        schema = pq.read_schema(file)
    if not set(PAIR_SCHEMA.names[:2]) <= set(schema.names):
        return
    found.pairs[f"{name}/{file.name}" if name != file.name else name] = file
    metadata = (schema.metadata or {}).get(RUN_KEY.encode())
    if metadata:
        with reading(file, _ADVICE):
            found.runs[f"{name}/{file.name}"] = parse_json(metadata.decode())
