"""Makes the inputs of this folder's README from public data sets.

    python examples/benchmarks/prepare.py --data ../shared/data --output runs/benchmarks

Written are `tweets.parquet`, all tweets of UMSAB (`umsab/LANGUAGE/{train,val,test}_text.txt`), and
`tasks/semeval2018-en`, SemEval-2018 Task 2 as TweetEval publishes it (`tweeteval/emoji`), with a
sample of its training tweets; validation and test are whole.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TWEETS = {"english": "en", "arabic": "ar", "hindi": "hi", "spanish": "es"}


def tweets(data: Path) -> pa.Table:
    """UMSAB's tweets, each once: `post_id`, `text`, `lang`.

    Raises:
        FileNotFoundError: A file is missing.
    """
    languages = {
        text: lang
        for name, lang in TWEETS.items()
        for split in ("train", "val", "test")
        for text in (data / "umsab" / name / f"{split}_text.txt").read_text("utf-8").splitlines()
        if text.strip()
    }
    ids = [f"u{row}" for row in range(len(languages))]
    columns = {"post_id": ids, "text": list(languages), "lang": list(languages.values())}
    return pa.table(columns)


def sample_training(source: Path, target: Path, examples: int, seed: int = 0) -> None:
    """Copies a task of TweetEval, with fewer training examples, in their old order.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: There are fewer examples than are asked for.
    """
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        shutil.copyfile(file, target / file.name)
    parts = {
        name: (source / name).read_text("utf-8").split("\n")
        for name in ("train_text.txt", "train_labels.txt")
    }
    count = sum(1 for label in parts["train_labels.txt"] if label.strip())
    if count < examples:
        raise ValueError(f"{source} has {count:,} training examples, fewer than {examples:,}")
    rows = np.sort(np.random.default_rng(seed).permutation(count)[:examples])
    for name, lines in parts.items():
        target.joinpath(name).write_text("".join(lines[row] + "\n" for row in rows), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument(
        "--training-examples", type=int, default=2000, help="of the emoji (default: %(default)s)"
    )
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    pq.write_table(tweets(args.data), args.output / "tweets.parquet")
    task = args.output / "tasks" / "semeval2018-en"
    sample_training(args.data / "tweeteval" / "emoji", task, args.training_examples)
    print(f"Saved in {args.output}: tweets.parquet, {task.relative_to(args.output)}")


if __name__ == "__main__":
    main()
