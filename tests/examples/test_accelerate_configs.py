"""The configs of `accelerate launch`: read by its own parser, and those for CPUs started."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / "examples" / "accelerate_configs"
LAUNCHERS = {
    "one_cpu": (None, 1, "no"),
    "many_cpus": ("multi_gpu", 2, "no"),
    "one_gpu": (None, 1, "bf16"),
    "many_gpus": ("multi_gpu", 8, "bf16"),
    "fsdp2": ("use_fsdp", 8, "bf16"),
    "deepspeed_zero2": ("use_deepspeed", 8, "bf16"),
    "several_nodes": ("multi_gpu", 16, "bf16"),
}
SCRIPT = """
import json, sys
import torch
from accelerate import PartialState
from accelerate.utils import gather

state = PartialState(cpu="--use_cpu" in sys.argv)
ranks = gather(torch.tensor([state.process_index]))
if state.is_main_process:
    found = {"ranks": ranks.tolist(), "device": state.device.type, "backend": state.backend}
    print(json.dumps(found), flush=True)
state.destroy_process_group()
"""


def parse(*arguments):
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    return _validate_launch_command(launch_command_parser().parse_args([*arguments]))


def test_there_is_one_for_every_kind_of_machine():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(LAUNCHERS)
    table = (CONFIGS / "README.md").read_text()
    assert all(f"[`{name}.yaml`]({name}.yaml)" in table for name in LAUNCHERS)


@pytest.mark.parametrize("name", sorted(LAUNCHERS))
def test_accelerate_reads_it(name):
    launcher, processes, precision = LAUNCHERS[name]
    args, defaults, _ = parse("--config_file", str(CONFIGS / f"{name}.yaml"), "script.py")
    assert (args.num_processes, args.mixed_precision) == (processes, precision)
    kinds = ("multi_gpu", "use_fsdp", "use_deepspeed", "tpu")
    assert [kind for kind in kinds if getattr(args, kind)] == ([launcher] if launcher else [])
    # Keys that no option has would be passed over in silence.
    for group in (defaults.fsdp_config, defaults.deepspeed_config):
        assert all(hasattr(args, key) for key in group), group
    more, _, _ = parse(
        "--config_file", str(CONFIGS / f"{name}.yaml"), "--num_processes", "4", "script.py"
    )
    assert more.num_processes == 4


def test_what_the_sharing_configs_say():
    fsdp, _, _ = parse("--config_file", str(CONFIGS / "fsdp2.yaml"), "script.py")
    assert str(fsdp.fsdp_version) == "2"
    assert fsdp.fsdp_state_dict_type == "SHARDED_STATE_DICT"
    deepspeed, _, _ = parse("--config_file", str(CONFIGS / "deepspeed_zero2.yaml"), "script.py")
    assert deepspeed.zero_stage == 2
    nodes, _, _ = parse("--config_file", str(CONFIGS / "several_nodes.yaml"), "script.py")
    assert (nodes.num_machines, nodes.machine_rank, nodes.main_process_port) == (2, 0, 29500)


@pytest.mark.parametrize(("name", "processes"), [("one_cpu", 1), ("many_cpus", 2)])
def test_those_for_cpus_start(name, processes, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--config_file", str(CONFIGS / f"{name}.yaml"), "--main_process_port", "0"]
    done = subprocess.run(
        [*command, str(script), "--use_cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ranks"] == list(range(processes))
    assert found["device"] == "cpu"
    assert found["backend"] == ("gloo" if processes > 1 else None)
