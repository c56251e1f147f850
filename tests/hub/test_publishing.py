"""Pushing with the real client to a Hub of this machine."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.numpy import save_file
from server import CUT

from twhin_hf.commands.cli import main
from twhin_hf.hub.client import TRIES
from twhin_hf.hub.push import plan_push, push_model


def published(hub, repo):
    return hub.repos[repo].commits[-1]


def num_pushes(hub, repo):
    """Commits, those that pin one in the card left out."""
    commits = hub.repos[repo].commits
    changed = [
        {name for name in new.keys() | old.keys() if new.get(name) != old.get(name)}
        for old, new in pairwise(commits)
    ]
    return sum(names != {"README.md"} for names in changed)


def test_a_push_is_one_commit_of_all_that_belongs_and_no_more(hub, trained):
    done = push_model(trained, "me/one")
    assert done.url == f"{hub.endpoint}/me/one/commit/{hub.repos['me/one'].sha()}"
    assert num_pushes(hub, "me/one") == 1
    files = published(hub, "me/one")
    assert files.keys() == done.files.keys()
    assert {name for name in files if not name.endswith(".py")} == {
        "1_Pooling/config.json",
        "README.md",
        "config.json",
        "losses.png",
        "model.safetensors",
        "modules.json",
        "results.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert "modeling_twhin_bert.py" in files
    assert {"optimizer.pt", "training_args.bin", "checkpoint-20/model.safetensors"} <= set(
        done.left_behind
    )
    assert files["losses.png"].startswith(b"\x89PNG")
    assert not any(b"somebody" in content for content in files.values())
    results = json.loads(files["results.json"])
    assert results["model"] == "me/one"
    assert results["options"] == {"data_dir": "posts", "hits_at": 10}
    assert "options.mood of results.json" in done.left_behind


def test_the_card_tells_what_happened(hub, trained):
    push_model(trained, "me/card")
    card = ModelCard(hub.text("me/card", "README.md"))
    data = card.data.to_dict()
    assert data["base_model"] == "Twitter/twhin-bert-base"
    assert {"social-loss", "masked-lm", "translation-pairs"} <= set(data["tags"])
    (index,) = data["model-index"]
    figures = {r["dataset"]["config"]: r["metrics"][0]["value"] for r in index["results"]}
    assert figures == {"en": 0.25, "average": 0.1235}
    for line in (
        "It goes on from `stage1`, which goes on from `Twitter/twhin-bert-base`.",
        f'    revision="{hub.repos["me/card"].sha(1)}",\n    code_revision=',
        "| Data | 1,200 pairs |",
        "| Time | 0.50 hours |",
        "| `learning_rate` | `0.0001` |",
        "| Embedding of a post | `cls` pooling |",
        "| average | 0.1235 |",
        "![Losses by step](losses.png)",
        "2110.10318",
    ):
        assert line in card.content, line


def test_what_was_written_by_hand_survives(hub, trained):
    push_model(trained, "me/hand")
    text = hub.text("me/hand", "README.md")
    edited = text.replace("- Training on a", "Trained on posts of 2026.\n\n- Training on a")
    edited = edited.replace("---\n", "---\nlicense: mit\n", 1).replace("0.1235", "0.9")
    hub.repos["me/hand"].commits.append(
        published(hub, "me/hand") | {"README.md": edited.encode(), "NOTES.md": b"mine"}
    )
    record = json.loads((trained / "training_record.json").read_text())
    (trained / "training_record.json").write_text(json.dumps(record | {"steps": 41}))
    push_model(trained, "me/hand")
    again = ModelCard(hub.text("me/hand", "README.md"))
    assert "Trained on posts of 2026." in again.content
    assert again.data.license == "mit"
    assert "| Steps | 41 (2.5 epochs) |" in again.content
    assert "| average | 0.1235 |" in again.content
    assert published(hub, "me/hand")["NOTES.md"] == b"mine"


def test_nothing_new_is_no_commit_and_old_shards_go(hub, trained):
    push_model(trained, "me/same")
    puts = hub.count("PUT", "/lfs/")
    push_model(trained, "me/same")
    assert num_pushes(hub, "me/same") == 1
    assert hub.count("PUT", "/lfs/") == puts
    old = {"model-00001-of-00002.safetensors": b"", "model.safetensors.index.json": b"{}"}
    hub.repos["me/same"].commits.append(published(hub, "me/same") | old)
    assert push_model(trained, "me/same").deleted == sorted(old)
    assert not old.keys() & published(hub, "me/same").keys()


def test_a_private_repository(hub, trained):
    push_model(trained, "me/secret", private=True)
    assert hub.repos["me/secret"].private
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token=False).model_info("me/secret")
    assert HfApi().model_info("me/secret").private
    push_model(trained, "me/open")
    with pytest.raises(ValueError, match="me/open is public already"):
        push_model(trained, "me/open", private=True)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, "there is no token; run `hf auth login`"),
        ("hf_reader", "the token may only read; make one that may write"),
        ("hf_nobody", r"does not know the token \(401\)"),
    ],
)
def test_tokens(hub, trained, monkeypatch, token, message):
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ValueError, match=message):
        push_model(trained, "me/token")
    assert hub.repos == {}


def test_someone_elses_repository(hub, trained):
    hub.fail("POST", "/commit/", 403, times=9)
    with pytest.raises(ValueError, match=r"the token may not write to me/theirs \(403\)"):
        push_model(trained, "me/theirs")
    assert hub.count("POST", "/commit/") == 1


@pytest.mark.parametrize(
    ("method", "part", "status"),
    [
        ("GET", "/api/whoami", 503),
        ("POST", "/repos/create", CUT),
        ("POST", "/preupload/", 500),
        ("POST", "/objects/batch", 500),
        ("PUT", "/lfs/", CUT),
        ("PUT", "/lfs/", 500),
        ("POST", "/commit/", 500),
        ("POST", "/commit/", CUT),
    ],
)
def test_a_hub_that_stumbles_is_asked_again(hub, trained, waits, method, part, status):
    hub.fail(method, part, status, times=2)
    push_model(trained, "me/stumble")
    assert hub.faults[0].times == 0
    assert num_pushes(hub, "me/stumble") == 1
    assert published(hub, "me/stumble")["model.safetensors"]
    assert waits


def test_a_busy_hub_is_given_the_time_it_asks_for(hub, trained, waits):
    hub.fail("POST", "/commit/", 429, Retry_After="7")
    push_model(trained, "me/busy")
    assert 7 in waits


def test_a_hub_that_stays_down_and_the_push_after_it(hub, trained, waits):
    hub.fail("POST", "/commit/", 500, times=1000)
    with pytest.raises(ValueError, match=rf"did not answer in {TRIES} tries \(status 500\)"):
        push_model(trained, "me/down")
    assert num_pushes(hub, "me/down") == 0
    assert published(hub, "me/down") == {}
    sent = hub.count("PUT", "/lfs/")
    assert sent == 2  # weights and picture, each once
    hub.faults.clear()
    push_model(trained, "me/down")
    assert hub.count("PUT", "/lfs/") == sent
    assert num_pushes(hub, "me/down") == 1


def spoil_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def spoil_with_vectors(folder):
    save_file({"vectors": np.zeros((2, 3), np.float32)}, folder / "model.safetensors")


def spoil_with_states(folder):
    save_file({"exp_avg.0": np.zeros(3, np.float32)}, folder / "model.safetensors")


def spoil_with_a_pickle(folder):
    (folder / "model.safetensors").write_bytes(b"\x80\x04\x95 no tensors")


def spoil_results(folder):
    results = json.loads((folder / "results.json").read_text())
    results["options"] = {"left_out": {"user_ids": ["u1", "u2"]}}
    (folder / "results.json").write_text(json.dumps(results))


def spoil_card(folder):
    card = "<!-- twhin_hf:begin x -->\nHere: /home/me/model\n<!-- twhin_hf:end x -->\n"
    (folder / "README.md").write_text(card)


def spoil_with_a_whole_run(folder):
    results = json.loads((folder / "results.json").read_text())
    for row, model in zip(results["results"], ("MLM", "MLM, beside TF-IDF + SVD"), strict=True):
        row["details"] = {"model": model}
    (folder / "results.json").write_text(json.dumps(results))


def spoil_config(folder):
    config = json.loads((folder / "config.json").read_text()) | {"trained_at": "/home/me/runs/a"}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_weights, r"its weights are a pickle \(pytorch_model\.bin\)"),
        (spoil_with_vectors, r"model\.safetensors holds vectors of a network"),
        (spoil_with_states, r"model\.safetensors holds the state of an optimizer"),
        (spoil_with_a_pickle, r"model\.safetensors is no safetensors file"),
        (spoil_results, r"results\.json holds ids of users"),
        (spoil_with_a_whole_run, "holds the results of 2 encoders, those of a whole run"),
        (spoil_card, r"README\.md, line \d+, names a path of this machine: '/home/me/model'"),
        (spoil_config, r"config\.json, at trained_at, names a path of this machine: '/home/me/run"),
        (lambda folder: (folder / "network.json").write_text("{}"), "is a network folder"),
        (lambda folder: (folder / "tokenizer_config.json").unlink(), "holds no tokenizer"),
        (lambda folder: (folder / "config.json").unlink(), r"holds no config\.json"),
        (shutil.rmtree, "there is no folder"),
    ],
)
def test_what_must_not_go_is_refused_before_anything_is_asked(hub, trained, spoil, message):
    spoil(trained)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        push_model(trained, "me/never")
    assert hub.requests == []


def test_what_stock_classes_saved_goes_out_whole(hub, trained):
    config = json.loads((trained / "config.json").read_text())
    for path in [*trained.glob("*.py"), trained / "modules.json"]:
        path.unlink()
    push_model(trained, "me/whole")
    files = published(hub, "me/whole")
    assert json.loads(files["config.json"])["auto_map"] == config["auto_map"]
    assert {"modeling_twhin_bert.py", "settings.py", "modules.json"} <= files.keys()
    assert not (trained / "settings.py").exists()  # the folder stays as it was


def test_a_dry_run_lists_and_asks_nothing(hub, trained, capsys):
    assert main(["push", "--model", str(trained), "--repo", "me/dry", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "Would be pushed to me/dry" in printed
    assert "model.safetensors" in printed
    assert "optimizer.pt" in printed.partition("Left behind")[2]
    assert hub.requests == []
    assert main(["push", "--model", str(trained), "--repo", "dry", "--dry-run"]) == 2
    assert "give the owner and the name" in capsys.readouterr().err


def test_names_of_people_among_the_tokens_are_told(trained, capsys):
    command = ["push", "--model", str(trained), "--repo", "me/dry", "--dry-run"]
    assert main(command) == 0
    assert "names of people" not in capsys.readouterr().out
    state = json.loads((trained / "tokenizer.json").read_text())
    vocabulary = state["model"]["vocab"]
    if isinstance(vocabulary, dict):
        vocabulary["▁@ana_92"] = len(vocabulary)
    else:
        vocabulary.append(["▁@ana_92", -9.0])
    (trained / "tokenizer.json").write_text(json.dumps(state))
    assert main(command) == 0
    assert "1 tokens of tokenizer.json are names of people, such as ▁@ana_92" in (
        capsys.readouterr().out.replace("\n", " ")
    )


def test_the_command_publishes(hub, trained, capsys):
    assert main(["push", "--model", str(trained), "--repo", "me/command", "--private"]) == 0
    assert f"{hub.endpoint}/me/command/commit/" in capsys.readouterr().out.replace("\n", "")
    assert hub.repos["me/command"].private
    assert published(hub, "me/command").keys() == plan_push(trained, "me/command").files.keys()
