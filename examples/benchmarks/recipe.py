r"""Recipes of pretraining from scratch: the tokens that each needs to reach the baseline's loss.

    python examples/benchmarks/recipe.py --corpus umsab
    python examples/benchmarks/recipe.py --corpus umsab max_steps=240 optim_matrices=muon \
        learning_rate=1e-2 mlm_probability=0.3 dropout=0
    python examples/benchmarks/recipe.py --show --plot examples/benchmarks/recipe.png

A run changes options or the encoder of the baseline (`NAME=VALUE`) and trains from scratch, its
learning rate falling to 0 at its own end. The held-out loss is that of the same tokens for all
runs: 15 % of those of held-out posts, whatever share the training masks. Each run is a JSON file in
the output folder, and one that is there is not run again. In bfloat16, on one thread.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from twhin_hf.files import write_text

DATA = Path(__file__).parents[3] / "shared" / "data"


class Corpus(NamedTuple):
    """What is trained on, with what encoder.

    Args:
        encoder: Values of its BertConfig.
        options: Of SocialPretrainingConfig.
        vocab_size: Of the tokenizer.
        max_length: Tokens of a post.
    """

    encoder: dict[str, Any]
    options: dict[str, Any]
    vocab_size: int


CORPORA = {
    "umsab": Corpus(
        {
            "hidden_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 512,
            "initializer_range": 0.05,
            "max_position_embeddings": 128,
        },
        {
            "per_device_train_batch_size": 64,
            "learning_rate": 2e-3,
            "warmup_steps": 40,
            "max_steps": 480,
            "max_length": 64,
        },
        8000,
    ),
    "generated": Corpus(
        {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 256,
            "initializer_range": 0.05,
            "max_position_embeddings": 64,
        },
        {
            "per_device_train_batch_size": 128,
            "learning_rate": 4e-3,
            "warmup_steps": 40,
            "max_steps": 300,
            "max_length": 48,
        },
        8000,
    ),
}

HELD_OUT = 1000
CURVE_POINTS = 6
OWN_CHANGES = ("dropout", "depth_scaled_init", "last_masking")
"""Changes that are no option: of all dropouts, the initial weights, the masking at the end."""
SHORT = {
    "optim_matrices": "",
    "learning_rate": "rate ",
    "mlm_probability": "masking ",
    "per_device_train_batch_size": "batch ",
    "lr_scheduler_type": "",
    "initializer_range": "init ",
    "dropout": "dropout ",
    "depth_scaled_init": "depth-scaled init ",
    "last_masking": "then ",
    "max_steps": "steps ",
}
"""How changes are written in tables and plots; warmup_steps is left out."""


def posts_of(corpus: str, folder: Path) -> Any:
    """Training and held-out posts, and a tokenizer of the training posts, which is kept."""
    from datasets import Dataset

    from twhin_hf.data.synthetic import generate_network
    from twhin_hf.data.synthetic_config import SyntheticConfig
    from twhin_hf.data.tokenization import train_unigram_tokenizer
    from twhin_hf.loading.auto import load_tokenizer

    if corpus == "generated":
        table = generate_network(SyntheticConfig(languages=("en", "ja", "ar", "hi"))).posts
        posts = Dataset(table.select(["post_id", "text", "lang"]))
    else:
        files = sorted((DATA / "umsab").glob("*/*_text.txt"))
        if not files:
            sys.exit(f"no posts: {DATA / 'umsab'} not found")
        lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
        texts = list(dict.fromkeys(line for line in lines if line.strip()))
        posts = Dataset.from_dict({"post_id": list(map(str, range(len(texts)))), "text": texts})
    parts = posts.train_test_split(HELD_OUT, seed=0)
    kept = folder / f"tokenizer {corpus}"
    if not kept.exists():
        size = CORPORA[corpus].vocab_size
        train_unigram_tokenizer(parts["train"]["text"], size, progress=False).save_pretrained(kept)
    return parts["train"], parts["test"], load_tokenizer(str(kept))


def train(corpus: str, changes: dict[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    """Trains one variant; its held-out losses by the tokens seen."""
    import datasets
    import torch
    from transformers import BertConfig, TrainerCallback, set_seed

    from twhin_hf.data.tokenization import tokenize_posts
    from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings
    from twhin_hf.training.batches import PostBatches
    from twhin_hf.training.collators import PackingCollator
    from twhin_hf.training.initialization import DROPOUTS
    from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer

    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    posts, held_out, tokenizer = posts_of(corpus, folder)
    base = CORPORA[corpus]
    own = {name: changes[name] for name in OWN_CHANGES if name in changes}
    stock = BertConfig()
    encoder = {name: value for name, value in changes.items() if hasattr(stock, name)}
    options = {
        name: value for name, value in changes.items() if name not in own and name not in encoder
    }
    if "dropout" in own:
        encoder |= dict.fromkeys(DROPOUTS[:2], own["dropout"])
    config = BertConfig(
        **base.encoder | encoder, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id
    )
    set_seed(seed)
    model = TwhinBertForPreTraining(apply_settings(config, social_weight=0.0, mlm_weight=1.0))
    if own.get("depth_scaled_init"):
        with torch.no_grad():
            for layer in model.base_model.encoder.layer:
                for dense in (layer.attention.output.dense, layer.output.dense):
                    dense.weight /= (2 * config.num_hidden_layers) ** 0.5
    args = SocialPretrainingConfig(
        output_dir=str(folder / "trainer"),
        seed=seed,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        bf16=True,
        **base.options | options,
    )
    collate = PackingCollator(tokenizer, 128, 0.15, seed=1)
    batches = PostBatches(tokenize_posts(held_out, tokenizer, max_length=args.max_length))
    keys = [list(range(begin, begin + 100)) for begin in range(0, len(batches), 100)]
    judged = [collate(batches.__getitems__(some)) for some in keys]
    curve: list[tuple[float, float]] = []
    tokens = seconds = 0.0

    @torch.no_grad()
    def judge() -> None:
        model.eval()
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            counts = [int((batch["labels"] != -100).sum()) for batch in judged]
            losses = [float(model(**batch).mlm_loss) for batch in judged]
        model.train()
        total = sum(loss * count for loss, count in zip(losses, counts, strict=True))
        curve.append((tokens, total / sum(counts)))

    class Steps(TrainerCallback):
        began = 0.0

        def on_step_begin(self, args, state, control, **kwargs):
            share = state.global_step / state.max_steps
            if "last_masking" in own and share >= 0.5:
                trainer.data_collator.mlm_probability = own["last_masking"]
            Steps.began = time.process_time()

        def on_step_end(self, args, state, control, **kwargs):
            nonlocal seconds
            seconds += time.process_time() - Steps.began
            if state.global_step % max(1, state.max_steps // CURVE_POINTS) == 0:
                judge()

    class Counting(SocialPretrainingTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            nonlocal tokens
            tokens += int((inputs["segment_ids"] > 0).sum())
            return super().compute_loss(model, inputs, *args, **kwargs)

    trainer = Counting(model, args, posts, processing_class=tokenizer, callbacks=[Steps])
    judge()
    trainer.train()
    judge()
    return {"curve": curve, "processor_seconds": seconds}


def literal(value: str) -> Any:
    """A number or flag where it is one, else the text."""
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def show(folder: Path, plot: Path | None) -> None:
    """Tables of all runs beside the best baseline of their corpus, by loss; and a plot of some."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    by_corpus: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for run in runs:
        told = [f"{SHORT[key]}{run['changes'][key]}" for key in SHORT if key in run["changes"]]
        name = ", ".join(told) or "baseline"
        by_corpus.setdefault(run["corpus"], {}).setdefault(name, []).append(run)
    for corpus, found in by_corpus.items():
        goal, total = final_loss(found["baseline"]), found["baseline"][0]["curve"][-1][0]
        columns = ("", "seeds", "tokens", "held-out loss", "tokens to the baseline's", "seconds")
        print(f"\n{corpus}\n| " + " | ".join(columns) + " |\n" + "| --- " * len(columns) + "|")
        for name, some in sorted(found.items(), key=lambda item: final_loss(item[1])):
            losses = ", ".join(f"{run['curve'][-1][1]:.3f}" for run in some)
            needed = [tokens_to(run["curve"], goal) / total for run in some]
            reached = f"{statistics.median(needed):.2f}" if max(needed) < math.inf else ""
            seconds = statistics.median(run["processor_seconds"] for run in some)
            share = some[0]["curve"][-1][0] / total
            print(f"| {name} | {len(some)} | {share:.2f} | {losses} | {reached} | {seconds:.0f} |")
    if plot:
        draw(by_corpus, plot)


def draw(by_corpus: dict[str, dict[str, list[dict[str, Any]]]], plot: Path) -> None:
    """Held-out losses by tokens, the first seed of each run."""
    import altair as alt

    from twhin_hf.plots import INK, save_chart

    panels = []
    for corpus, found in by_corpus.items():
        rows = [
            {"recipe": name, "tokens": tokens / 1e6, "loss": loss}
            for name, some in found.items()
            for tokens, loss in some[0]["curve"][1:]
        ]
        names = ["baseline", *(name for name in found if name != "baseline")]
        palette = ["#3b7dd8", "#c4621c", "#2f8f5b", "#8f63c9", "#c94f6d", "#1d8a99", "#96703f"]
        colours = [INK, *(palette[place % len(palette)] for place in range(len(names) - 1))]
        lines = (
            alt.Chart(alt.InlineData(values=rows))
            .mark_line(point=True)
            .encode(
                x=alt.X("tokens:Q", title="million tokens"),
                y=alt.Y("loss:Q", title="held-out MLM loss", scale=alt.Scale(zero=False)),
                color=alt.Color(
                    "recipe:N",
                    title=None,
                    scale=alt.Scale(domain=names, range=colours),
                    legend=alt.Legend(orient="right", columns=1, labelLimit=460),
                ),
                strokeDash=alt.StrokeDash("recipe:N", legend=None, sort=names),
            )
        )
        goal = alt.Chart(alt.InlineData(values=[{"loss": final_loss(found["baseline"])}]))
        rule = goal.mark_rule(strokeDash=[2, 3]).encode(y="loss:Q")
        panels.append((lines + rule).properties(title=corpus, width=420, height=260))
    save_chart(
        alt.vconcat(*panels).resolve_scale(color="independent", strokeDash="independent"), plot
    )


def final_loss(runs: list[dict[str, Any]]) -> float:
    """The median of the last held-out losses of several seeds."""
    return statistics.median(run["curve"][-1][1] for run in runs)


def tokens_to(curve: list[list[float]], goal: float) -> float:
    """Tokens at the first judged step whose loss is no higher than a goal."""
    return next((tokens for tokens, loss in curve if loss <= goal), math.inf)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("changes", nargs="*", help="NAME=VALUE, of the options or the encoder")
    parser.add_argument("--corpus", choices=CORPORA, default="umsab")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output", type=Path, default=Path("runs/recipe"))
    parser.add_argument("--show", action="store_true", help="show all runs of the output folder")
    parser.add_argument("--plot", type=Path, help="draw them")
    args = parser.parse_args()
    if args.show:
        show(args.output, args.plot)
        return
    changes = dict(change.split("=") for change in args.changes)
    changes = {name: literal(value) for name, value in changes.items()}
    name = " ".join(args.changes) or "baseline"
    for seed in args.seeds:
        path = args.output / f"{args.corpus} {name} {seed}.json"
        if not path.exists():
            run = train(args.corpus, changes, seed, args.output)
            run = {"corpus": args.corpus, "changes": changes, "seed": seed, **run}
            write_text(path, json.dumps(run))
        run = json.loads(path.read_text())
        tokens, loss = run["curve"][-1]
        print(
            f"{args.corpus} | {name} | {seed} | {tokens:,.0f} | {loss:.4f} | "
            f"{run['processor_seconds']:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
