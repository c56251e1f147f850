"""Options that several commands share, each declared once."""

from __future__ import annotations

import hashlib
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from twhin_hf.commands.declared import optional_fields
from twhin_hf.errors import InputError
from twhin_hf.evaluation.classification_config import ClassificationConfig
from twhin_hf.value_checks import check_least

Pooling = Literal["cls", "mean", "mean_all", "combined"]

if typing.TYPE_CHECKING:

    class FineTuningOptions(ClassificationConfig):
        """`ClassificationConfig` whose fields may be left out."""

        def given(self) -> dict[str, Any]:
            """The fields that were given."""

else:
    FineTuningOptions = optional_fields(
        ClassificationConfig, "Fine-tuning", "the paper's for the benchmark"
    )


@dataclass
class EncoderOptions:
    """Encoder.

    Args:
        model: Encoder: folder or Hub repository.
        revision: Revision of the repository.
        pooling: Pooling of the token vectors: cls, mean, mean_all or combined; or parts
            joined by plus, heads among them, as mean+engagement (default: the model's own).
        max_length: Maximum sequence length; longer texts are truncated (default: 128, or the
            model's if less).
        batch_size: Texts per batch.
        device: Device (default: GPU if available).
    """

    model: str
    revision: str | None = None
    pooling: str | None = None
    max_length: int | None = None
    batch_size: int = 32
    device: str | None = None

    def __post_init__(self) -> None:
        check_least(self, 1, "batch_size", "max_length")

    def identity(self) -> str:
        """What tells it from other models."""
        return model_identity(self.model, self.revision)

    def of_vectors(self) -> dict[str, Any]:
        """The options that its vectors depend on, beside the model."""
        return {"pooling": self.pooling, "max_length": self.max_length}

    def load(self) -> Any:
        """Loads it as `load_text_encoder` does."""
        from twhin_hf.loading.text_encoders import load_text_encoder

        return load_text_encoder(
            self.model,
            self.revision,
            pooling=self.pooling,
            batch_size=self.batch_size,
            max_length=self.max_length,
            device=self.device,
        )


@dataclass
class BitextOptions:
    """Translation pairs.

    Args:
        pairs: Files or folders of translation pairs: two columns without a header in a file named
            after its languages (en-ar.tsv), or Parquet, CSV or JSON lines with text_a, text_b,
            lang_a and lang_b.
        columns: Rename columns of the tables: NAME=COLUMN.
        memory_limit: Memory limit of the reader.
    """

    pairs: list[str]
    columns: dict[str, str] | None = None
    memory_limit: str = "1GB"

    def files(self) -> dict[str, str]:
        """The files and folders by a name for each."""
        return named_files("pairs", self.pairs)

    def read(self) -> Any:
        """Reads all of them into one data set."""
        from datasets import concatenate_datasets

        from twhin_hf.benchmarks.zero_shot.readers import read_bitext

        read = (read_bitext(path, self.columns, self.memory_limit) for path in self.pairs)
        return concatenate_datasets(list(read))


@dataclass
class DatasetOutput:
    """Output.

    Args:
        output: New folder for the data set: Parquet and a card.
        push_to_hub: Hub repository, OWNER/NAME, to upload it to privately as well
            (`twhin-hf push --dataset` publishes).
        overwrite: Begin anew where the output holds a finished run, or one of other options.
        mask_people: Write @user for the names and ids of people in texts; otherwise it cannot be
            uploaded.
    """

    output: str
    push_to_hub: str | None = None
    overwrite: bool = False
    mask_people: bool = True

    def run(self, command: str, options: dict[str, Any], **more: Any) -> Any:
        """Where to write, as `run_whole_folder` says."""
        from twhin_hf.run_file import run_whole_folder

        options = options | {"mask_people": self.mask_people}
        return run_whole_folder(self.output, command, options, overwrite=self.overwrite, **more)

    def write(self, configs: Any, card: Any, folder: Path) -> None:
        """Writes the data set where its run says."""
        from twhin_hf.benchmarks.hub_folder import write_hub_folder

        write_hub_folder(configs, folder, card, mask_people=self.mask_people)

    def read_key(self, key_file: str | None) -> bytes:
        """The secret key of the ids, which is made where there is none."""
        from twhin_hf.printing import report
        from twhin_hf.privacy.keys import key_beside, read_or_make_key

        folder = Path(self.output).resolve()
        path = Path(key_file) if key_file else key_beside(folder)
        if path.resolve().is_relative_to(folder):
            raise InputError(
                f"--key_file is {path}, inside the data set, where it would be given away with it. "
                "Give a file elsewhere."
            )
        is_new = not path.exists()
        key = read_or_make_key(path)
        if is_new:
            report(f"Made the secret key {path}: keep it to find posts again, and publish it never")
        return key

    def finish(self) -> None:
        """Says where the data set is, and uploads it if that was asked for."""
        from twhin_hf.printing import report

        report(f"Saved in {self.output}")
        if self.push_to_hub:
            from twhin_hf.hub.datasets import push_dataset

            url = push_dataset(self.output, self.push_to_hub, private=True).url
            report(f"Uploaded: {url}")


def named_files(option: str, paths: list[str]) -> dict[str, str]:
    """The files of an option that takes several, by a name for each.

    Example:
        >>> named_files("pairs", ["en-ar.tsv", "en-hi.tsv"])
        {'pairs': 'en-ar.tsv', 'pairs (2)': 'en-hi.tsv'}
    """
    names = [option, *(f"{option} ({number})" for number in range(2, len(paths) + 1))]
    return dict(zip(names, paths, strict=False))


def key_fingerprint(key: bytes | None) -> dict[str, str]:
    """What tells a secret key from others, and does not tell the key."""
    return {} if key is None else {"key_file": hashlib.blake2b(key, digest_size=16).hexdigest()}


FREE = frozenset(
    {
        "checkpoint_minutes",
        "device",
        "engine",
        "memory_limit",
        "processes",
        "spark_master",
        "temp_directory",
        "threads",
    }
)
"""Options of configs that leave the result as it is."""


def options_of_result(*configs: Any, **options: Any) -> dict[str, Any]:
    """What a result depends on, by the names of the options: fields of configs, and others.

    Example:
        >>> options_of_result(BitextOptions(["en-ar.tsv"]), seed=0)
        {'pairs': ['en-ar.tsv'], 'columns': None, 'seed': 0}
    """
    fields = {name: value for config in configs for name, value in vars(config).items()}
    return {name: value for name, value in (fields | options).items() if name not in FREE}


def model_identity(name_or_path: str, revision: str | None = None) -> str:
    """What tells a model from others: a hash of a folder, or a repository's name and revision.

    Raises:
        FileNotFoundError: A folder that is not there.
    """
    from twhin_hf.data_fingerprint import file_fingerprint
    from twhin_hf.loading.fingerprint import model_fingerprint
    from twhin_hf.loading.places import check_local_path

    check_local_path(name_or_path)
    path = Path(name_or_path)
    if path.is_file():
        return file_fingerprint(path)
    if path.is_dir():
        return model_fingerprint(name_or_path)
    return f"{name_or_path}@{revision or 'main'}"


def results_run(output: str, command: str, options: dict[str, Any], **more: Any) -> Any:
    """Looks for `results.json` of the same run, as `run_file` does, in a folder."""
    from twhin_hf.results import results_path
    from twhin_hf.run_file import run_file

    return run_file(results_path(output), command, options, **more)


def save_results(
    results: Any, output: str, title: str, record: dict[str, Any] | None = None
) -> None:
    """Writes results.json into a folder, with the run's record, and shows the results."""
    from dataclasses import replace

    from twhin_hf.printing import report
    from twhin_hf.results import write_results

    path = write_results(replace(results, run=record or {}), output)
    report(title, results)
    report(f"Saved in {path}")
