"""{save, push, pull} by every way to load, for every family, in fresh processes.

    pytest tests/hub/test_matrix.py

A process loads what lies in folders and what was pushed to a Hub of this machine: by AutoModel with
and without trust, as stock models for masked language modelling and for classification of texts
and of tokens, by AutoModelForPreTraining, sentence-transformers and peft, first without the
package and then with it. It runs on the oldest supported libraries too.
"""

import json

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("sentence_transformers")

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from transformers import AutoTokenizer

from twhin_hf.benchmarks.hub_folder import DatasetCard, HubConfig, write_hub_folder
from twhin_hf.hub.datasets import push_dataset
from twhin_hf.hub.push import push_model
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.loading.families import MODELS

LABELS = {"en": [0, 1, 1, 0], "und": [1, 1, 0, 0]}


@pytest.fixture
def benchmark(tmp_path):
    """The folder of a data set with two configs."""
    features = Features({"id": Value("string"), "label": ClassLabel(names=["a", "b"])})
    configs = []
    for language, labels in LABELS.items():
        rows = Dataset.from_dict({"id": list("1234"), "label": labels}, features=features)
        splits = DatasetDict(train=rows, test=rows.select([0]))
        configs.append(HubConfig(language, language, f"posts/{language}", splits))
    return write_hub_folder(configs, tmp_path / "set", DatasetCard("A title", "What it is."))


def pooling_of(folder):
    return json.loads((folder / "config.json").read_text())["pooling"]


@pytest.mark.parametrize("family", sorted(MODELS))
def test_save_push_and_pull(
    family, hub, saved_models, saved_adapters, benchmark, texts, without_package
):
    folder, adapter, some = saved_models[family], saved_adapters[family], texts[:8]
    private = family == "roberta"
    push_model(folder, f"me/{family}.v1", private=private)
    push_model(adapter, f"me/{family}.lora", private=private, base_model=f"me/{family}.v1")
    assert hub.repos[f"me/{family}.v1"].private == private
    trust = pooling_of(folder) == "combined"
    local = {"name": str(folder), "trust": trust, "adapter": str(adapter)}
    pushed = {"name": f"me/{family}.v1", "trust": trust, "adapter": f"me/{family}.lora"}
    if family == "bert":
        # Newer code is not run where the older is pinned.
        commits = hub.repos["me/bert.v1"].commits
        pushed["revision"] = hub.repos["me/bert.v1"].sha()
        spoilt = {"modeling_twhin_bert.py": b"raise RuntimeError('newer code')"}
        commits.append(commits[-1] | spoilt)
        push_dataset(benchmark, "me/benchmark", private=True)
    found = without_package(
        [local, pushed],
        some,
        dataset="me/benchmark" if family == "bert" else None,
        HF_ENDPOINT=hub.endpoint,
        HF_HUB_OFFLINE="0",
        HF_HUB_DISABLE_XET="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_UPDATE_DOWNLOAD_COUNTS="0",
        DISABLE_SAFETENSORS_CONVERSION="1",
        HF_TOKEN="hf_reader",
    )
    expected = load_post_encoder(str(folder)).encode(some)
    adapted = load_post_encoder(str(adapter))
    assert not torch.allclose(adapted.encode(some), expected, atol=1e-2)
    inputs = AutoTokenizer.from_pretrained(folder)(some, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = adapted(**inputs).last_hidden_state
    for number in range(2):
        for kind in ("encode", "sentence", "again", "package"):
            close(found.pop(f"{number}.{kind}"), expected)
        close(found.pop(f"{number}.adapter.hidden"), hidden)
        for kind in ("package",) if trust else ("package", "sentence"):
            close(found.pop(f"{number}.adapter.{kind}"), adapted.encode(some))
    if family == "bert":
        for language, labels in LABELS.items():
            assert found.pop(f"dataset.{language}.train").tolist() == labels
            assert found.pop(f"dataset.{language}.test").tolist() == labels[:1]
    assert not found  # All that was loaded was compared.


def test_every_pooling_is_there(saved_models):
    assert {pooling_of(folder) for folder in saved_models.values()} == {"cls", "mean", "combined"}


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=5e-6, rtol=1e-5)
