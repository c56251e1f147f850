"""Makes a hashtag benchmark of citeulike-a, and the posts that an encoder may train on beside it.

    python examples/citeulike/hashtags.py --data ../shared/data/citeulike_a --output runs/hashtags

The most popular tags become hashtags, other tags stay words. Written are `benchmark` (what
`twhin-hf evaluate hashtag --data_dir` reads), and `posts.parquet` and `engagements.parquet` for
`twhin-hf run`, without the posts of the benchmark's validation and test splits.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from prepare import prepare, read_lists, tag_words

from twhin_hf.benchmarks.hashtag.building import HashtagBenchmark, build_hashtag_benchmark
from twhin_hf.benchmarks.hashtag.recipe import HashtagRecipe
from twhin_hf.benchmarks.hub_folder import DatasetCard, HubConfig, write_hub_folder
from twhin_hf.run_file import run_whole_folder


def posts_with_hashtags(data: Path, num_hashtags: int) -> pa.Table:
    """Posts whose most popular tags are hashtags: `#gene_expression microarray data`.

    Returns:
        `post_id`, `text` and `lang`.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is not what it should be.
    """
    posts, _ = prepare(data)
    tags = (data / "tags.dat").read_text(encoding="utf-8").splitlines()
    tags_of = [sorted(set(ids.tolist())) for ids in read_lists(data / "item-tag.dat", len(tags))]
    frequency = Counter(tag for ids in tags_of for tag in ids)
    popular = {tag for tag, _ in frequency.most_common(num_hashtags)}
    words = [
        "#" + tag_words(tag).replace(" ", "_") if number in popular else tag_words(tag)
        for number, tag in enumerate(tags)
    ]
    texts = [" ".join(filter(None, (words[tag] for tag in ids))) for ids in tags_of]
    return posts.set_column(1, "text", pa.array(texts))


def held_out_posts(benchmark: HashtagBenchmark) -> list[str]:
    """Ids of the posts that no encoder may see before it is tested."""
    return [
        post_id
        for splits in benchmark.languages.values()
        for name in ("validation", "test")
        for post_id in splits[name]["id"]
    ]


def build(data: Path, num_hashtags: int, output: Path) -> None:
    """Writes the benchmark, and the posts and engagements to train on."""
    posts, engagements = prepare(data)
    tagged = output / "posts_with_hashtags.parquet"
    pq.write_table(posts_with_hashtags(data, num_hashtags), tagged)
    benchmark = build_hashtag_benchmark(tagged, HashtagRecipe(num_hashtags=num_hashtags))
    held_out = held_out_posts(benchmark)
    card = DatasetCard(
        title="Hashtags of citeulike-a",
        text=f"Articles that hold one of the {num_hashtags} most popular tags; their other "
        "tags are the text.",
        task_categories=["text-classification"],
    )
    configs = (HubConfig(name, name, name, own) for name, own in benchmark.languages.items())
    write_hub_folder(configs, output / "benchmark", card)
    seen = posts.filter(pc.invert(pc.is_in(posts["post_id"], pa.array(held_out))))
    pq.write_table(seen, output / "posts.parquet")
    pq.write_table(engagements, output / "engagements.parquet")
    counts = {
        name: {key: len(split) for key, split in own.items()}
        for name, own in benchmark.languages.items()
    }
    print(f"Benchmark: {counts}. Posts to train on: {seen.num_rows:,} of {posts.num_rows:,}")


def main() -> None:
    parser = argparse.ArgumentParser(description="a hashtag benchmark of citeulike-a")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/citeulike_a"))
    parser.add_argument("--output", type=Path, default=Path("runs/hashtags"))
    parser.add_argument("--num-hashtags", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="make it anew")
    args = parser.parse_args()
    with run_whole_folder(
        args.output,
        "examples/citeulike/hashtags.py",
        {"num_hashtags": args.num_hashtags},
        data={"data": args.data},
        overwrite=args.overwrite,
    ) as run:
        if not run.is_finished:
            build(args.data, args.num_hashtags, run.path)


if __name__ == "__main__":
    main()
