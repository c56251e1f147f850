"""Which files of a benchmark's folder belong to which language and split, by their paths.

Both `en/train.tsv` and `train/en.tsv`, `en_train.tsv` or `hashtag-en-dev.tsv` are understood, so
that published archives, their unpacked folders and our own are read the same way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from twhin_hf.data.splits import SPLITS
from twhin_hf.errors import InputError

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "dev": "validation",
    "development": "validation",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_LEGACY_CODES = {"in": "id", "iw": "he", "ji": "yi"}
_TABLE = re.compile(r"\.(?:tsv|csv|jsonl|ndjson|json|parquet)(?:\.gz)?$", re.IGNORECASE)
_FOLDER_CODE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
_SHARD = re.compile(r"-\d+-of-\d+$")
_CODE = re.compile(r"[a-z]{2,3}")

Layout = dict[str, dict[str, list[str]]]


def modern_code(language: str) -> str:
    """Today's code of a language: `in` and `iw`, which X/Twitter writes, are `id` and `he`.

    >>> [modern_code(code) for code in ("iw", "in", "en")]
    ['he', 'id', 'en']
    """
    return _LEGACY_CODES.get(language, language)


def is_split_table(path: str) -> bool:
    """Whether a path is that of a table whose language and split it names, and is not hidden."""
    return bool(find_layout([path]))


def find_layout(paths: Iterable[str]) -> Layout:
    """Files by language (today's code) and split; files that name no split are left out.

    The language is a code in the file's name or else the nearest folder that is one.

    >>> find_layout(["a-classification-id/iw/dev.tsv", "x/train_en.tsv", "x/notes.txt"])
    {'he': {'validation': ['a-classification-id/iw/dev.tsv']}, 'en': {'train': ['x/train_en.tsv']}}
    """
    layout: Layout = {}
    for path in paths:
        place = _place(path)
        if place is not None:
            language, split = place
            layout.setdefault(language, {}).setdefault(split, []).append(path)
    return layout


def files_of(layout: Layout, language: str, where: object) -> dict[str, list[str]]:
    """The files of one language, a list a split, in the order of `SPLITS`.

    Raises:
        InputError: The language is not there (those that are get named), or it lacks a split.
    """
    if not layout:
        raise InputError(
            f"{where} holds no table whose path names a language and a split. Needed is, for one, "
            "en/train.tsv, en/dev.tsv and en/test.tsv."
        )
    code = modern_code(language)
    if code not in layout:
        raise InputError(
            f"{where} has no language {language!r}. It has {', '.join(sorted(layout))}."
        )
    missing = [split for split in SPLITS if split not in layout[code]]
    if missing:
        found = [file for files in layout[code].values() for file in files]
        raise InputError(
            f"{where}: the language {language!r} has no {' and no '.join(missing)} file. "
            f"Found are {', '.join(found)}; needed are train, development and test."
        )
    return {split: sorted(layout[code][split]) for split in SPLITS}


def fingerprint(files: Sequence[Path], options: Mapping[str, object]) -> str:
    """A short hash of the files' content and of options: what is read depends on no more."""
    state = hashlib.blake2b(repr(sorted(options.items())).encode(), digest_size=8)
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                state.update(block)
        state.update(str(file.stat().st_size).encode())
    return state.hexdigest()


def _place(path: str) -> tuple[str, str] | None:
    """Language and split of a table's path."""
    *folders, name = parts = PurePosixPath(path).parts
    if not _TABLE.search(name) or any(part.startswith((".", "__MACOSX")) for part in parts):
        return None
    words = re.split(r"[._\-]+", _SHARD.sub("", _TABLE.sub("", name)))
    splits = [_SPLIT_NAMES[word] for word in words if word in _SPLIT_NAMES]
    splits += [_SPLIT_NAMES[name] for name in reversed(folders) if name in _SPLIT_NAMES]
    codes = [word for word in words if _CODE.fullmatch(word) and word not in _SPLIT_NAMES]
    codes += [
        folder
        for folder in reversed(folders)
        if _FOLDER_CODE.fullmatch(folder) and folder not in _SPLIT_NAMES
    ]
    return (modern_code(codes[0]), splits[0]) if codes and splits else None
