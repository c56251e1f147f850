"""Posts a second of `encode` beside sentence-transformers and an application's loop, in one run.

    python examples/benchmarks/encode_speed.py
    python examples/benchmarks/encode_speed.py --texts tweets.txt --layers 12 --hidden-size 768

The same random weights (BERT, 6 layers of 384) embed the same real posts, the mean of all tokens:

- ours: `TwhinBertModel.encode`: sorted by length, batches of a budget of tokens;
- sentence-transformers: `SentenceTransformer.encode` with its defaults: batches of 32 by length;
- loop: what an application writes: batches of 64 in the order of the posts, padded to 128.

The three take turns, so that whatever else runs slows all alike; the table has the medians of
processor time (of the wall's with a GPU). Vectors must be equal.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

TWEETS = Path(__file__).parents[3] / "shared" / "data" / "umsab"


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", nargs="*", help="files of one post a line (default: UMSAB)")
    parser.add_argument("--count", type=int, default=1_000, help="posts (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden-size", type=int, default=384)
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    files = [Path(name) for name in args.texts or sorted(TWEETS.glob("*/test_text.txt"))]
    missing = [str(file) for file in files if not file.is_file()]
    if missing or not files:
        sys.exit(f"no posts: {missing or TWEETS} not found; give --texts, one post a line")
    texts = [line for file in files for line in file.read_text(errors="replace").splitlines()]
    texts = [text for text in texts if text.strip()]
    with tempfile.TemporaryDirectory() as folder:
        compare(texts, Path(folder), args)


def compare(texts: list[str], folder: Path, args: argparse.Namespace) -> None:
    """Lets the three take turns."""
    import numpy as np
    import torch
    from rich.console import Console
    from rich.table import Table
    from sentence_transformers import SentenceTransformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    from twhin_hf.data.tokenization import train_unigram_tokenizer
    from twhin_hf.modeling import TwhinBertModel

    train_unigram_tokenizer(texts, 8_000, progress=False).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=args.hidden_size,
        num_hidden_layers=args.layers,
        num_attention_heads=max(1, args.hidden_size // 64),
        intermediate_size=4 * args.hidden_size,
        max_position_embeddings=130,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    chosen = np.random.default_rng(0).permutation(len(texts))[: args.count]
    posts = [texts[row] for row in chosen]

    ours = TwhinBertModel.from_pretrained(folder, dtype=dtype).to(device)
    theirs = SentenceTransformer(
        str(folder), device=device, model_kwargs={"dtype": dtype}, trust_remote_code=False
    )
    theirs.max_seq_length = 128
    stock = BertModel.from_pretrained(folder, dtype=dtype).to(device).eval()

    @torch.inference_mode()
    def loop(posts: list[str]) -> np.ndarray:
        vectors = []
        for start in range(0, len(posts), 64):
            options = {"padding": "max_length", "truncation": True, "max_length": 128}
            batch = tokenizer(posts[start : start + 64], return_tensors="pt", **options).to(device)
            hidden = stock(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None]
            vectors.append(((hidden * mask).sum(1) / mask.sum(1)).float().cpu())
        return torch.cat(vectors).numpy()

    ways = {
        "ours": lambda posts: ours.encode(posts, pooling="mean_all", convert_to_numpy=True),
        "sentence-transformers": theirs.encode,
        "application's loop": loop,
    }
    expected = ours.encode(posts, pooling="mean_all", convert_to_numpy=True)
    clock = time.perf_counter if device == "cuda" else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            began = clock()
            vectors = way(posts)
            seconds[name].append(clock() - began)
            tolerance = 0.05 if device == "cuda" else 1e-4
            np.testing.assert_allclose(vectors, expected, atol=tolerance, rtol=tolerance)
    lengths = [len(ids) for ids in tokenizer(posts, truncation=True, max_length=128)["input_ids"]]
    table = Table(
        title=f"{len(posts):,} posts of {statistics.mean(lengths):.1f} tokens, {args.layers} "
        f"layers of {args.hidden_size}, {device}, {torch.get_num_threads()} threads"
    )
    for column in ("", "posts a second", "ours is faster", "all rounds, seconds"):
        table.add_column(column, justify="right")
    base = statistics.median(seconds["ours"])
    for name, found in seconds.items():
        middle = statistics.median(found)
        rounds = ", ".join(f"{value:.2f}" for value in found)
        table.add_row(name, f"{len(posts) / middle:,.0f}", f"{middle / base:.2f} ×", rounds)
    Console().print(table)


if __name__ == "__main__":
    main()
