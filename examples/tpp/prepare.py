"""Texts for a small multilingual encoder: tweets, sentences of Tatoeba, sentences of treebanks.

    python examples/tpp/prepare.py --data ../shared/data --output runs/tpp/posts.parquet

Reads UMSAB's training tweets (`umsab/LANGUAGE/train_text.txt`), the sides of Tatoeba's training
pairs (`tatoeba_train/en-XX.tsv`) and the sentences of the treebanks that nothing is tested on
(`ud/XX_*-dev.conllu`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.benchmarks.zero_shot.readers import read_bitext
from twhin_hf.files import new_file
from twhin_hf.run_file import run_file, run_metadata

SOURCES = ("umsab", "tatoeba_train", "ud")
"""Folders of `--data`."""

TWEETS = {"english": "en", "arabic": "ar", "hindi": "hi", "spanish": "es"}


def tweets(data: Path) -> list[tuple[str, str]]:
    """UMSAB's training tweets with their languages."""
    return [
        (text, lang)
        for name, lang in TWEETS.items()
        for text in (data / "umsab" / name / "train_text.txt").read_text("utf-8").splitlines()
    ]


def translations(data: Path) -> list[tuple[str, str]]:
    """Both sides of Tatoeba's training pairs with their languages."""
    found = []
    for file in sorted((data / "tatoeba_train").glob("*.tsv")):
        pairs = read_bitext(file)
        for side in ("a", "b"):
            found += zip(pairs[f"text_{side}"], pairs[f"lang_{side}"], strict=True)
    return found


def treebanks(data: Path) -> list[tuple[str, str]]:
    """Sentences of the development treebanks; those without their words are left out."""
    return [
        (line.removeprefix("# text = "), file.name[:2])
        for file in sorted((data / "ud").glob("*-dev.conllu"))
        if "gumreddit" not in file.name  # comes without its words
        for line in file.read_text("utf-8").splitlines()
        if line.startswith("# text = ")
    ]


def prepare(data: Path) -> pa.Table:
    """All texts once: `post_id`, `text`, `lang`.

    Raises:
        FileNotFoundError: A folder of the three is missing.
    """
    missing = [name for name in SOURCES if not (data / name).is_dir()]
    if missing:
        raise FileNotFoundError(f"{data} lacks the folders {missing}; give --data their parent")
    texts = dict(tweets(data) + translations(data) + treebanks(data))
    kept = {text: lang for text, lang in texts.items() if text.strip()}
    return pa.table(
        {
            "post_id": [f"t{row}" for row in range(len(kept))],
            "text": list(kept),
            "lang": list(kept.values()),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the three sources")
    parser.add_argument("--output", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--overwrite", action="store_true", help="make it anew")
    args = parser.parse_args()
    run = run_file(
        args.output,
        "examples/tpp/prepare.py",
        {},
        data={name: args.data / name for name in SOURCES},
        overwrite=args.overwrite,
    )
    if run.is_finished:
        return
    posts = prepare(args.data)
    with new_file(args.output) as partial:
        pq.write_table(posts.replace_schema_metadata(run_metadata(run.record)), partial)
    counts = {row["values"]: row["counts"] for row in posts["lang"].value_counts().to_pylist()}
    print(f"{posts.num_rows:,} texts, saved in {args.output}; of each language {counts}")


if __name__ == "__main__":
    main()
