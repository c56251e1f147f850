"""A demo of a main job: its best encoder, the one that it began from, its data."""

from pathlib import Path

import pytest

from twhin_hf.commands.cli import main
from twhin_hf.demo.of_run import demo_of_run
from twhin_hf.demo.opening import open_demo
from twhin_hf.errors import InputError
from twhin_hf.pipeline import run_pipeline
from twhin_hf.pipeline_config import PipelineConfig
from twhin_hf.results import Result, Results, read_results, write_results

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 40,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small one on generated data."""
    from twhin_hf.data.synthetic_config import SyntheticConfig

    folder = tmp_path_factory.mktemp("run") / "run"
    stage = {"max_steps": 2, "per_device_train_batch_size": 8}
    config = PipelineConfig(
        output=str(folder),
        synthetic=SyntheticConfig(
            num_users=100, num_posts=700, num_engagements=6000, languages=("en", "ja")
        ),
        network={"dimension": 8, "epochs": 1, "threads": 1},
        objectives={
            "distillation": {"distillation_weight": 1.0, "sentence_embedding": "distillation"}
        },
        vocab_size=500,
        encoder=TINY,
        training={"max_length": 32, "use_cpu": True, "disable_tqdm": True},
        stage1=stage,
        stage2=stage | {"head_steps": 1},
        evaluation={"max_epochs": 1, "seeds": (0,)},
    )
    run_pipeline(config)
    return folder


def read_features(run):
    """The features that were chosen on validation, as `--pooling` names them."""
    rows = read_results(run).results
    return {row.details["features"][0].replace(" + ", "+") for row in rows}


def test_what_is_shown_of_it(run):
    found = demo_of_run(run)
    assert found.inputs.model == str(run / "seed0" / "distillation")
    assert found.inputs.stock == str(run / "seed0" / "stage1")
    assert found.inputs.pooling in read_features(run)
    assert Path(found.inputs.posts).is_file()
    assert (found.label, found.is_generated) == ("topic", True)


def test_the_command_makes_it_with_a_recommender(run, capsys):
    line = ["demo", "--run", str(run), "--sample", "60", "--no_launch"]
    assert main(line) == 0
    demo = open_demo(run / "demo")
    assert demo.content.settings["is_generated"]
    assert demo.content.settings["label"] == "topic"
    answer = demo.answer("a new post")
    assert [side.name for side in answer.sides] == ["stock", "model"]
    assert answer.audience is not None
    assert answer.groups is not None


def test_what_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no results of `twhin-hf run`"):
        demo_of_run(tmp_path)
    write_results(Results("engagement", "m", [Result("en", "MRR", 0.5)]), tmp_path)
    with pytest.raises(InputError, match="Give the output folder of `twhin-hf run`"):
        demo_of_run(tmp_path)
