"""The benchmark of one accelerator runs with few libraries; without one, on something tiny."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "gpu.py"
NOT_NEEDED = [
    "duckdb",
    "ibis",
    "faiss",
    "altair",
    "vl_convert",
    "jsonargparse",
    "polars",
    "implicit",
    "peft",
    "openvino",
    "onnx",
    "onnxruntime",
    "fastapi",
    "uvicorn",
    "lancedb",
    "sentencepiece",
    "evaluate",
    "seqeval",
    "optuna",
]


def test_all_sections_without_what_a_bare_machine_lacks(tmp_path):
    program = (
        "import runpy, sys; "
        f"sys.modules.update(dict.fromkeys({NOT_NEEDED})); "
        f"sys.argv = ['gpu.py', '--small', '--output', {str(tmp_path)!r}]; "
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    sections = ["mlm base", "encode", "joint", "mlm large", "where the time goes", "network"]
    assert list(found) == ["posts", *sections, "compiled"]
    for model in ("mlm base", "mlm large"):
        assert found[model]["ratio"] > 0
        assert found[model]["ours"]["mfu_percent"] is None  # of a CPU, whose peak is not known
    for way in found["encode"].values():
        assert way["least_cosine"] > 0.999
    assert found["joint"]["MultipleNegativesRankingLoss"]["ratio"] > 0
    assert found["where the time goes"]["top"]
    table = (tmp_path / "gpu.md").read_text()
    assert "| ours |" in table
    assert "goals: ≥ 4 ×" in table


def test_the_flops_of_a_token_by_hand():
    import runpy

    flops_of_a_token = runpy.run_path(str(SCRIPT))["Bench"].flops_of_a_token

    class Base:
        num_hidden_layers, hidden_size, intermediate_size, vocab_size = 12, 768, 3072, 250_002

    class Bench:
        attended = 32.0

    # 85 million weights, 32 tokens seen by each, 15 % of the tokens decoded.
    expected = 6 * 84_934_656 + 12 * 12 * 768 * 32 + 6 * 768 * 250_002 * 0.15
    assert round(flops_of_a_token(Bench, Base, 0.15)) == round(expected)
