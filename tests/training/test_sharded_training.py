"""Training whose weights are shared out to processes (FSDP2) is training in one process."""

import io
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from recording import new_model
from safetensors.torch import load_file
from transformers import AutoTokenizer

from twhin_hf.errors import InputError
from twhin_hf.loading.shared_out_weights import check_shares
from twhin_hf.modeling import TwhinBertForPreTraining
from twhin_hf.training.checkpoints import damage
from twhin_hf.training.social import SocialPretrainingConfig, SocialPretrainingTrainer

CONFIGS = Path(__file__).parents[2] / "examples" / "accelerate_configs"


def start(folder, output, processes=None, resumed="", config="fsdp2"):
    """Runs the worker, in as many processes as accelerate would start by a config."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ranks = [environment]
    if processes:
        ranks = [environment | own for own in launched(config, processes)]
    command = [sys.executable, str(Path(__file__).with_name("sharded_worker.py"))]
    command += [str(folder), output, resumed]
    workers = [
        subprocess.Popen(command, env=own, stderr=subprocess.PIPE, text=True) for own in ranks
    ]
    for worker in workers:
        errors = worker.communicate(timeout=600)[1]
        assert worker.returncode == 0, errors[-4000:]
    return json.loads((folder / f"{output}.json").read_text())


def launched(config, processes):
    """The environment that accelerate's launcher gives each process, in float32."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    options = ["--config_file", str(CONFIGS / f"{config}.yaml"), "--mixed_precision", "no"]
    options += ["--num_processes", str(processes), "worker.py"]
    args, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(options))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if args.use_deepspeed:
        args.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
        given = prepare_deepspeed_cmd_env(args)[1]
    else:
        given = prepare_multi_gpu_env(args)
    for rank in range(processes):
        yield given | {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port), "ACCELERATE_TORCH_DEVICE": "cpu",
        }  # fmt: skip


@pytest.fixture
def files(tiny_config, posts, pairs, tokenizer, tmp_path):
    new_model(tiny_config, mlm_weight=1.0).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    posts.to_parquet(tmp_path / "posts.parquet")
    pq.write_table(pairs, tmp_path / "pairs.parquet")
    return tmp_path


def assert_equal_runs(folder, one, other, expected, found):
    for when in ("before", "after"):
        for name, value in expected[when].items():
            if name.endswith(("_loss", "_tokens")):
                assert found[when][name] == pytest.approx(value, abs=1e-4), name
    for entry, its in zip(expected["log"], found["log"], strict=True):
        for name in ("loss", "mlm_loss", "social_loss", "grad_norm"):
            if name in entry:
                assert its[name] == pytest.approx(entry[name], abs=1e-4), name
    weights = load_file(folder / other / "model.safetensors")
    expected_weights = load_file(folder / one / "model.safetensors")
    assert weights.keys() == expected_weights.keys()
    for name, value in expected_weights.items():
        torch.testing.assert_close(weights[name], value, atol=2e-4, rtol=1e-3)


class Payload:
    def __reduce__(self):
        return print, ("it ran",)


def plant(folder, name):
    """Puts a pickle that runs code where torch would open it."""
    if name == ".metadata":
        (folder / name).write_bytes(pickle.dumps({"a": Payload()}))
        return
    with (folder / ".metadata").open("rb") as file:
        table = pickle.load(file)
    index, place = next(
        (index, place)
        for index, place in table.storage_data.items()
        if type(table.state_dict_metadata[index.fqn]).__name__ == "BytesStorageMetadata"
    )
    content = io.BytesIO()
    torch.save(Payload(), content)
    moved = replace(place, relative_path=name, offset=0, length=len(content.getvalue()))
    table.storage_data[index] = moved
    (folder / name).write_bytes(content.getvalue())
    (folder / ".metadata").write_bytes(pickle.dumps(table))


def start_here(folder, checkpoint):
    posts = Dataset.from_parquet(str(folder / "posts.parquet"), cache_dir=str(folder / "cache"))
    args = SocialPretrainingConfig(
        output_dir=str(folder / "here"), per_device_train_batch_size=16, max_steps=4, max_length=64,
        use_cpu=True, report_to=[], disable_tqdm=True,
    )  # fmt: skip
    SocialPretrainingTrainer(
        TwhinBertForPreTraining.from_pretrained(folder / "model"),
        args,
        posts,
        pq.read_table(folder / "pairs.parquet"),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
    ).train(resume_from_checkpoint=checkpoint)


def test_two_sharded_processes_are_one(files):
    """And a checkpoint of theirs is gone on from by two, and by one."""
    expected = start(files, "alone")
    found = start(files, "sharded", 2)
    assert found["kind"].startswith("FSDP")
    assert_equal_runs(files, "alone", "sharded", expected, found)
    names = [{path.name for path in (files / output).iterdir()} for output in ("alone", "sharded")]
    assert names[0] == names[1]
    configs = [(files / output / "config.json").read_text() for output in ("alone", "sharded")]
    assert configs[0] == configs[1]
    checkpoint = files / "sharded" / "checkpoint-2"
    assert damage(checkpoint) is None
    # Each process has written its share.
    shares = {path.parent.name for path in checkpoint.rglob("__*_*.distcp")}
    assert shares == {"pytorch_model_fsdp_0", "optimizer_0"}
    # One that holds more than tensors, in its table or beside them, is not opened.
    for part, name in (("pytorch_model_fsdp_0", ".metadata"), ("optimizer_0", "__0_0.distcp")):
        folder = files / name
        shutil.copytree(checkpoint / part, folder / part)
        check_shares(folder)
        plant(folder / part, name)
        with pytest.raises(pickle.UnpicklingError, match="print"):
            check_shares(folder)
    with pytest.raises(InputError, match="holds the shares of processes"):
        start_here(files, str(checkpoint))
    for processes in (2, 1):
        output = f"resumed{processes}"
        again = start(files, output, processes, str(checkpoint))
        assert len(again["log"]) == len(found["log"])
        assert_equal_runs(files, "sharded", output, found, again)


def test_two_processes_of_deepspeed_are_one(files):
    """Gradients and optimizer are shared out (ZeRO 2); as many processes go on."""
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")
    expected = start(files, "alone")
    found = start(files, "shared", 2, config="deepspeed_zero2")
    assert_equal_runs(files, "alone", "shared", expected, found)
    checkpoint = files / "shared" / "checkpoint-2"
    assert damage(checkpoint) is None
    with pytest.raises(InputError, match="holds the shares of 2 processes"):
        start_here(files, str(checkpoint))
    again = start(files, "resumed", 2, str(checkpoint), config="deepspeed_zero2")
    assert_equal_runs(files, "shared", "resumed", found, again)


def test_pickles_of_deepspeed_are_not_opened(tmp_path):
    states = tmp_path / "global_step2" / "zero_pp_rank_0_mp_rank_00_optim_states.pt"
    states.parent.mkdir()
    torch.save({"step": torch.ones(2)}, states)
    check_shares(tmp_path)
    torch.save({"step": Payload()}, states)
    with pytest.raises(pickle.UnpicklingError, match=r"GLOBAL \S*print"):
        check_shares(tmp_path)
    states.write_bytes(b"no checkpoint")
    with pytest.raises(pickle.UnpicklingError):
        check_shares(tmp_path)
