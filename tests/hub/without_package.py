"""Loads models in every way in a process that has no twhin_hf, then with it, and tells the vectors.

    python -I without_package.py TASKS.json FOUND.safetensors

TASKS: `{"texts": […], "folder": …, "package": …, "dataset": …, "models": [{"name": …, "trust": …,
"revision": …, "adapter": …}]}`. Names are folders or repositories of the Hub that the environment
names; `package` is where the package lies.
"""

# ruff: noqa: E402 (the package is refused before anything could import it)

import json
import sys
from pathlib import Path


class Refusal:
    """Stands before all finders: the checkout may be installed in this environment."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "twhin_hf":
            raise ModuleNotFoundError(f"No module named {name!r}")


REFUSAL = Refusal()
if __name__ == "__main__":  # not where tests are collected
    sys.meta_path.insert(0, REFUSAL)

import torch
from sentence_transformers import SentenceTransformer
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

STOCK = {
    "stock": AutoModel,
    "mlm": AutoModelForMaskedLM,
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
}


def is_stock(model) -> bool:
    return type(model).__module__.startswith("transformers.")


def encoder_weights(model) -> dict:
    """Those of the encoder, without a pooler, under the names of the bare encoder."""
    prefix = model.base_model_prefix + "."
    state = model.state_dict()
    inner = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    return {n: v for n, v in (inner or state).items() if "pooler." not in n}


def load_all(task: dict, texts: list, folder: Path) -> dict:
    name, where = task["name"], {k: v for k, v in task.items() if k == "revision"}
    trusted = {"trust_remote_code": True, **where}
    ours = AutoModel.from_pretrained(name, **trusted)
    assert type(ours).__module__.startswith("transformers_modules."), type(ours)
    found = {"encode": ours.encode(texts)}
    pretraining, info = AutoModelForPreTraining.from_pretrained(
        name, output_loading_info=True, **trusted
    )
    assert type(pretraining).__name__ == type(ours).__name__.replace("Model", "ForPreTraining")
    assert not info["missing_keys"], info
    expected = encoder_weights(pretraining)
    for kind, auto_class in STOCK.items():
        # No answer can be given to a question: standard input is closed.
        model = auto_class.from_pretrained(name, **where)
        assert is_stock(model), type(model)
        weights = encoder_weights(model)
        assert weights.keys() >= expected.keys(), (kind, expected.keys() - weights.keys())
        assert all(weights[key].equal(value) for key, value in expected.items()), kind
    sentences = SentenceTransformer(
        name, trust_remote_code=bool(task["trust"]), device="cpu", **where
    )
    assert is_stock(sentences[0].model) != bool(task["trust"])
    found["sentence"] = torch.from_numpy(sentences.encode(texts))
    assert sentences.get_embedding_dimension() == found["sentence"].shape[1]
    # What was loaded with trust is saved with its code again.
    again = folder / "again"
    for model, auto_class in ((ours, AutoModel), (pretraining, AutoModelForPreTraining)):
        model.save_pretrained(again)
        AutoTokenizer.from_pretrained(name, **where).save_pretrained(again)
        assert type(auto_class.from_pretrained(again, **trusted)).__name__ == type(model).__name__
        assert is_stock(AutoModel.from_pretrained(again))
    found["again"] = AutoModel.from_pretrained(again, trust_remote_code=True).encode(texts)
    return found


def load_adapter(task: dict, texts: list) -> dict:
    """The adapter on the stock encoder, and as a SentenceTransformer where that needs no code."""
    from peft import AutoPeftModelForFeatureExtraction

    name = task["adapter"]
    model = AutoPeftModelForFeatureExtraction.from_pretrained(name).eval()
    assert is_stock(model.get_base_model()), type(model.get_base_model())
    inputs = AutoTokenizer.from_pretrained(name)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = {"adapter.hidden": model(**inputs).last_hidden_state}
    if not task["trust"]:
        sentences = SentenceTransformer(name, device="cpu")
        found["adapter.sentence"] = torch.from_numpy(sentences.encode(texts))
    return found


def load_with_package(task: dict, texts: list) -> dict:
    """By the package, which asks for no trust."""
    import twhin_hf
    from twhin_hf.loading.auto import load_post_encoder

    ours = load_post_encoder(task["name"], task.get("revision"))
    assert type(ours) is getattr(twhin_hf, type(ours).__name__)
    found = {"package": ours.encode(texts)}
    if "adapter" in task:
        found["adapter.package"] = load_post_encoder(task["adapter"]).encode(texts)
    return found


def load_data(name: str) -> dict:
    """The rows of each config of a data set, as numbers."""
    from datasets import get_dataset_config_names, load_dataset

    configs = get_dataset_config_names(name)
    return {
        f"dataset.{config}.{split}": torch.tensor(rows["label"])
        for config in configs
        for split, rows in load_dataset(name, config).items()
    }


def main() -> None:
    from safetensors.torch import save_file

    tasks = json.loads(Path(sys.argv[1]).read_text())
    texts, found = tasks["texts"], {}

    def keep(number: int, vectors: dict) -> None:
        found.update({f"{number}.{kind}": value.contiguous() for kind, value in vectors.items()})

    for number, task in enumerate(tasks["models"]):
        keep(number, load_all(task, texts, Path(tasks["folder"]) / str(number)))
        if "adapter" in task:
            keep(number, load_adapter(task, texts))
    if tasks.get("dataset"):
        found |= load_data(tasks["dataset"])
    assert not any(module.partition(".")[0] == "twhin_hf" for module in sys.modules)
    sys.meta_path.remove(REFUSAL)
    sys.path.insert(0, tasks["package"])
    for number, task in enumerate(tasks["models"]):
        keep(number, load_with_package(task, texts))
    save_file(found, sys.argv[2])


if __name__ == "__main__":
    main()
