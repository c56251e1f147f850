"""A demo opened: its folder is read, and its models are loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from twhin_hf.benchmarks.hashtag.text import normalize_hashtag
from twhin_hf.demo.answers import MOST_HASHTAGS, Demo, Encode
from twhin_hf.demo.content import read_demo
from twhin_hf.demo.making import RECOMMENDER
from twhin_hf.devices import pick_device
from twhin_hf.loading.auto import is_adapter, load_tokenizer
from twhin_hf.loading.families import stock_config
from twhin_hf.loading.places import reading_model
from twhin_hf.loading.pretrained import check_files
from twhin_hf.recommendation.model import EngagementModel
from twhin_hf.serving.exported import load_encoder

_MAX_TOKENS = 128


def open_demo(folder: str | Path) -> Demo:
    """Reads a folder of `make_demo`, and loads its models.

    Models are loaded by the package's own loader, which runs no code of theirs.

    Args:
        folder: Of the demo. Models that lie in it go before those of the places that it names.

    Raises:
        FileNotFoundError: It is no folder of a demo, or a model is not there.
        InputError: A file in it is damaged, or a model cannot be loaded.
    """
    folder = Path(folder)
    content = read_demo(folder)
    encoders = {}
    for name in content.units:
        told = content.settings["models"][name]
        encoders[name] = _encoder(_place(folder, told["place"]), told["pooling"])
    recommender = None
    if (folder / RECOMMENDER).is_dir():
        recommender = EngagementModel.from_pretrained(folder / RECOMMENDER)
    classifier = content.settings.get("hashtag_classifier")
    return Demo(
        content,
        encoders,
        recommender,
        load_hashtag_classifier(_place(folder, classifier)) if classifier else None,
    )


def load_hashtag_classifier(name_or_path: str) -> Callable[[str], list[tuple[str, float]]]:
    """A fine-tuned classifier: of a text its most likely hashtags and their probabilities.

    Args:
        name_or_path: Folder or repository of a stock classifier of texts.

    Raises:
        InputError: It cannot be loaded.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    tokenizer = load_tokenizer(name_or_path)
    if not is_adapter(name_or_path):
        check_files(name_or_path, stock_config(name_or_path))
    with reading_model(name_or_path):
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            name_or_path, trust_remote_code=False
        ).eval()
    names = [normalize_hashtag(str(model.config.id2label[n])) for n in range(model.num_labels)]

    @torch.inference_mode()
    def classify(text: str) -> list[tuple[str, float]]:
        batch = tokenizer(text, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt")
        chances, places = model(**batch).logits[0].softmax(0).topk(min(MOST_HASHTAGS, len(names)))
        return [
            (names[place], chance)
            for place, chance in zip(places.tolist(), chances.tolist(), strict=True)
        ]

    return classify


def _encoder(name_or_path: str, pooling: str | None) -> Encode:
    model = load_encoder(name_or_path, None, pick_device(), pooling)

    def encode(text: str) -> np.ndarray:
        return np.asarray(model.encode([text], pooling=pooling), np.float32)[0]

    return encode


def _place(folder: Path, name: str) -> str:
    """A model inside the folder, or wherever it is."""
    return str(folder / name) if (folder / name).is_dir() else name
