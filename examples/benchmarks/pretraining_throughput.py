"""Real tokens per second and peak memory of MLM pretraining, beside the stock way, in one run.

    python examples/benchmarks/pretraining_throughput.py
    python examples/benchmarks/pretraining_throughput.py --texts tweets.txt --steps 10 --bf16

Both train the same BERT (6 layers of 384, a vocabulary of 250,002) on the same posts with
`Trainer` and the same optimizer, 64 posts per step; each in a process of its own, so that its peak
memory is its own:

- stock: `BertForMaskedLM` and `DataCollatorForLanguageModeling`: padded rows, logits of all tokens;
- ours: `TwhinBertForPreTraining` and `SocialPretrainingTrainer`: packed rows, logits of the masked.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TWEETS = Path(__file__).parents[3] / "shared" / "data" / "umsab"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", nargs="*", help="files of one post a line (default: UMSAB)")
    parser.add_argument("--steps", type=int, default=6, help="steps timed (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before (default: %(default)s)")
    parser.add_argument("--posts-per-step", type=int, default=64)
    parser.add_argument("--hidden-size", type=int, default=384)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocab-size", type=int, default=250_002)
    parser.add_argument("--bf16", action="store_true", help="train both in bfloat16 autocast")
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    parser.add_argument("--side", choices=("stock", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(train(args)))
        return
    with tempfile.TemporaryDirectory() as work:
        tokens = prepare(args, Path(work))
        figures = {
            side: json.loads(
                subprocess.run(
                    [sys.executable, *sys.argv, "--side", side, "--work", work],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                ).stdout.splitlines()[-1]
            )
            for side in ("stock", "ours")
        }
    show(figures, tokens, args)


def prepare(args: argparse.Namespace, work: Path) -> float:
    """Samples the posts and trains a tokenizer on all of them; returns tokens per post."""
    import numpy as np

    from twhin_hf.data.tokenization import train_unigram_tokenizer

    files = [Path(name) for name in args.texts or sorted(TWEETS.glob("*/train_text.txt"))]
    missing = [str(file) for file in files if not file.is_file()]
    if missing or not files:
        sys.exit(f"no posts: {missing or TWEETS} not found; give --texts, one post a line")
    texts = [line for file in files for line in file.read_text(errors="replace").splitlines()]
    texts = [text for text in texts if text.strip()]
    tokenizer = train_unigram_tokenizer(texts, 30_000, progress=False)
    tokenizer.save_pretrained(work / "tokenizer")
    count = args.posts_per_step * (args.steps + args.warmup)
    if count > len(texts):
        sys.exit(f"{args.steps} steps need {count:,} posts and there are {len(texts):,}")
    chosen = np.random.default_rng(0).permutation(len(texts))[:count]
    (work / "posts.json").write_text(json.dumps([texts[row] for row in chosen]))
    return sum(map(len, tokenizer([texts[row] for row in chosen]).input_ids)) / count


def train(args: argparse.Namespace) -> dict[str, float]:
    """Trains one side and measures it."""
    import torch
    from datasets import Dataset
    from transformers import (
        AutoTokenizer,
        BertConfig,
        BertForMaskedLM,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainerCallback,
        set_seed,
    )

    from twhin_hf.data.tokenization import tokenize_posts
    from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings
    from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer

    work = Path(args.work)
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer", trust_remote_code=False)
    texts = json.loads((work / "posts.json").read_text())
    posts = Dataset.from_dict({"post_id": [str(row) for row in range(len(texts))], "text": texts})
    config = BertConfig(
        vocab_size=args.vocab_size,
        hidden_size=args.hidden_size,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden_size // 64 or 1,
        intermediate_size=4 * args.hidden_size,
        pad_token_id=tokenizer.pad_token_id,
    )
    options = SocialPretrainingConfig(
        output_dir=str(work / args.side),
        per_device_train_batch_size=args.posts_per_step,
        max_steps=args.steps + args.warmup,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        bf16=args.bf16,
        use_cpu=args.cpu or not torch.cuda.is_available(),
    )

    class Clock(TrainerCallback):
        times: list[float] = []  # noqa: RUF012

        def on_step_end(self, *args, **kwargs):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.times.append(time.perf_counter())

    set_seed(0)
    if args.side == "ours":
        apply_settings(config, social_weight=0.0, mlm_weight=1.0)
        trainer: Trainer = SocialPretrainingTrainer(
            TwhinBertForPreTraining(config),
            options,
            posts,
            processing_class=tokenizer,
            callbacks=[Clock],
        )
    else:
        rows = tokenize_posts(posts, tokenizer).remove_columns(["post_id", "lang"])
        trainer = Trainer(
            BertForMaskedLM(config),
            options,
            train_dataset=rows,
            data_collator=DataCollatorForLanguageModeling(tokenizer),
            processing_class=tokenizer,
            callbacks=[Clock],
        )
    trainer.train()
    seconds = (Clock.times[-1] - Clock.times[args.warmup - 1]) / args.steps
    if options.use_cpu:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    else:
        peak = torch.cuda.max_memory_allocated()
    return {"seconds": seconds, "gigabytes": peak / 1e9}


def show(figures: dict[str, dict[str, float]], tokens: float, args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"MLM, {args.layers} layers of {args.hidden_size}, vocabulary {args.vocab_size:,}, "
        f"{args.posts_per_step} posts of {tokens:.1f} tokens per step"
    )
    for column in ("", "seconds a step", "real tokens per second", "peak memory, GB"):
        table.add_column(column, justify="right")
    for side, values in figures.items():
        speed = tokens * args.posts_per_step / values["seconds"]
        table.add_row(
            side, f"{values['seconds']:.2f}", f"{speed:,.0f}", f"{values['gigabytes']:.2f}"
        )
    stock, ours = figures["stock"], figures["ours"]
    table.add_section()
    table.add_row(
        "ours / stock",
        "",
        f"{stock['seconds'] / ours['seconds']:.1f} ×",
        f"{ours['gigabytes'] / stock['gigabytes']:.2f} ×",
    )
    Console().print(table)


if __name__ == "__main__":
    main()
