"""Training steps beside other programs on the same cores, by how threads wait for each other.

    python examples/benchmarks/shared_cores.py --busy 0
    python examples/benchmarks/shared_cores.py --busy 2

Each round starts a process for each way to wait, which makes the same steps of an encoder (BERT, 4
layers of 128, 32 posts of 32 tokens). `twhin-hf` sets the second one, where the user has set none;
the first is that of GNU's OpenMP, which torch brings on Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack

from twhin_hf.commands.cli import SPIN_COUNT

WAYS = {
    "busily (OpenMP's default)": {},
    "briefly, then asleep (`twhin-hf`)": {"GOMP_SPINCOUNT": SPIN_COUNT},
    "asleep (`OMP_WAIT_POLICY=passive`)": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
STEPS = """
import json, sys, time, torch
from transformers import BertConfig
from twhin_hf import TwhinBertModel
from twhin_hf.modeling import apply_settings
torch.manual_seed(0)
sizes = dict(hidden_size=128, num_hidden_layers=4, num_attention_heads=4, intermediate_size=512)
model = TwhinBertModel(apply_settings(BertConfig(vocab_size=1000, **sizes)))
tokens = torch.randint(1000, (32, 32))
def step():
    model(input_ids=tokens).last_hidden_state.sum().backward()
step()
wall, processor = time.perf_counter(), time.process_time()
for _ in range(int(sys.argv[1])):
    step()
print(json.dumps([time.perf_counter() - wall, time.process_time() - processor]))
"""


def main() -> None:
    """Makes the steps and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--busy", type=int, default=0, help="other processes that compute")
    parser.add_argument("--steps", type=int, default=30, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    options = parser.parse_args()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    with ExitStack() as stack:
        for _ in range(options.busy):
            other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(other.kill)
        for _ in range(options.rounds):
            for name, setting in WAYS.items():
                seconds[name].append(train(options.steps, setting))
    print(f"{options.busy} busy processes, {options.steps} steps, {options.rounds} rounds\n")
    print("| threads wait | milliseconds a step | of processors | lowest to highest |")
    print("| --- | --: | --: | --: |")
    for name, found in seconds.items():
        columns = zip(*found, strict=True)
        walls, processors = (sorted(1e3 * one / options.steps for one in each) for each in columns)
        print(
            f"| {name} | {statistics.median(walls):.0f} | {statistics.median(processors):.0f} "
            f"| {walls[0]:.0f}–{walls[-1]:.0f} |"
        )


def train(steps: int, setting: dict[str, str]) -> tuple[float, float]:
    """Seconds by the clock and of processors."""
    unset = {name: value for name, value in os.environ.items() if "OMP" not in name}
    command = [sys.executable, "-c", STEPS, str(steps)]
    told = subprocess.check_output(command, env=unset | setting | {"HF_HUB_OFFLINE": "1"})
    wall, processor = json.loads(told.splitlines()[-1])
    return wall, processor


if __name__ == "__main__":
    main()
