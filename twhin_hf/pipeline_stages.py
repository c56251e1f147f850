"""The stages of the main job: what each is made from, and whether it is still to be run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

from twhin_hf.data.split_config import SplitConfig
from twhin_hf.data_fingerprint import RUN_NAME
from twhin_hf.network.folder import CHECKPOINT_FILE
from twhin_hf.pipeline_config import PipelineConfig
from twhin_hf.run_folder import recorded_run
from twhin_hf.training.checkpoints import remove_checkpoints
from twhin_hf.training.runs import with_effect

logger = logging.getLogger(__name__)

_PRODUCTS = ("data", "network", "tokenizer", "stream-*", "seed*/*")
"""Folders of stages."""


class StageInputs(NamedTuple):
    """What a stage is made from: its own options and those of the stages before, as they count.

    Args:
        options: JSON values, by the stage's name.
        data: Fingerprints.
    """

    options: dict[str, Any]
    data: dict[str, str]

    def then(self, **options: Any) -> StageInputs:
        """Those of a stage that goes on from this one."""
        return self._replace(options=self.options | options)


@contextmanager
def stage_run(
    product: Path, name: str, inputs: StageInputs, seed: int | None = None
) -> Iterator[bool]:
    """Whether a stage is still to be run; its record is beside its file, or in its folder.

    Args:
        product: File or folder that it makes.
        name: Of the stage.
        inputs: What it is made from.
        seed: Of the stage.

    Raises:
        InputError: It was made from other options or data.
    """
    record = product.with_suffix(".json") if product.suffix else product / RUN_NAME
    if not product.exists():  # a person has removed it, to have it made anew
        record.unlink(missing_ok=True)

    def is_begun() -> bool:
        return any(path != record for path in product.glob("[!.]*"))

    with recorded_run(
        record, name, inputs.options, is_begun=is_begun, fingerprints=inputs.data, seed=seed
    ) as run:
        if run.is_finished:
            logger.info("%s is finished", product)
        yield not run.is_finished


def forget_stages(output: Path) -> None:
    """Removes what a run that begins anew must not go on with; results stay till there are new."""
    (output / "pairs.json").unlink(missing_ok=True)
    for pattern in _PRODUCTS:
        for folder in output.glob(pattern):
            (folder / RUN_NAME).unlink(missing_ok=True)
            (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
            remove_checkpoints(folder)


def options_of(config: PipelineConfig) -> dict[str, Any]:
    """What decides about the result: all but the places."""
    places = ("output", "engagements", "posts")
    given = {name: value for name, value in asdict(config).items() if name not in places}
    for name in ("training", "stage1", "stage2"):
        given[name] = with_effect(given[name]) if given[name] is not None else None
    return given | {
        "log": options_of_log(config),
        "network": options_of_network(config),
        "mining": options_of_mining(config),
    }


def options_of_log(config: PipelineConfig) -> dict[str, Any]:
    """Options of the reader that decide about what is read."""
    free = ("memory_limit", "threads", "temp_directory")
    log = {name: value for name, value in asdict(config.log).items() if name not in free}
    return log | {"table_format": asdict(config.table_format)}


def options_of_split(config: PipelineConfig) -> dict[str, Any]:
    """Options that decide about who is held out."""
    names = ("split_seed", *(field.name for field in fields(SplitConfig)))
    return {name: getattr(config, name) for name in names}


def options_of_network(config: PipelineConfig) -> dict[str, Any]:
    """Options of the embedding that decide about the vectors."""
    free = ("threads", "device", "checkpoint_minutes", "num_candidates")
    return {name: value for name, value in config.network.options().items() if name not in free}


def options_of_mining(config: PipelineConfig) -> dict[str, Any]:
    """Options of the mining that decide about the pairs."""
    return {name: value for name, value in asdict(config.mining).items() if name != "threads"}
