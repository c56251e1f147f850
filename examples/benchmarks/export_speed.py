"""Texts a second and cosine of an encoder exported in every way, beside PyTorch.

    python examples/benchmarks/export_speed.py --model stage2
    python examples/benchmarks/export_speed.py --model stage2 --threads 2 --rounds 3

Each way is exported, checked and timed in turns with PyTorch in a fresh process, as
`twhin-hf export` does, and the folder is measured. Rounds repeat all ways one after the other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

WAYS = (("onnx", False), ("onnx", True), ("openvino", False), ("openvino", True), ("torch", False))


def measure(model: str, kind: str, int8: bool, threads: int) -> dict[str, float]:
    """Exports in this process."""
    import torch

    from twhin_hf.serving.export import ExportConfig, export

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "export"
        found = export(ExportConfig(model, kind, int8=int8), output)
        sizes = [path.stat().st_size for path in output.glob("**/*model*") if path.is_file()]
    return found._asdict() | {"megabytes": sum(sizes) / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder or repository of an encoder")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--way", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way is not None:
        print(json.dumps(measure(args.model, *WAYS[args.way], args.threads)))
        return
    print("| way | texts per second | PyTorch's | ratio | least cosine | mean cosine | MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for way in list(range(len(WAYS))) * args.rounds:
        kind, int8 = WAYS[way]
        command = [sys.executable, __file__, "--model", args.model, "--way", str(way)]
        command += ["--threads", str(args.threads)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        ours, pytorch = found["exported_texts_per_second"], found["pytorch_texts_per_second"]
        print(
            f"| {kind} {'int8' if int8 else 'float32'} | {ours:,.0f} | {pytorch:,.0f} | "
            f"{ours / pytorch:.2f} × | {found['min_cosine']:.5f} | {found['mean_cosine']:.5f} | "
            f"{found['megabytes']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
