"""What a demo is made of, taken from a finished main job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twhin_hf.demo.demo_config import DemoInputs
from twhin_hf.errors import InputError, reading
from twhin_hf.evaluation.baselines import TFIDF
from twhin_hf.pipeline_config import folder_name
from twhin_hf.results import read_results, results_path
from twhin_hf.table_format import TableFormat


@dataclass(frozen=True)
class RunDemo:
    """A run as a demo shows it.

    Args:
        inputs: Its best encoder by the validation posts, the one that it began from, and its data.
        label: Column of the posts to show: topic of generated ones.
        is_generated: Whether its data are generated.
        table_format: How its text tables are written.
    """

    inputs: DemoInputs
    label: str | None
    is_generated: bool
    table_format: TableFormat


def demo_of_run(run: str | Path) -> RunDemo:
    """Reads what a main job has made.

    Args:
        run: Output folder of `twhin-hf run`.

    Raises:
        FileNotFoundError: There are no results in it.
        InputError: They are not those of a main job.
    """
    run = Path(run)
    if not results_path(run).exists():
        raise FileNotFoundError(f"{run} holds no results of `twhin-hf run`; run it to the end")
    results = read_results(run)
    with reading(run, "Give the output folder of `twhin-hf run`."):
        options = results.options["pipeline"]
        best = results.options["compared_with_baselines"].removesuffix(f", beside {TFIDF}")
        features = next(
            row.details["features"] for row in results.results if row.details["model"] == best
        )
        seed = run / f"seed{options['seeds'][0]}"
        first = "stage1" if options["stage1"] is not None else "untrained"
        stock = options["model_name_or_path"]
        if stock is None or options["stage1"] is not None:
            stock = str(seed / first)
        is_generated = options["synthetic"] is not None
        inputs = DemoInputs(
            model=str(seed / folder_name(best)),
            posts=options["posts"],
            stock=stock,
            network=str(run / "network"),
            engagements=options["engagements"],
            pooling=features[0].replace(" + ", "+"),
            columns=options["log"]["columns"],
            post_columns=options["log"]["post_columns"],
            memory_limit=options["log"]["memory_limit"],
        )
        table_format = TableFormat(**options["table_format"])
    if not Path(str(inputs.model)).is_dir():
        raise InputError(f"{run} holds no {inputs.model}; run it again")
    return RunDemo(inputs, "topic" if is_generated else None, is_generated, table_format)
