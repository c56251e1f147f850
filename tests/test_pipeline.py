"""The main job, end to end and tiny."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from twhin_hf import pipeline as pipeline_module
from twhin_hf.commands.cli import main
from twhin_hf.commands.parsing import parse_command
from twhin_hf.commands.run import run
from twhin_hf.data.splits import split_posts
from twhin_hf.data.synthetic import SyntheticConfig, generate_network
from twhin_hf.data_fingerprint import RUN_NAME
from twhin_hf.errors import InputError
from twhin_hf.hub.public_results import public_results
from twhin_hf.modeling import TwhinBertForPreTraining, apply_settings
from twhin_hf.network.folder import load_network
from twhin_hf.pipeline import PipelineConfig, run_pipeline
from twhin_hf.run_folder import read_run
from twhin_hf.timestamps import iso
from twhin_hf.training.streaming import open_stream


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, and the posts that training saw."""
    folder = tmp_path_factory.mktemp("pipeline")
    generate_network(
        SyntheticConfig(num_users=300, num_posts=900, num_engagements=9000, languages=("en", "ja"))
    ).save(folder)
    config = PipelineConfig(
        engagements=str(folder / "engagements.parquet"),
        posts=str(folder / "posts.parquet"),
        output=str(folder / "run"),
        seeds=[0, 3],
        network={"dimension": 16, "epochs": 2, "threads": 1},
        mining={"k": 5},
        objectives={
            "MLM": {"mlm_weight": 1.0},
            "MLM + social": {"mlm_weight": 0.05, "social_weight": 1.0},
            "engagement": {"engagement_weight": 1.0, "sentence_embedding": "engagement"},
        },
        vocab_size=500,
        encoder={
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "max_position_embeddings": 40,
        },
        training={"max_length": 32, "logging_steps": 2, "use_cpu": True, "disable_tqdm": True},
        stage1={"max_steps": 4, "per_device_train_batch_size": 16},
        stage2={"max_steps": 4, "per_device_train_batch_size": 8, "head_steps": 2},
        evaluation={"max_epochs": 2, "seeds": (0, 1)},
        records_per_user=None,
    )
    trained_on = []

    class Spy(pipeline_module.SocialPretrainingTrainer):
        def __init__(self, model, args, posts, *others, **kwargs):
            trained_on.append(set(posts["post_id"]))
            super().__init__(model, args, posts, *others, **kwargs)

    patch = pytest.MonkeyPatch()
    patch.setattr(pipeline_module, "SocialPretrainingTrainer", Spy)
    results = run_pipeline(config)
    patch.undo()
    return folder, config, results, trained_on


def test_held_out_posts_take_part_in_nothing(finished):
    folder, config, _, trained_on = finished
    ids = pq.read_table(folder / "posts.parquet")["post_id"].to_pylist()
    splits = split_posts(ids, config.split_seed)
    held_out = {post_id for post_id, split in zip(ids, splits, strict=True) if split != "train"}
    assert len(held_out) > 100
    network = load_network(folder / "run" / "network")
    assert not held_out & set(network.post_ids.to_pylist())
    pairs = pq.read_table(folder / "run" / "pairs.parquet")
    assert not held_out & set(pairs["anchor_id"].to_pylist() + pairs["positive_id"].to_pylist())
    assert len(trained_on) == 4 * len(config.seeds)
    assert not held_out & set.union(*trained_on)


def test_a_leak_stops_the_run(finished, tmp_path, monkeypatch):
    _, config, _, _ = finished

    def read_everything(*args, exclude_posts=None, **options):
        return pipeline_module_read_log(*args, **options)

    pipeline_module_read_log = pipeline_module.read_log
    monkeypatch.setattr(pipeline_module, "read_log", read_everything)
    with pytest.raises(ValueError, match=r"The network holds .* posts that the evaluation"):
        run_pipeline(replace(config, output=str(tmp_path / "leaking")))


def test_all_encoders_saw_the_same_tokens_in_as_many_steps(finished):
    folder, config, _, _ = finished
    for seed in config.seeds:
        states = [
            json.loads((folder / "run" / f"seed{seed}" / name / "trainer_state.json").read_text())
            for name in ("mlm", "mlm_social", "engagement")
        ]
        assert [state["global_step"] for state in states] == [4, 4, 4]
        # The same masked tokens before the first step: equal batches, equal masks, equal weights.
        firsts = [state["log_history"][0] for state in states]
        assert firsts[0]["tokens"] == firsts[1]["tokens"] == firsts[2]["tokens"] > 0


def test_results_and_pictures(finished):
    folder, config, results, _ = finished
    written = json.loads((folder / "run" / "results.json").read_text())
    assert written["task"] == "engagement"
    assert [row["value"] for row in written["results"]] == [row.value for row in results.results]
    models = {row["details"]["model"] for row in written["results"]}
    own = {"MLM", "MLM + social", "engagement"}
    assert models == own | {f"{name}, beside TF-IDF + SVD" for name in own}
    assert set(written["baselines"]) == {"chance", "TF-IDF + SVD", "MLM (start)"}
    for rows in written["baselines"].values():
        assert {"value", "interval", "p"} == set(rows[0]["details"]["difference"])
    # Of features, validation has chosen one for each seed.
    chosen = next(r for r in written["results"] if r["details"]["model"] == "engagement")
    assert len(chosen["details"]["features"]) == 2
    assert set(chosen["details"]["features"]) <= {"engagement", "combined", "combined + engagement"}
    # Each model's own figures lie in its folder, for its card.
    for name in ("mlm", "mlm_social", "engagement"):
        own_file = folder / "run" / "seed3" / name / "results_engagement.json"
        kept = json.loads(own_file.read_text())
        # All of it may be published, but for the options of the whole run.
        assert public_results(own_file, "me/x")[1] == [f"options.pipeline of {own_file.name}"]
        assert {row["details"]["model"].lower().replace(" + ", "_") for row in kept["results"]} == {
            name
        }
    saved = folder / "run" / "seed0" / "engagement"
    assert (saved / "modules.json").is_file()
    assert list(saved.glob("*_Dense"))
    for row in written["results"]:
        assert row["seeds"] == config.seeds
        assert 0 <= row["value"] <= 1
    assert {row["language"] for row in written["results"]} == {"en", "ja", "average"}
    for name in ("losses.png", "hits.png"):
        assert (folder / "run" / name).read_bytes()[:4] == b"\x89PNG"
    page = (folder / "run" / "report" / "index.html").read_text()
    for title in ("Results", "Training", "Data", "Mined pairs", "How this was made"):
        assert f">{title}</h2>" in page


def test_a_run_goes_on_where_it_ended_and_takes_other_options_for_another_run(
    finished, monkeypatch
):
    _, config, results, _ = finished

    def never(*args, **kwargs):
        raise AssertionError("this stage had ended")

    for name in ("embed_network", "mine_pairs", "SocialPretrainingTrainer"):
        monkeypatch.setattr(pipeline_module, name, never)
    again = run_pipeline(config)
    assert [row.value for row in again.results] == [row.value for row in results.results]
    with pytest.raises(InputError, match=r"tokenizer holds .* vocab_size was 500 and is 501"):
        run_pipeline(replace(config, vocab_size=501))
    # What leaves the stages as they are may change: the encoders are judged anew.
    fewer = replace(config, evaluation=replace(config.evaluation, seeds=(0,)))
    assert run_pipeline(fewer).options["pipeline"]["evaluation"]["seeds"] == (0,)
    monkeypatch.setattr(pipeline_module, "_evaluate", never)
    assert [row.metric for row in run_pipeline(fewer).results] == [
        row.metric for row in results.results
    ]


def small(config, output):
    """A run of fewer stages, on the same data."""
    return replace(
        config,
        output=str(output),
        seeds=[0],
        stage1=None,
        objectives={"MLM": {"mlm_weight": 1.0}},
        stage2={"max_steps": 2, "per_device_train_batch_size": 8},
        evaluation=replace(config.evaluation, seeds=(0,), max_epochs=1),
    )


def test_a_mistake_in_a_later_stage_does_not_cost_the_earlier_ones(finished, tmp_path, monkeypatch):
    _, config, _, _ = finished
    config = small(config, tmp_path / "run")
    with pytest.raises(InputError):
        run_pipeline(replace(config, vocab_size=50))
    monkeypatch.setattr(pipeline_module, "embed_network", None)  # it had ended
    run_pipeline(config)
    # What is finished is left alone, and made anew where that is asked for.
    model = tmp_path / "run" / "seed0" / "mlm" / "model.safetensors"
    before = model.stat().st_mtime_ns
    run_pipeline(config)
    assert model.stat().st_mtime_ns == before
    monkeypatch.undo()
    changed = replace(config, vocab_size=400)
    with pytest.raises(InputError, match="vocab_size was 500 and is 400"):
        run_pipeline(changed)
    assert "vocab_size: 500" in (tmp_path / "run" / "pipeline.yaml").read_text()
    # How it is run, or how often it logs, makes no other model; lost results are made again.
    (tmp_path / "run" / "results.json").unlink()
    run_pipeline(replace(config, training=config.training | {"logging_steps": 1}))
    assert (tmp_path / "run" / "results.json").exists()
    assert model.stat().st_mtime_ns == before
    run_pipeline(changed, overwrite=True)
    assert model.stat().st_mtime_ns > before
    run = read_run(tmp_path / "run")
    assert run["finished"]
    assert run["options"]["vocab_size"] == 400
    assert {"engagements", "posts"} <= run["data"].keys()


def test_what_its_page_lacks_costs_a_run_nothing(finished, tmp_path, monkeypatch, caplog):
    _, config, _, _ = finished

    def fails(*args, **kwargs):
        raise InputError("a foreign file")

    monkeypatch.setattr(pipeline_module, "write_report", fails)
    run_pipeline(small(config, tmp_path / "run"))
    assert read_run(tmp_path / "run")["finished"]
    assert "There is no page of the run: a foreign file" in caplog.text


def test_half_a_stage_is_not_taken_for_a_whole_one(finished, tmp_path, monkeypatch):
    _, config, _, _ = finished
    config = small(config, tmp_path / "run")
    run_pipeline(config)
    # As a killed process leaves it: files that may be cut, and no word that all are there.
    for name in ("tokenizer", "seed0/mlm", "seed0/untrained", "."):
        record = tmp_path / "run" / name / RUN_NAME
        record.write_text(record.read_text().replace('"finished": true', '"finished": false'))
    whole = (tmp_path / "run" / "seed0" / "mlm" / "model.safetensors").read_bytes()
    for name in ("tokenizer/tokenizer.json", "seed0/mlm/trainer_state.json", "results.json"):
        path = tmp_path / "run" / name
        path.write_text(path.read_text()[:100])
    run_pipeline(config)
    assert (tmp_path / "run" / "seed0" / "mlm" / "model.safetensors").read_bytes() == whole
    assert read_run(tmp_path / "run")["finished"]


def test_a_split_by_time_learns_from_nothing_later(finished, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    folder, config, _, _ = finished
    config = replace(
        small(config, tmp_path / "run"),
        objectives={"social": {"social_weight": 1.0, "engagement_weight": 1.0}},
        split="time",
    )
    posts = pq.read_table(folder / "posts.parquet")
    written = dict(
        zip(*(posts[name].to_pylist() for name in ("post_id", "timestamp")), strict=True)
    )
    ordered = sorted(written.values())
    begin, test = ordered[720], ordered[810]  # of 900 posts
    trained_on = []

    class Spy(pipeline_module.SocialPretrainingTrainer):
        def __init__(self, model, args, posts, pairs, *others, **kwargs):
            trained_on.extend(posts["post_id"])
            trained_on.extend(pairs["anchor_id"].to_pylist() + pairs["positive_id"].to_pylist())
            super().__init__(model, args, posts, pairs, *others, **kwargs)

    monkeypatch.setattr(pipeline_module, "SocialPretrainingTrainer", Spy)
    results = run_pipeline(config)
    assert max(written[post] for post in trained_on) < begin
    network = load_network(tmp_path / "run" / "network")
    assert network.metadata["before"] == iso(begin)
    assert max(written[post] for post in network.post_ids.to_pylist()) < begin
    # Who engaged with what, as the log has it before validation begins, and nothing else.
    log = pq.read_table(folder / "engagements.parquet").to_pylist()
    early = {(row["user_id"], row["post_id"]) for row in log if row["timestamp"] < begin}
    assert len(early) < len({(row["user_id"], row["post_id"]) for row in log}) - 500
    users, ids = network.user_ids.to_pylist(), network.post_ids.to_pylist()
    offsets, others = network.engagements.users_of_posts
    rows = np.repeat(np.arange(len(ids)), np.diff(offsets))
    seen = {(users[user], ids[post]) for user, post in zip(others, rows, strict=True)}
    assert seen == early
    told = {"split": "time", "validation_from": iso(begin), "test_from": iso(test)}
    assert told.items() <= results.options.items()
    assert f"720 train before {iso(begin)}, 90 validation before {iso(test)}, 90" in caplog.text
    # A network of other times is made anew, not taken.
    later = replace(config, validation_from=str(begin + 9000), test_from=str(test + 9000))
    with pytest.raises(InputError, match="validation_from was None and is"):
        run_pipeline(later)

    def read_everything(*args, before=None, **options):
        return pipeline_module_read_log(*args, **options)

    pipeline_module_read_log = pipeline_module.read_log
    monkeypatch.setattr(pipeline_module, "read_log", read_everything)
    with pytest.raises(InputError, match="The network does not say which time its engagements end"):
        run_pipeline(replace(config, output=str(tmp_path / "leaking")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "time", "log": {"before": "2024-01-01"}}, "log.before is given, and a split by"),
        ({"validation_from": "2024-01-01"}, "belong to a split by time"),
        ({"posts": "gone.parquet"}, "posts: there is no gone.parquet"),
        ({"network": {"dimensions": 3}}, r"network has unknown keys \['dimensions'\]"),
        ({"stage2": {"max_step": 3}}, r"stage2 has unknown keys \['max_step'\]"),
        ({"encoder": None}, "give model_name_or_path .* or encoder"),
        ({"model_name_or_path": "x"}, "give model_name_or_path .* or encoder"),
        ({"objectives": {}}, "objectives is empty"),
        ({"objectives": {"A": {}, "a!": {}}}, "'a!' would be saved in the folder a, .* of 'A'"),
        ({"objectives": {"Stage1": {}}}, "in the folder stage1, which is that of the run itself"),
        ({"objectives": {"NUL": {}}}, "the objective 'nul' is a name that Windows keeps"),
        ({"stage2": {"output_dir": "../x"}}, r"stage2 has unknown keys \['output_dir'\]"),
        ({"objectives": {"A": {"weight": 1}}}, r"'A' has unknown settings \['weight'\]"),
        (
            {"objectives": {"A": {"mlm_weight": "much"}}},
            "A.mlm_weight is 'much'; needed is a number",
        ),
        ({"settings": {"pooling": 3}}, "settings.pooling is 3; needed is text"),
        ({"stage2": {"max_steps": [3]}}, r"stage2.max_steps is \[3\]; needed is a number"),
        ({"training": {"bf16": "on"}}, "training.bf16 is 'on'; needed is true or false"),
        ({"encoder": {"hidden_size": "x"}}, "encoder.hidden_size is 'x'; needed is a number"),
        ({"encoder": {"hidden": 3}}, r"encoder has unknown keys \['hidden'\]"),
        ({"encoder": {"hidden_size": 33, "num_attention_heads": 2}}, "encoder .* not a multiple"),
        ({"stage2": {"max_grad_growth": {"a": 1}}}, "training and stage2 cannot be used .TypeErr"),
        ({"seeds": []}, "seeds is empty: name at least one"),
        ({"seeds": [-1]}, "seeds has -1; a seed is a whole number"),
        ({"vocab_size": -1}, "vocab_size is -1; it must be 50 or more"),
        ({"max_posts": 0}, "max_posts is 0; it must be 1 or more"),
        ({"records_per_user": -1}, "records_per_user is -1; it must be 1 or more"),
        ({"dropout": 2}, r"dropout is 2; it must be in \[0, 1\)"),
        ({"log": {"memory_limit": "1"}}, "log: memory_limit is '1'; needed is a size"),
        ({"network": {"device": "foo"}}, "network: device is 'foo'; give cpu, cuda"),
        ({"evaluation": {"device": "foo"}}, "evaluation: device is 'foo'; give cpu, cuda"),
        ({"evaluation": {"max_epochs": -1}}, "evaluation: max_epochs is -1; it must be 1"),
        ({"training": {"optim": "foo"}}, "training and stage1: optim is 'foo'; choose from"),
        ({"training": {"learning_rate": -1}}, "learning_rate is -1; it must be 0 or more"),
        ({"training": {"learning_rate": None}}, "learning_rate is None; it must be 0 or more"),
        ({"training": {"lr_scheduler_type": "foo"}}, "lr_scheduler_type is 'foo'; choose from"),
        ({"training": {"lr_scheduler_kwargs": "x"}}, "lr_scheduler_kwargs is 'x'; needed are"),
        ({"training": {"mlm_probability": 3}}, "mlm_probability is 3; it must be in"),
        ({"training": {"report_to": "foo"}}, "report_to is 'foo'; choose from"),
        ({"training": {"accelerator_config": {"a": 1}}}, r"unknown keys \['a'\]; its keys"),
        ({"training": {"max_length": 41}}, "max_length is 41, and the encoder's max_position_"),
        ({"stage2": {"gradient_accumulation_steps": 0}}, "stage2: gradient_accumulation_steps is"),
        ({"stage2": {"max_steps": 0}}, "training and stage2: max_steps is 0; it must be 1"),
        (
            {"objectives": {"A": {"social_weight": 1.0, "social_temperature": -1}}},
            "A: social_temperature is -1; it must be above 0",
        ),
    ],
)
def test_mistakes_are_told_before_anything_runs(finished, change, message):
    _, config, _, _ = finished
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        replace(config, **change)


def test_a_mistake_leaves_nothing_that_blocks_the_mended_command(tmp_path, capsys, monkeypatch):
    def stop(*args, **kwargs):
        raise InputError("posts are read")

    monkeypatch.setattr(pipeline_module, "read_posts", stop)
    for name in ("posts", "log"):
        (tmp_path / name).touch()
    good = {
        "posts": str(tmp_path / "posts"),
        "engagements": str(tmp_path / "log"),
        "output": str(tmp_path / "run"),
        "encoder": {},
    }
    mistakes = [{"seeds": []}, {"evaluation": {"device": "foo"}}, {"training": {"optim": "foo"}}]
    path = tmp_path / "run.yaml"
    for values, message in zip([*mistakes, {}], ["seeds", "device", "optim", "posts"], strict=True):
        path.write_text(yaml.safe_dump(good | values))
        assert main(["run", "--config", str(path)]) == 2
        [told] = capsys.readouterr().err.splitlines()
        assert f"{message} " in told
        assert (tmp_path / "run").exists() == (message == "posts")


def test_command_reads_the_file_and_options_go_over_it(tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(pipeline_module, "run_pipeline", lambda config, **_: seen.append(config))
    for name in ("posts", "log"):
        (tmp_path / name).touch()
    path = tmp_path / "run.yaml"
    values = {"posts": str(tmp_path / "posts"), "vocab_size": 77, "encoder": {}}
    path.write_text(yaml.safe_dump(values))
    command = ["run", "--config", str(path), "--engagements", str(tmp_path / "log")]
    assert main(command) == 2
    assert "missing: --output" in capsys.readouterr().err
    assert main([*command, "--output", "x", "--seeds", "4", "5"]) == 0
    assert (seen[0].vocab_size, seen[0].seeds, seen[0].output) == (77, [4, 5], "x")
    path.write_text("vocab_sizes: 3")
    assert main(command) == 2
    assert "did you mean 'vocab_size'?" in capsys.readouterr().err


def test_shipped_configs_hold_known_keys(tmp_path):
    citeulike = Path(__file__).parents[1] / "examples" / "citeulike"
    start = ["--model_name_or_path", "x"]
    for name, more in (
        ("quickstart", []),
        ("from_scratch", ["--output", "y"]),
        ("recommended", [*start, "--output", "y"]),
        (str(citeulike / "config.yaml"), start),
        (str(citeulike / "paper.yaml"), []),
    ):
        data = ["--engagements", str(tmp_path), "--posts", str(tmp_path), *more]
        config = parse_command(run, ["--config", name, *data], "twhin-hf run")["config"]
        assert config.network.dimension in (64, 128)
        rate = (config.training | config.stage2)["learning_rate"]
        assert rate in (3e-4, 1e-3, 3e-3, 1e-2)


def test_it_runs_on_generated_data_where_none_is_given(finished, tmp_path, monkeypatch):
    _, config, _, _ = finished
    sizes = SyntheticConfig(num_users=300, num_posts=900, num_engagements=9000, languages=("en",))
    made = replace(
        config, engagements=None, posts=None, synthetic=sizes, output=str(tmp_path), seeds=[0]
    )
    monkeypatch.setattr(pipeline_module, "_encoders", _stop)
    with pytest.raises(InterruptedError):
        run_pipeline(made)
    assert pq.read_metadata(tmp_path / "data" / "posts.parquet").num_rows == 900
    with pytest.raises(ValueError, match="missing: --posts"):
        replace(made, engagements=str(tmp_path))


def _stop(*args, **kwargs):
    raise InterruptedError


def test_it_streams_training_posts_alone(finished, tmp_path, monkeypatch):
    _, config, _, trained_on = finished
    made = replace(config, output=str(tmp_path), seeds=[0], streaming=True)
    monkeypatch.setattr(pipeline_module, "build_benchmark", _stop)
    with pytest.raises(InterruptedError):
        run_pipeline(made)
    stream = open_stream(tmp_path / "stream-32")
    assert set(stream.posts["post_id"]) == trained_on[0]
    assert read_run(tmp_path / "stream-32")["finished"]
    assert len(stream.pairs) == pq.read_metadata(tmp_path / "pairs.parquet").num_rows
    for name in ("stage1", "mlm", "mlm_social", "engagement"):
        assert (tmp_path / "seed0" / name / "model.safetensors").exists()
    monkeypatch.setattr(pipeline_module, "write_stream", None)  # there is nothing more to write
    (tmp_path / "seed0" / "mlm" / RUN_NAME).unlink()
    with pytest.raises(InterruptedError):
        run_pipeline(made)


def test_it_starts_from_a_pretrained_encoder(finished, tmp_path, tiny_config, tokenizer):
    """By default the engagement objective and distillation, without mined pairs."""
    _, config, _, _ = finished
    torch.manual_seed(0)
    TwhinBertForPreTraining(apply_settings(tiny_config, pooling="mean")).save_pretrained(
        tmp_path / "encoder"
    )
    tokenizer.save_pretrained(tmp_path / "encoder")
    own = PipelineConfig(
        engagements=config.engagements,
        posts=config.posts,
        output=str(tmp_path / "run"),
        model_name_or_path=str(tmp_path / "encoder"),
        network=config.network,
        training=config.training,
        stage2=config.stage2,
        evaluation=config.evaluation,
        records_per_user=None,
    )
    results = run_pipeline(own)
    assert not (tmp_path / "run" / "pairs.parquet").exists()
    assert set(results.baselines) == {"chance", "TF-IDF + SVD", "encoder (start)"}
    assert results.results[0].details["model"] == "engagement + distillation"
