"""How far `pooler_output` of a language model's checkpoint moves between two loads.

    python examples/fix_random_pooler.py
    python examples/fix_random_pooler.py --model Twitter/twhin-bert-base

Without `--model` it makes a tiny checkpoint, and needs no network. See fix_random_pooler.md.
"""

from __future__ import annotations

import argparse
from tempfile import TemporaryDirectory
from typing import Any


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Loads a checkpoint twice, and prints how alike what each load returns is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a BERT checkpoint without a pooler; by default a tiny one")
    args = parser.parse_args(arguments)

    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with TemporaryDirectory() as folder:
        if not args.model:
            make_checkpoint(folder)
        found = compare_loads(args.model or folder)
    print("Cosine of a text with itself, across two loads of one checkpoint:")
    for name, cosine in found.items():
        print(f"  {name:36} {cosine:7.4f}")
    return found


def make_checkpoint(folder: str) -> None:
    """A tiny masked language model: like the released TwHIN-BERT it holds no pooler."""
    from transformers import BertConfig, BertForMaskedLM, set_seed

    set_seed(0)
    sizes = {"vocab_size": 100, "hidden_size": 64, "intermediate_size": 96}
    layers = {"num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.1}
    BertForMaskedLM(BertConfig(**sizes, **layers)).save_pretrained(folder)


def compare_loads(model: str) -> dict[str, float]:
    """Mean cosine of each output with that of a second load."""
    import torch
    from transformers import AutoModel, set_seed

    from twhin_hf import TwhinBertModel

    ids = torch.randint(5, 100, (8, 12), generator=torch.Generator().manual_seed(0))

    def load(seed: int) -> dict[str, Any]:
        set_seed(seed)  # Two processes: neither knows the other's generator.
        with torch.inference_mode():
            stock = AutoModel.from_pretrained(model, trust_remote_code=False)(input_ids=ids)
            ours = TwhinBertModel.from_pretrained(model)(input_ids=ids)
        return {
            "AutoModel: pooler_output": stock.pooler_output,
            "AutoModel: last_hidden_state[:, 0]": stock.last_hidden_state[:, 0],
            "TwhinBertModel: embeddings": ours.embeddings,
        }

    first, second = load(1), load(2)
    cosine = torch.nn.functional.cosine_similarity
    return {name: cosine(first[name], second[name]).mean().item() for name in first}


if __name__ == "__main__":
    main()
