"""Seconds, processor time and peak memory of an MLM step, beside the stock way, in one run.

    python examples/benchmarks/pretraining_throughput.py
    python examples/benchmarks/pretraining_throughput.py --texts tweets.txt --sides stock ours
    python examples/benchmarks/pretraining_throughput.py --loss-steps 1000

All train the same BERT (6 layers of 384, a vocabulary of 250,002) on the same posts with `Trainer`
and AdamW, 64 posts per step; each in a process of its own, so that its peak memory is its own:

- stock: `BertForMaskedLM` and `DataCollatorForLanguageModeling`: padded rows, logits of all tokens;
- ours: `TwhinBertForPreTraining` and `SocialPretrainingTrainer`: packed rows, logits of the masked.

`products` are the matrix products of one such step and nothing else: no step can be faster.

With `bf16` a side is trained in bfloat16 autocast, which is our default on processors that multiply
in it; with `small` AdamW keeps its moments in bfloat16.

`--loss-steps` trains a small model instead (2 layers of 128, a vocabulary of 30,000) and compares
losses with those of a dense step: all logits of the masked tokens at once, in float32.
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

SIDES = ("stock", "stock bf16", "ours", "ours small", "ours bf16", "ours bf16 small")
PRODUCTS = ("products", "products bf16")
LOSS_SIDES = ("dense", "ours", "ours bf16", "ours bf16 small")
SEEDS = (0, 1)


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
    parser.add_argument("--sides", nargs="+", choices=SIDES + PRODUCTS, default=SIDES + PRODUCTS)
    parser.add_argument("--loss-steps", type=int, help="compare losses after so many steps")
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.loss_steps:
        args.steps, args.warmup = args.loss_steps, 1
        args.hidden_size, args.layers, args.vocab_size = 128, 2, 30_000
    if args.side:
        measure = multiply if args.side in PRODUCTS else train
        print(json.dumps(measure(args)))
        return
    with tempfile.TemporaryDirectory() as work:
        tokens = prepare(args, Path(work))
        if args.loss_steps:
            runs = [(side, seed) for side in LOSS_SIDES for seed in SEEDS]
            show_losses({run: figures_of(*run, work) for run in runs}, args)
        else:
            show({side: figures_of(side, 0, work) for side in args.sides}, tokens, args)


def figures_of(side: str, seed: int, work: str) -> dict[str, float]:
    """Trains one side in a process of its own."""
    own = ["--side", side, "--seed", str(seed), "--work", work]
    command = [sys.executable, *sys.argv, *own]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(answer.splitlines()[-1])


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
    order = np.random.default_rng(0).permutation(len(texts))
    if args.loss_steps:  # several epochs, if need be
        held_out, order = order[:1024], order[1024:]
        (work / "held_out.json").write_text(json.dumps([texts[row] for row in held_out]))
        chosen = order
    else:
        chosen = order[: args.posts_per_step * (args.steps + args.warmup)]
        if len(chosen) < args.posts_per_step * (args.steps + args.warmup):
            sys.exit(f"{args.steps} steps need more posts than the {len(texts):,} that there are")
    (work / "posts.json").write_text(json.dumps([texts[row] for row in chosen]))
    return sum(map(len, tokenizer([texts[row] for row in chosen]).input_ids)) / len(chosen)


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

    def posts_of(name: str) -> Dataset:
        texts = json.loads((work / name).read_text())
        return Dataset.from_dict({"post_id": [str(i) for i in range(len(texts))], "text": texts})

    work = Path(args.work)
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer", trust_remote_code=False)
    posts = posts_of("posts.json")
    config = BertConfig(
        vocab_size=args.vocab_size,
        hidden_size=args.hidden_size,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden_size // 64 or 1,
        intermediate_size=4 * args.hidden_size,
        pad_token_id=tokenizer.pad_token_id,
    )
    options = SocialPretrainingConfig(
        output_dir=str(work / f"{args.side} {args.seed}"),
        per_device_train_batch_size=args.posts_per_step,
        max_steps=args.steps + args.warmup,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=args.seed,
        bf16="bf16" in args.side,
        optim_state="bfloat16" if "small" in args.side else "float32",
        learning_rate=1e-3 if args.loss_steps else 2e-4,
        warmup_steps=args.steps // 20,
        use_cpu=args.cpu or not torch.cuda.is_available(),
    )

    class Clock(TrainerCallback):
        times: list[tuple[float, float]] = []  # noqa: RUF012

        def on_step_end(self, *args, **kwargs):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.times.append((time.perf_counter(), time.process_time()))

    set_seed(args.seed)
    if args.side.startswith("stock"):
        rows = tokenize_posts(posts, tokenizer).remove_columns(["post_id", "lang"])
        trainer = Trainer(
            BertForMaskedLM(config),
            options,
            train_dataset=rows,
            data_collator=DataCollatorForLanguageModeling(tokenizer),
            processing_class=tokenizer,
            callbacks=[Clock],
        )
    else:
        if args.side == "dense":
            be_dense()
        apply_settings(config, social_weight=0.0, mlm_weight=1.0)
        trainer = SocialPretrainingTrainer(
            TwhinBertForPreTraining(config),
            options,
            posts,
            eval_dataset=posts_of("held_out.json") if args.loss_steps else None,
            processing_class=tokenizer,
            callbacks=[Clock],
        )
    trainer.train()
    seconds, processor = (
        (last - first) / args.steps
        for first, last in zip(Clock.times[args.warmup - 1], Clock.times[-1], strict=True)
    )
    if options.use_cpu:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    else:
        peak = torch.cuda.max_memory_allocated()
    figures = {"seconds": seconds, "processor": processor, "gigabytes": peak / 1e9}
    if args.loss_steps:
        entries = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        figures["loss"] = sum(entries[-2:]) / 2  # each of 50 steps
        figures["held_out"] = trainer.evaluate()["eval_loss"]
    return figures


def multiply(args: argparse.Namespace) -> dict[str, float]:
    """The products of a step: three of the decoder's, three of each of a layer's matrices."""
    import torch
    from transformers import AutoTokenizer

    from twhin_hf.training.processor import fast_products

    work, size = Path(args.work), args.hidden_size
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer", trust_remote_code=False)
    texts = json.loads((work / "posts.json").read_text())[: args.posts_per_step]
    tokens = sum(map(len, tokenizer(texts).input_ids))
    dtype = torch.bfloat16 if "bf16" in args.side else torch.float32
    shapes = [(tokens, size, size)] * 4 + [(tokens, size, 4 * size), (tokens, 4 * size, size)]
    shapes = [*shapes * args.layers, (int(0.15 * tokens), size, args.vocab_size)]
    factors = [
        [torch.full(shape, 1e-3, dtype=dtype) for shape in ((m, k), (n, k), (m, n))]
        for m, k, n in shapes
    ]
    results = [[torch.empty_like(factor) for factor in three] for three in factors]
    begin = (0.0, 0.0)
    with fast_products():
        for step in range(args.warmup + args.steps):
            if step == args.warmup:
                begin = (time.perf_counter(), time.process_time())
            for (inputs, weight, outputs), (of_inputs, of_weight, of_outputs) in zip(
                factors, results, strict=True
            ):
                torch.mm(inputs, weight.T, out=of_outputs)
                torch.mm(outputs, weight, out=of_inputs)
                torch.mm(outputs.T, inputs, out=of_weight)
    end = (time.perf_counter(), time.process_time())
    seconds, processor = (
        (last - first) / args.steps for first, last in zip(begin, end, strict=True)
    )
    operations = 6 * sum(m * k * n for m, k, n in shapes)
    return {"seconds": seconds, "processor": processor, "gigaflops": operations / processor / 1e9}


def be_dense() -> None:
    """Has our model make all logits of the masked tokens, and PyTorch their gradients, as usual."""
    from contextlib import nullcontext

    import torch.nn.functional as F

    from twhin_hf.modeling import pretraining
    from twhin_hf.training import pretraining as trainers

    def dense_loss(hidden_states, weight, bias, labels, num_items=None, **kwargs):
        return F.cross_entropy(F.linear(hidden_states, weight, bias), labels)

    pretraining.masked_lm_loss = dense_loss
    pretraining.PreTrainingMixin._joint_gradient = lambda *args: nullcontext([])
    trainers.fast_products = trainers.kept_memory = nullcontext


def show(figures: dict[str, dict[str, float]], tokens: float, args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"MLM, {args.layers} layers of {args.hidden_size}, vocabulary {args.vocab_size:,}, "
        f"{args.posts_per_step} posts of {tokens:.1f} tokens per step"
    )
    columns = ("seconds a step", "processor seconds", "tokens a second", "peak memory, GB")
    stocks = [side for side in figures if side.startswith("stock")]
    for column in ("", *columns, *(f"speed, memory / {stock}" for stock in stocks)):
        table.add_column(column, justify="right")
    for side, values in figures.items():
        speed = tokens * args.posts_per_step / values["seconds"]
        ratios = [
            f"{figures[stock]['seconds'] / values['seconds']:.1f} ×"
            + (
                f", {values['gigabytes'] / figures[stock]['gigabytes']:.3f}"
                if "gigabytes" in values
                else ""
            )
            for stock in stocks
        ]
        table.add_row(
            side,
            f"{values['seconds']:.2f}",
            f"{values['processor']:.2f}",
            f"{speed:,.0f}",
            f"{values['gigabytes']:.2f}" if "gigabytes" in values else "",
            *ratios,
        )
    Console(width=140).print(table)


def show_losses(figures: dict[tuple[str, int], dict[str, float]], args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"MLM loss after {args.loss_steps:,} steps of {args.posts_per_step} posts, "
        f"{args.layers} layers of {args.hidden_size}, vocabulary {args.vocab_size:,}"
    )
    for column in ("", "seed", "training, last 100 steps", "held out", "processor seconds a step"):
        table.add_column(column, justify="right")
    for (side, seed), values in figures.items():
        numbers = (f"{values[name]:.4f}" for name in ("loss", "held_out", "processor"))
        table.add_row(side, str(seed), *numbers)
    Console().print(table)


if __name__ == "__main__":
    main()
