"""Memory and time of large batches by cached gradients, beside a small and a whole large batch.

    python examples/benchmarks/cached_gradients.py
    python examples/benchmarks/cached_gradients.py --objective engagement
    python examples/benchmarks/cached_gradients.py --layers 12 --hidden-size 768 --bf16

One step of `Twhin…ForPreTraining` on real tweets (forward, backward and AdamW, the second of two),
with MLM and one objective beside it, on a GPU if there is one. Each way in a process of its own, so
that its peak memory is its own:

- `--at-once` pairs, whole: what the machine is known to hold;
- `--pairs` pairs, whole: left out where it would not fit the free memory;
- `--pairs` pairs, of which `--at-once` go through the encoder at once;
- eight times `--at-once` pairs, whole and so, for gradients where the large ones have none to be
  compared with.

On a CPU the memory is that of the whole process, with MALLOC_MMAP_THRESHOLD_=1048576: glibc else
keeps freed memory, more of it the longer a step is.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TWEETS = Path(__file__).parents[3] / "shared" / "data" / "umsab"
OBJECTIVES = ("social", "engagement", "distillation", "tpp")
DIMENSION = 128
"""Of the network's vectors."""
USERS_PER_POST = 16


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", nargs="*", help="files of one post a line (default: UMSAB)")
    parser.add_argument("--objective", choices=OBJECTIVES, default="social")
    parser.add_argument("--pairs", type=int, default=4096, help="default: %(default)s")
    parser.add_argument("--at-once", type=int, default=256, help="default: %(default)s")
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocab-size", type=int, default=64_000)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    parser.add_argument("--no-whole", action="store_true", help="never the large batch whole")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(step(args)))
        return
    with tempfile.TemporaryDirectory() as work:
        tokens = prepare(args, Path(work))
        small = run(args.at_once, 1, work)
        cached = run(args.pairs, args.pairs // args.at_once, work)
        activations = (small["peak"] - small["before"]) * args.pairs / args.at_once
        fits = not args.no_whole and small["before"] + activations < 0.8 * small["free"]
        whole = run(args.pairs, 1, work) if fits else None
        compared = args.pairs if fits else min(args.pairs, 8 * args.at_once)
        if not fits:
            run(compared, 1, work)
            run(compared, compared // args.at_once, work)
        difference = gradient_difference(
            *(Path(work) / f"{compared}-{blocks}.pt" for blocks in (1, compared // args.at_once))
        )
    show(args, tokens, small, whole, cached, difference, compared)


def prepare(args: argparse.Namespace, work: Path) -> float:
    """Tokenizes as many posts as the large batch has; returns tokens per post."""
    import numpy as np

    from twhin_hf.data.tokenization import train_unigram_tokenizer

    files = [Path(name) for name in args.texts or sorted(TWEETS.glob("*/*_text.txt"))]
    missing = [str(file) for file in files if not file.is_file()]
    if missing or not files:
        sys.exit(f"no posts: {missing or TWEETS} not found; give --texts, one post a line")
    texts = [line for file in files for line in file.read_text(errors="replace").splitlines()]
    texts = [text for text in texts if text.strip()]
    tokenizer = train_unigram_tokenizer(texts, 30_000, progress=False)
    tokenizer.save_pretrained(work / "tokenizer")
    rows = np.random.default_rng(0).integers(len(texts), size=2 * args.pairs)
    chosen = [texts[row] for row in rows]
    ids = tokenizer(chosen, truncation=True, max_length=128)["input_ids"]
    lengths = np.array([len(own) for own in ids])
    np.savez(work / "posts.npz", tokens=np.concatenate(ids), lengths=lengths)
    return float(lengths.mean())


def run(pairs: int, blocks: int, work: str) -> dict[str, float]:
    """A step in a process of its own."""
    command = [sys.executable, *sys.argv, "--way", f"{pairs}-{blocks}", "--work", work]
    # Else glibc keeps what was freed between tensors that stay, and it counts as in use.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def step(args: argparse.Namespace) -> dict[str, float]:
    """Two steps; memory, time and gradients of the second."""
    import torch

    pairs, blocks = map(int, args.way.split("-"))
    device = "cuda" if torch.cuda.is_available() and not args.cpu else "cpu"
    model = new_model(args).to(device)
    model.cache_gradients(blocks if blocks > 1 else None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    inputs = moved(batch(args, pairs), device)
    before = peak_memory(device)
    for number in range(2):
        began = clock(device)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=args.bf16):
            loss = model(**inputs).loss
        loss.backward()
        seconds = clock(device) - began
        if number == 0:  # the states of the optimizer are part of the peak
            optimizer.step()
            optimizer.zero_grad()
    peak = peak_memory(device)
    gradients = {
        name: value.grad.cpu() for name, value in model.named_parameters() if value.grad is not None
    }
    torch.save(gradients, Path(args.work) / f"{args.way}.pt")
    found = {"before": before, "peak": peak, "free": free_memory(device)}
    return found | {"seconds": seconds, "loss": loss.item()}


def new_model(args: argparse.Namespace) -> Any:
    import torch
    from transformers import BertConfig

    from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings

    config = BertConfig(
        vocab_size=args.vocab_size,
        hidden_size=args.hidden_size,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden_size // 64 or 1,
        intermediate_size=4 * args.hidden_size,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    weights = {f"{name}_weight": float(name == args.objective) for name in OBJECTIVES}
    settings = {"mlm_weight": 0.1, "network_dimension": DIMENSION, "tpp_loss": "contrastive"}
    torch.manual_seed(0)
    return TwhinBertForPreTraining(apply_settings(config, **weights, **settings)).train()


def batch(args: argparse.Namespace, pairs: int) -> dict[str, Any]:
    """The first pairs, masked and packed, with what the objective needs."""
    import numpy as np
    from transformers import AutoTokenizer

    from twhin_hf.training.batches import PostBatch
    from twhin_hf.training.collators import PackingCollator
    from twhin_hf.training.network_targets import EngagedUsers, PostVectors

    folder = Path(args.work) / "tokenizer"
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    saved = np.load(Path(args.work) / "posts.npz")
    num_posts = 2 * pairs
    lengths = saved["lengths"][:num_posts]
    posts = np.arange(num_posts)
    given = PostBatch(saved["tokens"][: lengths.sum()], lengths, posts, posts)
    random = np.random.default_rng(0)
    if args.objective == "social":
        given.positive_ids = np.roll(posts, pairs)[:, None]
    elif args.objective == "tpp":
        given.pair_labels, given.item_ids = np.ones(pairs, np.int64), posts % pairs
    elif args.objective == "engagement":
        # As many users as engagements; each knows 20 posts more.
        users = np.arange(USERS_PER_POST * num_posts)
        history = random.integers(num_posts, size=(len(users), 20))
        history[:, 0] = users // USERS_PER_POST
        given.engagements = EngagedUsers(
            content_ids=posts,
            user_vectors=random.standard_normal((len(users), DIMENSION), np.float32),
            pair_users=users,
            pair_posts=users // USERS_PER_POST,
            user_posts=history.reshape(-1),
            user_post_counts=np.full(len(users), history.shape[1]),
            log_frequencies=np.zeros(num_posts, np.float32),
        )
    else:
        vectors = random.standard_normal((16_384, DIMENSION), np.float32)
        given.distillation = PostVectors(posts, vectors[:num_posts], vectors)
    return PackingCollator(tokenizer, 128, 0.15)(given)


def moved(values: Any, device: str) -> Any:
    if isinstance(values, dict):
        return {name: moved(value, device) for name, value in values.items()}
    return values.to(device) if hasattr(values, "to") else values


def clock(device: str) -> float:
    """Seconds; of the processor where that is what computes."""
    import torch

    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory(device: str) -> float:
    """Bytes at most so far: of the whole process, or allocated on the GPU."""
    import torch

    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def free_memory(device: str) -> float:
    import torch

    if device == "cuda":
        return torch.cuda.mem_get_info()[1]
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def gradient_difference(one: Path, other: Path) -> tuple[float, float]:
    """The largest difference, and the largest as a share of a parameter's largest gradient."""
    import torch

    first, second = torch.load(one, weights_only=True), torch.load(other, weights_only=True)
    assert first.keys() == second.keys()
    largest = {name: (second[name] - value).abs().max().item() for name, value in first.items()}
    sizes = {name: value.abs().max().item() for name, value in first.items()}
    shares = [value / sizes[name] for name, value in largest.items() if sizes[name] > 1e-6]
    return max(largest.values()), max(shares)


def show(
    args: argparse.Namespace,
    tokens: float,
    small: dict[str, float],
    whole: dict[str, float] | None,
    cached: dict[str, float],
    difference: tuple[float, float],
    compared: int,
) -> None:
    dtype = "bfloat16" if args.bf16 else "float32"
    print(
        f"MLM and {args.objective}, {tokens:.1f} tokens a post, BERT of {args.layers} layers × "
        f"{args.hidden_size}, vocabulary {args.vocab_size:,}, {dtype}\n"
    )
    print("| pairs | at once | peak memory | to the small batch | seconds | to the whole |")
    print("| --- | --- | --- | --- | --- | --- |")
    rows = [(args.at_once, args.at_once, small), (args.pairs, args.pairs, whole)]
    reference = whole["seconds"] if whole else small["seconds"] * args.pairs / args.at_once
    for pairs, at_once, found in [*rows, (args.pairs, args.at_once, cached)]:
        if found is None:
            print(f"| {pairs:,} | all | does not fit | | | |")
            continue
        together = "all" if pairs == at_once else f"{at_once:,}"
        time_ratio = f"{found['seconds'] / reference:.2f} ×" if pairs == args.pairs else ""
        print(
            f"| {pairs:,} | {together} | {found['peak'] / 1e9:.2f} GB | "
            f"{found['peak'] / small['peak']:.3f} × | {found['seconds']:.1f} | {time_ratio} |"
        )
    if whole is None:
        print("\nTime is compared with as many small batches as the large one has.")
    print(
        f"\nGradients of {compared:,} pairs, whole and cached, differ by {difference[0]:.1e} at "
        f"most, {difference[1]:.1e} of the largest of their parameter."
    )


if __name__ == "__main__":
    main()
