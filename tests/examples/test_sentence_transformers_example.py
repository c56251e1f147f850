import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

pytest.importorskip("sentence_transformers")

from twhin_hf.commands.parsing import parse_command
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.modeling import TwhinBertModel, apply_settings

SCRIPT = Path(__file__).parents[2] / "examples" / "sentence_transformers_training.py"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import sentence_transformers_training

    return sentence_transformers_training


def test_both_losses_are_trained_and_judged(example, tiny_config, tokenizer, posts, tmp_path):
    torch.manual_seed(0)
    model = TwhinBertModel(apply_settings(tiny_config, pooling="cls"))
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    posts.to_parquet(tmp_path / "posts.parquet")
    ids = pa.array(posts["post_id"])
    random = np.random.default_rng(0).integers(0, 240, (2, 300))
    different = random[:, random[0] != random[1]]
    anchors, positives = (ids.take(pa.array(side)) for side in different)
    pq.write_table(
        pa.table({"anchor_id": anchors, "positive_id": positives}), tmp_path / "pairs.parquet"
    )
    options = {
        "--model": tmp_path / "model",
        "--posts": tmp_path / "posts.parquet",
        "--pairs": tmp_path / "pairs.parquet",
        "--output": tmp_path / "out",
        "--held-out-share": 0.3,
        "--epochs": 0.2,
        "--batch-size": 8,
        "--learning-rate": 1e-3,
    }
    found = example.main([str(item) for pair in options.items() for item in pair])
    assert list(found) == ["before", "MultipleNegativesRankingLoss", "SocialLoss"]
    for name, figures in found.items():
        assert 0 <= figures["average_accuracy@1"] <= figures["average_accuracy@10"] <= 1
        assert list((tmp_path / "out" / name).glob("retrieval*.json"))
    before, ranking, social = (
        load_post_encoder(str(folder)).encode(posts["text"][:4], tokenizer=tokenizer)
        for folder in (tmp_path / "model", *((tmp_path / "out" / n) for n in list(found)[1:]))
    )
    assert not torch.allclose(before, social, atol=1e-3)
    assert not torch.allclose(ranking, social, atol=1e-3)


def test_held_out_pairs_share_no_post(example):
    rows = np.random.default_rng(1).integers(0, 50, (200, 2))
    train, test = example.split_pairs(rows, 0.3, 0)
    assert not set(rows[train].ravel()) & set(rows[test].ravel())
    with pytest.raises(ValueError, match="more pairs"):
        example.split_pairs(rows, 0.0, 0)


def test_options_go_over_those_of_a_file(example, tmp_path):
    def parse(*options):
        return parse_command(example.train_both, [*map(str, options)], "script")

    config = tmp_path / "config.yaml"
    config.write_text("{model: m, posts: p, pairs: q, batch_size: 8, learning_rate: 1.0e-3}")
    parsed = parse("--config", config, "--output", "o", "--batch-size", "4")
    assert parsed["model"] == "m"
    assert (parsed["options"].batch_size, parsed["options"].learning_rate) == (4, 1e-3)
    with pytest.raises(ValueError, match="missing: --output"):
        parse("--config", config)
    config.write_text("batch_sizes: 8")
    with pytest.raises(ValueError, match="unknown key 'batch_sizes'; did you mean 'batch_size'"):
        parse("--config", config)


def test_help_is_fast_and_imports_no_torch():
    code = """if True:
        import runpy, sys
        try:
            runpy.run_path(sys.argv.pop(1), run_name="__main__")
        finally:
            assert "torch" not in sys.modules
    """
    command = [sys.executable, "-c", code, str(SCRIPT), "--help"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--held_out_share" in found.stdout
