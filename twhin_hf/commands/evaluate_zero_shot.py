"""`twhin-hf evaluate zero-shot`."""

from __future__ import annotations

from functools import partial
from typing import Literal

from twhin_hf.errors import InputError
from twhin_hf.evaluation.zero_shot_config import ZeroShotConfig
from twhin_hf.table_format import TableFormat


def zero_shot(
    task: Literal["ner", "sentiment", "pos"],
    model: str,
    train: dict[str, str],
    test: dict[str, str],
    output: str,
    config: ZeroShotConfig,
    table_format: TableFormat,
    validation: dict[str, str] | None = None,
    revision: str | None = None,
    before: str | None = None,
    label_map: list[str] | None = None,
    keep_neutral: bool = False,
    columns: dict[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Fine-tune on one language and test on others.

    Zero-shot transfer as in the Translation Pair Prediction paper. NER: a word a line (CoNLL-2002
    and 2003, W-NUT, UNER, GermEval, WikiANN), JSON or Parquet with tokens and ner_tags, or Shakti
    Standard Format. POS: CoNLL-U. Sentiment: a table with text and label, or …text.txt with
    …labels.txt beside it; blank texts are left out and counted.

    Args:
        task: Task: named entities, sentiment or parts of speech.
        model: Encoder: folder or Hub repository.
        train: Training set, LANGUAGE=FILE.
        test: Test sets, LANGUAGE=FILE.
        output: Folder for results.json.
        config: Options of the fine-tuning.
        table_format: How text tables are written.
        validation: Held-out set, LANGUAGE=FILE, reported beside the others; nothing is chosen by
            it.
        revision: Revision of the repository.
        before: Results (results.json) of another encoder, to show side by side with Δ%.
        label_map: New names of labels (of entity types, without B- and I-; O drops one), OLD=NEW,
            or YAML files of them; examples/tpp/entity_labels.yaml brings WNUT-17, SSEA and
            WikiNEuRal together. Also the names of numbers, such as 0=O 1=B-PER.
        keep_neutral: Keep neutral texts of sentiment (paper: without).
        columns: Where text and label of a table of sentiment, or tokens and tags of named entities
            stand, NAME=COLUMN; the columns of a word a line also by number, such as tags=4.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from collections import Counter

    from twhin_hf.benchmarks.zero_shot.labels import read_label_map
    from twhin_hf.benchmarks.zero_shot.readers import read_zero_shot
    from twhin_hf.commands.options import (
        model_identity,
        options_of_result,
        results_run,
        save_results,
    )
    from twhin_hf.evaluation.fine_tuning import options_of
    from twhin_hf.evaluation.zero_shot import (
        evaluate_zero_shot,
        zero_shot_rows,
        zero_shot_table,
    )
    from twhin_hf.printing import report
    from twhin_hf.results import Results, read_results

    for name, files in (("train", train), ("validation", validation or {"": ""})):
        if len(files) != 1:
            raise InputError(
                f"--{name} names {len(files)} files; give one file, such as --{name} en=FILE"
            )
    earlier = read_results(before) if before else None
    if earlier and earlier.task != (needed := f"zero-shot {task}"):
        raise InputError(
            f"--before {before} holds results of {earlier.task!r}; needed are those of {needed!r}"
        )
    sets = {"train": train, "validation": validation or {}, "test": test}
    run = results_run(
        output,
        "evaluate zero-shot",
        options_of_result(
            config,
            table_format,
            task=task,
            label_map=label_map,
            keep_neutral=keep_neutral,
            columns=columns,
        ),
        data={f"{name} {code}": path for name, own in sets.items() for code, path in own.items()},
        fingerprints={"model": model_identity(model, revision)},
        overwrite=overwrite,
    )
    if run.is_finished:
        return
    renamed = read_label_map(label_map or [])
    left_out = Counter[str]()
    read = partial(
        read_zero_shot,
        task,
        label_map=renamed,
        keep_neutral=keep_neutral,
        columns=columns,
        table_format=table_format,
        left_out=left_out,
    )
    ((language, train_file),) = train.items()
    done = evaluate_zero_shot(
        task,
        model,
        read(train_file),
        {name: read(path) for name, path in test.items()},
        read(next(iter(validation.values()))) if validation else None,
        config,
        revision=revision,
    )
    results = Results(
        task=f"zero-shot {task}",
        model=model,
        revision=revision,
        results=zero_shot_rows(task, done, config),
        options={
            **options_of(config),
            **done.setup,
            "train": next(iter(train.items())),
            "validation": next(iter(validation.items())) if validation else None,
            "test": list(test.items()),
            "label_map": renamed,
            "neutral": keep_neutral if task == "sentiment" else None,
            "left_out": dict(left_out),
        },
    )
    save_results(results, output, f"Zero-shot transfer from {language}", run.record)
    if earlier:
        table = zero_shot_table(earlier, {model: results})
        report(str(table.title or "Before and after"), table)
