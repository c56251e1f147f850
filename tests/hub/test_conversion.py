"""Converting from the Hub, which is asked only where a repository is named."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

from twhin_hf.conversion.convert import convert_checkpoint
from twhin_hf.conversion.encoder import convert_to_encoder


@pytest.fixture
def stock(saved_models, tmp_path):
    """A stock model of BERT, saved as long ago, and what it holds."""
    from transformers import AutoTokenizer

    model = AutoModelForMaskedLM.from_pretrained(saved_models["bert"])
    model.config.__dict__.pop("auto_map")
    folder = tmp_path / "theirs"
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(saved_models["bert"]).save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


def test_a_repository_and_back(hub, stock, tmp_path):
    done = convert_checkpoint(str(stock), tmp_path / "from_folder")
    convert_to_encoder(str(tmp_path / "from_folder"), tmp_path / "plain", pooling="cls")
    assert hub.requests == []
    files = {path.name: path.read_bytes() for path in stock.iterdir()}
    hub.add("owner/theirs", files | {"flax_model.msgpack": b"not to be fetched"})
    from_hub = convert_checkpoint("owner/theirs", tmp_path / "from_hub")
    assert from_hub == done
    assert from_hub.max_difference == 0
    assert hub.count("GET", "/resolve/")
    assert not hub.count("GET", "flax_model.msgpack")
    names = ("model.safetensors", "config.json")
    for first, second in ((tmp_path / f / n for f in ("from_folder", "from_hub")) for n in names):
        assert first.read_bytes() == second.read_bytes()
    with pytest.raises(FileNotFoundError, match="no folder owner/nobody, and no repository"):
        convert_checkpoint("owner/nobody", tmp_path / "never")
