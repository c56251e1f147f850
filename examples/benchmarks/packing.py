"""Real tokens a second that one worker brings into batches: fetching, masking, packing, tensors.

    python examples/benchmarks/packing.py
    python examples/benchmarks/packing.py --batch-size 512 --num-posts 500000

Posts have the lengths of tweets (27 tokens on average, at most 128). Each stage is timed by itself,
by processor time of one thread, and all of them together: what a worker of a data loader does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset

from twhin_hf.training.batches import LanguageSampler, PostBatch, PostBatches
from twhin_hf.training.collators import PackingCollator
from twhin_hf.training.masking import mask_tokens
from twhin_hf.training.packing import pack, place, positions_in_posts
from twhin_hf.training.streaming import StreamSampler

VOCABULARY = 250_002


class SpecialTokens:
    """What the collator asks of a tokenizer."""

    mask_token, pad_token, mask_token_id, pad_token_id = "<mask>", "<pad>", VOCABULARY - 1, 1
    all_special_ids = (0, 1, 2, 3, VOCABULARY - 1)

    def __len__(self) -> int:
        return VOCABULARY


def tokenized_posts(num_posts: int, folder: Path, seed: int = 0) -> Dataset:
    """Posts of random tokens, memory-mapped as trainings have them."""
    random = np.random.default_rng(seed)
    lengths = np.clip(random.gamma(4.0, 27 / 4, num_posts), 3, 128).astype(np.int64)
    path = folder / "posts.arrow"
    schema = pa.schema({"post_id": pa.string(), "input_ids": pa.list_(pa.int32())})
    with pa.ipc.new_stream(path, schema) as stream:
        for start in range(0, num_posts, 1000):
            own = lengths[start : start + 1000]
            tokens = random.integers(4, VOCABULARY - 1, own.sum(), dtype=np.int32)
            offsets = np.concatenate([[0], np.cumsum(own)]).astype(np.int32)
            ids = pa.array(np.arange(start, start + len(own))).cast(pa.string())
            lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(tokens))
            stream.write_table(pa.table([ids, lists], schema=schema))
    return Dataset.from_file(str(path))


def seconds(run: Callable[[], object]) -> float:
    """Processor seconds of a call, the least of three."""
    rounds = []
    for _ in range(3):
        began = time.process_time()
        run()
        rounds.append(time.process_time() - began)
    return min(rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-posts", type=int, default=200_000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--batches", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        posts = PostBatches(tokenized_posts(args.num_posts, Path(folder)))
        collate = PackingCollator(SpecialTokens())  # type: ignore[arg-type]
        languages = np.zeros(args.num_posts, np.int16)
        count = args.batches
        for name, sampler in {
            "rows anywhere": LanguageSampler(languages, 1.0, 0),
            "rows of a stream": StreamSampler(languages, 1.0, 0),
        }.items():
            keys = [key for key, _ in zip(sampler, range(count * args.batch_size), strict=False)]
            chosen = np.array(keys).reshape(count, args.batch_size).tolist()
            fetched = [posts.__getitems__(one) for one in chosen]
            tokens = sum(len(batch.tokens) for batch in fetched)
            print(f"\n{name}: {tokens / count / args.batch_size:.1f} tokens a post")
            for stage, rate in rates(posts, collate, chosen, fetched).items():
                print(f"| {stage} | {rate / 1e6:.2f} M tokens a second |")


def rates(
    posts: PostBatches, collate: PackingCollator, keys: list[list[int]], fetched: list[PostBatch]
) -> dict[str, float]:
    """Tokens a second of each stage."""
    tokens = sum(len(batch.tokens) for batch in fetched)
    lengths = [np.asarray(batch.lengths, np.int64) for batch in fetched]
    layouts = [pack(own, collate.row_length) for own in lengths]

    def mask() -> None:
        for batch, own in zip(fetched, lengths, strict=True):
            mask_tokens(
                batch.tokens.astype(np.int64),
                np.repeat(batch.draws, own),
                positions_in_posts(own),
                special_ids=collate.special_ids,
                mask_token_id=SpecialTokens.mask_token_id,
                vocab_size=VOCABULARY,
            )

    def put() -> None:
        for batch, own, layout in zip(fetched, lengths, layouts, strict=True):
            place(batch.tokens, own, layout, 1)

    stages = {
        "fetch": lambda: [posts.__getitems__(own) for own in keys],
        "collate: mask, pack, tensors": lambda: [collate(batch) for batch in fetched],
        "· pack": lambda: [pack(own, collate.row_length) for own in lengths],
        "· mask": mask,
        "· place, once of four times": put,
        "fetch and collate": lambda: [collate(posts.__getitems__(own)) for own in keys],
    }
    return {name: tokens / seconds(run) for name, run in stages.items()}


if __name__ == "__main__":
    main()
