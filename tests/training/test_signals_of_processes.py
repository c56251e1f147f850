"""Two processes that a scheduler stops save one checkpoint, and go on as if never stopped."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from recording import new_model
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]


def launch(folder, output):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file",
        str(ROOT / "examples" / "accelerate_configs" / "many_cpus.yaml"),
        "--num_processes", "2", "--main_process_port", str(port),
        str(ROOT / "examples" / "run_social_pretraining.py"), "--config", "config.yaml",
        "--output_dir", output,
    ]  # fmt: skip
    log = (folder / f"{output}.log").open("a")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for by Linux's ways")
def test_a_signal_to_the_launcher_saves_on_all_processes(
    tiny_config, posts, pairs, tokenizer, tmp_path
):
    new_model(tiny_config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    posts.to_parquet(tmp_path / "posts.parquet")
    import pyarrow.parquet as pq

    pq.write_table(pairs, tmp_path / "pairs.parquet")
    config = {
        "model_name_or_path": "model", "posts": "posts.parquet", "pairs": "pairs.parquet",
        "per_device_train_batch_size": 4, "max_steps": 120, "save_steps": 100, "logging_steps": 7,
        "max_length": 32, "learning_rate": 1e-3, "use_cpu": True, "disable_tqdm": True,
        "report_to": "none",
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert launch(tmp_path, "whole").wait(1_200) == 0, (tmp_path / "whole.log").read_text()[-3000:]
    broken = launch(tmp_path, "broken")
    log = tmp_path / "broken.log"
    end = time.monotonic() + 1_200
    while not re.search(r"step (7|14)/120", log.read_text()):
        assert broken.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < end
        time.sleep(0.02)
    broken.send_signal(signal.SIGTERM)
    assert broken.wait(1_200) != 0
    saved = [path.name for path in (tmp_path / "broken").glob("checkpoint-*")]
    assert len(saved) == 1, log.read_text()[-3000:]
    assert saved != ["checkpoint-100"]
    assert {f"rng_state_{number}.pth" for number in (0, 1)} <= {
        path.name for path in (tmp_path / "broken" / saved[0]).iterdir()
    }
    assert launch(tmp_path, "broken").wait(1_200) == 0, log.read_text()[-3000:]
    assert "Going on with the run in broken" in log.read_text()
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    for name, value in one.items():
        assert value.equal(other[name]), name
    # And once more: it is finished, for both processes.
    again = launch(tmp_path, "broken")
    assert again.wait(1_200) == 0
    assert "is finished: nothing to do" in log.read_text()
