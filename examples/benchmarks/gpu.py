"""What one accelerator gains: training steps, a network and embeddings beside the usual ways.

    python examples/benchmarks/gpu.py
    python examples/benchmarks/gpu.py --texts tweets.txt --output runs/gpu

At most 8 minutes on one H100 (`--seconds`); no network. Needs torch 2.11 or newer, transformers,
accelerate, sentence-transformers, datasets and pyarrow, and what this package imports on the way
(lazy_loader, rich, and scipy, which sentence-transformers brings). Tables are written to `gpu.md`
and figures to `gpu.json` in the output folder after each section, so that what is there when the
time ends is not lost. Without a GPU, or with `--small`, all of it runs on something tiny in less
than a minute, to see that it works: such figures say nothing.

Sections, each with its goal beside the figure:

- mlm base, mlm large: a step of MLM (12 layers × 768 and 24 × 1024, vocabulary 250,002, bfloat16
  autocast, fused AdamW, no dropout on attention weights) by ours and by `Trainer` with
  `DataCollatorForLanguageModeling`, padded to the longest of a batch. Both take as many posts a
  step; the stock side in parts (`gradient_accumulation_steps`), since the logits of all its tokens
  do not fit.
- joint: a step of MLM + social loss on pairs beside a step of MLM by `Trainer` on the same number
  of posts and one of `SentenceTransformerTrainer` with `MultipleNegativesRankingLoss` and with its
  cached form.
- network: `embed_network` on the GPU and on the CPU, each after a first use on a small network.
- encode: `encode` of ours and of sentence-transformers, and an application's loop (batches of 64 in
  the order of the texts, padded to 128), all in bfloat16 with the same weights.
- where the time goes: `torch.profiler` over steps of mlm base.
- compiled: mlm base with `torch_compile`, its compilation apart.

Model FLOPs utilisation (MFU) counts what the model has to compute for its real tokens, forward and
backward, and no padding: FLOPs of a token = 6 · N + 12 · L · h · n + 6 · h · V · m, with N the
weights of the encoder's matrices (no embeddings), L layers, h their width, n the tokens that a
token attends to (Σ length² / Σ length), V the vocabulary and m the share of the tokens that are
predicted. MFU = FLOPs of a token · real tokens a second / peak FLOPs of the GPU in dense bfloat16
(by its name; `--peak-tflops` for others).

Without `--texts` (files of one post a line) posts are generated: words of a vocabulary of 20,000
made-up words by Zipf's law, their number drawn from a gamma distribution (shape 3, mean 13), so
that lengths spread as those of tweets do. The table says how many tokens they have.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import datasets
import numpy as np
import pyarrow as pa
import torch
import transformers
from datasets import Dataset

PEAK_TFLOPS = {
    "B200": 2250,
    "H200": 989,
    "H100 PCIe": 756,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
    "A10G": 70,
    "4090": 165,
}
"""Dense bfloat16, by a part of the device's name; the first that fits counts."""

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


@dataclass
class Sizes:
    """How large everything is."""

    models: dict[str, tuple[int, int]] = field(
        default_factory=lambda: {"base": (12, 768), "large": (24, 1024)}
    )
    vocabulary: int = 250_002
    posts_a_step: int = 1024
    stock_posts: int = 64
    steps: int = 20
    stock_steps: int = 5
    warmup: int = 3
    pairs: int = 1024
    users: int = 200_000
    edges: int = 2_000_000
    dimension: int = 128
    encoded: int = 50_000
    learned_pieces: int = 20_000


SMALL = Sizes(
    models={"base": (2, 32), "large": (2, 64)},
    vocabulary=1_000,
    posts_a_step=16,
    stock_posts=8,
    steps=2,
    stock_steps=2,
    warmup=1,
    pairs=16,
    users=400,
    edges=4_000,
    dimension=8,
    encoded=100,
    learned_pieces=300,
)


class OutOfTime(Exception):
    """The time of a section has ended."""


class Bench:
    """Posts, sizes and results; writes what is there after each section."""

    def __init__(self, args: argparse.Namespace, work: Path):
        self.args, self.work = args, work
        self.on_gpu = torch.cuda.is_available() and not args.small
        self.sizes = Sizes() if self.on_gpu else SMALL
        self.device = "cuda" if self.on_gpu else "cpu"
        self.began = time.monotonic()
        self.results: dict[str, Any] = {}
        self.lines: list[str] = []
        name = torch.cuda.get_device_name() if self.on_gpu else "CPU, tiny models"
        found = next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)
        self.peak = (args.peak_tflops or (found if self.on_gpu else None) or 0) * 1e12
        self.say(f"# {name}\n\ntorch {torch.__version__}, transformers {transformers.__version__}")
        self._read_posts()

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.args.seconds - (time.monotonic() - self.began)

    def say(self, text: str) -> None:
        """Adds to the tables."""
        print(text, flush=True)
        self.lines.append(text)

    def section(self, name: str, measure: Callable[[Bench], Any], least: float) -> None:
        """Runs one section, if as many seconds are left as it needs at least."""
        if self.args.only and name not in self.args.only:
            return
        self.say(f"\n## {name}\n")
        if self.on_gpu and self.left < least:
            self.say(f"Left out: {self.left:.0f} of {self.args.seconds:.0f} seconds are left.")
            return
        began = time.monotonic()
        _limit(self.left)
        try:
            self.results[name] = measure(self)
        except OutOfTime:
            self.say("Not finished: the time has ended.")
        except torch.OutOfMemoryError as error:
            self.say(f"Out of memory: {str(error).splitlines()[0]}")
        except Exception:
            # The others may still tell something.
            self.say(f"Failed:\n\n```\n{traceback.format_exc()}```")
            self.failed = True
        finally:
            _limit(0)
            gc.collect()
            if self.on_gpu:
                torch.cuda.empty_cache()
            self.say(f"\n({time.monotonic() - began:.0f} seconds)")
            self.write()

    failed = False

    def write(self) -> None:
        """Writes tables and figures as they are."""
        folder = Path(self.args.output)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gpu.md").write_text("\n".join(self.lines) + "\n")
        (folder / "gpu.json").write_text(json.dumps(plain(self.results), indent=2) + "\n")

    def _read_posts(self) -> None:
        if self.args.texts:
            files = [Path(name).read_text(errors="replace") for name in self.args.texts]
            self.texts = [line for file in files for line in file.splitlines() if line.strip()]
            source = "given posts"
        else:
            self.texts = generated_posts(60_000 if self.on_gpu else 400)
            source = "generated posts"
        self.tokenizer = train_tokenizer(self.texts[:20_000], self.sizes.learned_pieces)
        self.tokenizer.save_pretrained(self.work / "model")
        cut = {"truncation": True, "max_length": 128}
        sample = self.tokenizer(self.texts[:20_000], **cut)["input_ids"]
        lengths = np.array([len(ids) for ids in sample])
        self.tokens, self.attended = lengths.mean(), (lengths**2).sum() / lengths.sum()
        self.results["posts"] = {"tokens": self.tokens, "attended": self.attended}
        self.say(
            f"\n{len(self.texts):,} {source} of {self.tokens:.1f} tokens (median "
            f"{np.median(lengths):.0f}, longest {lengths.max()}; a token attends to "
            f"{self.attended:.1f})"
        )

    def posts(self, count: int) -> Dataset:
        """So many posts; the same again where there are not as many."""
        texts = [self.texts[row % len(self.texts)] for row in range(count)]
        return Dataset.from_dict({"post_id": [str(row) for row in range(count)], "text": texts})

    def config(self, model: str) -> transformers.BertConfig:
        """Of a BERT."""
        layers, width = self.sizes.models[model]
        return transformers.BertConfig(
            vocab_size=max(self.sizes.vocabulary, len(self.tokenizer)),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=max(1, width // 64),
            intermediate_size=4 * width,
            max_position_embeddings=130,
            pad_token_id=self.tokenizer.pad_token_id,
            attention_probs_dropout_prob=0.0,
        )

    def new(self, model_class: Any, config: Any) -> Any:
        """A model with random weights, made where it will be."""
        torch.manual_seed(0)
        with torch.device(self.device):
            return model_class(config)

    def flops_of_a_token(self, config: Any, masked: float) -> float:
        """See the top of this file."""
        layers, width = config.num_hidden_layers, config.hidden_size
        matrices = layers * (4 * width**2 + 2 * width * config.intermediate_size)
        of_decoder = 6 * width * config.vocab_size * masked
        return 6 * matrices + 12 * layers * width * self.attended + of_decoder


def plain(value: Any) -> Any:
    """As JSON has it, which knows no NaN."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return None if value is None or not np.isfinite(value) else float(value)


def _limit(seconds: float) -> None:
    def end(*_: Any) -> None:
        raise OutOfTime

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(0.0, seconds))


def generated_posts(count: int) -> list[str]:
    """See the top of this file."""
    random = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    sizes = random.integers(2, 10, 20_000)
    words = np.array(["".join(random.choice(letters, size)) for size in sizes])
    numbers = np.clip(random.gamma(3, 13 / 3, count).astype(int), 1, 60)
    ranks = np.minimum(random.zipf(1.3, int(numbers.sum())), len(words)) - 1
    return [" ".join(words[part]) for part in np.split(ranks, np.cumsum(numbers)[:-1])]


def train_tokenizer(texts: list[str], num_pieces: int) -> Any:
    """A WordPiece tokenizer that frames posts as `<s> post </s>`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=num_pieces, special_tokens=list(SPECIAL), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=128,
        cls_token="<s>",
        bos_token="<s>",
        pad_token="<pad>",
        sep_token="</s>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


class Clock(transformers.TrainerCallback):
    """Seconds of a step: the device is waited for before the first step timed and after the last.

    Args:
        warmup: Steps before.
        profiler: Started with the first step timed, and stopped after the last.
    """

    def __init__(self, warmup: int, profiler: Any = None):
        self.warmup, self.profiler = warmup, profiler
        self.first = self.first_step = self.seconds = 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.first_step = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            synchronize()
            self.first_step = time.perf_counter() - self.first_step
        if state.global_step == self.warmup:
            synchronize()
            if self.profiler is not None:
                self.profiler.start()
            self.first = time.perf_counter()
        if state.global_step == state.max_steps:
            synchronize()
            self.seconds = (time.perf_counter() - self.first) / (state.max_steps - self.warmup)
            if self.profiler is not None:
                self.profiler.stop()


def synchronize() -> None:
    """Waits for the GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def options_of(bench: Bench, steps: int, posts: int, parts: int = 1) -> dict[str, Any]:
    """Options that all trainers share."""
    return {
        "output_dir": str(bench.work / "run"),
        "per_device_train_batch_size": posts // parts,
        "gradient_accumulation_steps": parts,
        "max_steps": bench.sizes.warmup + steps,
        "learning_rate": 1e-4,
        "bf16": bench.on_gpu,
        "use_cpu": not bench.on_gpu,
        "save_strategy": "no",
        "logging_steps": 50,
        "report_to": [],
        "disable_tqdm": True,
    }


def trained(bench: Bench, trainer: Any, profiler: Any = None) -> dict[str, float]:
    """Trains, and gives seconds a step, those of the first one, and peak memory."""
    clock = Clock(bench.sizes.warmup, profiler)
    trainer.add_callback(clock)
    trainer.remove_callback(transformers.PrinterCallback)
    if bench.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    peak = torch.cuda.max_memory_allocated() / 1e9 if bench.on_gpu else float("nan")
    return {"seconds": clock.seconds, "first": clock.first_step, "gigabytes": peak}


def our_trainer(bench: Bench, model: str, **options: Any) -> Any:
    """MLM by this package."""
    from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings
    from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer

    size = bench.sizes
    steps = options.pop("steps", size.steps)
    config = apply_settings(bench.config(model), social_weight=0.0, mlm_weight=1.0)
    arguments = options_of(bench, steps, size.posts_a_step) | options
    return SocialPretrainingTrainer(
        bench.new(TwhinBertForPreTraining, config),
        SocialPretrainingConfig(**arguments),
        bench.posts(size.posts_a_step * (steps + size.warmup)),
        processing_class=bench.tokenizer,
    )


def stock_trainer(bench: Bench, model: str) -> Any:
    """MLM as it is usually done."""
    size = bench.sizes
    parts = size.posts_a_step // size.stock_posts
    arguments = transformers.TrainingArguments(
        **options_of(bench, size.stock_steps, size.posts_a_step, parts),
        dataloader_num_workers=4 if bench.on_gpu else 0,
    )
    posts = bench.posts(size.posts_a_step * (size.stock_steps + size.warmup))
    ids = bench.tokenizer(list(posts["text"]), truncation=True, max_length=128)["input_ids"]
    return transformers.Trainer(
        bench.new(transformers.BertForMaskedLM, bench.config(model)),
        arguments,
        train_dataset=Dataset.from_dict({"input_ids": ids}),
        data_collator=transformers.DataCollatorForLanguageModeling(bench.tokenizer),
        processing_class=bench.tokenizer,
    )


def mlm(bench: Bench, model: str) -> dict[str, Any]:
    """A step of MLM, ours and stock."""
    goals = {"base": 45, "large": 55}
    layers, width = bench.sizes.models[model]
    bench.say(
        f"{layers} layers × {width}, vocabulary {bench.config(model).vocab_size:,}, "
        f"{bench.sizes.posts_a_step} posts a step; goals: ≥ 4 × `Trainer`, MFU ≥ {goals[model]} %\n"
    )
    table_head(bench, ["", "seconds a step", "real tokens a second", "MFU %", "peak GB"])
    found: dict[str, Any] = {}
    for side, make in (("ours", our_trainer), ("stock", stock_trainer)):
        trainer = make(bench, model)
        found[side] = trained(bench, trainer)
        say_speed(bench, side, model, found[side])
        del trainer
        gc.collect()
    found["ratio"] = found["stock"]["seconds"] / found["ours"]["seconds"]
    bench.say(f"| ours / stock | **{found['ratio']:.1f} ×** | | | |")
    return found


def say_speed(bench: Bench, side: str, model: str, figures: dict[str, float]) -> None:
    """A line of the table, and what it says beside the figures measured."""
    speed = bench.tokens * bench.sizes.posts_a_step / figures["seconds"]
    share = (
        bench.flops_of_a_token(bench.config(model), 0.15) * speed / bench.peak * 100
        if (bench.peak)
        else float("nan")
    )
    figures |= {"tokens_per_second": speed, "mfu_percent": share}
    bench.say(
        f"| {side} | {figures['seconds']:.4f} | {speed:,.0f} | {share:.1f} | "
        f"{figures['gigabytes']:.1f} |"
    )


def table_head(bench: Bench, names: list[str]) -> None:
    """Begins a table."""
    bench.say(f"| {' | '.join(names)} |\n|{' --- |' * len(names)}")


def joint(bench: Bench) -> dict[str, Any]:
    """MLM and the social loss together, beside MLM and MNRL apart."""
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import (
        CachedMultipleNegativesRankingLoss,
        MultipleNegativesRankingLoss,
    )

    from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings
    from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer

    size = bench.sizes
    # As many posts as a step of MLM has, so that its figure can be added.
    num_pairs = size.posts_a_step // 2
    count = num_pairs * (size.steps + size.warmup)
    posts = bench.posts(2 * count)
    rows = np.arange(count)
    pairs = pa.table(
        {
            "anchor_id": [str(row) for row in rows],
            "positive_id": [str(row + count) for row in rows],
        }
    )
    config = apply_settings(bench.config("base"), social_weight=1.0, mlm_weight=0.1)
    trainer = SocialPretrainingTrainer(
        bench.new(TwhinBertForPreTraining, config),
        SocialPretrainingConfig(**options_of(bench, size.steps, num_pairs)),
        posts,
        pairs,
        processing_class=bench.tokenizer,
    )
    found: dict[str, Any] = {"ours": trained(bench, trainer)}
    bench.say(f"base, {num_pairs} pairs a step, {2 * num_pairs} posts; goal: ≥ 3 ×\n")
    table_head(bench, ["", "seconds a step", "with MLM by Trainer", "ours is faster"])
    ours = found["ours"]["seconds"]
    bench.say(f"| ours, MLM + social | {ours:.4f} | | |")
    del trainer
    gc.collect()
    apart = bench.results.get("mlm base", {}).get("stock", {}).get("seconds", float("nan"))
    texts = list(posts["text"])
    data = Dataset.from_dict({"anchor": texts[:count], "positive": texts[count:]})
    kinds = {
        "MultipleNegativesRankingLoss": MultipleNegativesRankingLoss,
        "CachedMultipleNegativesRankingLoss": lambda model: CachedMultipleNegativesRankingLoss(
            model, mini_batch_size=min(128, num_pairs)
        ),
    }
    for name, loss in kinds.items():
        model = SentenceTransformer(
            str(saved_encoder(bench)), device=bench.device, trust_remote_code=False
        )
        model.max_seq_length = 128
        arguments = options_of(bench, size.stock_steps, num_pairs)
        trainer = SentenceTransformerTrainer(
            model,
            SentenceTransformerTrainingArguments(**arguments),
            train_dataset=data,
            loss=loss(model),
        )
        found[name] = trained(bench, trainer)
        both = found[name]["seconds"] + apart
        found[name]["ratio"] = both / ours
        bench.say(
            f"| {name} | {found[name]['seconds']:.4f} | {both:.4f} | **{both / ours:.1f} ×** |"
        )
        del trainer, model
        gc.collect()
    return found


def saved_encoder(bench: Bench) -> Path:
    """The folder of a stock BERT of base size with its tokenizer."""
    folder = bench.work / "model"
    if not (folder / "config.json").exists():
        bench.new(transformers.BertModel, bench.config("base")).save_pretrained(folder)
    return folder


def generated_graph(num_users: int, num_edges: int) -> Any:
    """A network of half as many posts as users, about which users have tastes."""
    from twhin_hf.network.log import EngagementGraph, LogReport

    random, num_posts = np.random.default_rng(0), num_users // 2
    users = random.integers(0, num_users, num_edges)
    # Nine engagements in ten are with posts of the user's own taste.
    near = (users % 100 + 100 * random.integers(0, num_posts // 100, num_edges)) % num_posts
    posts = np.where(random.random(num_edges) < 0.9, near, random.integers(0, num_posts, num_edges))
    users, posts = np.divmod(np.unique(users * num_posts + posts), num_posts)
    return EngagementGraph(
        lhs=users.astype(np.int32),
        rhs=posts.astype(np.int32),
        relation=np.zeros(len(users), np.int16),
        user_ids=pa.array([f"u{row}" for row in range(num_users)]),
        post_ids=pa.array([f"p{row}" for row in range(num_posts)]),
        relations=["like"],
        report=LogReport(),
    )


def network(bench: Bench) -> dict[str, Any]:
    """Embedding a network on either device."""
    from twhin_hf.network.embedding import embed_network
    from twhin_hf.network.embedding_config import NetworkEmbeddingConfig

    size = bench.sizes
    graph = generated_graph(size.users, size.edges)
    small = generated_graph(SMALL.users, SMALL.edges)
    bench.say(
        f"{graph.num_edges:,} edges, {graph.num_users:,} users, {graph.num_posts:,} posts, "
        f"{size.dimension} "
        f"dimensions, one epoch of softmax without warm start, {torch.get_num_threads()} CPU "
        "threads; goal: ≥ 20 ×\n"
    )
    table_head(bench, ["", "seconds", "edges a second", "HITS@10"])
    found: dict[str, Any] = {}
    for device in dict.fromkeys([bench.device, "cpu"]):
        options = NetworkEmbeddingConfig(
            dimension=size.dimension, epochs=1, warm_start=False, device=device
        )
        embed_network(small, options, progress=False)
        done = embed_network(graph, options, progress=False).metadata
        seconds, hits = done["seconds"], done["metrics"]["hits@10"]
        found[device] = {"seconds": seconds, "hits": hits}
        bench.say(f"| {device} | {seconds:.2f} | {graph.num_edges / seconds:,.0f} | {hits:.3f} |")
    if bench.on_gpu:
        found["ratio"] = found["cpu"]["seconds"] / found["cuda"]["seconds"]
        bench.say(f"| cpu / cuda | **{found['ratio']:.1f} ×** | | |")
    return found


def encode(bench: Bench) -> dict[str, Any]:
    """Embeddings of texts, mean of all tokens, three ways."""
    from sentence_transformers import SentenceTransformer

    from twhin_hf.modeling import TwhinBertModel

    folder, dtype = saved_encoder(bench), torch.bfloat16 if bench.on_gpu else torch.float32
    texts = [bench.texts[row % len(bench.texts)] for row in range(bench.sizes.encoded)]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    ours = TwhinBertModel.from_pretrained(folder, dtype=dtype).to(bench.device)
    theirs = SentenceTransformer(
        str(folder), device=bench.device, model_kwargs={"dtype": dtype}, trust_remote_code=False
    )
    theirs.max_seq_length = 128
    stock = transformers.BertModel.from_pretrained(folder, dtype=dtype).to(bench.device).eval()

    @torch.inference_mode()
    def loop(texts: list[str]) -> np.ndarray:
        vectors = []
        for start in range(0, len(texts), 64):
            options = {"padding": "max_length", "truncation": True, "max_length": 128}
            batch = tokenizer(texts[start : start + 64], return_tensors="pt", **options)
            batch = {name: ids.to(bench.device) for name, ids in batch.items()}
            hidden = stock(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None]
            vectors.append(((hidden * mask).sum(1) / mask.sum(1)).float().cpu())
        return torch.cat(vectors).numpy()

    ways: dict[str, Callable[[list[str]], np.ndarray]] = {
        "ours": lambda texts: ours.encode(
            texts, batch_size=256 if bench.on_gpu else 64, pooling="mean_all", convert_to_numpy=True
        ),
        "sentence-transformers": lambda texts: theirs.encode(
            texts, batch_size=256 if bench.on_gpu else 32
        ),
        "application's loop": loop,
    }
    bench.say(f"base, {len(texts):,} posts; goals: ≥ 1.5 × sentence-transformers, ≥ 4 × the loop\n")
    table_head(bench, ["", "posts a second", "ours is faster", "least cosine with ours"])
    found: dict[str, Any] = {}
    expected = None
    for name, way in ways.items():
        way(texts[:512])
        synchronize()
        began = time.perf_counter()
        vectors = way(texts)
        seconds = time.perf_counter() - began
        expected = vectors if expected is None else expected
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
        least = float(((vectors * expected).sum(1) / norms).min())
        found[name] = {"seconds": seconds, "least_cosine": least}
        ratio = seconds / found["ours"]["seconds"]
        bench.say(f"| {name} | {len(texts) / seconds:,.0f} | {ratio:.2f} × | {least:.4f} |")
    return found


def profiled(bench: Bench) -> dict[str, Any]:
    """What a step of ours spends its time with."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if bench.on_gpu:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    profiler = torch.profiler.profile(activities=activities)
    steps = min(5, bench.sizes.steps)
    trained(bench, our_trainer(bench, "base", steps=steps), profiler)
    averages = profiler.key_averages()
    order = "self_device_time_total" if bench.on_gpu else "self_cpu_time_total"
    events = sorted(averages, key=lambda event: -getattr(event, order))[:25]
    total = sum(getattr(event, order) for event in averages) or 1.0
    kind = "GPU" if bench.on_gpu else "CPU"
    table_head(bench, [f"the {kind}'s time", "ms a step", "%", "calls a step"])
    for event in events:
        spent = getattr(event, order)
        bench.say(
            f"| `{event.key[:90]}` | {spent / 1e3 / steps:.2f} | {100 * spent / total:.1f} | "
            f"{event.count / steps:.0f} |"
        )
    waits = [event for event in averages if "Synchronize" in event.key]
    bench.say(
        f"\nThe host waits for the GPU (once to end the measurement, and a step late for "
        f"`on_bad_step`, when there is no more to wait for), in {steps} steps:\n"
    )
    table_head(bench, ["", "ms", "calls"])
    for event in waits:
        bench.say(f"| `{event.key}` | {event.self_cpu_time_total / 1e3:.2f} | {event.count} |")
    return {
        "top": {event.key: getattr(event, order) / 1e3 / steps for event in events},
        "waits": {event.key: event.count for event in waits},
    }


def compiled(bench: Bench) -> dict[str, Any]:
    """A step of MLM with the encoder compiled."""
    backend = "inductor" if bench.on_gpu else "eager"
    trainer = our_trainer(
        bench, "base", torch_compile=True, torch_compile_backend=backend, steps=bench.sizes.steps
    )
    found = trained(bench, trainer)
    table_head(bench, ["", "seconds a step", "real tokens a second", "MFU %", "peak GB"])
    say_speed(bench, "ours, compiled", "base", found)
    bench.say(f"\nThe first step, with its compilation, took {found['first']:.0f} seconds.")
    return found


SECTIONS: dict[str, tuple[Callable[[Bench], Any], float]] = {
    "mlm base": (lambda bench: mlm(bench, "base"), 30),
    "encode": (encode, 30),
    "joint": (joint, 30),
    "mlm large": (lambda bench: mlm(bench, "large"), 45),
    "where the time goes": (profiled, 15),
    "network": (network, 40),
    "compiled": (compiled, 100),
}
"""Each with the seconds that it needs at least on a GPU, most wanted first."""


def main() -> None:
    """Runs all sections."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", nargs="*", help="files of one post a line")
    parser.add_argument("--output", default="runs/gpu", help="folder (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=460, help="for all (default: %(default)s)")
    parser.add_argument("--peak-tflops", type=float, help="of a GPU not known by its name")
    parser.add_argument("--small", action="store_true", help="tiny models on the CPU")
    parser.add_argument("--only", nargs="*", choices=list(SECTIONS), help="these sections alone")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    logging.getLogger("twhin_hf").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(args, Path(work))
        for name, (measure, least) in SECTIONS.items():
            bench.section(name, measure, least)
    bench.say(f"\n{time.monotonic() - bench.began:.0f} seconds in all")
    bench.write()
    if bench.failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
