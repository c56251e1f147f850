"""Turns citeulike-a into posts.parquet and engagements.parquet.

    python examples/citeulike/prepare.py --data ../shared/data/citeulike_a \
        --output runs/citeulike/data

citeulike-a (Wang, Chen and Li, IJCAI 2013): who saved which article, and the free tags that users
typed on each article. An article is a post, its text the tags as words, saving it an engagement.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twhin_hf.run_file import run_whole_folder


def read_lists(path: Path, limit: int) -> list[np.ndarray]:
    """Lines of `n id id …`, each as its ids.

    Raises:
        ValueError: A line has another number of ids than it says, or an id from `limit` on.
    """
    lists = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            count, *ids = map(int, line.split())
        except ValueError:
            raise ValueError(f"{path}, line {number}: numbers are needed, found {line!r}") from None
        if count != len(ids):
            raise ValueError(f"{path}, line {number}: says {count} ids and holds {len(ids)}")
        if ids and not 0 <= min(ids) <= max(ids) < limit:
            raise ValueError(f"{path}, line {number}: ids go from 0 to {limit - 1}, found {ids}")
        lists.append(np.array(ids, dtype=np.int64))
    return lists


def tag_words(tag: str) -> str:
    """A tag as words: `gene_ontology-tools` is "gene ontology tools"."""
    return " ".join(re.split(r"[-_\s]+", tag.strip("-_ \t\r\n")))


def prepare(data: Path) -> tuple[pa.Table, pa.Table]:
    """Reads the folder.

    The tags of a post are put in the order of their numbers: it tells nothing about the post.

    Returns:
        posts (`post_id`, `text`, `lang`) and engagements (`user_id`, `post_id`, `relation`).

    Raises:
        FileNotFoundError: The folder or one of its files is missing.
        ValueError: A file is not what it should be.
    """
    files = [data / name for name in ("users.dat", "item-tag.dat", "tags.dat")]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{data} lacks {', '.join(missing)}. Give the folder of citeulike-a with --data; "
            "it holds users.dat, item-tag.dat and tags.dat."
        )
    tags = files[2].read_text(encoding="utf-8").splitlines()
    words = np.array([tag_words(tag) for tag in tags], dtype=object)
    tags_of = read_lists(files[1], len(tags))
    posts_of = read_lists(files[0], len(tags_of))
    texts = [" ".join(filter(None, words[np.unique(tags)])) for tags in tags_of]
    users = np.repeat(np.arange(len(posts_of)), [len(posts) for posts in posts_of])
    post_ids = pa.array([f"a{number}" for number in range(len(texts))])
    user_ids = pa.array([f"u{number}" for number in range(len(posts_of))])
    engagements = {
        "user_id": user_ids.take(pa.array(users)),
        "post_id": post_ids.take(pa.array(np.concatenate(posts_of))),
        "relation": ["save"] * len(users),
    }
    posts = {"post_id": post_ids, "text": texts, "lang": ["en"] * len(texts)}
    return pa.table(posts), pa.table(engagements)


def main() -> None:
    parser = argparse.ArgumentParser(description="citeulike-a as posts and engagements")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/citeulike_a"))
    parser.add_argument("--output", type=Path, default=Path("runs/citeulike/data"))
    parser.add_argument("--overwrite", action="store_true", help="make it anew")
    args = parser.parse_args()
    with run_whole_folder(
        args.output,
        "examples/citeulike/prepare.py",
        {},
        data={"data": args.data},
        overwrite=args.overwrite,
    ) as run:
        if run.is_finished:
            return
        posts, engagements = prepare(args.data)
        pq.write_table(posts, run.path / "posts.parquet")
        pq.write_table(engagements, run.path / "engagements.parquet")
    lengths = np.array([len(text.split()) for text in posts["text"].to_pylist()])
    print(
        f"{posts.num_rows:,} posts ({int((lengths == 0).sum())} without a tag; words a post: "
        f"median {int(np.median(lengths))}, 90 % up to {int(np.quantile(lengths, 0.9))}, longest "
        f"{lengths.max()}) and {engagements.num_rows:,} engagements, saved in {args.output}"
    )


if __name__ == "__main__":
    main()
