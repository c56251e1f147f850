"""Time from `pip install` to the first vectors, beside sentence-transformers, in one run.

    python examples/benchmarks/first_embedding.py
    python examples/benchmarks/first_embedding.py --find-links wheels --rounds 5

Each installs into an environment of its own, without a cache of pip, and then embeds three posts
in new processes with the same random weights (BERT, 6 layers of 384), which lie on the disk: what a
download of them takes is another question. Installing takes as long as the network does; starting
is the median of the rounds, which take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
POSTS = '["new volcano photos 🌋", "¡el volcán!", "cats at sunset"]'
SIDES = {
    "twhin_hf": (
        [str(CHECKOUT)],
        "from twhin_hf import TwhinBertModel\n"
        f'print(TwhinBertModel.from_pretrained("model").encode({POSTS}).shape)',
    ),
    "sentence-transformers": (
        ["sentence-transformers"],
        "from sentence_transformers import SentenceTransformer\n"
        f'print(SentenceTransformer("model").encode({POSTS}).shape)',
    ),
}


def main() -> None:
    """Installs both, starts both, and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="starts (default: %(default)s)")
    parser.add_argument("--find-links", help="a folder of wheels for pip to look into too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        make_model(folder / "model")
        installed = {}
        for name, (packages, _) in SIDES.items():
            links = ["--find-links", args.find_links] if args.find_links else []
            installed[name] = install(folder / name, [*packages, *links])
        starts: dict[str, list[float]] = {name: [] for name in SIDES}
        for _ in range(args.rounds):
            for name, (_, program) in SIDES.items():
                starts[name].append(start(folder / name, program, folder))
        print(
            "| | pip install | installed | first vectors, new process |\n| --- | --- | --- | --- |"
        )
        for name, seconds in installed.items():
            size = sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())
            first = statistics.median(starts[name])
            print(f"| {name} | {seconds:.0f} s | {size / 1e6:,.0f} MB | {first:.1f} s |")


def make_model(folder: Path) -> None:
    """An encoder of random weights with a tokenizer of whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(special)}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    named = dict(zip(names, special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=words, **named).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30_000, hidden_size=384, num_hidden_layers=6, intermediate_size=1536
    )
    BertModel(config).save_pretrained(folder)


def install(folder: Path, packages: list[str]) -> float:
    """Seconds of `pip install` into a new environment."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "pip", "install", "--quiet", "--no-cache-dir"]
    before = time.perf_counter()
    torch = ["torch", "-c", CHECKOUT / "constraints.txt"]
    subprocess.run([*pip, *torch, *packages], check=True)
    return time.perf_counter() - before


def start(folder: Path, program: str, where: Path) -> float:
    """Seconds of a new process that prints the shape of its vectors."""
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    before = time.perf_counter()
    subprocess.run(
        [folder / "bin" / "python", "-c", program], check=True, cwd=where, env=offline,
        capture_output=True,
    )  # fmt: skip
    return time.perf_counter() - before


if __name__ == "__main__":
    main()
