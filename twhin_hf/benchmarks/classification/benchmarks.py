"""Benchmarks of text classification by name: their metric, language, labels and files.

The external benchmarks of TwHIN-BERT (Zhang et al., KDD 2023, Table 4 and Appendix C), UMSAB
(Barbieri et al., XLM-T, LREC 2022) and TweetEval (Barbieri et al., EMNLP Findings 2020).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from twhin_hf.benchmarks.classification.formats import (
    TABLE_ENDINGS,
    Labelled,
    concatenate,
    is_label_list,
    is_semeval_lines,
    is_sentimix,
    labels_beside,
    read_label_list,
    read_labelled_table,
    read_mapping,
    read_paired_files,
    read_semeval_lines,
    read_sentimix,
)
from twhin_hf.benchmarks.zero_shot.labels import SENTIMENTS, sentiment_names
from twhin_hf.data.splits import SPLITS, split_posts
from twhin_hf.errors import InputError
from twhin_hf.printing import counts_sentence, in_words
from twhin_hf.table_format import TableFormat

if TYPE_CHECKING:
    from datasets import DatasetDict

logger = logging.getLogger(__name__)

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "trial": "validation",
    "test": "test",
}
_HELD_OUT = 0.1
_READ = (
    "files train_text.txt and train_labels.txt (val_…, test_…; TweetEval, UMSAB), us_train.text "
    "and us_train.labels (SemEval-2018), lines of id, sentiment and text (SemEval-2017), tokens "
    "under 'meta' or '# sent_enum' lines (SemEval-2020), or tables with a header whose names "
    "say train, dev or test"
)


@dataclass(frozen=True)
class ExternalBenchmark:
    """What is known of a benchmark by its name.

    Args:
        metric: A name of `twhin_hf.evaluation.classification_metrics.METRICS`.
        language: Code; two where languages are mixed (`hi+en`).
        source: The paper to cite.
        labels: Names of labels that the files number.
        words: Of the paths of its files, where one folder holds several benchmarks.
    """

    metric: str
    language: str
    source: str
    labels: dict[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()


class LoadedBenchmark(NamedTuple):
    """A benchmark, read.

    Args:
        splits: `train`, `validation` and `test` with string columns `text` and `label`.
        notes: What a reader of the figures should know: splits that were made here, labels
            without a text, blank texts that were left out, texts of train that stand in validation
            or test too.
        files: What was read.
    """

    splits: DatasetDict
    notes: dict[str, Any]
    files: list[Path]


_STANCES = {"0": "none", "1": "against", "2": "favor"}
_SEMEVAL2017 = "Rosenthal, Farra and Nakov, SemEval-2017 Task 4"
_SEMEVAL2018 = "Barbieri et al., SemEval-2018 Task 2"
_SEMEVAL2020 = "Patwa et al., SemEval-2020 Task 9"
_TWEETEVAL = "Barbieri et al., TweetEval, Findings of EMNLP 2020"
_UMSAB = "Barbieri, Espinosa Anke and Camacho-Collados, XLM-T, LREC 2022"
UMSAB_LANGUAGES = {
    "ar": "arabic",
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fr": "french",
    "hi": "hindi",
    "it": "italian",
    "pt": "portuguese",
}
BENCHMARKS = {
    "semeval2017": ExternalBenchmark("average recall", "en", _SEMEVAL2017, SENTIMENTS),
    "semeval2018-en": ExternalBenchmark("macro F1", "en", _SEMEVAL2018, words=("us", "en")),
    "semeval2018-es": ExternalBenchmark("macro F1", "es", _SEMEVAL2018, words=("es",)),
    "asad": ExternalBenchmark("average recall", "ar", "Alharbi et al., ASAD, 2020", SENTIMENTS),
    "covid-ja": ExternalBenchmark(
        "accuracy",
        "ja",
        "Suzuki, Journal of Information Processing 27, 2019",
        {
            "63": "general fact",
            "64": "personal fact",
            "65": "opinion",
            "66": "perhaps related",
            "67": "unrelated",
            "68": "fact of any kind",
        },
    ),
    "semeval2020-hi": ExternalBenchmark(
        "accuracy", "hi+en", _SEMEVAL2020, words=("hinglish", "hindi")
    ),
    "semeval2020-es": ExternalBenchmark("accuracy", "es+en", _SEMEVAL2020, words=("spanglish",)),
    **{
        f"umsab-{code}": ExternalBenchmark("macro F1", code, _UMSAB, SENTIMENTS, (name,))
        for code, name in UMSAB_LANGUAGES.items()
    },
    "tweeteval-emoji": ExternalBenchmark("macro F1", "en", _TWEETEVAL, words=("emoji",)),
    "tweeteval-emotion": ExternalBenchmark(
        "macro F1",
        "en",
        _TWEETEVAL,
        {"0": "anger", "1": "joy", "2": "optimism", "3": "sadness"},
        ("emotion",),
    ),
    "tweeteval-hate": ExternalBenchmark(
        "macro F1", "en", _TWEETEVAL, {"0": "not hateful", "1": "hateful"}, ("hate",)
    ),
    "tweeteval-irony": ExternalBenchmark(
        "F1 of irony", "en", _TWEETEVAL, {"0": "not irony", "1": "irony"}, ("irony",)
    ),
    "tweeteval-offensive": ExternalBenchmark(
        "macro F1", "en", _TWEETEVAL, {"0": "not offensive", "1": "offensive"}, ("offensive",)
    ),
    "tweeteval-sentiment": ExternalBenchmark(
        "average recall", "en", _TWEETEVAL, SENTIMENTS, ("sentiment",)
    ),
    **{
        f"tweeteval-stance-{topic}": ExternalBenchmark(
            "F1 of against and favor", "en", _TWEETEVAL, _STANCES, (topic,)
        )
        for topic in ("abortion", "atheism", "climate", "feminist", "hillary")
    },
}
"""The benchmarks that are known, by name."""


def find_benchmark(name: str) -> ExternalBenchmark:
    """What is known of a benchmark.

    Raises:
        InputError: An unknown name.
    """
    if name not in BENCHMARKS:
        raise InputError(f"there is no benchmark {name!r}; known are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def load_benchmark(
    name: str,
    path: str | Path,
    hydration: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
) -> LoadedBenchmark:
    """Reads a benchmark's published files.

    A split that is not there is made from train: a tenth of it, by a hash of the text, so that
    equal texts stay in one split. Blank texts are left out: official sets hold some. The notes say
    so.

    Args:
        name: One of `BENCHMARKS`.
        path: The folder of its files, or one table. It may hold other benchmarks of the same
            publication too: all languages of UMSAB, all tasks of TweetEval.
        hydration: The texts, where the files have ids alone; see
            `twhin_hf.benchmarks.hydration.find_texts`.
        columns: What tables call `text`, `label` or `id`, where the name is unusual.
        table_format: How text tables are written.

    Raises:
        FileNotFoundError: The path is not there.
        InputError: An unknown name, or no file of a known format; odd lines.
    """
    benchmark = find_benchmark(name)
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"There is no {root}; give the folder of the files of {name}.")
    files = find_files(name, root)
    if not files:
        raise InputError(
            f"{root} holds no file of {name}; it holds those of "
            f"{', '.join(other for other in _siblings(name) if find_files(other, root))}."
        )
    parts, used = _read(name, root, files, hydration, columns, table_format)
    names = dict(benchmark.labels)
    if not names:
        for mapping in (file for file in files if file.name == "mapping.txt"):
            names = read_mapping(mapping)
            used.append(mapping)
    found = {split: concatenate(own) for split, own in parts.items() if own}
    if benchmark.labels is SENTIMENTS:
        labels = {label for own in found.values() for label in own.labels}
        names = sentiment_names(labels, str(root), three_classes=True)
    found = {split: own.renamed(names) for split, own in found.items()}
    notes: dict[str, Any] = {}
    for key, what in (("without_text", "labels_without_text"), ("blank_texts", "blank_texts")):
        counts = {split: getattr(own, key) for split, own in found.items() if getattr(own, key)}
        if counts:
            notes[what] = counts
            logger.warning("%s, %s left out: %s", name, in_words(what), counts_sentence(counts))
    if "train" not in found:
        raise InputError(f"{root}: no file of {name} is of train; found are {_names(used)}")
    missing = [split for split in SPLITS if split not in found]
    if missing:
        found |= _take_from_train(found["train"], missing)
        notes["splits_made_here"] = dict.fromkeys(missing, "a tenth of train")
    for split in SPLITS[1:]:
        both = set(found["train"].texts) & set(found[split].texts)
        if both:
            notes[f"texts_of_train_in_{split}"] = len(both)
    return LoadedBenchmark(_dataset_dict(found), notes, used)


def find_files(name: str, root: Path) -> list[Path]:
    """The visible files of a benchmark: those whose paths say so.

    Where no path names any benchmark of the same publication, they are all files; where paths name
    others only, there are none.
    """
    files = (
        [file for file in sorted(root.rglob("*")) if file.is_file()] if root.is_dir() else [root]
    )
    files = [
        file
        for file in files
        if not any(part.startswith((".", "_")) for part in file.relative_to(root).parts)
    ]
    words = set(BENCHMARKS[name].words)
    # The root's own name counts: it may be that of the benchmark.
    chosen = [file for file in files if words & set(_words(file, root.parent))]
    others = {word for other in _siblings(name) for word in BENCHMARKS[other].words}
    if chosen or any(others & set(_words(file, root)) for file in files):
        return chosen
    return files


def _siblings(name: str) -> list[str]:
    """Other benchmarks of the same publication, which one folder may hold."""
    source = BENCHMARKS[name].source
    return [other for other, own in BENCHMARKS.items() if own.source == source and other != name]


def _words(file: Path, root: Path) -> list[str]:
    """Lower-case words of a path, those of the file's name first."""
    parts = reversed(file.relative_to(root).parts)
    return [word for part in parts for word in re.findall("[a-z]+", part.lower())]


def _split_of(file: Path, root: Path) -> str:
    """The split that a path names, `train` where it names none."""
    return next(
        (_SPLIT_WORDS[word] for word in _words(file, root) if word in _SPLIT_WORDS), "train"
    )


def _read(
    name: str,
    root: Path,
    files: Sequence[Path],
    hydration: str | Path | None,
    columns: Mapping[str, str] | None,
    table_format: TableFormat | None,
) -> tuple[dict[str, list[Labelled]], list[Path]]:
    """Labelled texts by split, and the files they are from, in the first format that fits."""
    parts: dict[str, list[Labelled]] = {split: [] for split in SPLITS}
    texts = [(file, beside) for file in files if (beside := labels_beside(file)) in files]
    if texts:
        for file, beside in texts:
            assert beside is not None
            parts[_split_of(file, root)].append(read_paired_files(file, beside))
        return parts, [file for pair in texts for file in pair if file]
    plain = [file for file in files if file.suffix in (".txt", ".conll", ".tsv")]
    tweets = [file for file in plain if is_sentimix(file)]
    if tweets:
        # A train.conll is published beside Spanglish_train.conll; only one of them can be train.
        words = set(BENCHMARKS[name].words)
        tweets = [file for file in tweets if words & set(_words(file, file.parent))] or tweets
        lists = [file for file in plain if is_label_list(file)]
        labels = {key: label for file in lists for key, label in read_label_list(file).items()}
        for file in tweets:
            parts[_split_of(file, root)].append(read_sentimix(file, labels))
        return parts, [*tweets, *lists]
    lines = [file for file in plain if is_semeval_lines(file)]
    if lines:
        for file in lines:
            parts[_semeval2017_split(file)].append(read_semeval_lines(file))
        return parts, lines
    tables = [file for file in files if _is_table(file)]
    if not tables:
        raise InputError(
            f"{root} holds no file of {name} that can be read; found are {_names(files)}. Read are "
            f"{_READ}."
        )
    for file in tables:
        found = read_labelled_table(file, hydration, columns, table_format)
        parts[_split_of(file, root)].append(found)
    return parts, tables


def _semeval2017_split(file: Path) -> str:
    """SemEval-2017 trains on all earlier years: `twitter-2013test-A.txt` is of train.

    The development set is that of 2016 (`devtest`, 2,000 tweets, as in TwHIN-BERT's Table 2).
    """
    if "devtest" in file.name.lower():
        return "validation"
    return "test" if re.search("2017.*test", file.name, re.IGNORECASE) else "train"


def _is_table(file: Path) -> bool:
    name = file.name.lower().removesuffix(".gz").removesuffix(".bz2")
    return name.endswith(TABLE_ENDINGS)


def _take_from_train(train: Labelled, missing: Sequence[str]) -> dict[str, Labelled]:
    validation, test = (_HELD_OUT if split in missing else 0.0 for split in SPLITS[1:])
    places = split_posts(train.texts, fractions=(1 - validation - test, validation, test))
    rows = list(zip(places.tolist(), train.texts, train.labels, strict=True))
    found = {}
    for split in ("train", *missing):
        own = [(text, label) for place, text, label in rows if place == split]
        if not own:
            raise InputError(
                f"there is no {split} split, and the {len(rows)} texts of train are too few to "
                "take it from; add a file whose name says so"
            )
        found[split] = Labelled([text for text, _ in own], [label for _, label in own])
    return found


def _dataset_dict(found: dict[str, Labelled]) -> DatasetDict:
    from datasets import Dataset, DatasetDict

    return DatasetDict(
        {
            split: Dataset.from_dict({"text": found[split].texts, "label": found[split].labels})
            for split in SPLITS
        }
    )


def _names(files: Sequence[Path]) -> str:
    shown = ", ".join(file.name for file in files[:8]) or "none"
    return shown + (f" and {len(files) - 8} more" if len(files) > 8 else "")
