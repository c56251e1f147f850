"""Options that several commands share, each declared once."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from twhin_hf.commands.declared import optional_fields
from twhin_hf.errors import InputError
from twhin_hf.evaluation.classification_config import ClassificationConfig

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

    def load(self) -> Any:
        """Loads it as `load_text_encoder` does."""
        from twhin_hf.evaluation.text_encoders import load_text_encoder

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
        mask_people: Write @user for the names and ids of people in texts; otherwise it cannot be
            uploaded.
    """

    output: str
    push_to_hub: str | None = None
    mask_people: bool = True

    def write(self, configs: Any, card: Any) -> None:
        """Writes the data set."""
        from twhin_hf.benchmarks.hub_folder import write_hub_folder

        write_hub_folder(configs, self.output, card, mask_people=self.mask_people)

    def read_key(self, key_file: str | None) -> bytes:
        """The secret key of the ids, which is made where there is none."""
        from twhin_hf.privacy.keys import key_beside, read_or_make_key
        from twhin_hf.report import report

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
        from twhin_hf.report import report

        report(f"Saved in {self.output}")
        if self.push_to_hub:
            from twhin_hf.hub.datasets import push_dataset

            url = push_dataset(self.output, self.push_to_hub, private=True).url
            report(f"Uploaded: {url}")


FREE = frozenset(
    {
        "checkpoint_minutes",
        "device",
        "memory_limit",
        "num_candidates",
        "processes",
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


def save_results(results: Any, output: str, title: str) -> None:
    """Writes results.json into a folder and shows the results."""
    from twhin_hf.report import report
    from twhin_hf.results import write_results

    path = write_results(results, output)
    report(title, results)
    report(f"Saved in {path}")
